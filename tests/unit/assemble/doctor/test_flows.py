"""Connections and remembered clients with names, and which of them lead astray."""

from __future__ import annotations

from typing import Any

from fairway.assemble.doctor.affinity import from_lists, from_maps
from fairway.assemble.doctor.flows import Book, Row, stale
from fairway.dataplane.nft import pack_endpoint
from fairway.dataplane.nft_layout import AFFINITY, AFFINITY_NODE_PORTS, declared
from fairway.desired.build import build
from fairway.desired.model import Desired
from fairway.packet import Family, Protocol
from fairway.ruleset.iptables import parse
from fairway.ruleset.nft import Element
from fairway.ruleset.nft_values import pack
from fairway.trace.connections import Entry, Original
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, node, service

STICKY = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}}}
NAMES = {"10.244.0.5": "default/web-1"}


def desired(**spec: Any) -> Desired:
    ports = [{"port": 80, "protocol": "UDP", "nodePort": 30080}]
    given = service("web", type="NodePort", ports=ports, **spec)
    return build([given], [endpoint_slice("web", endpoint("10.244.0.5"), protocol="UDP")], node(), OPTIONS)


def book(**spec: Any) -> Book:
    return Book(desired(**spec), ["10.0.0.11"], NAMES)


def entry(to: str, port: int, reached: str, protocol: Protocol = Protocol.UDP) -> Entry:
    """A connection from a client outside to `to`, which was led to `reached` ("": left alone)."""
    first = Original("192.0.2.5", to, 5000, port)
    back = Original(reached or to, "192.0.2.5", 8080 if reached else port, 5000)
    return Entry(protocol, first, back, seconds=27)


def rows(*entries: Entry) -> list[Row]:
    return list(book().rows(entries))


def test_connections_have_the_names_of_service_and_pod() -> None:
    assert rows(entry("10.96.0.20", 80, "10.244.0.5")) == [
        Row(
            Protocol.UDP,
            "192.0.2.5:5000",
            "10.96.0.20:80",
            "default/web",
            "10.244.0.5:8080",
            "default/web-1",
            seconds=27,
        )
    ]


def test_a_node_port_is_known_at_the_nodes_own_address_alone() -> None:
    (here,) = rows(entry("10.0.0.11", 30080, "10.244.0.5"))

    assert (here.service, here.stale) == ("default/web", "")
    assert rows(entry("10.0.0.12", 30080, "")) == []


def test_what_leads_astray_says_why() -> None:
    said = [row.stale for row in rows(entry("10.96.0.20", 80, "10.244.0.9"), entry("10.96.0.20", 80, ""))]

    assert said == ["the Service does not have that endpoint", "it was never translated, and there are endpoints now"]


def test_the_doctor_minds_flows_that_last_and_leaves_ends_of_tcp_connections_be() -> None:
    lasting = rows(entry("10.96.0.20", 80, "10.244.0.9"))
    (found,) = stale(lasting, "node-a")

    assert (found.code, found.severity, found.object) == ("stale-flow", "error", "Service default/web")
    assert found.command == "conntrack -L -d 10.96.0.20"
    assert list(stale(rows(entry("10.96.0.20", 80, "10.244.0.5")), "node-a")) == []


RULES = """*nat
:KUBE-SVC-A - [0:0]
:KUBE-SEP-A - [0:0]
-A KUBE-SVC-A -m comment --comment "default/web -> 10.244.0.5:8080" \
-m recent --rcheck --seconds 600 --reap --name KUBE-SEP-A --rsource -j KUBE-SEP-A
-A KUBE-SEP-A -p udp -m comment --comment "default/web" \
-m recent --set --name KUBE-SEP-A --rsource -m udp -j DNAT --to-destination 10.244.0.5:8080
COMMIT
"""


def test_lists_of_iptables_mode() -> None:
    seen = {"KUBE-SEP-A": {"10.244.0.7": 20.0, "10.244.0.8": 700.0}, "SSH": {"192.0.2.1": 1.0}}
    first, late = from_lists(book(**STICKY), [parse(RULES)], seen)

    assert (first.client, first.service, first.endpoint) == ("10.244.0.7", "default/web", "10.244.0.5:8080")
    assert (first.pod, first.seconds, first.stale) == ("default/web-1", 580, "")
    assert (late.client, late.seconds, late.stale) == ("10.244.0.8", 0, "its time is over")
    (plain, _) = from_lists(book(), [parse(RULES)], seen)
    assert plain.stale == "the Service asks for no affinity (any more)"


def test_maps_of_nftables_mode() -> None:
    known = {"10.244.0.7": "10.244.0.5", "10.244.0.8": "10.244.0.9"}
    kept = declared(Family.IPV4, AFFINITY)
    types = [field.type for field in kept.key]
    elements = [
        (pack(types, [client, "10.96.0.20", "udp", "80"]), Element(pack_endpoint(to, 8080), expires_ms=61_500))
        for client, to in known.items()
    ]
    right, wrong = from_maps(book(**STICKY), kept, elements)

    assert (right.service, right.endpoint, right.pod) == ("default/web", "10.244.0.5:8080", "default/web-1")
    assert (right.seconds, right.stale) == (61, "")
    assert wrong.stale == "the Service does not have that endpoint"


def test_maps_of_node_ports() -> None:
    kept = declared(Family.IPV4, AFFINITY_NODE_PORTS)
    key = pack([field.type for field in kept.key], ["192.0.2.5", "udp", "30080"])
    (found,) = from_maps(book(**STICKY), kept, [(key, Element(pack_endpoint("10.244.0.5", 8080)))])

    assert (found.client, found.service, found.seconds) == ("192.0.2.5", "default/web", None)
