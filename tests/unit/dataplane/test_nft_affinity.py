"""Which remembered clients may go on to where they went."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.dataplane.nft import pack_address, pack_endpoint, places
from fairway.dataplane.nft_affinity import doubtful, stale
from fairway.dataplane.nft_book import Book
from fairway.desired.build import build
from fairway.desired.model import NodeFacts, PortKey, ServicePort, Settings
from fairway.desired.options import DetectLocal, ProxyOptions
from fairway.packet import Family
from fairway.ruleset.nft import Element
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, node, service

VIP, HERE, THERE = "203.0.113.10", "10.244.0.5", "10.244.1.6"
POD, STRANGER, NODE = "10.244.0.9", "192.0.2.5", "10.0.0.11"
BY_DEVICE = ProxyOptions(detect_local=DetectLocal.BRIDGE_INTERFACE, bridge_interface="cni0")


def shared(name: str, ip: str) -> Any:
    """A sticky Service that shares the address VIP with others."""
    spec = {"externalIPs": [VIP], "externalTrafficPolicy": "Local", "sessionAffinity": "ClientIP"}
    return service(name, ip, type="NodePort", **spec)


@pytest.mark.parametrize(
    ("options", "client", "kept"),
    [
        (OPTIONS, POD, {THERE}),
        (OPTIONS, NODE, {THERE}),
        (OPTIONS, STRANGER, {HERE}),
        (BY_DEVICE, POD, set()),
        (BY_DEVICE, NODE, {THERE}),
        (BY_DEVICE, STRANGER, set()),
    ],
)
def test_insiders_and_outsiders_where_two_services_share_an_address(
    options: ProxyOptions, client: str, kept: set[str]
) -> None:
    """The first has an endpoint elsewhere: insiders go there. Outsiders get the second's, which is here."""
    pieces = [endpoint_slice("a", endpoint(THERE, on="node-b")), endpoint_slice("b", endpoint(HERE))]
    wanted = build([shared("a", "10.96.0.1"), shared("b", "10.96.0.2")], pieces, node(), options)
    book = Book(Family.IPV4, wanted.settings)
    book.load({port.key: port for port in wanted.ports})
    (place,) = (at for at in places(wanted.ports[0]) if at.startswith(pack_address(VIP)))
    key = pack_address(client) + place

    remembered = {address: (key, Element(pack_endpoint(address, 8080))) for address in (HERE, THERE)}

    gone = [element for _, element in stale(book, remembered.values())]
    assert {address for address, (_, element) in remembered.items() if element not in gone} == kept


def balanced(name: str, ip: str, *ranges: str, affinity: str = "ClientIP") -> Any:
    status = {"loadBalancer": {"ingress": [{"ip": VIP}]}}
    spec = {"status": status, "loadBalancerSourceRanges": list(ranges), "sessionAffinity": affinity}
    return service(name, ip, type="LoadBalancer", **spec)


def ranged(*ranges: str, second: str = "ClientIP") -> dict[PortKey, ServicePort]:
    """A Service for these sources, which is served here, and one for all, which is served there."""
    pieces = [endpoint_slice("a", endpoint(HERE)), endpoint_slice("b", endpoint(THERE, on="node-b"))]
    services = [balanced("a", "10.96.0.1", *ranges), balanced("b", "10.96.0.2", affinity=second)]
    return {port.key: port for port in build(services, pieces, node(), OPTIONS).ports}


@pytest.mark.parametrize(("second", "strangers"), [("ClientIP", {THERE}), ("None", set())])
def test_whose_clients_one_s_own_ranges_make_them(second: str, strangers: set[str]) -> None:
    book = Book(Family.IPV4, Settings(facts={Family.IPV4: NodeFacts()}))
    wanted = ranged("198.51.100.0/24", second=second)
    book.load(wanted)
    (place,) = (at for at in places(next(iter(wanted.values()))) if at.startswith(pack_address(VIP)))

    def kept(client: str) -> set[str]:
        told = {a: (pack_address(client) + place, Element(pack_endpoint(a, 8080))) for a in (HERE, THERE)}
        gone = [element for _, element in stale(book, told.values())]
        return {address for address, (_, element) in told.items() if element not in gone}

    assert kept("198.51.100.9") == {HERE}
    assert kept(STRANGER) == strangers

    delta = book.change(ranged("192.0.2.0/24", second=second))

    assert doubtful(book, delta) == {place}
    assert kept(STRANGER) == {HERE}
    assert not doubtful(book, book.change(ranged("192.0.2.0/24", second=second)))
