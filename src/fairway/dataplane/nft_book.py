"""What one family's table holds, kept so that a change costs what it changes.

Elements are not kept, the Service ports they follow from are: the elements of a place before a change and after it
are both rendered, and what differs goes to the kernel.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fairway.dataplane.nft import Elements, elements_at, place_elements, places, shape_of, shared_elements
from fairway.dataplane.nft_layout import Shape
from fairway.desired.model import PortKey, ServicePort, Settings
from fairway.packet import Family
from fairway.ruleset.nft import PRESENT, Element

SPARE = 8
"""Sets on demand that may stand unused: a Service that scales up and down finds its map again."""


@dataclass(slots=True)
class Delta:
    """Elements to delete and to add; one whose data changes is in both. `places` are those that were looked at."""

    removed: Elements = field(default_factory=dict)
    added: Elements = field(default_factory=dict)
    places: Collection[bytes] = ()

    def __len__(self) -> int:
        return sum(map(len, self.removed.values())) + sum(map(len, self.added.values()))


class Book:
    """One family's Service ports, who claims which place, and how often shared elements are asked for."""

    def __init__(self, family: Family, settings: Settings) -> None:
        self.family = family
        self.settings = settings
        self.shape: Shape = frozenset()
        """The sets on demand that stand: those in use, and a few that were."""
        self._ports: dict[PortKey, ServicePort] = {}
        self._claimants: dict[bytes, PortKey] = {}
        self._disputed: dict[bytes, list[PortKey]] = {}  # places of several claimants, who stand here in order
        self._shared: defaultdict[str, Counter[bytes]] = defaultdict(Counter)
        self._used: Counter[str] = Counter()  # elements in each set on demand

    @property
    def keys(self) -> Collection[PortKey]:
        return self._ports.keys()

    def claimants(self, place: bytes) -> Sequence[ServicePort]:
        """Who claims a place, in order."""
        if place in self._disputed:
            return [self._ports[key] for key in self._disputed[place]]
        key = self._claimants.get(place)
        return (self._ports[key],) if key is not None else ()

    def change(self, ports: Mapping[PortKey, ServicePort | None]) -> Delta:
        """Let these ports be this (None: gone), and say what that takes."""
        changed = {key: port for key, port in ports.items() if self._ports.get(key) != port}
        touched: dict[bytes, None] = {}
        for key, port in changed.items():
            touched.update(dict.fromkeys((*_places(self._ports.get(key)), *_places(port))))
        before = dict(self._entries(touched))
        shared: Counter[tuple[str, bytes]] = Counter()
        for key, port in changed.items():
            shared.subtract(self._asks(self._ports.get(key)))
            shared.update(self._asks(port))
            self._put(key, port)
        delta = self._difference(before, touched)
        self._share(shared, delta)
        self._count(delta)
        return delta

    def load(self, ports: Mapping[PortKey, ServicePort]) -> Elements:
        """Take all ports at once, into an empty book, and say every element: `change` without a before."""
        found: Elements = {}
        self._ports = dict(ports)
        for key, port in self._ports.items():
            for place in places(port):
                self._claim(place, key)
            for name, kept in shared_elements(port, self.settings).items():
                self._shared[name].update(kept.keys())
        for port in self._ports.values():
            for place, roles in places(port).items():
                if place not in self._disputed:
                    asked = [(role, port) for role in roles]
                    for name, at, element in elements_at(place, asked, self.settings):
                        found.setdefault(name, {})[at] = element
        for (name, at), element in self._entries(self._disputed):
            found.setdefault(name, {})[at] = element
        for name, counts in self._shared.items():
            found[name] = dict.fromkeys(counts, PRESENT)
        self._count(Delta(added=found))
        return found

    def content(self) -> Elements:
        """Every element that stands, but what packets put into the maps of affinity."""
        found: Elements = {}
        for (name, key), element in self._entries({**self._claimants, **self._disputed}):
            found.setdefault(name, {})[key] = element
        for name, counts in self._shared.items():
            found[name] = dict.fromkeys(counts, PRESENT)
        return found

    def _put(self, key: PortKey, port: ServicePort | None) -> None:
        for place in _places(self._ports.pop(key, None)):
            self._release(place, key)
        if port is not None:
            self._ports[key] = port
            for place in _places(port):
                self._claim(place, key)

    def _claim(self, place: bytes, key: PortKey) -> None:
        if place in self._disputed:
            self._disputed[place] = sorted([*self._disputed[place], key])
        elif self._claimants.setdefault(place, key) != key:
            self._disputed[place] = sorted([self._claimants.pop(place), key])

    def _release(self, place: bytes, key: PortKey) -> None:
        if place not in self._disputed:
            del self._claimants[place]
            return
        self._disputed[place].remove(key)
        if len(self._disputed[place]) == 1:
            (self._claimants[place],) = self._disputed.pop(place)

    def _entries(self, touched: Mapping[bytes, object]) -> Iterator[tuple[tuple[str, bytes], Element]]:
        for place in touched:
            if claimants := self.claimants(place):
                for name, key, element in place_elements(place, claimants, self.settings):
                    yield (name, key), element

    def _difference(self, before: dict[tuple[str, bytes], Element], touched: Mapping[bytes, object]) -> Delta:
        """From the elements of the touched places before to those now."""
        delta = Delta(places=touched.keys())
        for where, element in self._entries(touched):
            if before.get(where) == element:
                del before[where]
            else:
                delta.added.setdefault(where[0], {})[where[1]] = element
        for (name, key), element in before.items():
            delta.removed.setdefault(name, {})[key] = element
        return delta

    def _asks(self, port: ServicePort | None) -> Iterator[tuple[str, bytes]]:
        if port is not None:
            yield from ((name, key) for name, kept in shared_elements(port, self.settings).items() for key in kept)

    def _share(self, changes: Mapping[tuple[str, bytes], int], delta: Delta) -> None:
        """An element stands as long as somebody asks for it."""
        for (name, key), change in changes.items():
            counts = self._shared[name]
            before, after = counts[key], counts[key] + change
            if after:
                counts[key] = after
            else:
                del counts[key]
            if after and not before:
                delta.added.setdefault(name, {})[key] = PRESENT
            elif before and not after:
                delta.removed.setdefault(name, {})[key] = PRESENT

    def _count(self, delta: Delta) -> None:
        """Which sets are in use, and which stand."""
        for name, kept in delta.removed.items():
            self._used[name] -= len(kept)
        for name, kept in delta.added.items():
            self._used[name] += len(kept)
        self._used = +self._used
        used = shape_of(self._used)
        spare = self.shape - used
        self.shape = used | (spare if len(spare) <= SPARE else frozenset())


def _places(port: ServicePort | None) -> Mapping[bytes, object]:
    return places(port) if port is not None else {}
