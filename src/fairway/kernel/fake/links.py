"""`Links` in memory: devices, addresses, routes and neighbours of namespaces that exist only here.

It performs the steps of the same plan as the kernel, and follows the kernel in what depends on what: entries go with
their device, both ends of a veth with either, a VXLAN with the device below it, connected routes with their address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

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
from fairway.kernel.linkplan import (
    Device,
    Entry,
    EntryStep,
    Observed,
    Verb,
    check_name,
    describe,
    far_end_state,
    key,
    plan,
    sysctl_path,
)
from fairway.node import Interface, Route

_SYSCTLS = ("net/ipv4/", "net/ipv6/", "net/bridge/", "net/core/", "net/netfilter/")
_METRIC_CONNECTED_IPV6 = 256
_METRIC_IPV6 = 1024


@dataclass(slots=True)
class _Link:
    """A device. `made` is its value when it is a bridge or a VXLAN; `peer` names the other end of a veth."""

    kind: str
    made: Device | None = None
    master: str = ""
    hairpin: bool = False
    mtu: int = 1500
    up: bool = True
    peer: tuple[FakeLinks, str] | None = None


class FakeNetwork:
    """The namespaces of one pretended machine, by path."""

    def __init__(self) -> None:
        self._namespaces: dict[str, FakeLinks] = {}

    def create(self, path: str) -> FakeLinks:
        """Make the namespace at `path`, with nothing but `lo`. Raises KernelError when there is one."""
        if path in self._namespaces:
            raise KernelError(f"network namespace {path} exists already")
        return FakeLinks(self, path)

    def find(self, path: str) -> FakeLinks | None:
        return self._namespaces.get(path)

    def enter(self, path: str, links: FakeLinks) -> None:
        """Make `links` the namespace at `path`."""
        self._namespaces[path] = links

    def remove(self, path: str) -> None:
        """Let the namespace at `path` be gone; none is no error."""
        self._namespaces.pop(path, None)


class FakeLinks:
    """`Links` of one namespace of a `FakeNetwork`, a new one by default.

    `changes` counts what was changed since it was made: nothing, when all was in place.
    """

    def __init__(self, network: FakeNetwork | None = None, path: str = "/run/netns/fake") -> None:
        self.network = network or FakeNetwork()
        self.changes = 0
        self._links: dict[str, _Link] = {}
        self._entries: dict[tuple[str, ...], Entry] = {}
        self._sysctls: dict[str, str] = {}
        self.network.enter(path, self)

    def add_device(self, name: str) -> None:
        """A piece of pretended hardware, such as the `eth0` that a VXLAN needs below it."""
        check_name(name)
        self._links[name] = _Link("")

    def apply(self, wanted: LinkState, previous: LinkState | None = None) -> None:
        """See `kernel.base.Links.apply`."""
        steps = plan(self._observe(), wanted, previous)
        self._change(steps.removals)
        for verb, device in steps.devices:
            self._change_device(verb, device)
        for name, value in steps.sysctls.items():
            self._write(name, value)
        self._change(steps.entries)

    def add_veth(self, veth: Veth) -> None:
        """See `kernel.base.Links.add_veth`."""
        check_name(veth.name)
        check_name(veth.peer_name)
        far = self.network.find(veth.peer_namespace)
        if far is None:
            raise KernelError(
                f"cannot make veth {veth.name}: namespace {veth.peer_namespace}: No such file or directory"
            )
        if veth.master and (veth.master not in self._links or self._links[veth.master].kind != "bridge"):
            raise KernelError(f"cannot make veth {veth.name}: there is no bridge {veth.master}")
        found = self._links.get(veth.name)
        if found and found.kind != "veth":
            kind = found.kind or "physical"
            raise KernelError(f"cannot make veth {veth.name}: a device of that name exists and is {kind}")
        if found and found.peer != (far, veth.peer_name):
            self.delete_link(veth.name)
            found = None
        if found is None:
            self._create_pair(veth, far)
        self._settle(veth)
        far._configure(veth)

    def delete_link(self, name: str) -> None:
        """See `kernel.base.Links.delete_link`."""
        link = self._forget(name)
        if link and link.peer:
            far, peer = link.peer
            far._forget(peer)

    def switch(self, name: str, on: bool) -> None:
        """See `kernel.base.Links.switch`."""
        if name not in self._links:
            raise KernelError(f"cannot set {name} {'up' if on else 'down'}: No such device (ENODEV)")
        self._links[name].up = on

    def ports(self, bridge: str) -> frozenset[str]:
        """See `kernel.base.Links.ports`."""
        return frozenset(name for name, link in self._links.items() if link.master == bridge and link.up)

    def interfaces(self) -> Sequence[Interface]:
        """See `kernel.base.Links.interfaces`."""
        return [
            Interface(name, tuple(ipaddress.ip_interface(a.address) for a in self._addresses() if a.device == name))
            for name in self._links
        ]

    def routes(self) -> Sequence[Route]:
        """See `kernel.base.Links.routes`."""
        made = [entry for entry in self._entries.values() if isinstance(entry, DeviceRoute)]
        return [*self._connected(), *(_route(entry) for entry in made)]

    def state(self) -> LinkState:
        """All that was made here, in the kernel's spelling."""
        entries = self._entries.values()
        return LinkState(
            bridges=tuple(link.made for link in self._links.values() if isinstance(link.made, Bridge)),
            vxlans=tuple(link.made for link in self._links.values() if isinstance(link.made, Vxlan)),
            addresses=tuple(self._addresses()),
            routes=tuple(entry for entry in entries if isinstance(entry, DeviceRoute)),
            neighbours=tuple(entry for entry in entries if isinstance(entry, Neighbour)),
            forwarding=tuple(entry for entry in entries if isinstance(entry, ForwardingEntry)),
            sysctls=dict(self._sysctls),
        )

    def _observe(self) -> Observed:
        down = frozenset(name for name, link in self._links.items() if not link.up)
        return Observed({name: link.kind for name, link in self._links.items()}, down, self.state())

    def _change(self, steps: Sequence[EntryStep]) -> None:
        for verb, entry in steps:
            if entry.device not in self._links:
                raise KernelError(f"cannot add {describe(entry)}: there is no device {entry.device}")
            if verb is Verb.REMOVE:
                del self._entries[key(entry)]
            else:
                self._check_gateway(entry)
                self._entries[key(entry)] = entry
            self.changes += 1

    def _check_gateway(self, entry: Entry) -> None:
        if not isinstance(entry, DeviceRoute) or not entry.via or entry.onlink:
            return
        gateway = ipaddress.ip_address(entry.via)
        direct = [r for r in self.routes() if r.device == entry.device and r.via is None]
        if not any(gateway.version == r.destination.version and gateway in r.destination for r in direct):
            raise KernelError(f"cannot add {describe(entry)}: Nexthop has invalid gateway (ENETUNREACH)")

    def _change_device(self, verb: Verb, device: Device) -> None:
        if verb is Verb.REMOVE:
            self.delete_link(device.name)
            return
        if isinstance(device, Vxlan) and device.device not in self._links:
            raise KernelError(f"cannot make {describe(device)}: there is no device {device.device}")
        kind = "vxlan" if isinstance(device, Vxlan) else "bridge"
        self._links[device.name] = _Link(kind, device, mtu=device.mtu)
        self.changes += 1

    def _write(self, name: str, value: str) -> None:
        if not sysctl_path(name).startswith(_SYSCTLS):
            raise KernelError(f"cannot set {name}: the kernel has no such setting")
        self._sysctls[name] = value
        self.changes += 1

    def _create_pair(self, veth: Veth, far: FakeLinks) -> None:
        if veth.peer_name in far._links:
            raise KernelError(
                f"cannot make veth {veth.name}: {veth.peer_namespace} has a device {veth.peer_name} already"
            )
        self._links[veth.name] = _Link("veth", peer=(far, veth.peer_name))
        far._links[veth.peer_name] = _Link("veth", peer=(self, veth.name))
        self.changes += 1

    def _settle(self, veth: Veth) -> None:
        link = self._links[veth.name]
        wanted = replace(link, master=veth.master, hairpin=veth.hairpin and bool(veth.master), mtu=veth.mtu, up=True)
        if link != wanted:
            self._links[veth.name] = wanted
            self.changes += 1

    def _configure(self, veth: Veth) -> None:
        """What the far end's namespace gets: see `far_end_state`."""
        self._links[veth.peer_name].mtu = veth.mtu
        before = tuple(a for a in self._addresses() if a.device == veth.peer_name)
        self.apply(far_end_state(veth), LinkState(addresses=before))

    def _forget(self, name: str) -> _Link | None:
        """Take a device away, with its entries and all that stands on it."""
        link = self._links.pop(name, None)
        if link is None:
            return None
        self.changes += 1
        self._entries = {k: entry for k, entry in self._entries.items() if entry.device != name}
        for other, found in list(self._links.items()):
            if found.master == name:
                found.master, found.hairpin = "", False
            if isinstance(found.made, Vxlan) and found.made.device == name:
                self._forget(other)
        return link

    def _addresses(self) -> Iterator[DeviceAddress]:
        return (entry for entry in self._entries.values() if isinstance(entry, DeviceAddress))

    def _connected(self) -> Iterator[Route]:
        """The routes the kernel adds with an address: in IPv4 with the address as source, and none for a /32."""
        for entry in self._addresses():
            interface = ipaddress.ip_interface(entry.address)
            if isinstance(interface, ipaddress.IPv6Interface):
                yield Route(interface.network, entry.device, metric=_METRIC_CONNECTED_IPV6)
            elif interface.network.prefixlen < 32:
                yield Route(interface.network, entry.device, source=interface.ip)


def _route(entry: DeviceRoute) -> Route:
    destination = ipaddress.ip_network(entry.destination)
    via = ipaddress.ip_address(entry.via) if entry.via else None
    return Route(destination, entry.device, via, metric=_METRIC_IPV6 if destination.version == 6 else 0)
