"""The node's part of the pod network, on the kernel in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fairway.kernel.base import Bridge, DeviceAddress, LinkState
from fairway.kernel.fake.links import FakeLinks, FakeNetwork
from fairway.kernel.fake.netfilter import FakeNetfilter
from fairway.network import flannel
from fairway.packet import Family
from fairway.pods.errors import NetworkProblem
from fairway.pods.network import PodNetwork, link_name, pod_ranges, usable

RANGE = ("10.244.1.0/24",)


def node(name: str, address: str, *ranges: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "annotations": flannel.annotations(name, address)},
        "spec": {"podCIDRs": list(ranges)},
    }


class Bench:
    """A node in memory, whose agent can be restarted."""

    def __init__(self, state_dir: Path) -> None:
        self.kernel = FakeNetwork()
        self.links: FakeLinks = self.kernel.create("/run/netns/node")
        self.links.apply(LinkState(bridges=(Bridge("eth0"),), addresses=(DeviceAddress("eth0", "10.0.0.11/24"),)))
        self.netfilter = FakeNetfilter()
        self.state_dir = state_dir

    def network(self) -> PodNetwork:
        return PodNetwork(
            self.links,
            self.netfilter,
            node_name="node-a",
            node_ip="10.0.0.11",
            cluster_cidrs=("10.244.0.0/16",),
            state_dir=self.state_dir,
        )

    def play(self, scene: Callable[[PodNetwork], Awaitable[None]]) -> None:
        async def run() -> None:
            network = self.network()
            try:
                await scene(network)
            finally:
                network.close()

        asyncio.run(run())


def test_a_node_lays_its_bridge_and_the_way_to_the_others(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    others = [node("node-a", "10.0.0.11", *RANGE), node("node-b", "10.0.0.12", "10.244.2.0/24"), {"metadata": {}}]

    async def scene(network: PodNetwork) -> None:
        await network.configure(RANGE, others)
        assert network.ready.is_set()
        state = bench.links.state()
        assert DeviceAddress("cni0", "10.244.1.1/24") in state.addresses
        assert [str(route.destination) for route in state.routes] == ["10.244.2.0/24"]
        assert "FLANNEL-POSTRTG" in bench.netfilter.save(Family.IPV4)
        await network.configure(RANGE, others[:1])
        assert bench.links.state().routes == ()

    bench.play(scene)


def test_what_an_earlier_agent_laid_for_a_node_that_left_meanwhile_is_removed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.play(lambda network: network.configure(RANGE, [node("node-b", "10.0.0.12", "10.244.2.0/24")]))
    assert bench.links.state().routes
    bench.play(lambda network: network.configure(RANGE, []))
    assert bench.links.state().routes == ()


def test_pods_get_addresses_and_links_and_give_them_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.kernel.create("/proc/7/ns/net")

    async def scene(network: PodNetwork) -> None:
        with pytest.raises(NetworkProblem, match="no pod range yet"):
            network.allocate("u1")
        await network.configure(RANGE, [])
        assert network.allocate("u1") == network.allocate("u1") == ("10.244.1.2",)
        await network.attach("u1", "/proc/7/ns/net", ("10.244.1.2",))
        assert link_name("u1") in {interface.name for interface in bench.links.interfaces()}
        await network.detach("u1")
        assert link_name("u1") not in {interface.name for interface in bench.links.interfaces()}
        assert network.allocate("u2") == ("10.244.1.3",)

    bench.play(scene)


def test_pods_that_live_from_before_keep_their_addresses(tmp_path: Path) -> None:
    async def scene(network: PodNetwork) -> None:
        network.adopt("old", ("10.244.1.2",))
        network.adopt("stranger", ("10.99.0.2",))
        await network.configure(RANGE, [])
        assert network.holds("old", ("10.244.1.2",))
        assert not network.holds("stranger", ("10.99.0.2",))
        assert network.allocate("new") == ("10.244.1.3",)

    Bench(tmp_path).play(scene)


def test_flushed_rules_and_removed_links_come_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def scene(network: PodNetwork) -> None:
        await network.configure(RANGE, [])
        before, rules = bench.links.state(), bench.netfilter.save(Family.IPV4)
        bench.links.delete_link("flannel.1")
        bench.netfilter.restore(Family.IPV4, "*nat\n:FLANNEL-POSTRTG - [0:0]\nCOMMIT\n")
        await network.restore()
        assert bench.links.state() == before
        assert bench.netfilter.save(Family.IPV4) == rules

    bench.play(scene)


@pytest.mark.parametrize("removed", ["cni0", link_name("u1")])
def test_pods_are_linked_again_after_the_bridge_or_their_link_was_removed(tmp_path: Path, removed: str) -> None:
    bench = Bench(tmp_path)
    bench.kernel.create("/proc/7/ns/net")

    async def scene(network: PodNetwork) -> None:
        await network.configure(RANGE, [])
        await network.attach("u1", "/proc/7/ns/net", network.allocate("u1"))
        bench.links.delete_link(removed)
        await network.restore()
        assert bench.links.ports("cni0") == {link_name("u1")}

    bench.play(scene)


def test_a_pod_whose_link_was_switched_off_is_linked_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.kernel.create("/proc/7/ns/net")

    async def scene(network: PodNetwork) -> None:
        await network.configure(RANGE, [])
        await network.attach("u1", "/proc/7/ns/net", network.allocate("u1"))
        bench.links.switch(link_name("u1"), on=False)
        assert bench.links.ports("cni0") == set()
        await network.restore()
        assert bench.links.ports("cni0") == {link_name("u1")}

    bench.play(scene)


def test_a_pod_that_could_not_be_linked_again_is_tried_again_until_it_ends(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    pod = bench.kernel.create("/proc/7/ns/net")

    async def scene(network: PodNetwork) -> None:
        await network.configure(RANGE, [])
        await network.attach("u1", "/proc/7/ns/net", network.allocate("u1"))
        bench.links.delete_link("cni0")
        bench.kernel.remove("/proc/7/ns/net")
        await network.restore()
        bench.kernel.enter("/proc/7/ns/net", pod)
        await network.restore()
        assert bench.links.ports("cni0") == {link_name("u1")}
        await network.detach("u1")
        await network.restore()
        assert bench.links.ports("cni0") == set()

    bench.play(scene)


def test_addresses_held_twice_are_believed_once() -> None:
    held = {"a": ("10.244.1.2",), "b": ("10.244.1.2",), "c": ("10.244.9.9",)}
    assert usable(held, RANGE) == {"a": ("10.244.1.2",)}


def test_ranges_of_a_node() -> None:
    assert pod_ranges({"spec": {"podCIDR": "10.244.1.0/24"}}) == RANGE
    assert pod_ranges({"spec": {}}) == pod_ranges({}) == ()
