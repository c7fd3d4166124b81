"""Whether a set of ipset holds a packet, as the kernel looks it up (net/netfilter/xt_set.c, net/netfilter/ipset)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

from fairway.node import Address
from fairway.packet import Protocol
from fairway.ruleset.ipset import Device, Element, Field, IpSet, Port
from fairway.ruleset.iptables_terms import InSet, Side
from fairway.trace.nft_sets import Unknowable
from fairway.trace.steps import Hook, State

Key: TypeAlias = tuple[object, ...]
"""The dimensions of an element that are looked up as they are."""

_BESIDE = (Field.DEVICE, Field.HARDWARE)
"""Dimensions that are compared once the others are found."""

_HAS_IN = (Hook.PREROUTING, Hook.INPUT, Hook.FORWARD, Hook.POSTROUTING)
_HAS_OUT = (Hook.FORWARD, Hook.OUTPUT, Hook.POSTROUTING)


class Sets:
    """A node's sets by name, each made ready for lookups when it is first asked."""

    def __init__(self, given: Mapping[str, IpSet] | None = None) -> None:
        self.given = dict(given or {})
        self._ready: dict[str, _Ready] = {}

    def hold(self, asked: InSet, state: State, hook: Hook) -> bool:
        """Whether the match holds, its negation left out. Raises Unknowable."""
        found = self._test(asked, state, hook)
        if found and asked.counted:
            raise Unknowable(f"how often packets met set {asked.name} is not known")
        return found

    def _test(self, asked: InSet, state: State, hook: Hook) -> bool:
        kept = self.given.get(asked.name)
        if kept is None:
            raise Unknowable(f"what set {asked.name} holds was not given (`ipset save` prints it)")
        if asked.name in state.changed_sets:
            raise Unknowable(f"rules on its way change set {asked.name}")
        if kept.strange:
            raise Unknowable(f"set {asked.name} is not understood: {kept.strange}")
        if len(asked.sides) < len(kept.fields) or kept.family not in (None, state.family):
            return False
        if kept.fields == (Field.SET,):
            return self._any(kept, asked, state, hook)
        ready = self._ready.get(asked.name)
        if ready is None:
            ready = self._ready[asked.name] = _Ready(kept)
        found = ready.find(_Packet(state, hook, asked.sides))
        return found is (asked.exceptions and Field.NETWORK in kept.fields)

    def _any(self, kept: IpSet, asked: InSet, state: State, hook: Hook) -> bool:
        """A set of sets holds what one of them does. What cannot be told counts only if no other one says yes."""
        doubt: Unknowable | None = None
        for element in _listed(kept):
            name = str(element.parts[0])
            member = self.given.get(name)
            try:
                if member is not None and member.fields == (Field.SET,):
                    raise Unknowable(f"set {kept.name} lists a set of sets, which no kernel does")
                if self._test(InSet(name, asked.sides, exceptions=asked.exceptions), state, hook):
                    return True
            except Unknowable as error:
                doubt = doubt or error
        if doubt is not None:
            raise doubt
        return False


def _listed(kept: IpSet) -> Sequence[Element]:
    if kept.elements is None:
        raise Unknowable(f"what set {kept.name} holds was not given (`ipset save` prints it)")
    return kept.elements


@dataclass(frozen=True, slots=True)
class _Packet:
    """What a set is asked for: one side for each of its dimensions."""

    state: State
    hook: Hook
    sides: Sequence[Side]

    def source(self, at: int) -> bool:
        return self.sides[at] is Side.SOURCE

    def address(self, at: int) -> Address:
        address = self.state.source_address if self.source(at) else self.state.destination_address
        if address is None:
            raise Unknowable("the source after masquerading is not known")
        return address

    def port(self, at: int, alone: bool) -> Port | None:
        """None where the set knows no port of such packets: those of ports alone know TCP's and UDP's."""
        port = self.state.source_port if self.source(at) else self.state.destination_port
        if alone:
            return None if self.state.protocol is Protocol.SCTP else Port("", str(port))
        return Port(self.state.protocol.value.lower(), str(port))

    def device(self, at: int) -> str:
        """The device's name; "" at hooks that have none on that side. Other than `-i`, sets see the device that a
        packet came in by at POSTROUTING, too, where it has one (ip_output in net/ipv4/ip_output.c)."""
        if self.hook not in (_HAS_IN if self.source(at) else _HAS_OUT):
            return ""
        name = self.state.in_device if self.source(at) else self.state.out_device
        if not name and not (self.source(at) and self.hook is Hook.POSTROUTING):
            raise Unknowable(f"the {'in' if self.source(at) else 'out'}going device is not known")
        return name


@dataclass(slots=True)
class _Ready:
    """A set by its keys. `lengths` are those of its networks in each dimension, the longest first, as the kernel tries
    them."""

    kept: IpSet
    keys: dict[Key, list[Element]] = field(default_factory=dict)
    lengths: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        lengths: list[set[int]] = [set() for kind in self.kept.fields if kind is Field.NETWORK]
        for element in _listed(self.kept):
            networks = [part for part in element.parts if isinstance(part, IPv4Network | IPv6Network)]
            for known, network in zip(lengths, networks, strict=True):
                known.add(network.prefixlen)
            self.keys.setdefault(self._key(element), []).append(element)
        self.lengths = [sorted(known, reverse=True) for known in lengths]

    def _key(self, element: Element) -> Key:
        found: list[object] = []
        for part in element.parts:
            match part:
                case IPv4Address() | IPv6Address():
                    found.append(int(part) & self.kept.mask)
                case IPv4Network() | IPv6Network():
                    found.append((int(part.network_address), part.prefixlen))
                case int():
                    found.append(part & self.kept.mark_mask)
                case Port():
                    found.append(part)
        return tuple(found)

    def find(self, packet: _Packet) -> bool | None:
        """Whether the element that holds the packet is an exception; None: there is no such element."""
        dimensions = []
        lengths = iter(self.lengths)
        for at, kind in enumerate(self.kept.fields):
            if kind in _BESIDE:
                continue
            dimensions.append(self._sought(packet, at, kind, lengths))
        for key in itertools.product(*dimensions):
            elements = self.keys.get(key, ())
            found = self._among(elements, packet)
            # where a network is there with another device, wider ones are not tried (`multi` in ip_set_hash_gen.h)
            if found is not None or (elements and Field.DEVICE in self.kept.fields):
                return found
        return None

    def _sought(self, packet: _Packet, at: int, kind: Field, lengths: Iterator[list[int]]) -> list[object]:
        if kind is Field.MARK:
            return [packet.state.mark & self.kept.mark_mask]
        if kind is Field.PORT:
            port = packet.port(at, alone=self.kept.family is None)
            return [] if port is None else [port]
        address = packet.address(at)
        number, width = int(address), address.max_prefixlen
        if kind is Field.ADDRESS:
            return [number & self.kept.mask]
        return [(number >> (width - length) << (width - length), length) for length in next(lengths)]

    def _among(self, elements: Sequence[Element], packet: _Packet) -> bool | None:
        found = {element.nomatch for element in elements if self._agrees(element, packet)}
        if len(found) > 1:
            raise Unknowable(f"set {self.kept.name} has elements that contradict each other")
        return found.pop() if found else None

    def _agrees(self, element: Element, packet: _Packet) -> bool:
        """Whether the rest of an element holds, its device and its hardware address. Rules never ask for a bridge's
        port: nothing sets IPSET_FLAG_PHYSDEV for them."""
        for at, part in enumerate(element.parts):
            if self.kept.fields[at] is Field.HARDWARE:
                raise Unknowable("the packet's hardware addresses are not known")
            if isinstance(part, Device):
                name = "" if part.physical else packet.device(at)
                if not name or not (name == part.name or (element.wildcard and name.startswith(part.name))):
                    return False
        return True
