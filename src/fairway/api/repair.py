"""Whether Services and what they hold agree, and what to do where they do not. Pure.

The reasons of the warnings are those of Kubernetes' own repair loops (KEP-1880 and the node ports').
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from fairway.api.allocate import AddressRange, Span, parsed_address
from fairway.api.holdings import ALLOCATOR, MANAGED_BY, Holder, address_key, claim, labels_of, read_claim
from fairway.api.keys import address_claim_key, key_of, node_port_key
from fairway.objects.kinds import IP_ADDRESS, SERVICE, Kind
from fairway.store.base import Check, Delete, Entry, Put

GRACE = timedelta(seconds=60)
"""How old an IPAddress whose Service is not there must be before it counts as leaked: the Service may be on its way."""

MANY = "was assigned to multiple services"


class Metadata(msgspec.Struct, frozen=True):
    """What of metadata matters here."""

    name: str
    namespace: str = ""
    uid: str = ""
    creationTimestamp: datetime | None = None
    labels: dict[str, str] | None = None


class _Port(msgspec.Struct, frozen=True):
    nodePort: int = 0


class _Spec(msgspec.Struct, frozen=True):
    clusterIPs: tuple[str, ...] | None = None
    ports: tuple[_Port, ...] | None = None
    healthCheckNodePort: int = 0


class _Service(msgspec.Struct, frozen=True):
    metadata: Metadata
    spec: _Spec = _Spec()


class _Parent(msgspec.Struct, frozen=True):
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""


class _AddressSpec(msgspec.Struct, frozen=True):
    parentRef: _Parent | None = None


class _Address(msgspec.Struct, frozen=True):
    metadata: Metadata
    spec: _AddressSpec = _AddressSpec()


_READ_SERVICE = msgspec.json.Decoder(_Service)
_READ_ADDRESS = msgspec.json.Decoder(_Address)


@dataclass(frozen=True, slots=True)
class Service:
    """A stored Service: who it is and what it says it holds (addresses in canonical form)."""

    check: Check
    holder: Holder
    addresses: tuple[str, ...]
    ports: frozenset[int]

    def has(self, what: str | int) -> bool:
        """Whether it says that it holds the address or node port."""
        return what in self.addresses or what in self.ports


@dataclass(frozen=True, slots=True)
class Address:
    """A stored IPAddress. `parent` is the Service it refers to, None if it refers to something else."""

    check: Check
    metadata: Metadata
    parent: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A stored claim."""

    check: Check
    holder: Holder


@dataclass(frozen=True, slots=True)
class Scene:
    """What is stored, of one moment: Services by namespace and name, the others by what they are for. `whole`: no
    Service is missing that could not be read."""

    services: Mapping[tuple[str, str], Service]
    addresses: Mapping[str, Address]
    address_claims: Mapping[str, Claim]
    port_claims: Mapping[int, Claim]
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be held."""

    ranges: Sequence[AddressRange]
    ports: Span


@dataclass(frozen=True, slots=True)
class Word:
    """A warning about an object of a kind."""

    kind: Kind
    regarding: Holder
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Fix:
    """A transaction that mends one thing (nothing to be written: what only people can mend), and the word about it."""

    word: Word | None
    checks: tuple[Check, ...] = ()
    changes: tuple[Put | Delete, ...] = ()


Make = Callable[[Holder, str], bytes]
"""A new IPAddress for a Service's address."""


def service_of(entry: Entry) -> Service:
    """A stored Service."""
    read = _READ_SERVICE.decode(entry.value)
    meta, spec = read.metadata, read.spec
    ports = {port.nodePort for port in spec.ports or ()} | {spec.healthCheckNodePort}
    return Service(
        Check(entry.key, entry.modified),
        Holder(meta.namespace, meta.name, meta.uid),
        tuple(str(parsed_address(ip)) for ip in spec.clusterIPs or () if ip not in ("", "None")),
        frozenset(ports - {0}),
    )


def address_of(entry: Entry) -> Address:
    """A stored IPAddress."""
    read = _READ_ADDRESS.decode(entry.value)
    parent = read.spec.parentRef
    found = (parent.namespace, parent.name) if parent and (parent.group, parent.resource) == ("", "services") else None
    return Address(Check(entry.key, entry.modified), read.metadata, found)


def claim_of(entry: Entry) -> Claim:
    """A stored claim."""
    return Claim(Check(entry.key, entry.modified), read_claim(entry.value))


def lacking(service: Service, scene: Scene, limits: Limits, make: Make) -> Iterator[Fix]:
    """What a Service says it holds and does not."""
    for address in service.addresses:
        yield from _address(service, address, scene, limits, make)
    for port in sorted(service.ports):
        yield from _port(service, port, scene, limits)


def leaked(scene: Scene, now: datetime) -> Iterator[Fix]:
    """What is held for Services that do not hold it. Nothing, while there are Services nobody can read: it may be
    theirs."""
    if not scene.whole:
        return
    for name, address in scene.addresses.items():
        yield from _leaked_address(name, address, scene, now)
    claims: list[tuple[str | int, Claim]] = [*scene.address_claims.items(), *scene.port_claims.items()]
    for what, held in claims:
        if not _holds(scene, held.holder, what):
            yield _release(held, scene)


def _address(service: Service, address: str, scene: Scene, limits: Limits, make: Make) -> Iterator[Fix]:
    if not any(address in known for known in limits.ranges):
        text = f"Cluster IP {address} is not within any configured Service CIDR; please recreate service"
        yield Fix(_word(service, "ClusterIPOutOfRange", text))
        return
    key, found = address_key(address), scene.addresses.get(address)
    why = _wrong(service, address, found, scene) if found else "is not allocated"
    if why == MANY:
        yield Fix(_word(service, "ClusterIPAlreadyAllocated", f"Cluster IP {address} {MANY}; please recreate service"))
    elif why:
        word = _word(service, "ClusterIPNotAllocated", f"Cluster IP {address} {why}; repairing")
        stand_in = address_claim_key(address)
        if found:
            # Nobody is given the address meanwhile.
            yield Fix(word, (service.check, found.check), (Delete(key), Put(stand_in, claim(service.holder))))
        put = Put(key, make(service.holder, address))
        yield Fix(None if found else word, (service.check, Check(key, 0)), (put, Delete(stand_in)))


def _wrong(service: Service, address: str, found: Address, scene: Scene) -> str:
    """What is wrong with the IPAddress of a Service's address, or ""."""
    if found.parent != (service.holder.namespace, service.holder.name):
        other = scene.services.get(found.parent) if found.parent else None
        return MANY if other and other.has(address) else "has a wrong reference"
    right = labels_of(address).items() <= (found.metadata.labels or {}).items()
    return "" if right else "has incorrect labels"


def _port(service: Service, port: int, scene: Scene, limits: Limits) -> Iterator[Fix]:
    if port not in limits.ports:
        valid = f"{limits.ports.first}-{limits.ports.last}"
        text = f"Port {port} is not within the port range {valid}; please recreate service"
        yield Fix(_word(service, "PortOutOfRange", text))
        return
    held = scene.port_claims.get(port)
    if held and held.holder != service.holder and _holds(scene, held.holder, port):
        yield Fix(_word(service, "PortAlreadyAllocated", f"Port {port} {MANY}; please recreate service"))
        return
    word = _word(service, "PortNotAllocated", f"Port {port} is not allocated; repairing")
    for fix in _claim(service, port, node_port_key(port), held, scene):
        yield replace(fix, word=word)


def _claim(service: Service, what: str | int, key: str, held: Claim | None, scene: Scene) -> Iterator[Fix]:
    """The claim of what a Service holds, unless another one holds it, too."""
    if held is None:
        yield Fix(None, (service.check, Check(key, 0)), (Put(key, claim(service.holder)),))
    elif held.holder != service.holder and not _holds(scene, held.holder, what):
        yield Fix(None, (service.check, held.check), (Put(key, claim(service.holder)),))


def _leaked_address(name: str, address: Address, scene: Scene, now: datetime) -> Iterator[Fix]:
    """An IPAddress that the allocator made and no Service has. Those that people made are theirs."""
    meta = address.metadata
    if (meta.labels or {}).get(MANAGED_BY) != ALLOCATOR:
        return
    parent = scene.services.get(address.parent) if address.parent else None
    if parent and name in parent.addresses:
        return
    if address.parent and not parent and meta.creationTimestamp and now - meta.creationTimestamp <= GRACE:
        return
    if address.parent:
        text = f"IPAddress {name} for Service {'/'.join(address.parent)} appears to have leaked: cleaning up"
        checks: tuple[Check, ...] = (_as_seen(scene, address.parent), address.check)
    else:
        text = f"IPAddress {name} appears to have been modified, not referencing a Service: cleaning up"
        checks = (address.check,)
    word = Word(IP_ADDRESS, Holder("", name, meta.uid), "IPAddressNotAllocated", text)
    yield Fix(word, checks, (Delete(address.check.key),))


def _release(held: Claim, scene: Scene) -> Fix:
    check = _as_seen(scene, (held.holder.namespace, held.holder.name))
    return Fix(None, (check, held.check), (Delete(held.check.key),))


def _as_seen(scene: Scene, service: tuple[str, str]) -> Check:
    """That a Service is as it was, or still not there."""
    found = scene.services.get(service)
    return found.check if found else Check(key_of(SERVICE, *service), 0)


def _holds(scene: Scene, holder: Holder, what: str | int) -> bool:
    found = scene.services.get((holder.namespace, holder.name))
    return found is not None and found.holder == holder and found.has(what)


def _word(service: Service, reason: str, message: str) -> Word:
    return Word(SERVICE, service.holder, reason, message)
