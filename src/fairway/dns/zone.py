"""The cluster's names as a function of its objects: objects in, answers out, no I/O.

Source: Kubernetes DNS-Based Service Discovery 1.1.0; NXDOMAIN and NODATA as RFC 2308, RFC 4592 section 2.2.2 (empty
non-terminals exist) and RFC 8020 have them. There is no cache: an answer is read from the indexes, and an object's
event marks only its own Service to be read anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import msgspec

from fairway.dns import grammar, names
from fairway.dns.branch import Branch, grow, plain
from fairway.dns.errors import BadName, BadZone
from fairway.dns.names import Name
from fairway.dns.pods import PodIndex
from fairway.dns.records import (
    ANY_CHANGE,
    Address,
    Answer,
    Data,
    Question,
    Rcode,
    Record,
    Root,
    RRsets,
    Soa,
    Srv,
    Target,
    Text,
    Type,
)
from fairway.dns.reverse import ReverseIndex
from fairway.dns.view import EndpointSlice, Namespace, Pod, Service, pod_addresses

SCHEMA_VERSION = b"1.1.0"
"""The version of the DNS specification, told by the TXT record `dns-version`."""
HOSTMASTER = b"hostmaster"
"""Who is responsible, in SOA records: this label before the zone's name."""
MAX_CHAIN = 8
"""CNAMEs followed inside the zone; an ExternalName Service may name another one."""
LONGEST_OWN_PART = 3 * (names.MAX_LABEL + 1) + len(b"\x03svc")
"""Octets of `<hostname>.<service>.<ns>.svc`, the longest form below the zone, on the wire."""

PodRecords = Literal["verified", "insecure", "disabled"]
"""Names of Pods by address: only of Pods that are, of any address, or none."""

_Key = tuple[bytes, bytes]
_EMPTY: RRsets = {}


class _Entry(msgspec.Struct, gc=False):
    """One Service, its branch (None: not held) and the addresses it claims in the reverse index."""

    service: Service
    branch: Branch | None = None
    claims: Collection[bytes] = ()


class Found(NamedTuple):
    """Where a name is: in which of our zones (None: in none), what it holds (None: it does not exist), and which things
    say so."""

    apex: Name | None
    rrsets: RRsets | None
    roots: frozenset[Root] = frozenset()


class Zone:
    """The zone `domain` and the reverse zones of the `reverse` ranges, kept by setting and deleting objects.

    `ttl` (seconds) is that of all records and of negative answers. `nameserver` is the name told in SOA and NS records;
    by default the DNS Service's own. Objects may come in any order, and be set again; deleting what is not there
    is no error. `on_change` is told each root whose answers may have changed; of reverse names when the zone settles.
    Raises BadZone for a domain or range that cannot be served.
    """

    def __init__(
        self,
        domain: str = "cluster.local",
        ttl: int = 5,
        reverse: Sequence[str] = ("10.96.0.0/12", "10.244.0.0/16"),
        *,
        pods: PodRecords = "verified",
        nameserver: str = "",
    ) -> None:
        self.domain = _domain(domain)
        self.ttl = ttl
        self.pod_records = pods
        self.nameserver = _domain(nameserver or f"kube-dns.kube-system.svc.{domain}")
        self._services: dict[bytes, dict[bytes, _Entry]] = {}
        self._slices: dict[_Key, tuple[EndpointSlice, ...]] = {}
        self._homes: dict[tuple[str, str], _Key] = {}
        self._namespaces: set[bytes] = set()
        self.on_change: Callable[[Root], None] = _nobody
        self._pods = PodIndex()
        self._reverse: ReverseIndex[_Key] = ReverseIndex(reverse)
        self._stale: set[_Key] = set()
        self._latest: tuple[_Key, Branch] | None = None
        self._denial = Record(self.domain, Type.SOA, ttl, self._soa(self.domain))
        self._meanings: dict[grammar.Meaning, Callable[..., RRsets | None]] = {
            "apex": lambda: self._apex(self.domain),
            "version": lambda: {Type.TXT: (Text(SCHEMA_VERSION),)},
            "services": lambda: _EMPTY,
            "namespace": lambda ns: _EMPTY if self._has_namespace(ns) else None,
            "service": self._service,
            "protocol": self._protocol,
            "port": self._port,
            "endpoint": self._endpoint,
            "pods": lambda: _EMPTY if self.pod_records != "disabled" else None,
            "pod namespace": lambda ns: _EMPTY if self._has_pods(ns) else None,
            "pod": self._pod,
        }

    # ---- objects ----------------------------------------------------------------------------------------------

    def set_service(self, service: Service) -> None:
        """Take a Service's present state."""
        namespace, name = _key(service.metadata.namespace, service.metadata.name)
        entries = self._services.setdefault(namespace, {})
        if name in entries:
            entries[name].service = service
        else:
            entries[name] = _Entry(service)
            if len(entries) == 1:
                self.on_change(("namespace", namespace, b""))
        self._touch((namespace, name))

    def delete_service(self, namespace: str, name: str) -> None:
        """Forget a Service and all its names."""
        key = _key(namespace, name)
        entries = self._services.get(key[0], {})
        entry = entries.pop(key[1], None)
        if entry is None:
            return
        self._latest = None
        self._move(key, entry, ())
        self._stale.discard(key)
        self.on_change(("service", *key))
        if not entries:
            del self._services[key[0]]
            self.on_change(("namespace", key[0], b""))

    def set_slice(self, piece: EndpointSlice) -> None:
        """Take an EndpointSlice's present state; its label says whose it is, and may change."""
        namespace, name = piece.metadata.namespace, piece.metadata.name
        home = _key(namespace, piece.service)
        if self._homes.get((namespace, name), home) != home:
            self.delete_slice(namespace, name)
        self._homes[namespace, name] = home
        self._slices[home] = (*self._other_slices(home, name), piece)
        self._touch_if_headless(home)

    def shows(self, piece: EndpointSlice) -> bool:
        """Whether names depend on the slice: on those of headless Services only."""
        return self._is_headless(_key(piece.metadata.namespace, piece.service))

    def delete_slice(self, namespace: str, name: str) -> None:
        """Forget an EndpointSlice."""
        home = self._homes.pop((namespace, name), None)
        if home is None:
            return
        left = self._other_slices(home, name)
        if left:
            self._slices[home] = left
        else:
            del self._slices[home]
        self._touch_if_headless(home)

    def _other_slices(self, home: _Key, name: str) -> tuple[EndpointSlice, ...]:
        return tuple(piece for piece in self._slices.get(home, ()) if piece.metadata.name != name)

    def set_namespace(self, namespace: Namespace) -> None:
        """A namespace exists, also when it has no Services."""
        name = namespace.metadata.name.encode()
        self._namespaces.add(name)
        self.on_change(("namespace", name, b""))

    def delete_namespace(self, _: str, name: str) -> None:
        """A namespace is gone; it lives on in the tree while Services in it do."""
        self._namespaces.discard(name.encode())
        self.on_change(("namespace", name.encode(), b""))

    def set_pod(self, pod: Pod) -> None:
        """Take a Pod's present state."""
        self.set_pod_addresses((pod.metadata.namespace, pod.metadata.name), pod_addresses(pod))

    def set_pod_addresses(self, key: tuple[str, str], addresses: tuple[bytes, ...]) -> None:
        """Take the addresses (packed, each once) of the Pod `key` (namespace, name)."""
        self._pods_change(key[0], self._pods.set(key, addresses))

    def delete_pod(self, namespace: str, name: str) -> None:
        """Forget a Pod."""
        self._pods_change(namespace, self._pods.delete((namespace, name)))

    @property
    def unsettled(self) -> int:
        """How many Services events have marked."""
        return len(self._stale)

    def settle(self) -> None:
        """Grow what events have marked. Answers do this themselves for what they need; who keeps answers does it before
        he uses one, because only grown Services have told which addresses they claim."""
        if not self._stale:
            return
        for namespace, name in tuple(self._stale):
            self._branch(namespace, name)
        self._stale = set()  # a set that was large once is slow to look through even when it is empty

    # ---- answers ----------------------------------------------------------------------------------------------

    def covers(self, name: Name) -> bool:
        """Whether the name is in one of our zones, existing or not."""
        return self.apex(name) is not None

    def apex(self, name: Name) -> Name | None:
        """The one of our zones that the name is in, existing or not."""
        if names.lower(name[-len(self.domain) :]) == self.domain:
            return self.domain
        lower = names.lower(name)
        return self._reverse.apex(lower) or self._find_reverse(lower).apex

    def answer(self, question: Question) -> Answer:
        """The sections of the reply. Names that are none of ours are REFUSED."""
        records: list[Record] = []
        roots: set[Root] = set()
        owner = question.name
        for _ in range(MAX_CHAIN):
            found = self.find(names.lower(owner))
            roots |= found.roots
            if found.apex is None:
                return _outside(records, Question(owner, question.type), roots)
            alias = None if question.type == Type.CNAME else (found.rrsets or _EMPTY).get(Type.CNAME)
            type, data = _choose(found.rrsets or _EMPTY, Type.CNAME if alias else question.type)
            records += (Record(owner, type, self.ttl, each) for each in data)
            if alias is None or question.type == Type.ANY:
                return self._conclude(found, found.apex, records, roots, positive=bool(data))
            owner = _target(data[0])
        return Answer(Rcode.SERVFAIL, roots=frozenset(roots))

    def _conclude(
        self, found: Found, apex: Name, records: Sequence[Record], roots: set[Root], *, positive: bool
    ) -> Answer:
        """The reply for the end of the chain: its last name decides the rcode (RFC 6604 section 3)."""
        if positive:
            hosts = dict.fromkeys(_target(each.data) for each in records if each.type in (Type.SRV, Type.NS))
            places = {host: self.find(names.lower(host)) for host in hosts}
            roots = roots.union(*(place.roots for place in places.values()))
            return Answer(Rcode.NOERROR, tuple(records), (), self._addresses(places), roots=frozenset(roots))
        soa = self._denial if apex == self.domain else Record(apex, Type.SOA, self.ttl, self._soa(apex))
        rcode = Rcode.NXDOMAIN if found.rrsets is None else Rcode.NOERROR
        return Answer(rcode, tuple(records), (soa,), roots=frozenset(roots))

    def _addresses(self, hosts: Mapping[Name, Found]) -> tuple[Record, ...]:
        """The addresses of the hosts that SRV and NS records name."""
        return tuple(
            Record(host, type, self.ttl, address)
            for host, found in hosts.items()
            for type in (Type.A, Type.AAAA)
            for address in (found.rrsets or _EMPTY).get(type, ())
        )

    def _soa(self, apex: Name) -> Soa:
        """The serial never moves: it would only matter to zone transfers, and there are none."""
        return Soa(self.nameserver, (HOSTMASTER, *apex), 1, 7200, 1800, 86400, self.ttl)

    # ---- the tree ---------------------------------------------------------------------------------------------

    def find(self, name: Name) -> Found:
        """What a lower-case name is and holds."""
        own = len(name) - len(self.domain)
        if own < 0 or name[own:] != self.domain:
            return self._find_reverse(name)
        meant = grammar.read(name[:own])
        if meant is None:
            return Found(self.domain, None)
        meaning, labels = meant
        return Found(self.domain, self._meanings[meaning](*labels), _roots(meaning, labels))

    def _apex(self, apex: Name) -> RRsets:
        return {Type.SOA: (self._soa(apex),), Type.NS: (Target(self.nameserver),)}

    def _has_namespace(self, namespace: bytes) -> bool:
        return namespace in self._namespaces or namespace in self._services

    def _has_pods(self, namespace: bytes) -> bool:
        if self.pod_records == "verified":
            return self._has_namespace(namespace) or self._pods.any_in(namespace)
        return self.pod_records == "insecure"

    def _service(self, name: bytes, namespace: bytes) -> RRsets | None:
        branch = self._branch(namespace, name)
        return branch.own() if branch else None

    def _protocol(self, protocol: bytes, name: bytes, namespace: bytes) -> RRsets | None:
        branch = self._branch(namespace, name)
        return _EMPTY if branch and branch.has_protocol(protocol) else None

    def _port(self, port: bytes, protocol: bytes, name: bytes, namespace: bytes) -> RRsets | None:
        branch = self._branch(namespace, name)
        return branch.port(protocol, port) if branch else None

    def _endpoint(self, host: bytes, name: bytes, namespace: bytes) -> RRsets | None:
        branch = self._branch(namespace, name)
        return branch.host(host) if branch else None

    def _pod(self, label: bytes, namespace: bytes) -> RRsets | None:
        packed = names.undashed(label)
        if packed is None or self.pod_records == "disabled":
            return None
        if self.pod_records == "verified" and not self._pods.has(namespace, packed):
            return None
        address = Address(packed)
        return {address.type: (address,)}

    def _find_reverse(self, name: Name) -> Found:
        """A known address is answered in any range: its owner is here. Outside the ranges such a name is a zone of
        its own and the rest is none of ours."""
        span = names.reversed_range(name)
        apex = self._reverse.apex(name)
        if span is None:
            return Found(apex, None)
        self.settle()
        held = dict(self._apex(name)) if name == apex else {}
        if span[0] != span[1]:
            exists = bool(held) or self._reverse.any_between(*span)
            return Found(apex, held if exists else None, frozenset({ANY_CHANGE}))
        claimants = tuple(self._reverse.claimants(span[0]))
        roots = frozenset[Root]({("address", span[0], b""), *(("service", *each) for each in claimants)})
        pointers = self._pointers(span[0], claimants)
        if pointers:
            return Found(apex or name, {**held, Type.PTR: pointers}, roots)
        return Found(apex, held if held or claimants else None, roots)

    def _pointers(self, packed: bytes, claimants: Iterable[_Key]) -> tuple[Data, ...]:
        targets: set[Name] = set()
        for namespace, name in claimants:
            branch = self._branch(namespace, name)
            targets.update(branch.pointers(packed) if branch else ())
        return tuple(map(Target, sorted(targets)))

    # ---- what events change -----------------------------------------------------------------------------------

    def _touch(self, key: _Key) -> None:
        self._services[key[0]][key[1]].branch = self._latest = None
        self._stale.add(key)
        self.on_change(("service", *key))

    def _move(self, key: _Key, entry: _Entry, claims: Collection[bytes]) -> None:
        """The Service now claims these addresses and no others."""
        changed = self._reverse.move(key, entry.claims, claims)
        entry.claims = claims
        for packed in changed:
            self.on_change(("address", packed, b""))

    def _pods_change(self, namespace: str, packed: Iterable[bytes]) -> None:
        """Pods of the namespace have come to these addresses or left them."""
        for each in packed:
            self.on_change(("pod", namespace.encode(), each))
        self.on_change(("namespace", namespace.encode(), b""))

    def _touch_if_headless(self, key: _Key) -> None:
        """Endpoints have names only below headless Services (section 2.4); for others a slice changes nothing."""
        if self._is_headless(key):
            self._touch(key)

    def _is_headless(self, key: _Key) -> bool:
        entry = self._services.get(key[0], {}).get(key[1])
        return entry is not None and entry.service.headless

    def _branch(self, namespace: bytes, name: bytes) -> Branch | None:
        """The Service's branch, grown if it is not held; None when there is no such Service. Held are the branches of
        headless Services, and the one asked for last, which is often asked for again; the others, most of all, are
        grown in a moment and weigh as much as the Services do."""
        entry = self._services.get(namespace, {}).get(name)
        if entry is None or entry.branch is not None:
            return entry.branch if entry else None
        key = (namespace, name)
        if self._latest is not None and self._latest[0] == key:
            return self._latest[1]
        own, headless = (name, namespace, b"svc", *self.domain), entry.service.headless
        if entry.claims and not headless and key not in self._stale:
            branch = plain(entry.service, entry.claims, own)  # its addresses need not be read again
        else:
            branch = grow(entry.service, self._slices.get(key, ()), own)
        if headless:
            entry.branch = branch
        else:
            self._latest = key, branch
        if key in self._stale:
            self._move(key, entry, branch.addresses)
            self._stale.discard(key)
        return branch


def _key(namespace: str, name: str) -> _Key:
    """How a namespaced object is filed: as labels are compared (section 2.1: without regard to case)."""
    return _label(namespace), name.lower().encode()


@lru_cache(maxsize=1024)
def _label(namespace: str) -> bytes:
    """The label of a namespace, held once for all that is in it."""
    return namespace.lower().encode()


def _domain(text: str) -> Name:
    try:
        name = names.lower(names.parse(text))
    except BadName as error:
        raise BadZone(str(error)) from error
    if names.wire_length(name) + LONGEST_OWN_PART > names.MAX_NAME:
        raise BadZone(f"{text!r} is too long: names of endpoints in it would exceed {names.MAX_NAME} octets")
    return name


def _choose(rrsets: RRsets, type: int) -> tuple[int, tuple[Data, ...]]:
    """The record set that answers `type`; for ANY one that the name has, not all of them (RFC 8482 section 4.1)."""
    if type == Type.ANY:
        return next(iter(rrsets.items()), (type, ()))
    return type, rrsets.get(type, ())


def _target(data: Data) -> Name:
    """The name that a record leads to."""
    if isinstance(data, Srv):
        return data.target
    if isinstance(data, Target):
        return data.name
    raise TypeError(f"{data} leads nowhere")


def _outside(records: Sequence[Record], left: Question, roots: Iterable[Root]) -> Answer:
    """What can be said of a name that is none of ours: nothing, or the aliases that led there."""
    if records:
        return Answer(Rcode.NOERROR, tuple(records), alias=left, roots=frozenset(roots))
    return Answer(Rcode.REFUSED, authoritative=False, roots=frozenset(roots))


def _roots(meaning: grammar.Meaning, labels: tuple[bytes, ...]) -> frozenset[Root]:
    """What decides about a name of the cluster's zone that means this."""
    if meaning in ("service", "protocol", "port", "endpoint"):
        return frozenset({("service", labels[-1], labels[-2])})
    if meaning in ("namespace", "pod namespace"):
        return frozenset({("namespace", labels[-1], b"")})
    if meaning == "pod":
        packed = names.undashed(labels[0])
        return frozenset({("pod", labels[-1], packed)} if packed is not None else ())
    return frozenset()


def _nobody(_: Root) -> None:
    """Who listens to changes when nobody does."""
