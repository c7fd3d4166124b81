"""What a rule's target does to a packet: the next state and what to call it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fairway.node import Node
from fairway.packet import Family, host_port
from fairway.ruleset.iptables_terms import (
    Accept,
    ChangeSets,
    CopyMark,
    Drop,
    Jump,
    Masquerade,
    NoTrack,
    Passive,
    Redirect,
    Reject,
    Return,
    SetMark,
    Side,
    Target,
    Translate,
    Unknown,
)
from fairway.trace.sources import source_address
from fairway.trace.steps import Event, Hook, State


@dataclass(frozen=True, slots=True)
class Deed:
    """What happened (`event`, with a `detail`) and the packet afterwards. Which chain comes next, or whether the
    packet ends here, follows from the event alone."""

    event: Event
    state: State
    detail: str = ""


def perform(target: Target | None, state: State, hook: Hook, node: Node) -> Deed:
    """Do what the target says to the packet. Pure."""
    match target:
        case None:
            return Deed(Event.COUNTED, state)
        case Accept():
            return Deed(Event.ACCEPT, state)
        case Drop():
            return Deed(Event.DROP, state)
        case Return():
            return Deed(Event.RETURN, state)
        case Reject(answer):
            return Deed(Event.REJECT, state, answer)
        case Jump(chain, goto):
            return Deed(Event.GOTO if goto else Event.JUMP, state, chain)
        case Passive(name):
            return Deed(Event.COUNTED, state, name)
        case ChangeSets(names):
            return Deed(Event.COUNTED, replace(state, changed_sets=state.changed_sets | set(names)), "SET")
        case NoTrack():
            # a packet that came over lo has its connection already, and keeps it (xt_CT.c)
            return (
                Deed(Event.COUNTED, state) if state.connected else Deed(Event.UNTRACKED, replace(state, tracked=False))
            )
        case SetMark() | CopyMark():
            return _mark(target, state)
        case Translate() | Masquerade() | Redirect():
            return _translate(target, state, hook, node)
        case Unknown(text):
            return Deed(Event.UNKNOWN, state, f"`{text}` is not understood")


def _mark(target: SetMark | CopyMark, state: State) -> Deed:
    of_connection = isinstance(target, CopyMark) or target.connection
    if of_connection and not state.has_connection:
        return Deed(Event.COUNTED, state)  # CONNMARK without a connection does nothing (xt_connmark.c)
    if isinstance(target, SetMark):
        if target.connection:
            after = replace(state, connection_mark=target.apply(state.connection_mark))
        else:
            after = replace(state, mark=target.apply(state.mark))
    elif target.save:
        copied = (state.connection_mark & ~target.connection_mask) ^ (state.mark & target.packet_mask)
        after = replace(state, connection_mark=copied)
    else:
        copied = (state.mark & ~target.packet_mask) ^ (state.connection_mark & target.connection_mask)
        after = replace(state, mark=copied)
    return Deed(Event.MARK, after, f"mark {after.mark:#x}" if after.mark else "no mark")


def _translate(target: Translate | Masquerade | Redirect, state: State, hook: Hook, node: Node) -> Deed:
    if isinstance(target, Masquerade):
        return _masquerade(target, state, node)
    if isinstance(target, Redirect):
        return _redirect(target, state, hook, node)
    addresses, ports = target.addresses, target.ports
    if addresses is not None and addresses[0] != addresses[1]:
        return Deed(Event.UNKNOWN, state, f"the kernel picks one address of {addresses[0]}-{addresses[1]}")
    address = str(addresses[0]) if addresses else None
    if target.side is Side.SOURCE:
        return _to_source(state, address or state.source, Event.SNAT, new_port=ports is not None)
    if ports is not None and ports[0] != ports[1]:
        return Deed(Event.UNKNOWN, state, f"the kernel picks one port of {ports[0]}-{ports[1]}")
    return _to_destination(state, address or state.destination, ports[0] if ports else state.destination_port)


def _to_destination(state: State, address: str, port: int) -> Deed:
    changed = (address, port) != (state.destination, state.destination_port)
    after = replace(
        state,
        destination=address,
        destination_port=port,
        destination_translated=True,
        status=state.status | {"DNAT"} if changed else state.status,
    )
    return Deed(Event.DNAT, after, host_port(address, port))


def _to_source(state: State, address: str, event: Event, new_port: bool = False) -> Deed:
    changed = new_port or address != state.source
    status = state.status | {"SNAT"} if changed else state.status
    after = replace(state, source=address, source_translated=True, status=status)
    return Deed(event, after, address or f"the address of {state.out_device or 'the outgoing device'}, not known here")


def _masquerade(target: Masquerade, state: State, node: Node) -> Deed:
    address = source_address(node, state.out_device, state.via, state.destination)
    return _to_source(state, address, Event.MASQUERADE, new_port=target.random_fully or target.ports is not None)


def _redirect(target: Redirect, state: State, hook: Hook, node: Node) -> Deed:
    """To the node itself: its loopback address for its own packets, else the first address of the device they came in
    by (nf_nat_redirect.c)."""
    if target.ports is not None and target.ports[0] != target.ports[1]:
        return Deed(Event.UNKNOWN, state, f"the kernel picks one port of {target.ports[0]}-{target.ports[1]}")
    port = target.ports[0] if target.ports else state.destination_port
    if hook is Hook.OUTPUT:
        return _to_destination(state, "::1" if state.family is Family.IPV6 else "127.0.0.1", port)
    for interface in node.interfaces:
        for address in interface.addresses:
            if interface.name == state.in_device and address.version == state.destination_address.version:
                return _to_destination(state, str(address.ip), port)
    return Deed(Event.UNKNOWN, state, f"REDIRECT to the address of {state.in_device}, which is not known")
