"""What becomes of packets at node-a, by the reference's own rules, worked out by hand.

The senders: a pod of node-a, a process of node-a, and a client on the segment that is no part of the cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest

from fairway.packet import Outcome, Outcomes, Packet, Protocol, Verdict
from fairway.trace.routing import Settings
from fairway.trace.walk import trace
from tests.golden import nodes


@dataclass(frozen=True)
class Sender:
    address: str
    device: str = ""


POD = Sender("10.244.1.5", "cni0")
FAR_POD = Sender("10.244.2.9", "flannel.1")
NODE = Sender("10.0.0.11")
CLIENT = Sender("10.0.0.100", "eth0")
RANGED = Sender("192.0.2.5", "eth0")


def evenly(*endpoints: str, masqueraded: bool = False) -> Outcomes:
    share = Fraction(1, len(endpoints))
    return {Outcome(Verdict.ENDPOINT, endpoint, masqueraded): share for endpoint in endpoints}


def only(verdict: Verdict) -> Outcomes:
    return {Outcome(verdict): Fraction(1)}


REJECTED, DROPPED, UNTRANSLATED = only(Verdict.REJECTED), only(Verdict.DROPPED), only(Verdict.UNTRANSLATED)
A80, B80, C80 = "10.244.1.28:80", "10.244.1.29:80", "10.244.2.22:80"
A, B, C = "10.244.1.28:8080", "10.244.1.29:8080", "10.244.2.22:8080"

TABLE: list[tuple[str, Sender, str, Outcomes]] = [
    # a cluster IP: pods keep their address, everybody else is hidden behind the node
    ("01", POD, "10.96.203.6:8080", evenly(A80, B80, C80)),
    ("01", FAR_POD, "10.96.203.6:8080", evenly(A80, B80, C80)),
    ("01", NODE, "10.96.203.6:8080", evenly(A80, B80, C80, masqueraded=True)),
    ("01", CLIENT, "10.96.203.6:8080", evenly(A80, B80, C80, masqueraded=True)),
    ("01", POD, "10.96.203.6:8081", UNTRANSLATED),
    ("01", POD, "10.96.0.1:443", REJECTED),  # default/kubernetes has no endpoints in the goldens
    ("02", POD, "10.96.0.20:80", evenly("10.244.2.5:8080")),
    ("02", CLIENT, "10.96.0.20:80", evenly("10.244.2.5:8080", masqueraded=True)),
    ("03", POD, "10.96.0.21:80", REJECTED),
    ("03", NODE, "10.96.0.21:80", REJECTED),
    ("03", CLIENT, "10.96.0.21:80", REJECTED),
    # node ports: every sender is hidden, on every address of the node, and on no other
    ("04", POD, "10.104.223.18:8080", evenly("10.244.1.32:80", "10.244.1.33:80", "10.244.2.26:80")),
    *(
        ("04", sender, address, evenly("10.244.1.32:80", "10.244.1.33:80", "10.244.2.26:80", masqueraded=True))
        for sender in (POD, NODE, CLIENT)
        for address in ("10.0.0.11:30000", "10.244.1.254:30000")
    ),
    ("04", POD, "10.0.0.12:30000", UNTRANSLATED),
    ("04", CLIENT, "10.0.0.11:8080", UNTRANSLATED),
    ("05", POD, "10.96.0.22:80", REJECTED),
    ("05", CLIENT, "10.0.0.11:30010", REJECTED),
    ("05", NODE, "10.0.0.11:30010", REJECTED),  # over lo: out by OUTPUT, refused on the way back in
    ("06", POD, "10.96.0.10:53/UDP", evenly("10.244.1.2:53", "10.244.2.3:53")),
    ("06", POD, "10.96.0.10:53/TCP", evenly("10.244.1.2:53", "10.244.2.3:53")),
    ("06", NODE, "10.96.0.10:9153", evenly("10.244.1.2:9153", "10.244.2.3:9153", masqueraded=True)),
    ("06", POD, "10.96.0.10:9153/UDP", UNTRANSLATED),
    # external addresses
    ("10", CLIENT, "198.51.100.7:80", evenly(A, B, C, masqueraded=True)),
    ("10", POD, "198.51.100.8:80", evenly(A, B, C, masqueraded=True)),
    ("10", NODE, "198.51.100.8:80", evenly(A, B, C, masqueraded=True)),
    ("10", CLIENT, "198.51.100.9:80", UNTRANSLATED),
    ("12", CLIENT, "203.0.113.10:80", evenly(A, B, C, masqueraded=True)),
    ("12", CLIENT, "203.0.113.10:443", evenly(*(x.replace("8080", "8443") for x in (A, B, C)), masqueraded=True)),
    ("12", CLIENT, "10.0.0.11:31443", evenly(*(x.replace("8080", "8443") for x in (A, B, C)), masqueraded=True)),
    # external policy Local: outsiders keep their address and reach this node's endpoints; pods take any
    ("13", CLIENT, "203.0.113.10:80", evenly(A, B)),
    ("13", CLIENT, "10.0.0.11:31081", evenly(A, B)),
    ("13", POD, "203.0.113.10:80", evenly(A, B, C)),
    ("13", NODE, "203.0.113.10:80", evenly(A, B, C, masqueraded=True)),
    ("13", CLIENT, "10.96.0.31:80", evenly(A, B, C, masqueraded=True)),
    # source ranges guard the balancer's address, not the node port
    ("15", RANGED, "203.0.113.10:80", evenly(A, B, C, masqueraded=True)),
    ("15", CLIENT, "203.0.113.10:80", DROPPED),
    ("15", POD, "203.0.113.10:80", DROPPED),
    ("15", NODE, "203.0.113.10:80", DROPPED),
    ("15", CLIENT, "10.0.0.11:31083", evenly(A, B, C, masqueraded=True)),
    # internal policy Local
    ("19", POD, "10.96.0.37:80", evenly(A, B)),
    ("19", CLIENT, "10.96.0.37:80", evenly(A, B, masqueraded=True)),
    # only terminating endpoints are left
    ("22", POD, "10.96.0.40:80", evenly("10.244.1.1:8080", "10.244.2.1:8080")),
    # same name, other namespace
    ("46", POD, "10.96.0.64:80", evenly("10.244.1.71:80")),
    ("46", NODE, "10.96.0.65:80", evenly("10.244.1.72:80", masqueraded=True)),
    # ten Services together
    ("48", POD, "10.96.1.1:80", evenly(A80, B80, C80)),
    ("48", POD, "10.96.1.2:80", evenly(A80, B80)),  # affinity: a client that was not seen yet
    ("48", CLIENT, "10.0.0.11:30201", evenly(A80, B80, masqueraded=True)),
    ("48", CLIENT, "203.0.113.10:80", evenly(C80, masqueraded=True)),  # 10.0.0.0/8 is let in
    ("48", RANGED, "203.0.113.10:80", DROPPED),
    ("48", POD, "10.96.1.4:53/UDP", evenly("10.244.1.28:53", "10.244.1.29:53", "10.244.2.22:53")),
    ("48", POD, "10.96.1.5:80", REJECTED),
    ("48", POD, "10.96.1.6:80", REJECTED),
    ("48", CLIENT, "198.51.100.30:80", REJECTED),
    ("48", POD, "10.96.1.7:80", DROPPED),  # policy Local, and the only endpoint is on node-b
    ("48", CLIENT, "10.0.0.11:30203", DROPPED),
    ("48", NODE, "10.0.0.11:30203", evenly(C80, masqueraded=True)),  # the node itself is no outsider
    ("48", CLIENT, "10.0.0.11:30204", evenly(A80, B80)),
    ("48", CLIENT, "10.0.0.11:32116", UNTRANSLATED),  # the health check port: for the proxy itself
]


@pytest.mark.parametrize(
    ("number", "sender", "destination", "expected"), TABLE, ids=[f"{n} {s.address} {d}" for n, s, d, _ in TABLE]
)
def test_what_becomes_of_a_packet(number: str, sender: Sender, destination: str, expected: Outcomes) -> None:
    case = nodes.case(number)
    place, _, protocol = destination.partition("/")
    address, _, port = place.rpartition(":")
    packet = Packet(sender.address, address, Protocol(protocol or "TCP"), int(port), in_interface=sender.device)

    assert trace(nodes.rules(case), case.node, packet).outcomes() == expected


def test_an_endpoint_that_calls_itself_through_the_service_is_masqueraded_for_itself_only() -> None:
    case = nodes.case("01")
    hairpin = Packet("10.244.1.28", "10.96.203.6", Protocol.TCP, 8080, in_interface="cni0")

    assert trace(nodes.rules(case), case.node, hairpin).outcomes() == {
        Outcome(Verdict.ENDPOINT, A80, masqueraded=True): Fraction(1, 3),
        Outcome(Verdict.ENDPOINT, B80): Fraction(1, 3),
        Outcome(Verdict.ENDPOINT, C80): Fraction(1, 3),
    }


def test_loopback_node_ports_need_route_localnet() -> None:
    case = nodes.case("04")
    packet = Packet("127.0.0.1", "127.0.0.1", Protocol.TCP, 30000)

    shut = trace(nodes.rules(case), case.node, packet)
    opened = trace(nodes.rules(case), case.node, packet, settings=Settings(route_localnet=True))

    assert shut.outcomes() == DROPPED
    assert "route_localnet is 0" in shut.branches[0].reason
    assert opened.outcomes() == evenly("10.244.1.32:80", "10.244.1.33:80", "10.244.2.26:80", masqueraded=True)


def test_forty_endpoints_are_forty_fortieths() -> None:
    case = nodes.case("47")
    (port,) = [port for port in case.desired.ports if port.name.service != "kubernetes"]
    packet = Packet("10.244.1.5", port.cluster_ip, port.protocol, port.port, in_interface="cni0")

    assert set(trace(nodes.rules(case), case.node, packet).outcomes().values()) == {Fraction(1, 40)}


def test_the_way_out_and_the_source_that_the_server_sees() -> None:
    case = nodes.case("01")
    packet = Packet("10.0.0.11", "10.96.203.6", Protocol.TCP, 8080)

    found = {
        path.outcome.endpoint: (path.egress.device, path.egress.via, path.source_seen)
        for path in trace(nodes.rules(case), case.node, packet).branches
    }

    assert found == {
        A80: ("cni0", "", "10.244.1.254"),
        B80: ("cni0", "", "10.244.1.254"),
        C80: ("flannel.1", "10.244.2.0", "10.244.1.0"),
    }
