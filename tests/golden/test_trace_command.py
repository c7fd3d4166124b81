"""`fairway trace` on the reference's rules, as an engineer types it: what it says becomes of packets from everywhere to
everything a golden's Services claim is what the model says should."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner

from fairway.cli import main
from fairway.desired.decide import decide
from fairway.node import Node
from fairway.packet import Family, Outcome, Outcomes, Packet, Verdict, host_port
from fairway.ruleset.iptables import dump
from fairway.trace.sources import own_source
from tests.golden import cases, nodes
from tests.golden.test_crown import packets

ASKED = 8
"""Packets of each golden and family."""


def surroundings(node: Node) -> Iterator[tuple[str, str]]:
    """What `ip addr` and `ip route` would print on the node, by the option that takes it."""
    lines = []
    for number, interface in enumerate(node.interfaces, 2):
        lines.append(f"{number}: {interface.name}: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP")
        for address in interface.addresses:
            lines.append(f"    inet{'6' if address.version == 6 else ''} {address} scope global {interface.name}")
    yield "--ip-addr", "\n".join(lines)
    routes = []
    for route in node.routes:
        where = "default" if route.destination.prefixlen == 0 else str(route.destination)
        via = f" via {route.via}" if route.via else ""
        source = f" src {route.source}" if route.source else ""
        routes.append(f"{where}{via} dev {route.device}{source}")
    yield "--ip-route", "\n".join(routes)


def asked(words: Iterable[str], packet: Packet) -> Outcomes:
    """What the command says becomes of a packet."""
    to = host_port(packet.destination, packet.destination_port)
    device = ("--in-interface", packet.in_interface) if packet.in_interface else ()
    question = ("--from", packet.source if device else "node-a", "--to", to, "--protocol", packet.protocol.lower())
    done = CliRunner().invoke(main, ["trace", "--node", "node-a", *words, *question, *device, "-o", "json"])
    assert done.exit_code in (0, 3), done.output
    told = json.loads(done.stdout)
    if not packet.in_interface:  # the command chooses the source that the node has on the way there
        assert told["packet"]["source"] == packet.source
    return {
        Outcome(Verdict(each["verdict"]), each["endpoint"], each["masqueraded"]): Fraction(each["probability"])
        for each in told["outcomes"]
    }


def sent(case: cases.Case, family: Family) -> list[Packet]:
    """Some of the packets that can be asked about: from elsewhere, and from the node as its routes have it."""
    every = [
        packet
        for packet in packets(case.node, case.desired, family)
        if (packet.source != packet.destination if packet.in_interface else _chosen(case.node, packet))
    ]
    return random.Random(case.name).sample(every, min(ASKED, len(every)))


def _chosen(node: Node, packet: Packet) -> bool:
    """Whether the node would give its own packet that source."""
    return packet.source == own_source(node, packet.destination)


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("name", cases.NAMES)
def test_the_command_says_what_the_model_says(name: str, family: Family, tmp_path: Path) -> None:
    case = nodes.case(name.partition("-")[0])
    words = ["--rules", str(tmp_path / "rules")]
    (tmp_path / "rules").write_text(dump(nodes.rules(case, family)))
    localnet = int(case.desired.node(Family.IPV4).localhost_node_ports)
    settings = f"net.ipv4.conf.all.route_localnet = {localnet}"
    for option, text in (*surroundings(case.node), ("--sysctl", settings)):
        (tmp_path / option).write_text(text)
        words += [option, str(tmp_path / option)]

    differ = [
        (packet, said, done)
        for packet in sent(case, family)
        if (said := decide(case.desired, case.node, packet)) != (done := asked(words, packet))
    ]

    assert differ == []
