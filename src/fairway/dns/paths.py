"""The search lists of Pods, known by the address a query comes from. Pure.

A Pod's list is what its agent writes into resolv.conf: by `dnsPolicy`, `dnsConfig` and the node's own list (Kubernetes,
"DNS for Services and Pods"). Pods on the host's network share its address and are not known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fairway.dns import names
from fairway.dns.errors import BadName
from fairway.dns.names import Name
from fairway.dns.view import ResolvingPod

CLUSTER_NDOTS = 5
"""What agents give to Pods that use the cluster's DNS."""
MAX_SEARCHES = 32

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Path:
    """The search list of a Pod, lower-case, and from how many dots on a name is first asked as it is written."""

    searches: tuple[Name, ...]
    ndots: int


class Paths:
    """Which Pod has which search list. `domain` is the cluster's zone, `node` the search list of the nodes. `on_first`
    is told that `begins` has become true of names of which it was not."""

    def __init__(self, domain: Name, node: Sequence[str] = ()) -> None:
        self._domain = domain
        self._node = tuple(_read(node))
        self._addresses: dict[_Key, tuple[bytes, ...]] = {}
        self._paths: dict[bytes, tuple[_Key, Path]] = {}
        self._known: dict[Path, Path] = {}
        self._firsts: Counter[Name] = Counter()
        self.on_first: Callable[[], None] = _nobody

    def set(self, pod: ResolvingPod) -> None:
        """Take a Pod's present state."""
        key = pod.metadata.namespace, pod.metadata.name
        path = None if pod.host_network else self._path(pod)
        known = path is not None and bool(path.searches) and path.searches[0] in self._firsts
        self.delete(*key)
        if path is None or not path.searches:
            return
        self._addresses[key] = tuple(packed for text in pod.addresses if (packed := names.pack(text)) is not None)
        for packed in self._addresses[key]:
            self._drop(packed)
            self._paths[packed] = key, self._known.setdefault(path, path)
            self._firsts[path.searches[0]] += 1
        if not known and path.searches[0] in self._firsts:
            self.on_first()

    def delete(self, namespace: str, name: str) -> None:
        """Forget a Pod; one that is not known is no error."""
        key = namespace, name
        for packed in self._addresses.pop(key, ()):
            if packed in self._paths and self._paths[packed][0] == key:
                self._drop(packed)

    def begins(self, name: Name) -> bool:
        """Whether the name may be the first that some Pod asks on its way through a search list."""
        lower = names.lower(name)
        return any(lower[start:] in self._firsts for start in range(1, len(lower)))

    def rest(self, client: str, name: Name) -> tuple[Name, ...]:
        """What the Pod at the address `client` would ask after `name`, in order; nothing when `name` is not the first
        of a walk. Spelling is the query's own."""
        held = self._paths.get(names.pack(client) or b"")
        if held is None:
            return ()
        path = held[1]
        first = path.searches[0]
        written = name[: -len(first)]
        if not written or names.lower(name[-len(first) :]) != first:
            return ()
        searched = [written + each for each in path.searches[1:]]
        if len(written) - 1 < path.ndots:  # else it has been asked as written before
            searched.append(written)
        return tuple(each for each in searched if names.wire_length(each) <= names.MAX_NAME)

    def _drop(self, packed: bytes) -> None:
        held = self._paths.pop(packed, None)
        if held is not None:
            first = held[1].searches[0]
            self._firsts[first] -= 1
            if not self._firsts[first]:
                del self._firsts[first]

    def _path(self, pod: ResolvingPod) -> Path:
        config, policy = pod.dns_config, pod.dns_policy
        searches: tuple[Name, ...] = () if policy == "None" else self._node
        ndots = 1
        if policy not in ("None", "Default"):
            own = (pod.metadata.namespace.lower().encode(), b"svc", *self._domain)
            searches, ndots = (own, own[1:], own[2:], *self._node), CLUSTER_NDOTS
        searches = tuple(dict.fromkeys((*searches, *_read(config.searches or ()))))[:MAX_SEARCHES]
        for option in config.options or ():
            if option.name == "ndots" and (option.value or "").isdigit():
                ndots = int(option.value or "")
        return Path(searches, ndots)


def _nobody() -> None:
    """Who listens when nobody does."""


def _read(domains: Sequence[str]) -> Iterator[Name]:
    """The domains that are names; clients pass over the others, too."""
    for text in domains:
        try:
            yield names.lower(names.parse(text))
        except BadName:
            continue
