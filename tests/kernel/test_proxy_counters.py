"""What is counted of Services and of their endpoints, with real packets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from fairway.dataplane.base import Report, Update
from fairway.dataplane.nft_counters import ServiceCounters
from fairway.dataplane.nft_sync import NftSync
from fairway.desired.build import build
from fairway.kernel.linux.conntrack import LinuxConntrack
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.observe import exposition
from tests.kernel.proxy_scene import NODE_ADDRESS, PORT, Scene, scene
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, service

pytestmark = pytest.mark.kernel

IP4, IP6, NODE_PORT = "10.96.0.20", "fd00:10:96::20", 30080
COUNTING = replace(OPTIONS, cluster_cidrs=("10.244.0.0/16", "fd00:10:244::/48"), service_counters=True)


@pytest.fixture(scope="module")
def world() -> Iterator[Scene]:
    with scene() as built:
        yield built


def totals(counters: ServiceCounters, name: str) -> dict[tuple[str, str], int]:
    """By family and endpoint ("" where it is not told)."""
    found = {}
    for line in exposition.text(asyncio.run(counters.metrics())).splitlines():
        if line.startswith(name + "{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            assert (labels["namespace"], labels["service"], labels["protocol"]) == ("default", "web", "TCP")
            found[labels["ip_family"], labels.get("endpoint", "")] = int(line.split()[-1])
    return found


def test_the_endpoints_of_a_service_add_up_to_the_service(world: Scene) -> None:
    node = world.paths["node"]
    kernel, reading = LinuxNftables(node), LinuxNftables(node)
    sync, counters = NftSync(kernel, LinuxConntrack(node)), ServiceCounters(reading)
    ports = [{"port": 80, "protocol": "TCP", "nodePort": NODE_PORT}]
    web = service("web", IP4, type="NodePort", clusterIPs=[IP4, IP6], ports=ports)
    slices = [
        endpoint_slice("web", endpoint("10.244.0.5"), endpoint("10.244.0.6"), port=PORT),
        endpoint_slice("web", endpoint("fd00:10:244::5"), port=PORT, family="IPv6"),
    ]
    wanted = Update.of(build([web], slices, world.node(), COUNTING))
    try:
        sync.sync(wanted)
        asyncio.run(counters.applied(wanted, Report(), 0.0))
        assert totals(counters, "fairway_endpoint_packets_total") == {}

        answers = [world.ask("pod-7", IP4, 80) for _ in range(12)]
        answers += [world.ask("outside", NODE_ADDRESS, NODE_PORT) for _ in range(12)]
        world.ask("pod-7", IP6, 80)

        services, endpoints = (totals(counters, f"fairway_{of}_packets_total") for of in ("service", "endpoint"))
        five, six = ("IPv4", "10.244.0.5:8080"), ("IPv4", "10.244.0.6:8080")
        assert services["IPv4", ""] == endpoints[five] + endpoints[six]
        assert services["IPv6", ""] == endpoints["IPv6", "[fd00:10:244::5]:8080"] >= 8
        shares = [sum(answer.startswith(address) for answer in answers) for address in ("10.244.0.5", "10.244.0.6")]
        assert endpoints[five] >= 8 * shares[0] and endpoints[six] >= 8 * shares[1]
        assert totals(counters, "fairway_endpoint_bytes_total")[five] >= 40 * endpoints[five]
        assert sync.unchanged()  # what packets write is no change by somebody else

        NftSync(kernel, LinuxConntrack(node)).sync(wanted)  # a restart begins anew
        world.ask("pod-7", IP6, 80)
        after = totals(counters, "fairway_endpoint_packets_total")
        assert after.keys() == {("IPv6", "[fd00:10:244::5]:8080")}
        assert [*after.values()] == [totals(counters, "fairway_service_packets_total")["IPv6", ""]]
    finally:
        sync.clean()
        kernel.close()
        reading.close()
