"""What `-m physdev` says of a packet: bridges' ports, and whether a bridge hands it on (net/netfilter/xt_physdev.c).

A packet has ports only if it came in by a bridge that asks the rules (net.bridge.bridge-nf-call-iptables): it keeps the
one it came in by wherever it is routed, and is given the one it leaves by only where a bridge hands it on.
"""

from __future__ import annotations

from fairway.node import Node
from fairway.ruleset.iptables_terms import Bridged, BridgePort, Side
from fairway.trace.nft_sets import Unknowable
from fairway.trace.routing import LOOPBACK, Settings
from fairway.trace.steps import Hook, State

_LEAVING = (Hook.FORWARD, Hook.POSTROUTING)


def holds(match: BridgePort | Bridged, state: State, hook: Hook, node: Node, settings: Settings) -> bool:
    """Whether the match holds, its negation included. Raises Unknowable where only an unknown port, or an unknown
    device, would tell."""
    bridge = state.in_device
    if bridge in ("", LOOPBACK) or not settings.bridge_rules:
        return match.negated
    came_in = isinstance(match, BridgePort) and match.side is Side.SOURCE
    named_way_out = isinstance(match, BridgePort) and not came_in and bool(match.name)
    turns_back = hook in _LEAVING and state.out_device == bridge
    if not came_in and not turns_back and not (named_way_out and match.negated):
        return match.negated
    ports = settings.ports.get(bridge)
    if ports is None:
        raise Unknowable(f"whether {bridge} is a bridge is not known (`ip addr` tells)")
    if not ports:
        return match.negated
    if not came_in and not (turns_back and _handed_on(state, node)):
        return match.negated and not named_way_out  # what has one port is asked for the other: no name is another name
    return (isinstance(match, Bridged) or _is_one_of(match.name, ports, bridge)) != match.negated


def _handed_on(state: State, node: Node) -> bool:
    """Whether the bridge hands on what leaves by it again. So it does with what was given another address there
    (br_nf_pre_routing_finish in net/bridge/br_netfilter_hooks.c), and between neighbours."""
    first = state.original
    if state.destination_translated and (
        state.known is not None or first is None or first.destination != state.destination
    ):
        return True
    for interface in node.interfaces:
        for address in interface.addresses if interface.name == state.in_device else ():
            source, destination = state.source_address, state.destination_address
            if source is not None and source in address.network and destination in address.network:
                return True
    raise Unknowable(f"whether {state.in_device} hands the packet on or the node routes it is not known")


def _is_one_of(name: str, ports: frozenset[str], bridge: str) -> bool:
    """Whether the port is of that name ("" of any), as far as all ports, or none, are."""
    if not name:
        return True
    alike = [port for port in ports if port == name or (name.endswith("+") and port.startswith(name[:-1]))]
    if alike and len(alike) < len(ports):
        raise Unknowable(f"by which port of {bridge} the packet goes is not known")
    return bool(alike)
