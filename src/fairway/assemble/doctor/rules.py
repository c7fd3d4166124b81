"""What should become of packets, by the objects, against what the rules in a kernel do to them.

For every address that a Service claims, and every kind of sender, the oracle's answer (`desired.decide`) is compared
with the tracer's on the live rules, whatever language these are in. No rule is compared as text.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from fairway.assemble.doctor.findings import Finding, Severity
from fairway.desired.addresses import within
from fairway.desired.decide import decide
from fairway.desired.model import Claim, Desired, PortName, ServicePort, claims
from fairway.node import Node
from fairway.packet import Family, Outcomes, Packet, Verdict, family_of, host_port
from fairway.trace.evidence import guesses
from fairway.trace.evidence.gathered import Scene
from fairway.trace.sources import own_source
from fairway.trace.steps import Event, Path, Step, Trace
from fairway.trace.walk import trace

STRANGERS = {Family.IPV4: "203.0.113.254", Family.IPV6: "2001:db8:ffff::fe"}
"""An address that nobody has (RFC 5737, RFC 3849): a client outside the cluster."""

_REMEMBERED = "affinity"  # how the names of such maps begin, here and with kube-proxy
OWN_TABLES = ("fairway", "kube-proxy")
_DECIDING = (Event.ACCEPT, Event.DROP, Event.REJECT, Event.DNAT, Event.SNAT, Event.MASQUERADE, Event.POLICY)
_HIDING = (Event.SNAT, Event.MASQUERADE)
_SHOWN = 4
"""So many packets are shown as evidence of one finding."""


@dataclass(frozen=True, slots=True)
class Held:
    """One node: what its proxy should do (`desired`, `node` as the proxy knows it), what its kernel holds (`scene`),
    and the destinations that its rules claim."""

    desired: Desired
    node: Node
    scene: Scene
    family: Family
    claimed: frozenset[Claim] = frozenset()


@dataclass(frozen=True, slots=True)
class _Wrong:
    """One packet that does not fare as it should. `kind` is the finding's code, `rule` what decided."""

    kind: str
    packet: Packet
    sender: str
    what: str
    rule: str = ""


def compare(held: Held) -> Iterator[Finding]:
    """The findings of one node and family."""
    wrong: defaultdict[tuple[PortName, str], list[_Wrong]] = defaultdict(list)
    unknown: list[Packet] = []
    part = _Parts(held.desired, held.family)
    for port in held.desired.of(held.family):
        for sender, packet in _packets(held, port):
            said = decide(part.about(packet), held.node, packet)
            done = trace(held.scene.rules, held.scene.node, packet, settings=held.scene.settings)
            outcomes = done.outcomes()
            if said == outcomes:
                continue
            if _only_hidden_beyond(held, said, done) or _only_refused_sooner(port, said, done):
                continue
            if any(outcome.verdict is Verdict.UNKNOWN for outcome in outcomes):
                unknown.append(packet)
                continue
            found = _differ(said, done)
            wrong[port.name, found[0]].append(_Wrong(found[0], packet, sender, found[1], found[2]))
    for (name, kind), cases in wrong.items():
        yield _finding(held, name, kind, cases)
    yield from _extra(held)
    if unknown:
        yield _cannot_tell(held, unknown)


def forgetful(scene: Scene) -> Scene:
    """The same without the clients that lists and maps remember: where these are led is no share of anything."""
    scene = replace(scene, rules=replace(scene.rules, remembered=None))
    ruleset = scene.rules.nft
    if ruleset is None:
        return scene
    tables = {
        name: replace(
            table,
            sets={
                key: replace(kept, elements={}) if key.startswith(_REMEMBERED) else kept
                for key, kept in table.sets.items()
            },
        )
        for name, table in ruleset.tables.items()
    }
    return replace(scene, rules=replace(scene.rules, nft=replace(ruleset, tables=tables)))


class _Parts:
    """The ports that can have a say about a packet: asking all of them about each would take their number squared."""

    def __init__(self, desired: Desired, family: Family) -> None:
        self._desired = desired
        self._at: defaultdict[str, list[ServicePort]] = defaultdict(list)
        self._node_ports: defaultdict[int, list[ServicePort]] = defaultdict(list)
        for port in desired.of(family):
            for claim in claims(port):
                if claim.address:
                    self._at[claim.address].append(port)
                else:
                    self._node_ports[claim.port].append(port)

    def about(self, packet: Packet) -> Desired:
        found = [*self._at[packet.destination], *self._node_ports[packet.destination_port]]
        distinct = {port.key: port for port in found}
        return replace(self._desired, ports=tuple(distinct[key] for key in sorted(distinct)))


def _packets(held: Held, port: ServicePort) -> Iterator[tuple[str, Packet]]:
    for claim in claims(port):
        address = claim.address or _node_address(held)
        if not address:
            continue
        for sender, source, device in _senders(held, address):
            if source != address:
                yield sender, Packet(source, address, claim.protocol, claim.port, in_interface=device)


def _node_address(held: Held) -> str:
    """The address that node ports are asked at: one at which they are served."""
    served = held.desired.node(held.family).node_ports_on
    own = served if served is not None else tuple(str(a) for a in (*held.node.primary, *held.node.addresses()))
    return next((a for a in own if family_of(a) is held.family and not ipaddress.ip_address(a).is_link_local), "")


def _senders(held: Held, destination: str) -> Iterator[tuple[str, str, str]]:
    """(who, address, device): a pod of this node, the node itself, somebody outside."""
    for cidr in held.node.pod_cidrs:
        if family_of(str(cidr)) is held.family and cidr.num_addresses > 4:
            pod = str(cidr[-2])
            yield "a pod of this node", pod, guesses.arrival(held.scene, cidr[-2])[0] or guesses.POD_BRIDGE
    own = own_source(held.scene.node, destination)
    if own:
        yield "the node", own, ""
    stranger = STRANGERS[held.family]
    device = guesses.arrival(held.scene, ipaddress.ip_address(stranger))[0]
    if device:
        yield "a client outside", stranger, device


def _differ(said: Outcomes, done: Trace) -> tuple[str, str, str]:
    """(code, what is wrong, the rule that decided) of two answers that are not the same."""
    outcomes = done.outcomes()
    wanted, got = _endpoints(said), _endpoints(outcomes)
    strange = [path for path in done.branches if path.outcome not in said]
    foreign = next((step for path in strange if (step := _decider(path)) and not ours(step)), None)
    if foreign is not None and wanted != got:
        ends = ", ".join(sorted({_ends(path) for path in strange if _decider(path) == foreign}))
        return "foreign-rule", f"a rule that is not of the proxy decides first: {ends}", _rule(foreign)
    rule = next((_rule(step) for path in strange if (step := _decider(path))), "")
    if wanted and not got:
        return _not_served(outcomes, done, rule)
    if got and not wanted:
        return "stale", f"nobody should serve it, and the rules still lead to {_listed(got)}", rule
    if wanted.keys() - got.keys():
        return "endpoint-missing", f"the rules do not lead to {_listed(wanted.keys() - got.keys())}", rule
    if got.keys() - wanted.keys():
        return "stale", f"the rules lead to {_listed(got.keys() - wanted.keys())} as well", rule
    if wanted != got:
        shares = ", ".join(f"{endpoint} gets {got[endpoint]}, not {wanted[endpoint]}" for endpoint in sorted(wanted))
        return "weight", f"the endpoints do not share as they should: {shares}", rule
    if wanted:
        hidden = any(outcome.masqueraded for outcome in outcomes)
        way = "hidden where it should be seen" if hidden else "seen where it should be hidden"
        return (
            "masquerade",
            f"the client's address is {way}: its answers may not come back, or policies be deceived",
            rule,
        )
    verdicts = [sorted({outcome.verdict.value for outcome in each}) for each in (said, outcomes)]
    return "refusal", f"it should be {' or '.join(verdicts[0])} and is {' or '.join(verdicts[1])}", rule


def _only_hidden_beyond(held: Held, said: Outcomes, done: Trace) -> bool:
    """Whether the answers differ only in that rules of others, such as a pod network's own, masquerade what leaves for
    endpoints that are no pods: that is those rules' business."""
    if _endpoints(said) != _endpoints(done.outcomes()):
        return False
    pods = held.desired.node(held.family).pods.source
    return all(
        path.outcome in said
        or (
            any(step.event in _HIDING and not step.chain.startswith("KUBE-") for step in path.steps)
            and not within(path.outcome.endpoint.rpartition(":")[0].strip("[]"), (pods,) if pods else ())
        )
        for path in done.branches
    )


def _only_refused_sooner(port: ServicePort, said: Outcomes, done: Trace) -> bool:
    """Whether the proxy's rules refuse what nobody serves to one more sender than asked: kube-proxy's nftables mode
    does so to processes of the node."""
    if port.cluster or port.local or any(outcome.verdict is not Verdict.UNTRANSLATED for outcome in said):
        return False
    deciders = [_decider(path) for path in done.branches if path.outcome.verdict in (Verdict.REJECTED, Verdict.DROPPED)]
    return len(deciders) == len(done.branches) and all(step is not None and ours(step) for step in deciders)


def _not_served(outcomes: Outcomes, done: Trace, rule: str) -> tuple[str, str, str]:
    verdicts = {outcome.verdict for outcome in outcomes}
    if verdicts == {Verdict.UNTRANSLATED}:
        return "missing", "no rule leads to an endpoint: the packet goes on to the Service's own address", rule
    reason = next((path.reason for path in done.branches if path.reason), "")
    word = " or ".join(sorted(verdict.value for verdict in verdicts))
    return "unreachable", f"the packet is {word} though there are endpoints" + (f" ({reason})" if reason else ""), rule


def _endpoints(outcomes: Outcomes) -> Mapping[str, Fraction]:
    found: defaultdict[str, Fraction] = defaultdict(Fraction)
    for outcome, share in outcomes.items():
        if outcome.verdict is Verdict.ENDPOINT:
            found[outcome.endpoint] += share
    return dict(found)


def _decider(path: Path) -> Step | None:
    """The last rule that did something about the packet."""
    translated = [step for step in path.steps if step.event in (Event.DNAT, Event.DROP, Event.REJECT)]
    others = [step for step in path.steps if step.event in _DECIDING and step.chain]
    found = translated or others
    return found[-1] if found else None


def ours(step: Step) -> bool:
    """Whether a step is of a node proxy's rules, or of a built-in chain's own policy that lets pass."""
    if step.chain.startswith("KUBE-") or any(name in step.table.split() for name in OWN_TABLES):
        return True
    return step.event in (Event.POLICY, Event.ACCEPT, Event.SNAT, Event.MASQUERADE) and "DROP" not in step.detail


def _rule(step: Step) -> str:
    number = f" rule {step.number}" if step.number else ""
    return f"{step.table} {step.chain}{number}: {step.rule}" if step.rule else f"{step.table} {step.chain} policy"


def _ends(path: Path) -> str:
    return path.outcome.endpoint or path.outcome.verdict.value


def _listed(endpoints: Iterable[str]) -> str:
    names = sorted(endpoints)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


_SEVERITY = {"weight": Severity.WARNING, "masquerade": Severity.WARNING, "refusal": Severity.WARNING}


def _finding(held: Held, name: PortName, kind: str, cases: Collection[_Wrong]) -> Finding:
    first = next(iter(cases))
    packet = first.packet
    evidence = [
        f"{case.sender} ({case.packet.source}) -> "
        f"{host_port(case.packet.destination, case.packet.destination_port)}/{case.packet.protocol}: {case.what}"
        for case in list(cases)[:_SHOWN]
    ]
    evidence += dict.fromkeys(case.rule for case in list(cases)[:_SHOWN] if case.rule)
    source = "node" if first.sender == "the node" else packet.source
    to = host_port(packet.destination, packet.destination_port)
    protocol = "" if packet.protocol == "TCP" else f" --protocol {packet.protocol.lower()}"
    command = f"fairway trace --node {held.scene.node.name} --from {source} --to {to}{protocol}"
    message = f"{name} ({packet.protocol}): {first.what}"
    service = f"Service {name.namespace}/{name.service}"
    severity = _SEVERITY.get(kind, Severity.ERROR)
    where = f"spec.ports[{name.port or packet.destination_port}]"
    return Finding(severity, kind, message, service, where, held.scene.node.name, tuple(evidence), command)


def _extra(held: Held) -> Iterator[Finding]:
    """Destinations that rules claim and no Service does."""
    wanted = {claim for port in held.desired.of(held.family) for claim in claims(port)}
    node = held.scene.node.name
    for claim in sorted(held.claimed - wanted):
        to = host_port(claim.address, claim.port) if claim.address else f"node port {claim.port}"
        message = f"the rules claim {to}/{claim.protocol}, which no Service has (any more)"
        grep = f"'{claim.address or claim.port}'"
        command = f"iptables-save | grep -e {grep}; nft list ruleset | grep -e {grep}"
        yield Finding(Severity.ERROR, "extra", message, "", "", node, (str(to),), command)


def _cannot_tell(held: Held, packets: Collection[Packet]) -> Finding:
    first = next(iter(packets))
    to = host_port(first.destination, first.destination_port)
    message = f"of {len(packets)} packets to Services nobody can tell what the rules do: they hold what is not followed"
    command = f"fairway trace --node {held.scene.node.name} --from {first.source} --to {to}"
    return Finding(Severity.NOTE, "unknown", message, "", "", held.scene.node.name, (to,), command)
