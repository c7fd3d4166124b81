"""The proxy's loop against a pretended API server and a pretended kernel."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from fairway.client.base import Client
from fairway.dataplane.proxy import Pace, Proxy
from fairway.dataplane.sync import RuleSync
from fairway.desired.options import ProxyOptions
from fairway.kernel.base import Flow, Notice, Refused
from fairway.kernel.fake.conntrack import FakeConntrack
from fairway.kernel.fake.netfilter import FakeNetfilter
from fairway.kernel.fake.nftables import FakeNftables, FakeNotices
from fairway.node import Interface
from fairway.objects.kinds import ENDPOINT_SLICE, NODE, SERVICE, Kind
from fairway.packet import Family
from fairway.ruleset.nft import TableName
from tests.unit.dataplane.fake_api import FakeApi
from tests.unit.desired.objects import OPTIONS, endpoint, node, service_json, slice_json

QUICK = Pace(gather=0.0, check=3600.0, retry=0.001, longest_retry=0.002)


class Kernel(FakeNetfilter):
    """A kernel that can be told to refuse, and to hold a transaction until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.refuse = 0
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def restore(self, family: Family, text: str) -> None:
        self.begun.set()
        self.gate.wait(10)
        if self.refuse:
            self.refuse -= 1
            raise Refused("line 2 failed", text, 2)
        super().restore(family, text)

    def serves(self, address: str) -> bool:
        """Whether some rule translates to this address."""
        return f"--to-destination {address}:" in self.save(Family.IPV4)


class Stage:
    """A running proxy with its API server and kernel."""

    def __init__(self, pace: Pace = QUICK, flows: tuple[Flow, ...] = (), options: ProxyOptions = OPTIONS) -> None:
        self.pace = pace
        self.node = node()
        self.api = FakeApi()
        self.kernel = Kernel()
        self.conntrack = FakeConntrack(flows)
        self.proxy = Proxy(
            cast("Client", self.api), RuleSync(self.kernel, self.conntrack), lambda: self.node, options, pace=pace
        )
        self.stop = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Stage]:
        task = asyncio.create_task(self.proxy.run(self.stop))
        try:
            yield self
        finally:
            self.stop.set()
            await task

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what other tasks and threads bring about; the test's own timeout bounds it."""
        while not condition():
            await asyncio.sleep(0.001)

    async def put_web(self, *addresses: str) -> None:
        await self.api.put(SERVICE, service_json("web"))
        await self.put_slice(*addresses)

    async def put_slice(self, *addresses: str) -> None:
        await self.api.put(ENDPOINT_SLICE, slice_json("web", *(endpoint(a) for a in addresses)))


def play(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario

    asyncio.run(bounded())


def test_what_exists_at_the_start_is_programmed_in_one_go() -> None:
    async def scenario() -> None:
        stage = Stage()
        await stage.put_web("10.244.0.5")
        async with stage.running():
            await stage.proxy.ready.wait()
            assert stage.kernel.serves("10.244.0.5")
            assert stage.proxy.status.applied == 1

    play(scenario())


def test_the_server_is_asked_only_for_what_concerns_a_proxy() -> None:
    async def scenario() -> None:
        stage = Stage()
        async with stage.running():
            await stage.proxy.ready.wait()
        assert stage.api.selectors["services"] == {
            "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name"
        }
        assert stage.api.selectors["endpointslices"] == {"!service.kubernetes.io/headless"}

    play(scenario())


def test_changes_follow() -> None:
    async def scenario() -> None:
        stage = Stage()
        await stage.put_web("10.244.0.5")
        async with stage.running():
            await stage.proxy.ready.wait()
            await stage.put_slice("10.244.0.6")
            await stage.until(lambda: stage.kernel.serves("10.244.0.6"))
            assert not stage.kernel.serves("10.244.0.5")
            await stage.api.remove(SERVICE, service_json("web"))
            await stage.until(lambda: not stage.kernel.serves("10.244.0.6"))

    play(scenario())


def test_a_burst_is_gathered_into_few_applies() -> None:
    async def scenario() -> None:
        stage = Stage()
        await stage.put_web("10.244.0.5")
        async with stage.running():
            await stage.proxy.ready.wait()
            stage.kernel.gate.clear()  # the kernel is busy with the first change while the others come
            for n in range(100):
                await stage.put_slice(f"10.244.0.{n + 10}")
            stage.kernel.gate.set()
            await stage.until(lambda: stage.kernel.serves("10.244.0.109"))
            assert stage.proxy.status.applied <= 3

    play(scenario())


@pytest.mark.parametrize("late", [SERVICE, ENDPOINT_SLICE], ids=str)
def test_nothing_is_applied_before_everything_was_listed(late: Kind) -> None:
    """Services without their slices would look like Services that nobody serves: refused, with pods in good health."""

    async def scenario() -> None:
        stage = Stage()
        await stage.put_web("10.244.0.5")
        stage.api.withheld.add(late)
        async with stage.running():
            await stage.until(lambda: len(stage.api.selectors) == 2)
            await asyncio.sleep(0.05)  # time enough for a hasty proxy
            stage.api.withheld.clear()
            await stage.proxy.ready.wait()
            assert "10.244.0.5" in "".join(text for _, text in stage.kernel.restored)
            assert "has no endpoints" not in "".join(text for _, text in stage.kernel.restored)
            assert stage.proxy.status.applied == 1

    play(scenario())


def test_rules_stay_while_the_server_is_away_and_changes_arrive_after() -> None:
    async def scenario() -> None:
        stage = Stage()
        await stage.put_web("10.244.0.5")
        async with stage.running():
            await stage.proxy.ready.wait()
            await stage.api.set_reachable(False)
            await stage.put_slice("10.244.0.6")
            assert stage.kernel.serves("10.244.0.5")
            await stage.api.set_reachable(True)
            await stage.until(lambda: stage.kernel.serves("10.244.0.6"))

    play(scenario())


def test_a_refused_transaction_leaves_the_last_good_rules_and_is_tried_again() -> None:
    async def scenario() -> None:
        stage = Stage(Pace(gather=0.0, check=3600.0, retry=0.05, longest_retry=0.05))
        await stage.put_web("10.244.0.5")
        async with stage.running():
            await stage.proxy.ready.wait()
            stage.kernel.refuse = 3
            await stage.put_slice("10.244.0.6")
            await stage.until(lambda: "line 2" in stage.proxy.status.error)
            assert stage.kernel.serves("10.244.0.5")
            assert stage.proxy.health.waiting_since is not None
            await stage.until(lambda: stage.kernel.serves("10.244.0.6"))
            await stage.until(lambda: stage.proxy.status.error == "")
            assert stage.proxy.health.waiting_since is None

    play(scenario())


def test_rules_that_somebody_flushed_come_back() -> None:
    async def scenario() -> None:
        stage = Stage(Pace(gather=0.0, check=0.01))
        await stage.put_web("10.244.0.5")
        async with stage.running():
            await stage.proxy.ready.wait()
            stage.kernel.restore(
                Family.IPV4,
                "*nat\n" + "".join(f"-F {chain}\n" for chain in ("PREROUTING", "OUTPUT", "KUBE-SERVICES")) + "COMMIT\n",
            )
            await stage.until(lambda: stage.proxy.status.repaired == 1)
            await stage.until(lambda: stage.kernel.save(Family.IPV4).count("-j KUBE-SVC-") == 1)

    play(scenario())


def test_who_comes_while_the_rules_are_looked_at_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The look begins before the kernel has said anything, and finds the rules gone."""
    stage = Stage(Pace(gather=0.0, check=0.01))
    notices = FakeNotices(FakeNftables())
    flush = Notice(tables=frozenset({TableName("ip", "nat")}), process=7, program="iptables")

    class Flushed(RuleSync):
        def intact(self) -> bool:
            if not stage.proxy.status.repaired:
                stage.kernel.restore(Family.IPV4, "*nat\n-F PREROUTING\n-F OUTPUT\n-F KUBE-SERVICES\nCOMMIT\n")
                notices.tell(flush, 0)
            return super().intact()

    rules = Flushed(stage.kernel, stage.conntrack)
    api = cast("Client", stage.api)
    stage.proxy = Proxy(api, rules, lambda: stage.node, OPTIONS, pace=stage.pace, listen=lambda: notices)

    async def scenario() -> None:
        await stage.put_web("10.244.0.5")
        async with stage.running():
            await stage.until(lambda: stage.proxy.status.repaired > 0)

    play(scenario())
    assert "iptables (process 7) changed the proxy's rules" in caplog.text
    assert "somebody" not in caplog.text


def test_a_changed_rule_deep_inside_is_found_by_comparing_all() -> None:
    async def scenario() -> None:
        stage = Stage(Pace(gather=0.0, check=0.01, verify=0.02))
        await stage.put_web("10.244.0.5")
        async with stage.running():
            await stage.proxy.ready.wait()
            chain = next(
                line.split()[1]
                for line in stage.kernel.save(Family.IPV4).splitlines()
                if line.startswith("-A KUBE-SEP-")
            )
            stage.kernel.restore(Family.IPV4, f"*nat\n-F {chain}\nCOMMIT\n")
            await stage.until(lambda: stage.proxy.status.repaired >= 1)
            assert stage.kernel.serves("10.244.0.5")

    play(scenario())


def test_flows_to_an_endpoint_that_is_gone_are_forgotten() -> None:
    client = "10.244.0.9"
    flow = Flow(Family.IPV4, 17, client, 4000, "10.96.0.20", 53, "10.244.0.5", 5353, client, 4000)

    async def scenario() -> None:
        stage = Stage(flows=(flow,))
        udp = {"ports": [{"port": 53, "protocol": "UDP"}]}
        await stage.api.put(SERVICE, service_json("web", **udp))
        await stage.api.put(ENDPOINT_SLICE, slice_json("web", endpoint("10.244.0.5"), protocol="UDP", port=5353))
        async with stage.running():
            await stage.proxy.ready.wait()
            assert stage.conntrack.deleted == []
            await stage.api.put(ENDPOINT_SLICE, slice_json("web", endpoint("10.244.0.6"), protocol="UDP", port=5353))
            await stage.until(lambda: stage.conntrack.deleted == [flow])

    play(scenario())


def test_flows_to_a_service_deleted_while_no_proxy_ran_are_forgotten() -> None:
    """The rules that a restart finds are the only memory of what they claimed."""
    client = "10.244.0.9"
    flow = Flow(Family.IPV4, 17, client, 4000, "10.96.0.20", 53, "10.244.0.5", 5353, client, 4000)

    async def scenario() -> None:
        first = Stage()
        await first.api.put(SERVICE, service_json("web", ports=[{"port": 53, "protocol": "UDP"}]))
        await first.api.put(ENDPOINT_SLICE, slice_json("web", endpoint("10.244.0.5"), protocol="UDP", port=5353))
        async with first.running():
            await first.proxy.ready.wait()
        second = Stage(flows=(flow,))
        second.kernel.restore(Family.IPV4, first.kernel.save(Family.IPV4))
        async with second.running():
            await second.proxy.ready.wait()
            assert second.conntrack.deleted == [flow]

    play(scenario())


def test_an_address_the_node_gets_is_noticed_with_the_next_change() -> None:
    primary = replace(OPTIONS, nodeport_addresses=("192.0.2.0/24",))
    extra = Interface("eth1", (ipaddress.ip_interface("192.0.2.77/24"),))

    async def scenario() -> None:
        stage = Stage(options=primary)
        await stage.api.put(SERVICE, service_json("web", type="NodePort", ports=[{"port": 80, "nodePort": 30080}]))
        await stage.put_slice("10.244.0.5")
        async with stage.running():
            await stage.proxy.ready.wait()
            assert "192.0.2.77" not in stage.kernel.save(Family.IPV4)
            stage.node = replace(stage.node, interfaces=(*stage.node.interfaces, extra))
            await stage.put_slice("10.244.0.6")
            await stage.until(lambda: "-d 192.0.2.77/32" in stage.kernel.save(Family.IPV4))

    play(scenario())


def test_the_zone_comes_from_the_node_object() -> None:
    zoned = [endpoint("10.244.0.5", zones=["z1"]), endpoint("10.244.1.5", on="node-b", zones=["z2"])]

    async def scenario() -> None:
        stage = Stage()
        await stage.put_web()
        await stage.api.put(ENDPOINT_SLICE, slice_json("web", *zoned))
        async with stage.running():
            await stage.proxy.ready.wait()
            assert stage.kernel.serves("10.244.0.5") and stage.kernel.serves("10.244.1.5")
            labelled = {"metadata": {"name": "node-a", "labels": {"topology.kubernetes.io/zone": "z2"}}}
            await stage.api.put(NODE, json.dumps(labelled).encode())
            await stage.until(lambda: not stage.kernel.serves("10.244.0.5"))
            assert stage.kernel.serves("10.244.1.5")

    play(scenario())


def test_a_node_on_its_way_out_is_not_eligible() -> None:
    async def scenario() -> None:
        stage = Stage()
        async with stage.running():
            await stage.proxy.ready.wait()
            leaving = {"metadata": {"name": "node-a"}, "spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler"}]}}
            await stage.api.put(NODE, json.dumps(leaving).encode())
            await stage.until(lambda: not stage.proxy.health.node_eligible)

    play(scenario())


def test_stopping_leaves_the_rules_and_finishes_what_has_begun() -> None:
    async def scenario() -> None:
        stage = Stage()
        await stage.put_web("10.244.0.5")
        async with stage.running():
            await stage.proxy.ready.wait()
            stage.kernel.gate.clear()
            stage.kernel.begun.clear()
            await stage.put_slice("10.244.0.6")
            await stage.until(stage.kernel.begun.is_set)
            stage.stop.set()
            await asyncio.sleep(0)
            stage.kernel.gate.set()
        assert stage.kernel.serves("10.244.0.6")

    play(scenario())
