"""`Links` on the real kernel: rtnetlink from a socket in the namespace; what is there is listed, what differs is sent.

Sockets live for one call, so that nothing here keeps a namespace alive after its name was taken away.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from fairway.kernel.base import (
    Bridge,
    DeviceAddress,
    DeviceRoute,
    ForwardingEntry,
    KernelError,
    LinkState,
    Neighbour,
    Veth,
)
from fairway.kernel.linkplan import (
    Device,
    Entry,
    EntryStep,
    Observed,
    Plan,
    Verb,
    check_name,
    describe,
    entries,
    far_end_state,
    plan,
)
from fairway.kernel.linux import netns, rtnetlink, sysctl
from fairway.kernel.linux.netlink import ROUTE, Netlink, NetlinkError, Request
from fairway.kernel.linux.rtnetlink import LinkInfo
from fairway.node import Interface, Route

_CARRIER_SECONDS = 2.0  # the kernel's worker takes one at most; then the far end was set down by somebody
_LOOPBACK = 1  # the index of `lo` in every namespace


class LinuxLinks:
    """The links of the namespace at the path `namespace`; None: of the calling thread's own."""

    def __init__(self, namespace: str | None = None) -> None:
        self._namespace = namespace

    def apply(self, wanted: LinkState, previous: LinkState | None = None) -> None:
        """See `kernel.base.Links.apply`."""
        with self._inside(), Netlink(ROUTE) as kernel:
            _make_true(kernel, wanted, previous)

    def add_veth(self, veth: Veth) -> None:
        """See `kernel.base.Links.add_veth`."""
        check_name(veth.name)
        check_name(veth.peer_name)
        with _opened(veth) as far, self._inside(), Netlink(ROUTE) as near:
            master = _master(near, veth)
            found = _find(near, veth.name)
            if found and not _is_pair(near, found, veth, far):
                near.perform([rtnetlink.delete_link(veth.name)])
                found = None
            if found is None:
                _create_pair(near, veth, far, master)
            else:
                _correct_near_end(near, found, veth, master)
            with netns.entered(far), Netlink(ROUTE) as kernel:
                _configure_far_end(kernel, veth)
                _await_carrier(kernel, veth.peer_name)
            for name in filter(None, (veth.name, veth.master)):
                _await_carrier(near, name)

    def delete_link(self, name: str) -> None:
        """See `kernel.base.Links.delete_link`."""
        with self._inside(), Netlink(ROUTE) as kernel:
            for error in kernel.send([rtnetlink.delete_link(name)]):
                if error and error.number != errno.ENODEV:
                    raise error

    def switch(self, name: str, on: bool) -> None:
        """See `kernel.base.Links.switch`."""
        change = rtnetlink.set_link(name, f"set {name} up") if on else rtnetlink.set_down(name)
        with self._inside(), Netlink(ROUTE) as kernel:
            kernel.perform([change])

    def ports(self, bridge: str) -> frozenset[str]:
        """See `kernel.base.Links.ports`."""
        with self._inside(), Netlink(ROUTE) as kernel:
            links = _links(kernel)
        index = next((link.ifindex for link in links if link.name == bridge), -1)
        return frozenset(link.name for link in links if link.master == index and link.up)

    def interfaces(self) -> Sequence[Interface]:
        """See `kernel.base.Links.interfaces`."""
        with self._inside(), Netlink(ROUTE) as kernel:
            addresses = _addresses(kernel)
            return [
                Interface(link.name, tuple(ipaddress.ip_interface(text) for text in addresses.get(link.ifindex, ())))
                for link in _links(kernel)
                if link.ifindex != _LOOPBACK
            ]

    def routes(self) -> Sequence[Route]:
        """See `kernel.base.Links.routes`."""
        with self._inside(), Netlink(ROUTE) as kernel:
            names = {link.ifindex: link.name for link in _links(kernel)}
            return [
                Route(
                    ipaddress.ip_network(route.destination),
                    names.get(route.ifindex, ""),
                    ipaddress.ip_address(route.via) if route.via else None,
                    ipaddress.ip_address(route.source) if route.source else None,
                    route.metric,
                )
                for family in (socket.AF_INET, socket.AF_INET6)
                for route in _routes(kernel, family)
            ]

    def _inside(self) -> AbstractContextManager[None]:
        return nullcontext() if self._namespace is None else netns.entered(self._namespace)


def _make_true(kernel: Netlink, wanted: LinkState, previous: LinkState | None) -> None:
    links = _links(kernel)
    steps = plan(_observe(kernel, links, wanted, previous or LinkState()), wanted, previous)
    if steps:
        _perform(kernel, steps, {link.name: link.ifindex for link in links})


def _perform(kernel: Netlink, steps: Plan, indexes: Mapping[str, int]) -> None:
    _change(kernel, steps.removals, indexes)
    for verb, device in steps.devices:
        _change_device(kernel, verb, device)
    sysctl.write(steps.sysctls)
    if steps.devices:
        indexes = {link.name: link.ifindex for link in _links(kernel)}
    _change(kernel, steps.entries, indexes)


def _change(kernel: Netlink, steps: Sequence[EntryStep], indexes: Mapping[str, int]) -> None:
    """All entries in one go. What is to be removed and went by itself (a route with its address) is no error."""
    requests = []
    for verb, entry in steps:
        if entry.device not in indexes:
            raise KernelError(f"cannot add {describe(entry)}: there is no device {entry.device}")
        requests.append(rtnetlink.change(verb is Verb.SET, entry, indexes[entry.device]))
    gone = (errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL)
    for (verb, _), error in zip(steps, kernel.send(requests), strict=True):
        if error and not (verb is Verb.REMOVE and error.number in gone):
            raise error


def _change_device(kernel: Netlink, verb: Verb, device: Device) -> None:
    if verb is Verb.REMOVE:
        kernel.perform([rtnetlink.delete_link(device.name)])
        return
    if verb is Verb.CREATE:
        kernel.perform([_new_device(kernel, device)])
        _use_addresses_at_once(device.name)
    kernel.perform([rtnetlink.set_link(device.name, f"set {describe(device)}", mtu=device.mtu, mac=device.mac)])


def _new_device(kernel: Netlink, device: Device) -> Request:
    if isinstance(device, Bridge):
        return rtnetlink.new_bridge(device)
    below = _find(kernel, device.device)
    if below is None:
        raise KernelError(f"cannot make {describe(device)}: there is no device {device.device}")
    return rtnetlink.new_vxlan(device, below.ifindex)


def _use_addresses_at_once(name: str) -> None:
    """No duplicate address detection on a device that is still down. Not even for the link-local address it gets when
    it is set up: a router asks for its neighbours from that one, and for the seconds of the detection it could not
    forward a packet to a pod."""
    setting = f"net/ipv6/conf/{name}/accept_dad"
    if sysctl.read(setting) not in ("0", None):
        sysctl.write({setting: "0"})


def _observe(kernel: Netlink, links: Sequence[LinkInfo], wanted: LinkState, before: LinkState) -> Observed:
    """What is there, as far as the two states speak of such things: what they do not mention is not even listed."""
    names = {link.ifindex: link.name for link in links}
    asked = [*entries(wanted), *entries(before)]
    return Observed(
        kinds={link.name: link.kind for link in links},
        down=frozenset(link.name for link in links if not link.up),
        state=LinkState(
            bridges=tuple(rtnetlink.read_bridge(link) for link in links if link.kind == "bridge"),
            vxlans=tuple(
                rtnetlink.read_vxlan(link, names.get(rtnetlink.vxlan_below(link), ""))
                for link in links
                if link.kind == "vxlan"
            ),
            addresses=tuple(_device_addresses(kernel, names)) if _of(asked, DeviceAddress) else (),
            routes=tuple(_device_routes(kernel, names, _of(asked, DeviceRoute))),
            neighbours=tuple(_neighbours(kernel, names, _of(asked, Neighbour))),
            forwarding=tuple(_forwarding(kernel, names, _of(asked, ForwardingEntry))),
            sysctls={name: value for name in wanted.sysctls if (value := sysctl.read(name)) is not None},
        ),
    )


def _of(asked: Iterable[Entry], kind: type[Entry]) -> list[Entry]:
    return [entry for entry in asked if isinstance(entry, kind)]


def _device_addresses(kernel: Netlink, names: Mapping[int, str]) -> Iterator[DeviceAddress]:
    for index, addresses in _addresses(kernel).items():
        yield from (DeviceAddress(names.get(index, ""), text) for text in addresses)


def _device_routes(kernel: Netlink, names: Mapping[int, str], asked: Sequence[Entry]) -> Iterator[DeviceRoute]:
    for family in {_family(e.destination) for e in asked if isinstance(e, DeviceRoute)}:
        for route in _routes(kernel, family):
            if rtnetlink.without_metric(route):
                yield DeviceRoute(route.destination, names.get(route.ifindex, ""), route.via, route.onlink)


def _neighbours(kernel: Netlink, names: Mapping[int, str], asked: Sequence[Entry]) -> Iterator[Neighbour]:
    for family in {_family(e.address) for e in asked if isinstance(e, Neighbour)}:
        for reply in kernel.dump(rtnetlink.list_neighbours(family)):
            device = names.get(rtnetlink.neighbour_index(reply.body), "")
            if isinstance(entry := rtnetlink.read_neighbour(reply.body, device), Neighbour):
                yield entry


def _forwarding(kernel: Netlink, names: Mapping[int, str], asked: Sequence[Entry]) -> Iterator[ForwardingEntry]:
    wanted = {entry.device for entry in asked}
    for index, device in names.items():
        if device in wanted:
            for reply in kernel.dump(rtnetlink.list_forwarding(index)):
                if isinstance(entry := rtnetlink.read_neighbour(reply.body, device), ForwardingEntry):
                    yield entry


def _links(kernel: Netlink) -> list[LinkInfo]:
    return [rtnetlink.read_link(reply.body) for reply in kernel.dump(rtnetlink.list_links())]


def _addresses(kernel: Netlink) -> dict[int, list[str]]:
    """Addresses with their prefix lengths by the index of their device, link-local IPv6 left out."""
    found: dict[int, list[str]] = {}
    for reply in kernel.dump(rtnetlink.list_addresses()):
        info = rtnetlink.read_address(reply.body)
        if not _link_local(info.address):
            found.setdefault(info.ifindex, []).append(f"{info.address}/{info.prefix}")
    return found


def _routes(kernel: Netlink, family: int) -> Iterator[rtnetlink.RouteInfo]:
    for reply in kernel.dump(rtnetlink.list_routes(family)):
        for route in rtnetlink.read_routes(reply.body):
            if not _link_local(route.destination):
                yield route


def _link_local(text: str) -> bool:
    """Whether an IPv6 address or destination is of fe80::/10 or ff00::/8: the kernel's own on every device."""
    return ":" in text and text[:3] in ("fe8", "fe9", "fea", "feb", "ff0")


def _family(text: str) -> int:
    return socket.AF_INET6 if ":" in text else socket.AF_INET


def _find(kernel: Netlink, name: str) -> LinkInfo | None:
    try:
        return rtnetlink.read_link(kernel.ask(rtnetlink.get_link(name)).body)
    except NetlinkError as e:
        if e.number == errno.ENODEV:
            return None
        raise


@contextmanager
def _opened(veth: Veth) -> Iterator[int]:
    """The far end's namespace as an open descriptor."""
    try:
        descriptor = os.open(veth.peer_namespace, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise KernelError(f"cannot make veth {veth.name}: namespace {veth.peer_namespace}: {e.strerror}") from e
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _master(near: Netlink, veth: Veth) -> int:
    """The index of the bridge the near end is to be in, 0 for none."""
    if not veth.master:
        return 0
    found = _find(near, veth.master)
    if found is None or found.kind != "bridge":
        raise KernelError(f"cannot make veth {veth.name}: there is no bridge {veth.master}")
    return found.ifindex


def _await_carrier(kernel: Netlink, name: str) -> None:
    """Return when packets can pass a device whose other end was just set up.

    The kernel tells bridges and queues of a carrier from a worker, up to a second later, and drops what is sent until
    then. Since 6.8 asking for the device makes it tell at once; before, the wait is for its notice."""
    link = _find(kernel, name)
    if link is None or link.carries or not link.up:
        return
    with Netlink(ROUTE, groups=rtnetlink.LINK_NOTICES) as notices:
        deadline = time.monotonic() + _CARRIER_SECONDS
        while (link := _find(kernel, name)) and not link.carries and (left := deadline - time.monotonic()) > 0:
            notices.notified(left)


def _is_pair(near: Netlink, found: LinkInfo, veth: Veth, far: int) -> bool:
    """Whether the device `found` is a veth whose other end is the one wanted. Raises KernelError when it is no veth:
    then it is somebody else's."""
    if found.kind != "veth":
        raise KernelError(
            f"cannot make veth {veth.name}: a device of that name exists and is {found.kind or 'physical'}"
        )
    number = rtnetlink.read_namespace_number(near.ask(rtnetlink.get_namespace_number(far)).body)
    with netns.entered(far), Netlink(ROUTE) as kernel:
        other = _find(kernel, veth.peer_name)
    return other is not None and other.ifindex == found.link and number == found.link_namespace


def _create_pair(near: Netlink, veth: Veth, far: int, master: int) -> None:
    try:
        near.perform(rtnetlink.new_veth(veth, far, master))
    except NetlinkError as e:
        if e.number == errno.EEXIST:
            raise KernelError(
                f"cannot make veth {veth.name}: {veth.peer_namespace} has a device {veth.peer_name} already"
            ) from e
        raise


def _correct_near_end(near: Netlink, found: LinkInfo, veth: Veth, master: int) -> None:
    requests = []
    if not found.up or found.mtu != veth.mtu or found.master != master:
        what = f"set veth {veth.name}"
        requests.append(rtnetlink.set_link(veth.name, what, mtu=veth.mtu, master=master))
    if master and (found.hairpin != veth.hairpin or found.master != master):
        requests.append(rtnetlink.set_hairpin(veth.name, veth.hairpin))
    near.perform(requests)


def _configure_far_end(kernel: Netlink, veth: Veth) -> None:
    """In the far end's namespace: `lo` and the end up with its MTU and MAC, its sysctls, addresses and routes, and
    addresses it had before gone."""
    what = f"set {veth.peer_name} in {veth.peer_namespace}"
    _use_addresses_at_once(veth.peer_name)
    kernel.perform(
        [
            rtnetlink.set_link("", "set lo up", index=_LOOPBACK),
            rtnetlink.set_link(veth.peer_name, what, mtu=veth.mtu, mac=veth.peer_mac),
        ]
    )
    links = _links(kernel)
    index = next((link.ifindex for link in links if link.name == veth.peer_name), 0)
    before = tuple(DeviceAddress(veth.peer_name, text) for text in _addresses(kernel).get(index, ()))
    _make_true(kernel, far_end_state(veth), LinkState(addresses=before))
