"""Counted Services on a kernel in memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fairway.dataplane.base import Report, Update
from fairway.dataplane.nft import render
from fairway.dataplane.nft_counters import ServiceCounters
from fairway.dataplane.nft_layout import COUNTED, COUNTED_NODE_PORTS, declared, table_name
from fairway.dataplane.nft_sync import NftSync
from fairway.desired.build import build
from fairway.desired.model import Desired
from fairway.kernel.fake.conntrack import FakeConntrack
from fairway.kernel.fake.nftables import FakeNftables
from fairway.observe import exposition
from fairway.packet import Family
from fairway.ruleset import nft
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, node, service

OURS = table_name(Family.IPV4)
COUNTING = replace(OPTIONS, service_counters=True)


def state(*names: str, **spec: object) -> Desired:
    services = [
        service(name, clusterIP=f"10.96.0.{20 + n}", clusterIPs=[f"10.96.0.{20 + n}"], **spec)
        for n, name in enumerate(names)
    ]
    return build(services, [endpoint_slice(name, endpoint("10.244.0.5")) for name in names], node(), COUNTING)


def count(kernel: FakeNftables, number: int) -> None:
    """Packets come, as many bytes as packets: one more each at every place."""
    for name in (COUNTED, COUNTED_NODE_PORTS):
        kept = declared(Family.IPV4, name)
        there = kernel.elements(OURS, kept)
        kernel.apply([nft.DeleteElements(OURS, kept, there)])
        counted = [(key, nft.Element(packets=number, bytes=100 * number)) for key, _ in there]
        kernel.apply([nft.AddElements(OURS, kept, counted)])


def lines(counters: ServiceCounters) -> list[str]:
    page = exposition.text(asyncio.run(counters.metrics()))
    return [line for line in page.splitlines() if not line.startswith("#")]


def told(counters: ServiceCounters, desired: Desired) -> None:
    asyncio.run(counters.applied(Update.of(desired), Report(), 0.0))


def test_the_places_of_a_service_port_add_up() -> None:
    kernel = FakeNftables()
    sync, counters = NftSync(kernel, FakeConntrack()), ServiceCounters(kernel)
    wanted = state("web", type="NodePort", ports=[{"name": "http", "port": 80, "nodePort": 30080}])
    sync.sync(Update.of(wanted))
    told(counters, wanted)

    count(kernel, 3)

    labels = '{namespace="default",service="web",port="http",protocol="TCP",ip_family="IPv4"}'
    assert lines(counters) == [f"fairway_service_packets_total{labels} 6", f"fairway_service_bytes_total{labels} 600"]
    assert sync.unchanged()  # what packets write is no change by somebody else


def test_a_service_that_went_is_told_no_more() -> None:
    kernel = FakeNftables()
    sync, counters = NftSync(kernel, FakeConntrack()), ServiceCounters(kernel)
    for wanted in (state("a", "b"), state("a")):
        sync.sync(Update.of(wanted))
        told(counters, wanted)

    assert [line.split(",")[1] for line in lines(counters)] == ['service="a"'] * 2


def test_a_service_without_endpoints_keeps_its_numbers() -> None:
    kernel = FakeNftables()
    sync = NftSync(kernel, FakeConntrack())
    sync.sync(Update.of(state("web")))
    count(kernel, 5)

    sync.sync(
        Update.of(build([service("web", clusterIP="10.96.0.20", clusterIPs=["10.96.0.20"])], [], node(), COUNTING))
    )

    assert [element.packets for _, element in kernel.elements(OURS, declared(Family.IPV4, COUNTED))] == [5]


def test_nothing_is_counted_unless_asked_for() -> None:
    table = render(
        build([service("web")], [endpoint_slice("web", endpoint("10.244.0.5"))], node(), OPTIONS), Family.IPV4
    )

    assert not any(kept.counter for kept in table.sets.values())
    assert not any(name.startswith("count") for name in table.chains)
