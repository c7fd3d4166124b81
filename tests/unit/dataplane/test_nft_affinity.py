"""Which remembered clients may go on to where they went."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.dataplane.nft import pack_address, pack_endpoint, places
from fairway.dataplane.nft_affinity import stale
from fairway.dataplane.nft_book import Book
from fairway.desired.build import build
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
