"""Sentences for what happens to a packet: one for each event, and one for each verdict."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from fairway.node import Node
from fairway.packet import Outcome, Packet, Verdict, host_port
from fairway.ruleset.iptables_match import understand
from fairway.ruleset.iptables_terms import AddressIn, AddrType, Device, Mark, Match, Random, Side
from fairway.trace.journey import End, Journey
from fairway.trace.names import chain_kind, chain_purpose, named
from fairway.trace.routing import LOOPBACK
from fairway.trace.steps import Egress, Event, Hook, Path, State, Step

Names = Mapping[str, str]
"""Address to the name of who has it (a pod, a node)."""

VERDICTS: Mapping[Verdict, str] = {
    Verdict.ENDPOINT: "reaches {endpoint}",
    Verdict.UNTRANSLATED: "goes on unchanged, as no Service claims it, to {destination}",
    Verdict.REJECTED: "is refused; the sender is told at once",
    Verdict.DROPPED: "vanishes; the sender waits until it gives up",
    Verdict.UNKNOWN: "is lost from sight; the rules at hand do not say",
}
"""What a verdict means to the one who sent the packet."""


def line(packet: Packet | State) -> str:
    """ "TCP 10.244.1.5:40000 -> 10.96.0.10:53"."""
    source = host_port(packet.source, packet.source_port)
    return f"{packet.protocol} {source} -> {host_port(packet.destination, packet.destination_port)}"


def ends(outcome: Outcome, packet: Packet, names: Names) -> str:
    """The end of a sentence that begins with "the packet"."""
    destination = host_port(packet.destination, packet.destination_port)
    return VERDICTS[outcome.verdict].format(endpoint=place(outcome.endpoint, names), destination=destination)


def place(endpoint: str, names: Names) -> str:
    """An endpoint with the name of who has it."""
    name = names.get(endpoint.rpartition(":")[0].strip("[]"))
    return f"{endpoint} ({name})" if name else endpoint


def leaving(egress: Egress, node: Node, names: Names) -> str:
    """How an arrived packet left: "by cni0", "by flannel.1 via 10.244.2.0 (node-b)", "on this node"."""
    if egress.device == LOOPBACK:
        return f"on {node.name or 'this node'} itself"
    if not egress.device:
        return "by a device not known here"
    return f"by {egress.device}" + (f" via {named_address(egress.via, names)}" if egress.via else "")


def named_address(address: str, names: Names) -> str:
    """An address with the name of who has it."""
    return f"{address} ({names[address]})" if address in names else address


def source_seen(path: Path) -> str:
    """Who the receiver believes the packet comes from."""
    return path.source_seen or "the node's address (not known here)"


def hook(step_hook: Hook, state: State, node: Node) -> str:
    """A heading for what happens at a hook."""
    here = node.name or "the node"
    match step_hook:
        case Hook.PREROUTING:
            return f"PREROUTING: the packet has come in by {state.in_device}"
        case Hook.OUTPUT:
            if state.destination_translated:
                return "OUTPUT goes on, with the new destination"
            return f"OUTPUT: a process of {here} sends the packet"
        case Hook.ROUTING:
            return "Routing"
        case Hook.INPUT:
            return f"INPUT: the packet is for {here} itself"
        case Hook.FORWARD:
            return f"FORWARD: {here} passes it on" + (f" from {state.in_device}" if state.in_device else "")
        case Hook.POSTROUTING:
            return "POSTROUTING: the packet leaves" + (f" by {state.out_device}" if state.out_device else "")


def answer(journey: Journey) -> str:
    """How the answer to a packet ends, as a sentence."""
    match journey.end:
        case End.RIGHT:
            return f"The client sees the answer come from {journey.seen}, where it had asked."
        case End.STRANGE:
            return (
                f"The client sees the answer come from {journey.seen}, where it never asked, and refuses it: "
                f"{journey.why}."
            )
        case End.LOST:
            return f"The answer does not reach the client: {journey.why}."
        case _:
            return f"Whether the answer reaches the client cannot be told: {journey.why}."


def step(done: Step, node: Node, names: Names) -> str:
    """What a step means, in one or two sentences."""
    about = _about(done)
    chance = _chance(done)
    return " ".join(part for part in (about, _event(done, node, names), chance) if part)


def _about(done: Step) -> str:
    found = named(done) if done.rule else None
    if found is None or done.event not in (Event.JUMP, Event.GOTO, Event.REJECT, Event.DROP):
        return ""
    if chain_kind(done.chain) in ("SVC", "SVL", "XLB", "SEP", "EXT"):
        return ""  # the Service was named when its chain was entered
    return f"{found}: {found.role}." if found.role else f"{found}."


def _chance(done: Step) -> str:
    if done.probability is None:
        return ""
    printed = [m.probability for m in understand(done.rule).matches if isinstance(m, Random)]
    kind = f"the rule prints {printed[0]}" if printed else "one packet in so many; which one cannot be told"
    return f"Of the packets that get here it takes {done.probability} ({kind})."


def _event(done: Step, node: Node, names: Names) -> str:
    match done.event:
        case Event.JUMP | Event.GOTO:
            return _jump(done)
        case Event.DNAT:
            endpoint, comma, rest = done.detail.partition(", ")
            return f"The destination becomes {place(endpoint, names)}{comma}{rest}."
        case Event.MASQUERADE:
            asked = ": the mark asked for it" if done.chain == "KUBE-POSTROUTING" else ""
            whose = f", the address of {done.packet.out_device}" if done.packet.source else ""
            return f"The source becomes {done.detail}{whose}{asked}."
        case Event.SNAT:
            return f"The source becomes {done.detail}."
        case Event.RETURN:
            return _return(done)
        case Event.ROUTE:
            return _route(done, node, names)
        case Event.REJECT:
            return f"Refused: the sender gets {done.detail}."
        case Event.MARK:
            return f"The packet now bears {done.detail}."
        case Event.DROP:
            return f"Dropped: {done.detail}." if done.detail else "Dropped; nobody is told."
        case Event.POLICY:
            return f"The end of the chain; its policy is {done.detail}."
        case _:
            return _PLAIN[done.event].format(detail=done.detail)


_PLAIN: Mapping[Event, str] = {
    Event.ACCEPT: "Accepted: this table is done with it.",
    Event.MARTIAN: "Dropped by the kernel: {detail}.",
    Event.KNOWN: "The kernel knows it as {detail}: the nat tables are not asked.",
    Event.UNTRACKED: "Belongs to no connection from here on: nat will not see it.",
    Event.COUNTED: "Counted, and on to the next rule.",
    Event.PASSED: "Passed over: {detail}.",
    Event.UNMARKED: "Not marked: {detail}.",
    Event.MAY_NOT: "Here it does not apply, which nobody can tell: {detail}.",
    Event.MISSING: "The trail ends: {detail}.",
    Event.UNKNOWN: "The trail ends: {detail}.",
    Event.END: "Nothing more in this chain: back to {detail}.",
}


def _jump(done: Step) -> str:
    chain, _, doubt = done.detail.partition("; ")
    purpose = chain_purpose(chain)
    if chain == "KUBE-MARK-MASQ":
        text = f"To be masqueraded, because {why_masquerade(done)}."
    else:
        text = f"On to {chain}" + (f": {purpose}." if purpose else ".")
    return text + (f" But only {doubt}." if doubt else "")


def why_masquerade(done: Step) -> str:
    """The condition of a rule that leads to the mark, as a reason."""
    hairpin = chain_kind(done.chain) == "SEP"
    reasons = [reason for m in understand(done.rule).matches if (reason := _reason(m, done.packet, hairpin))]
    return " and ".join(reasons) or "everything that comes this way is"


def _reason(match: Match, packet: State, hairpin: bool) -> str:
    match match:
        case AddressIn(Side.SOURCE, network, True):
            return f"its source {packet.source} is outside {network}"
        case AddressIn(Side.SOURCE, network, False):
            return "the endpoint calls itself and must not see its own address" if hairpin else f"it is from {network}"
        case Device(Side.SOURCE, name, True):
            return f"it did not come in by {name}"
        case AddrType(Side.SOURCE, types, False) if "LOCAL" in types:
            return f"its source {packet.source} is an address of this node"
    return ""


def _return(done: Step) -> str:
    marks = [m for m in understand(done.rule).matches if isinstance(m, Mark) and m.negated]
    if done.chain == "KUBE-POSTROUTING" and marks:
        return f"Nothing set the mark {marks[0].value:#x}, so the source stays {done.packet.source}."
    return "Back to the chain before."


def _route(done: Step, node: Node, names: Names) -> str:
    state = done.packet
    where = named_address(state.destination, names)
    if state.out_device == LOOPBACK:
        return f"{where} is an address of {node.name or 'this node'}: it stays here."
    if done.detail == "unreachable":
        return f"No route leads to {where}: the sender is told that the network is unreachable."
    if done.detail.startswith("blackhole"):
        return f"The route to {where} is a blackhole ({done.detail}): it vanishes."
    if done.detail.startswith(("unreachable", "prohibit", "rule")) and not state.out_device:
        return f"The route to {where} refuses it ({done.detail})."
    if not state.out_device:
        return f"Which way leads to {where} is not known here."
    if state.via:
        return f"{where} {_over(state)} to {named_address(state.via, names)} ({done.detail})."
    return f"{where} is on {state.out_device}{_kind_of_link(state, node)} ({done.detail})."


def why_no_way(done: Step) -> str:
    """A clause: why routing ended the packet's way."""
    where = done.packet.destination
    if done.detail == "unreachable":
        return f"no route leads to {where}"
    return f"the route to {where} is `{done.detail}`"


def _over(state: State) -> str:
    overlay = state.out_device.startswith(("flannel", "vxlan", "cilium", "tun", "wg"))
    return f"lies beyond {state.out_device}: {'over the overlay' if overlay else 'by the next hop'}"


def _kind_of_link(state: State, node: Node) -> str:
    address = ipaddress.ip_address(state.destination)
    return ": a pod on this node" if any(address in pods for pods in node.pod_cidrs) else ""
