"""What an nft expression yields for a packet: packed bytes, or nothing, or nobody can tell.

Evaluation is a pure function of the packet, the scene, and the answers given so far to what the rules leave open: it
stops with `Undecided` at the first question that has no answer yet, and is begun anew with one more answer.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal as OneOf

from fairway.node import Address, Node
from fairway.packet import Family
from fairway.ruleset.nft import (
    AnonymousMap,
    Bits,
    Concat,
    Ct,
    Expression,
    Fib,
    Field,
    Hash,
    Literal,
    MapLookup,
    Meta,
    Numgen,
    Payload,
    SetName,
    Type,
    Verdict,
)
from fairway.ruleset.nft_names import NAMES
from fairway.ruleset.nft_values import BIG_ENDIAN, SIZES, number, size, split, type_of, types_of, value
from fairway.trace.nft_sets import Index, Unknowable, in_place
from fairway.trace.routing import address_types, decide
from fairway.trace.steps import Hook, State

SYN, ACK = 2, 16
NEW, ESTABLISHED, INVALID, UNTRACKED = 8, 2, 1, 64
STATUS: Mapping[str, int] = {"SNAT": 0x10, "DNAT": 0x20}
FROM_DEVICES = (Hook.PREROUTING, Hook.INPUT, Hook.FORWARD, Hook.POSTROUTING)
TO_DEVICES = (Hook.FORWARD, Hook.OUTPUT, Hook.POSTROUTING)


class Fails(Exception):  # no error: the kernel's NFT_BREAK
    """The expression has no value for this packet (a port of another protocol, a key that no map has): the rule does
    not apply."""


class Undecided(Exception):  # a question
    """One of `options` answers is drawn with equal chances; with a `reason`, nobody can tell which of two it is.
    `fixed`: the draw is not by chance but by something of the packet that spreads as evenly."""

    def __init__(self, options: int, reason: str = "", fixed: bool = False) -> None:
        super().__init__(options, reason)
        self.options = options
        self.reason = reason
        self.fixed = fixed


@dataclass(slots=True)
class Answers:
    """The answers to the questions of one rule, in the order in which they come up."""

    given: tuple[int, ...] = ()
    used: int = 0

    def next(self, options: int, reason: str = "", fixed: bool = False) -> int:
        """The next answer, a number below `options`. Raises Undecided."""
        if self.used == len(self.given):
            raise Undecided(options, reason, fixed)
        self.used += 1
        return self.given[self.used - 1]

    def may(self, reason: str) -> bool:
        """Whether something holds that nobody can tell. Raises Undecided."""
        return bool(self.next(2, reason))


@dataclass(frozen=True, slots=True)
class Scene:
    """What does not change while a chain is read."""

    hook: Hook
    node: Node
    index: Index


@dataclass(slots=True)
class Registers:
    """Evaluates expressions of one rule for one packet. The rule's statements change `state` as they go."""

    state: State
    scene: Scene
    answers: Answers = field(default_factory=Answers)

    def key(self, expression: Expression) -> bytes:
        """The packed value, as sets keep keys: each field padded. Raises Fails, Unknowable, Undecided."""
        parts = expression.parts if isinstance(expression, Concat) else (expression,)
        return b"".join(self.value(part).ljust(size(type_of(part)), b"\0") for part in parts)

    def value(self, expression: Expression) -> bytes:
        """The bytes of one value, without padding."""
        match expression:
            case Literal(Type.UNKNOWN, text):
                raise Unknowable(f"`{text.decode(errors='replace')}` is not understood")
            case Literal(_, constant):
                return constant
            case Payload():
                return self._payload(expression)
            case Meta(key):
                return self._meta(key)
            case Ct():
                return self._ct(expression)
            case Fib():
                return self._fib(expression)
            case Numgen(_, modulus, offset):
                return value(Type.INTEGER, offset + (self.answers.next(modulus) if modulus > 1 else 0))
            case Hash(_, modulus, _, offset):
                drawn = self.answers.next(modulus, fixed=True) if modulus > 1 else 0
                return value(Type.INTEGER, offset + drawn)
            case Bits():
                return self._bits(expression)
            case MapLookup():
                return self._mapped(expression)
        raise Unknowable("an expression that stands where a value should")

    def number(self, expression: Expression) -> int:
        """A value as a number."""
        return number(type_of(expression), self.value(expression))

    # Headers.

    def _payload(self, wanted: Payload) -> bytes:
        state = self.state
        match wanted.protocol, wanted.field:
            case ("ip" | "ip6") as family, "saddr" | "daddr" as which:
                self._family(family)
                return self._address(state.source if which == "saddr" else state.destination)
            case ("ip", "protocol") | ("ip6", "nexthdr"):
                self._family(wanted.protocol)
                return bytes((state.protocol.number,))
            case protocol, "sport" | "dport" as which if type_of(wanted) is Type.SERVICE:
                self._transport(protocol)
                return (state.source_port if which == "sport" else state.destination_port).to_bytes(2, "big")
            case "tcp", "flags":
                self._transport("tcp")
                return bytes((SYN | ACK if state.answers else SYN,))
            case ("ip" | "ip6") as family, _:
                self._family(family)
            case ("tcp" | "udp" | "sctp" | "th") as protocol, _:
                self._transport(protocol)
            case (("icmp" | "icmpv6" | "igmp" | "dccp" | "udplite" | "ah" | "esp" | "comp"), _):
                raise Fails
        raise Unknowable(f"the packet's `{wanted.protocol} {wanted.field}` is not known")

    def _family(self, wanted: str) -> None:
        if (self.state.family is Family.IPV6) != (wanted == "ip6"):
            raise Fails

    def _transport(self, wanted: str) -> None:
        if wanted not in ("th", self.state.protocol.value.lower()):
            raise Fails

    def _address(self, text: str) -> bytes:
        if not text:
            raise Unknowable("the source after masquerading is not known")
        return value(Type.IPV6 if ":" in text else Type.IPV4, text)

    # What the kernel knows beside the headers.

    def _meta(self, key: str) -> bytes:
        state, hook = self.state, self.scene.hook
        match key:
            case "mark":
                return value(Type.MARK, state.mark)
            case "l4proto":
                return bytes((state.protocol.number,))
            case "nfproto":
                return value(Type.NF_PROTOCOL, "ipv6" if state.family is Family.IPV6 else "ipv4")
            case "pkttype":
                return value(Type.PACKET_TYPE, "host")
            case "iifname" | "iif":
                known = hook not in FROM_DEVICES[:3] or bool(state.in_device)
                return self._device(state.in_device if hook in FROM_DEVICES else "", known)
            case "oifname" | "oif":
                known = hook not in TO_DEVICES or bool(state.out_device)
                return self._device(state.out_device if hook in TO_DEVICES else "", known)
            case "skuid" | "skgid" if hook not in (Hook.OUTPUT, Hook.POSTROUTING):
                raise Fails
        raise Unknowable(f"the packet's `meta {key}` is not known")

    def _device(self, name: str, known: bool) -> bytes:
        if not known:
            raise Unknowable("a device that is not known")
        return name.encode()

    def _ct(self, wanted: Ct) -> bytes:
        state = self.state
        if wanted.key == "state":
            return value(Type.CT_STATE, self._connection_state())
        if not state.has_connection:
            raise Fails
        match wanted.key:
            case "status":
                return value(Type.CT_STATUS, sum(STATUS.get(end, 0) for end in state.status))
            case "mark":
                return value(Type.MARK, state.connection_mark)
            case "direction":
                return value(Type.CT_DIRECTION, "reply" if state.answers else "original")
            case "l3proto":
                return value(Type.NF_PROTOCOL, "ipv6" if state.family is Family.IPV6 else "ipv4")
            case "protocol":
                return bytes((state.protocol.number,))
            case "zone":
                return value(Type.INTEGER, 0)
        if wanted.direction == "original" and state.original is not None:
            return self._original(wanted.key)
        raise Unknowable(f"the connection's `ct {wanted.key}` is not known")

    def _connection_state(self) -> int:
        if not self.state.tracked:
            return UNTRACKED
        known = self.state.known
        return (ESTABLISHED if known and known.established else NEW) if self.state.connected else INVALID

    def _original(self, key: str) -> bytes:
        original = self.state.original
        assert original is not None
        match key:
            case "ip saddr" | "ip6 saddr" | "ip daddr" | "ip6 daddr":
                self._family(key.partition(" ")[0])
                return self._address(original.source if key.endswith("saddr") else original.destination)
            case "proto-src":
                return original.source_port.to_bytes(2, "big")
            case "proto-dst":
                return original.destination_port.to_bytes(2, "big")
        raise Unknowable(f"the connection's `ct original {key}` is not known")

    def _fib(self, wanted: Fib) -> bytes:
        side = wanted.selectors[0]
        text = self.state.source if side == "saddr" else self.state.destination
        address = ipaddress.ip_address(text) if text else None
        if address is None or side not in ("saddr", "daddr"):
            raise Unknowable(f"`fib {' . '.join(wanted.selectors)}` is not known")
        if wanted.result == "type":
            return self._address_type(wanted, address)
        if side == "daddr" and wanted.selectors == ("daddr",):
            found = decide(self.scene.node, address)
            if found.device:
                return found.device.encode()
        raise Unknowable(f"`fib {' . '.join(wanted.selectors)} {wanted.result}` is not known")

    def _address_type(self, wanted: Fib, address: Address) -> bytes:
        device = ""
        if "iif" in wanted.selectors:
            device = self.state.in_device
        elif "oif" in wanted.selectors:
            device = self.state.out_device
        types = address_types(self.scene.node, address, device)
        if types is None:
            raise Unknowable(f"the node's own {self.state.family} addresses are not known")
        (name,) = types
        return value(Type.FIB_TYPE, name.lower() if name.lower() in NAMES[Type.FIB_TYPE] else "unspec")

    # Made of others.

    def _bits(self, given: Bits) -> bytes:
        left, right = self.number(given.left), self.number(given.right)
        type_ = type_of(given.left)
        if type_ in (Type.UNKNOWN, Type.INTERFACE_NAME, Type.INTERFACE):
            raise Unknowable("bits of something that is no number")
        match given.operator:
            case "&":
                found = left & right
            case "|":
                found = left | right
            case "^":
                found = left ^ right
            case "<<":
                found = left << min(right, 64)
            case _:
                found = left >> min(right, 64)
        bits = SIZES[type_] * 8
        return (found & ((1 << bits) - 1)).to_bytes(SIZES[type_], _order(type_))

    def _mapped(self, wanted: MapLookup) -> bytes:
        types, found = self.lookup(wanted)
        return split(types, found)[0] if len(types) == 1 else found

    def lookup(self, wanted: MapLookup) -> tuple[tuple[Type, ...], bytes]:
        """The data that a map has for the packet, packed, and of which types. Raises Fails when it has none."""
        found = self.found(wanted.map, wanted.key)
        if isinstance(found, Verdict):
            raise Unknowable("a map of verdicts that stands where a value should")
        return found

    def found(self, kept: SetName | AnonymousMap, by: Expression) -> tuple[tuple[Type, ...], bytes] | Verdict:
        """What a map holds under a key: packed data with its types, or a verdict."""
        key = self.key(by)
        if isinstance(kept, AnonymousMap):
            data = in_place(kept, types_of(by), key)
            if data is None:
                raise Fails
            return data if isinstance(data, Verdict) else (types_of(data), self.key(data))
        named, element = self.scene.index.find(kept.name, key)
        if element is None:
            raise Fails
        if isinstance(element.data, Verdict):
            return element.data
        return tuple(field.type for field in named.data if isinstance(field, Field)), element.data


def _order(type_: Type) -> OneOf["big", "little"]:
    return "big" if type_ in BIG_ENDIAN else sys.byteorder
