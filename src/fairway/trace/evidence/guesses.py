"""What rules give away about their node when nobody saved its addresses and routes. Every guess is said in a note."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from fairway.node import Address, Interface, Node
from fairway.packet import Protocol, family_of
from fairway.ruleset.iptables import Ruleset
from fairway.ruleset.iptables_match import understand
from fairway.ruleset.iptables_terms import AddressIn, Device, Masquerade, Ports, ProtocolIs, Side, Translate
from fairway.trace.evidence.gathered import Scene
from fairway.trace.names import Subject, subject
from fairway.trace.routing import LOOPBACK, Way, decide

POD_BRIDGE, UPLINK = "cni0", "eth0"
_NODE_SETS = ("nodeport-ips", "nodeport-addresses")


@dataclass(frozen=True, slots=True)
class Place:
    """A Service port that the rules speak of: its address, protocol and port."""

    address: str
    protocol: Protocol
    port: int
    name: str


def with_addresses(scene: Scene, destination: str, protocol: Protocol, port: int) -> Scene:
    """The scene with the node's addresses guessed, if those of the destination's family were not given."""
    family = family_of(destination)
    if any(family_of(str(address)) is family for address in scene.node.addresses()):
        return scene
    found = {interface.name: interface for interface in _bridges(scene.rules.iptables, family.value)}
    own = dict.fromkeys(address for address in _own(scene) if family_of(address) is family)
    if _is_node_port(scene.rules.iptables, destination, protocol, port):
        own[destination] = None
    if own:
        prefix = 128 if ":" in destination else 32
        addresses = tuple(ipaddress.ip_interface(f"{address}/{prefix}") for address in own)
        found[UPLINK] = Interface(UPLINK, addresses)
    if not found:
        return scene
    said = ", ".join(f"{address.ip}" for interface in found.values() for address in interface.addresses)
    note = (
        f"The node's addresses were not given (`ip addr`); judging by its rules, it has {said}. Other addresses are "
        "taken not to be its own."
    )
    return replace(scene, node=_with(scene.node, found.values()), notes=(*scene.notes, note))


def _with(node: Node, interfaces: Iterable[Interface]) -> Node:
    return replace(node, interfaces=(*node.interfaces, *interfaces))


def _own(scene: Scene) -> Iterator[str]:
    """Addresses that packets are given as a source, and those of the sets of node port addresses."""
    nat = scene.rules.iptables.tables.get("nat") if scene.rules.iptables else None
    for chain in nat.chains.values() if nat else ():
        for rule in chain.rules:
            if "--to-source" not in rule:
                continue
            target = understand(rule).target
            if isinstance(target, Translate) and target.addresses and target.addresses[0] == target.addresses[1]:
                yield str(target.addresses[0])
    for table in scene.rules.nft.tables.values() if scene.rules.nft else ():
        for name in _NODE_SETS:
            if name in table.sets:
                yield from _set_addresses(table.sets[name].elements)


def _set_addresses(keys: Iterable[bytes]) -> Iterator[str]:
    for key in keys:
        if len(key) in (4, 16):
            yield str(ipaddress.ip_address(key))


def _bridges(ruleset: Ruleset | None, family: str) -> Iterator[Interface]:
    """Bridges by Docker's kind of rule: `-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE` (it takes the first address)."""
    nat = ruleset.tables.get("nat") if ruleset else None
    chain = nat.chains.get("POSTROUTING") if nat else None
    for rule in chain.rules if chain else ():
        parsed = understand(rule)
        sources = [m.network for m in parsed.matches if isinstance(m, AddressIn) and m.side is Side.SOURCE]
        beyond = [m.name for m in parsed.matches if isinstance(m, Device) and m.side is Side.DESTINATION and m.negated]
        if isinstance(parsed.target, Masquerade) and len(sources) == len(beyond) == 1:
            network = sources[0]
            if family_of(str(network)).value == family and network.num_addresses > 2:
                yield Interface(beyond[0], (ipaddress.ip_interface(f"{network[1]}/{network.prefixlen}"),))


def _is_node_port(ruleset: Ruleset | None, destination: str, protocol: Protocol, port: int) -> bool:
    """Whether the port is a node port and the address no Service's."""
    nat = ruleset.tables.get("nat") if ruleset else None
    chain = nat.chains.get("KUBE-NODEPORTS") if nat else None
    if nat is None or chain is None or ipaddress.ip_address(destination).is_loopback:
        return False
    services = nat.chains.get("KUBE-SERVICES")
    mine = re.compile(rf"(^|[^!] )-d {re.escape(destination)}(/\d+)? ")
    if services and any(mine.search(rule) for rule in services.rules):
        return False
    return any(_asks(rule, protocol, port) for rule in chain.rules if f" {port}" in rule)


def _asks(rule: str, protocol: Protocol, port: int) -> bool:
    matches = understand(rule).matches
    ports = [m for m in matches if isinstance(m, Ports) and m.side is Side.DESTINATION and not m.negated]
    protocols = [m.protocol for m in matches if isinstance(m, ProtocolIs) and not m.negated]
    return any((port, port) in m.ranges for m in ports) and protocol.value.lower() in protocols


def arrival(scene: Scene, source: Address) -> tuple[str, str]:
    """By which device a packet from `source` comes in ("": the node itself sends it), and a note if that is a guess."""
    found = decide(scene.node, source)
    if found.way is Way.LOCAL and found.device == LOOPBACK:
        return "", ""
    if found.device:
        return found.device, ""
    pods = pod_ranges(scene.rules.iptables)
    device = POD_BRIDGE if any(source in each for each in pods if each.version == source.version) else UPLINK
    why = "the rules count it among the pods" if device == POD_BRIDGE else "it is taken to be no pod"
    return device, f"That the packet comes in by {device} is assumed, as {why}; --in-interface says otherwise."


def pod_ranges(ruleset: Ruleset | None) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The networks whose packets to Services are not masqueraded, which are the pods'."""
    nat = ruleset.tables.get("nat") if ruleset else None
    found: dict[ipaddress.IPv4Network | ipaddress.IPv6Network, None] = {}
    looked_at: set[str] = set()  # nearly all rules name the same range, and reading a rule takes 0.1 ms
    for chain in nat.chains.values() if nat else ():
        if chain.name != "KUBE-SERVICES" and not chain.name.startswith("KUBE-SVC-"):
            continue
        for rule in chain.rules:
            but = rule.partition("! -s ")[2].partition(" ")[0]
            if but and but not in looked_at and "KUBE-MARK-MASQ" in rule:
                looked_at.add(but)
                for match in understand(rule).matches:
                    if isinstance(match, AddressIn) and match.side is Side.SOURCE and match.negated:
                        found[match.network] = None
            if len(found) > 8:
                return list(found)
    return list(found)


def service_places(ruleset: Ruleset | None, namespace: str, name: str) -> list[Place]:
    """The cluster IPs and ports that the rules' comments give a Service."""
    nat = ruleset.tables.get("nat") if ruleset else None
    chain = nat.chains.get("KUBE-SERVICES") if nat else None
    found: dict[Place, None] = {}
    for rule in chain.rules if chain else ():
        if f"{namespace}/{name}" not in rule:
            continue
        parsed = understand(rule)
        about = subject(parsed.comment)
        if about is not None and (about.namespace, about.service) == (namespace, name):
            found |= dict.fromkeys(places(parsed.matches, about))
    return list(found)


def places(matches: Iterable[object], about: Subject) -> Iterator[Place]:
    """The cluster IP and port that a rule asks for, if its comment is about one."""
    if about.role != "cluster IP":
        return
    matches = tuple(matches)
    to = [m.network[0] for m in matches if isinstance(m, AddressIn) and m.side is Side.DESTINATION and not m.negated]
    protocols = [m.protocol.upper() for m in matches if isinstance(m, ProtocolIs)]
    ports = [m.ranges[0][0] for m in matches if isinstance(m, Ports) and m.side is Side.DESTINATION and m.ranges]
    if to and ports and protocols and protocols[0] in tuple(Protocol):
        yield Place(str(to[0]), Protocol(protocols[0]), ports[0], about.port)
