"""What to change so that a `LinkState` becomes true (pure): the observed state and the wanted one in, steps out.

Both kernels perform these steps; neither decides anything. What is not in the way, not wanted and not in `previous`
belongs to somebody else and is never touched.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from fairway.kernel.base import (
    Bridge,
    DeviceAddress,
    DeviceRoute,
    ForwardingEntry,
    KernelError,
    LinkState,
    Neighbour,
    Veth,
    Vxlan,
)

Device: TypeAlias = Bridge | Vxlan
Entry: TypeAlias = DeviceAddress | DeviceRoute | Neighbour | ForwardingEntry


class Verb(enum.Enum):
    """What a step does to its device or entry. SET makes an entry true, in place of one with the same key."""

    REMOVE = "remove"
    CREATE = "create"
    CORRECT = "correct"
    SET = "set"


class DeviceStep(NamedTuple):
    verb: Verb
    device: Device


class EntryStep(NamedTuple):
    verb: Verb
    entry: Entry


@dataclass(frozen=True, slots=True)
class Observed:
    """What a namespace has. `kinds` names every device and its kind ("veth", "" for hardware); `down` those that are
    not up; the addresses, routes (main table, no metric), neighbours and entries of `state` may be anybody's. `sysctls`
    holds those asked for; one the kernel has not is missing."""

    kinds: Mapping[str, str] = field(default_factory=dict)
    down: frozenset[str] = frozenset()
    state: LinkState = field(default_factory=LinkState)


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order they must be done: entries go, devices change, sysctls are written, entries come."""

    removals: tuple[EntryStep, ...] = ()
    devices: tuple[DeviceStep, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    entries: tuple[EntryStep, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.removals or self.devices or self.sysctls or self.entries)


def plan(observed: Observed, wanted: LinkState, previous: LinkState | None = None) -> Plan:
    """The steps from `observed` to `wanted`, removing what `previous` has besides. Raises KernelError when a device
    of another kind has a wanted name, or when a value is none of its kind."""
    wanted = normal(wanted)
    before = normal(previous) if previous else LinkState()
    devices = tuple(_device_steps(observed, wanted, before))
    gone = {step.device.name for step in devices if step.verb is Verb.REMOVE}
    left = _without_devices(observed.state, gone)
    return Plan(
        removals=tuple(_removals(left, wanted, before)),
        devices=devices,
        sysctls={k: v for k, v in wanted.sysctls.items() if observed.state.sysctls.get(k) != v},
        entries=tuple(_additions(left, wanted)),
    )


def normal(state: LinkState) -> LinkState:
    """The same state with every address in the kernel's spelling, so that equal things compare equal. Raises
    KernelError naming the value that cannot be read."""
    try:
        return replace(
            state,
            bridges=tuple(replace(b, mac=b.mac.lower()) for b in state.bridges),
            vxlans=tuple(replace(v, mac=v.mac.lower(), local=_ip(v.local)) for v in state.vxlans),
            addresses=tuple(replace(a, address=str(ipaddress.ip_interface(a.address))) for a in state.addresses),
            routes=tuple(
                replace(r, destination=str(ipaddress.ip_network(r.destination)), via=r.via and _ip(r.via))
                for r in state.routes
            ),
            neighbours=tuple(replace(n, address=_ip(n.address), mac=n.mac.lower()) for n in state.neighbours),
            forwarding=tuple(replace(f, mac=f.mac.lower(), destination=_ip(f.destination)) for f in state.forwarding),
        )
    except ValueError as e:
        raise KernelError(f"cannot apply links: {e}") from e


def check_name(name: str) -> None:
    """Raises KernelError for a device name the kernel refuses: dev_valid_name, at most 15 bytes."""
    if not name or len(name.encode()) > 15 or name in (".", "..") or any(c in "/:" or c.isspace() for c in name):
        raise KernelError(f"{name!r} cannot name a device: at most 15 bytes, without blanks, slashes and colons")


def key(entry: Entry) -> tuple[str, ...]:
    """What the kernel tells two entries apart by: an entry that is set takes the place of one with the same key."""
    match entry:
        case DeviceRoute():
            return ("route", entry.destination)
        case Neighbour():
            return ("neighbour", entry.device, entry.address)
        case ForwardingEntry():
            return ("forwarding", entry.device, entry.mac)
        case DeviceAddress():
            return ("address", entry.device, entry.address)


def describe(item: Device | Entry) -> str:
    """An object in the words of ip-route(8) and its kin, for messages."""
    match item:
        case Bridge():
            return f"bridge {item.name}"
        case Vxlan():
            return f"vxlan {item.name} (id {item.vni} local {item.local} dev {item.device} port {item.port})"
        case DeviceAddress():
            return f"address {item.address} on {item.device}"
        case DeviceRoute():
            via = f" via {item.via}" if item.via else ""
            return f"route {item.destination}{via} dev {item.device}{' onlink' if item.onlink else ''}"
        case Neighbour():
            return f"neighbour {item.address} at {item.mac} on {item.device}"
        case ForwardingEntry():
            return f"forwarding entry {item.mac} to {item.destination} on {item.device}"


def far_end_state(veth: Veth) -> LinkState:
    """Addresses, default routes and sysctls of the far end. A gateway outside the addresses' networks (a pod with a
    /32) is reached on-link."""
    networks = [ipaddress.ip_interface(text).network for text in veth.peer_addresses]
    routes = []
    for gateway in veth.peer_gateways:
        address = ipaddress.ip_address(gateway)
        onlink = not any(address.version == network.version and address in network for network in networks)
        destination = "0.0.0.0/0" if address.version == 4 else "::/0"
        routes.append(DeviceRoute(destination, veth.peer_name, gateway, onlink))
    return LinkState(
        addresses=tuple(DeviceAddress(veth.peer_name, text) for text in veth.peer_addresses),
        routes=tuple(routes),
        sysctls=veth.peer_sysctls,
    )


def sysctl_path(name: str) -> str:
    """Where a sysctl is below /proc/sys. The first separator in a name is *the* separator, and the other of the two
    stands for it inside a component (sysctl(8)): `net.ipv4.conf.eth0/5.forwarding` is net/ipv4/conf/eth0.5/forwarding.
    Raises KernelError for names that lead out of the tree."""
    separator = next((c for c in name if c in "./"), ".")
    parts = [part.translate(_SWAPPED) if separator == "." else part for part in name.split(separator)]
    if len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
        raise KernelError(f"{name!r} is no sysctl's name")
    return "/".join(parts)


_SWAPPED = str.maketrans("./", "/.")


def _ip(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _device_steps(observed: Observed, wanted: LinkState, before: LinkState) -> Iterator[DeviceStep]:
    have: dict[str, Device] = {d.name: d for d in _devices(observed.state)}
    names = {device.name for device in _devices(wanted)}
    for device in _devices(before):
        if device.name not in names and isinstance(have.get(device.name), type(device)):
            yield DeviceStep(Verb.REMOVE, device)
    for device in _devices(wanted):
        check_name(device.name)
        found = have.get(device.name)
        if found is None and device.name in observed.kinds:
            kind = observed.kinds[device.name] or "physical"
            raise KernelError(f"cannot make {describe(device)}: a device of that name exists and is {kind}")
        if found is None:
            yield DeviceStep(Verb.CREATE, device)
        elif type(found) is not type(device):
            raise KernelError(f"cannot make {describe(device)}: there is already a {describe(found)}")
        elif not _alike(found, device):
            yield DeviceStep(Verb.REMOVE, device)
            yield DeviceStep(Verb.CREATE, device)
        elif device.name in observed.down or _settings(found, device) != _settings(device, device):
            yield DeviceStep(Verb.CORRECT, device)


def _devices(state: LinkState) -> Iterator[Device]:
    yield from state.bridges
    yield from state.vxlans


def _alike(found: Device, device: Device) -> bool:
    """Whether one can be made of the other without making it anew: a VXLAN's addresses are fixed when it is made."""
    if isinstance(found, Vxlan) and isinstance(device, Vxlan):
        return replace(found, mac="", mtu=0) == replace(device, mac="", mtu=0)
    return True


def _settings(device: Device, wanted: Device) -> tuple[int, str]:
    return device.mtu, device.mac if wanted.mac else ""


def _without_devices(state: LinkState, gone: set[str]) -> LinkState:
    """What is left of a state when devices go, and their entries with them."""
    if not gone:
        return state
    return replace(
        state,
        addresses=tuple(a for a in state.addresses if a.device not in gone),
        routes=tuple(r for r in state.routes if r.device not in gone),
        neighbours=tuple(n for n in state.neighbours if n.device not in gone),
        forwarding=tuple(f for f in state.forwarding if f.device not in gone),
    )


def _removals(have: LinkState, wanted: LinkState, before: LinkState) -> Iterator[EntryStep]:
    """Entries of `before` that are still there as it made them, and whose place nothing wanted takes. Routes go
    before the addresses they lean on."""
    kept = {key(entry) for entry in entries(wanted)}
    there = set(entries(have))
    for entry in reversed(list(entries(before))):
        if entry in there and key(entry) not in kept:
            yield EntryStep(Verb.REMOVE, entry)


def _additions(have: LinkState, wanted: LinkState) -> Iterator[EntryStep]:
    there = set(entries(have))
    for entry in dict.fromkeys(entries(wanted)):
        if entry not in there:
            yield EntryStep(Verb.SET, entry)


def entries(state: LinkState) -> Iterable[Entry]:
    """All entries of a state in the order they can be made: addresses, what needs no route, on-link routes, routes
    through gateways that those reach."""
    yield from state.addresses
    yield from state.neighbours
    yield from state.forwarding
    yield from (route for route in state.routes if not route.via)
    yield from (route for route in state.routes if route.via)
