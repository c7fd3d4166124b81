"""Whether a match of a rule holds for a packet: yes, no, by chance, or nobody can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TypeAlias

from fairway.node import Node
from fairway.packet import Family, Protocol
from fairway.ruleset.iptables_terms import (
    Accounting,
    AddressBetween,
    AddressIn,
    AddrType,
    Bridged,
    BridgePort,
    Comment,
    ConnState,
    Device,
    InSet,
    Mark,
    Match,
    Nth,
    Opaque,
    Ports,
    ProtocolIs,
    Random,
    Recent,
    RecentAction,
    Side,
    TcpFlags,
    Unknown,
)
from fairway.trace import bridges
from fairway.trace.chances import exact
from fairway.trace.ipsets import Sets
from fairway.trace.nft_sets import Unknowable
from fairway.trace.routing import Settings, address_types
from fairway.trace.steps import Hook, State

SYN, ANSWER = frozenset({"SYN"}), frozenset({"SYN", "ACK"})
"""The flags of a TCP connection's first packet, and of the first answer."""


@dataclass(frozen=True, slots=True)
class Chance:
    """It holds with this probability."""

    probability: Fraction


@dataclass(frozen=True, slots=True)
class May:
    """Nobody can tell from here, for this reason."""

    reason: str


Truth: TypeAlias = bool | Chance | May

Remembered: TypeAlias = Mapping[str, Mapping[str, float]]
"""The lists of `-m recent` by name: seconds since each address was seen."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a condition may look at besides the packet: the hook, the node, how many choices the chain leaves at this
    rule (see `chances.exact`), whom the lists of `-m recent` hold (None: not known), the sets of ipset, and the node's
    settings."""

    hook: Hook
    node: Node
    alternatives: int | None = None
    remembered: Remembered | None = None
    sets: Sets = field(default_factory=Sets)
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, slots=True)
class Reading:
    """All conditions of a rule together. `holds` False: it does not apply, `remark` says why when that is worth a
    word, and `failed` which condition it was. Otherwise it applies with `chance`, if what `mays` say should be so."""

    state: State
    holds: bool = True
    chance: Fraction = Fraction(1)
    mays: tuple[str, ...] = ()
    remark: str = ""
    failed: Match | None = None


def read(matches: tuple[Match, ...], state: State, scene: Scene) -> Reading:
    """Try the matches in their order, as the kernel does: the first that fails ends it. Lists that `-m recent` writes
    on the way are in the reading's state."""
    reading = Reading(state)
    for match in matches:
        truth = holds(match, reading.state, scene)
        if truth is False:
            return replace(reading, holds=False, remark=_remark(match, scene), failed=match)
        if isinstance(truth, Chance):
            reading = replace(reading, chance=reading.chance * truth.probability)
        elif isinstance(truth, May):
            reading = replace(reading, mays=(*reading.mays, truth.reason))
        if isinstance(match, Recent):
            reading = replace(reading, state=_write_recent(match, reading.state))
    return reading if reading.chance else replace(reading, holds=False)


def holds(match: Match, state: State, scene: Scene) -> Truth:
    """Whether one match holds, its negation included."""
    if isinstance(match, Mark) and match.connection and not state.has_connection:
        return False  # negated or not: xt_connmark.c asks for the connection first
    truth = _plain(match, state, scene)
    if not getattr(match, "negated", False) or isinstance(truth, May) or isinstance(match, BridgePort | Bridged):
        return truth
    return Chance(1 - truth.probability) if isinstance(truth, Chance) else not truth


def _plain(match: Match, state: State, scene: Scene) -> Truth:
    match match:
        case Comment() | Accounting():
            return True
        case AddressIn() | AddressBetween():
            return _address(match, state)
        case ProtocolIs(protocol):
            return _protocol(protocol, state.protocol)
        case Device(side, name):
            return _device(name, state.in_device if side is Side.SOURCE else state.out_device, side, scene.hook)
        case Ports():
            return _ports(match, state)
        case TcpFlags(mask, set_):
            return state.protocol is Protocol.TCP and ((ANSWER if state.answers else SYN) & mask) == set_
        case Mark(value, mask, connection=connection):
            return ((state.connection_mark if connection else state.mark) & mask) == value
        case Random(probability):
            return _certain_or_chance(exact(probability, scene.alternatives))
        case Nth(every):
            return _certain_or_chance(Fraction(1, every)) if every > 0 else May("`--every 0` counts nothing")
        case Recent():
            return _recent(match, state, scene)
        case AddrType():
            return _addrtype(match, state, scene)
        case ConnState(states):
            return bool(states & _connection(state))
        case InSet():
            return _in_set(match, state, scene)
        case BridgePort() | Bridged():
            return _of_bridges(match, state, scene)
        case Opaque(module, text):
            return May(f"`-m {module} {text}` depends on what the rules do not hold")
        case Unknown(text):
            return May(f"`{text}` is not understood")


def _in_set(match: InSet, state: State, scene: Scene) -> Truth:
    try:
        return scene.sets.hold(match, state, scene.hook)
    except Unknowable as error:
        return May(error.reason)


def _of_bridges(match: BridgePort | Bridged, state: State, scene: Scene) -> Truth:
    """The negation included: what the kernel makes of it is not always the opposite (xt_physdev.c)."""
    try:
        return bridges.holds(match, state, scene.hook, scene.node, scene.settings)
    except Unknowable as error:
        return May(error.reason)


def _certain_or_chance(probability: Fraction) -> Truth:
    return True if probability == 1 else Chance(probability)


def _address(match: AddressIn | AddressBetween, state: State) -> Truth:
    address = state.source_address if match.side is Side.SOURCE else state.destination_address
    if address is None:
        return May("the source after masquerading is not known")
    if isinstance(match, AddressIn):
        return address.version == match.network.version and address in match.network
    same = address.version == match.first.version
    return same and int(match.first) <= int(address) <= int(match.last)


def _protocol(wanted: str, protocol: Protocol) -> bool:
    return wanted in ("all", "0", protocol.value.lower(), str(protocol.number))


def _device(wanted: str, device: str, side: Side, hook: Hook) -> Truth:
    """A device that the hook has none of is the empty name to the kernel, which no name matches."""
    has_one = hook in ((Hook.PREROUTING, Hook.INPUT, Hook.FORWARD) if side is Side.SOURCE else _LEAVING)
    if has_one and not device:
        return wanted == "+" or May(f"the {'in' if side is Side.SOURCE else 'out'}going device is not known")
    if not has_one:
        device = ""
    return device.startswith(wanted[:-1]) if wanted.endswith("+") else device == wanted


_LEAVING = (Hook.FORWARD, Hook.OUTPUT, Hook.POSTROUTING)


def _ports(match: Ports, state: State) -> bool:
    ports = {
        Side.SOURCE: (state.source_port,),
        Side.DESTINATION: (state.destination_port,),
        Side.EITHER: (state.source_port, state.destination_port),
    }[match.side]
    return any(low <= port <= high for port in ports for low, high in match.ranges)


def _recent(match: Recent, state: State, scene: Scene) -> Truth:
    """Where the lists are not known, a first packet is taken to come from a client that was not seen before, but for
    what its own way wrote."""
    if match.action is RecentAction.SET:
        return True
    entry = (match.name, _listed(match, state))
    if entry in state.seen:
        return match.hits <= 1
    ago = (scene.remembered or {}).get(match.name, {}).get(entry[1])
    if ago is None or entry in state.forgotten or (match.seconds and ago > match.seconds):
        return False
    return True if match.hits <= 1 else May(f"how often list {match.name} has seen {entry[1]} is not known")


def _listed(match: Recent, state: State) -> str:
    return state.source if match.side is Side.SOURCE else state.destination


def _write_recent(match: Recent, state: State) -> State:
    entry = frozenset({(match.name, _listed(match, state))})
    if match.action is RecentAction.SET:
        return replace(state, seen=state.seen | entry)
    if match.action is RecentAction.REMOVE:
        return replace(state, seen=state.seen - entry, forgotten=state.forgotten | entry)
    return state


def _remark(match: Match, scene: Scene) -> str:
    if not isinstance(match, Recent) or match.negated or match.action is RecentAction.SET:
        return ""
    within = f" in the last {match.seconds} seconds" if match.seconds else ""
    assumed = "taken as a new client: " if scene.remembered is None else ""
    return f"{assumed}not in list {match.name}{within}"


def why_unmarked(match: Match | None, state: State) -> str:
    """What about its source spared the packet a rule that marks for masquerading; "" when it was not the source."""
    match match:
        case AddressIn(Side.SOURCE, network, True):
            return f"its source {state.source} is a pod's, in {network}"
        case AddressIn(Side.SOURCE, network, False) if network.num_addresses == 1:
            return f"its source {state.source} is not the endpoint itself"
        case AddressIn(Side.SOURCE, network, False):
            return f"its source {state.source} is outside {network}"
        case Device(Side.SOURCE, name, True):
            return f"it came in by {name}, as pods' packets do"
        case AddrType(Side.SOURCE, types, False) if "LOCAL" in types:
            return f"its source {state.source} is no address of this node"
    return ""


def _addrtype(match: AddrType, state: State, scene: Scene) -> Truth:
    address = state.source_address if match.side is Side.SOURCE else state.destination_address
    device = (state.in_device or state.out_device) if match.limited else ""
    types = address_types(scene.node, address, device) if address is not None else None
    if types is None:
        return May(f"the node's own {state.family} addresses are not known")
    if state.family is Family.IPV6:
        return _all_types(match.types, types)
    return bool(types & match.types)


def _all_types(asked: frozenset[str], types: frozenset[str]) -> bool:
    """IPv6's reading: an address must be of each kind asked for, and the node's own are unicast addresses, too
    (match_type6 in net/netfilter/xt_addrtype.c)."""
    if "LOCAL" in types:
        types = types | {"UNICAST"}
    looked_up = asked - _KINDS
    return asked & _KINDS <= types and (not looked_up or bool(looked_up & types))


_KINDS = frozenset({"MULTICAST", "UNICAST", "UNSPEC"})
"""What an IPv6 address is by itself; for all else the kernel looks its route up."""


def _connection(state: State) -> frozenset[str]:
    if not state.tracked:
        return frozenset({"UNTRACKED"})
    if not state.connected:
        return frozenset({"INVALID"})  # what xt_conntrack says of a packet without a connection: in raw, all of them
    return state.status | {"ESTABLISHED" if state.known is not None and state.known.established else "NEW"}
