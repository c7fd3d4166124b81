"""`fairway lb frr`: what of a cluster's objects a node's bgpd is told, and when."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from fairway.announce.frr import Speaker, configuration
from fairway.api.server import Api, ApiConfig
from fairway.assemble.announceable import settings_of, wishes
from fairway.assemble.peering import PeeringError, keep, router_id, speaker
from fairway.client.local import LocalClient
from fairway.kernel.base import KernelError
from fairway.objects.kinds import CONFIG_MAP, NODE, SERVICE
from fairway.store.memory import MemoryStore

PEERS = "{address: 10.0.0.2, as: 64513}, {address: 10.0.0.3, as: 64513, nodeSelector: {r: b}}"
BGP = f"bgp: {{localAS: 64512, peers: [{PEERS}]}}"


def config(text: str = BGP) -> dict[str, Any]:
    metadata = {"name": "fairway-loadbalancer", "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"config": text}}


def node(name: str, address: str = "10.0.0.11", ready: bool = True, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "addresses": [{"type": "InternalIP", "address": address}],
        },
    }


def service(name: str, *addresses: str, policy: str = "Cluster") -> dict[str, Any]:
    return {
        "metadata": {"namespace": "default", "name": name},
        "spec": {"type": "LoadBalancer", "externalTrafficPolicy": policy},
        "status": {
            "loadBalancer": {"ingress": [{"ip": each} for each in addresses]},
            "conditions": [{"type": "fairway.io/LoadBalancer", "status": "True"}],
        },
    }


def backing(*names: str) -> dict[str, list[dict[str, Any]]]:
    return {"default/local": [{"endpoints": [{"nodeName": name, "conditions": {"ready": True}} for name in names]}]}


NODES = (node("a"), node("b", "fd00::b", r="b"))
SERVICES = (service("all", "10.0.0.200", "fd00::200"), service("local", "10.0.0.201", policy="Local"))


def told(name: str, text: str | None, nodes: tuple[dict[str, Any], ...], services: Any = SERVICES) -> Speaker:
    settings = settings_of(text)
    found = wishes(services, nodes, backing("a"), settings) if settings is not None else {}
    return speaker(name, {each["metadata"]["name"]: each for each in nodes}, settings, found)


def said(name: str, nodes: tuple[dict[str, Any], ...] = NODES, **more: Any) -> Speaker:
    return told(name, BGP, nodes, **more)


def test_every_node_says_what_it_may_serve() -> None:
    assert said("a").addresses == ("10.0.0.200", "10.0.0.201", "fd00::200")
    assert said("b").addresses == ("10.0.0.200", "fd00::200")


def test_peers_are_those_of_the_nodes_labels() -> None:
    assert [each.address for each in said("a").neighbours] == ["10.0.0.2"]
    assert [each.address for each in said("b").neighbours] == ["10.0.0.2", "10.0.0.3"]


def test_a_node_that_is_excluded_or_not_ready_says_nothing_while_others_can() -> None:
    excluded = node("a", **{"node.kubernetes.io/exclude-from-external-load-balancers": ""})
    for other in (excluded, node("a", ready=False)):
        assert said("a", (other, NODES[1]), services=SERVICES[:1]).addresses == ()
        assert said("b", (other, NODES[1]), services=SERVICES[:1]).addresses == ("10.0.0.200", "fd00::200")


def test_a_node_of_ipv6_alone_has_a_name_among_routers() -> None:
    assert router_id(NODES[0]) == "10.0.0.11"
    assert router_id(NODES[1]) == router_id(node("b", "fd00::c")) != router_id(node("c", "fd00::b"))


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("x", BGP, "there is no node 'x'"),
        ("a", None, "ConfigMap kube-system/fairway-loadbalancer is not there"),
        ("a", "pools: 7", "or cannot be read"),
        ("a", "pools: []", "has no `bgp` with localAS and peers"),
    ],
)
def test_where_there_is_nothing_to_say_it_is_said_why(name: str, text: str | None, why: str) -> None:
    with pytest.raises(PeeringError, match=why):
        told(name, text, NODES)


class Bgpd:
    """Remembers what it was told; refuses while it is `down`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.down = True
        self.refused = 0
        self.told: list[str] = []
        self.forgotten = False
        self._loop = loop
        self.heard = asyncio.Event()

    def running(self) -> str:
        refused = self.down
        self.refused += refused
        self._loop.call_soon_threadsafe(self.heard.set)
        if refused:
            raise KernelError("vtysh: failed to connect to any daemons")
        if self.forgotten or not self.told:
            return "end\n"
        return self.told[-1][self.told[-1].index("bgp as-path") :]

    def tell(self, text: str) -> None:
        self.told.append(text)
        self.forgotten = False
        self._loop.call_soon_threadsafe(self.heard.set)

    async def until(self, told: int = 0, refused: int = 0) -> str:
        async with asyncio.timeout(20):
            while len(self.told) < told or self.refused < refused:
                self.heard.clear()
                await self.heard.wait()
        return self.told[-1] if self.told else ""


def test_a_daemon_is_kept_in_step(caplog: pytest.LogCaptureFixture) -> None:
    """It is down at first, then told, told what changes, and told again when it has forgotten."""

    async def scene() -> None:
        api = Api(MemoryStore(), ApiConfig(("10.96.0.0/12",), advertise_address="10.0.0.10", advertise_port=6443))
        await api.start()
        client = LocalClient(api.handlers)
        bgpd = Bgpd(asyncio.get_running_loop())
        keeping = asyncio.create_task(keep(client, "a", bgpd, look=0.05))
        await client.create(CONFIG_MAP, config(), "kube-system")
        await client.create(NODE, node("a"))
        await bgpd.until(refused=2)
        bgpd.down = False
        assert await bgpd.until(1) == configuration(Speaker(64512, "10.0.0.11", said("a").neighbours))
        made = await client.create(SERVICE, _plain("web"), "default")
        made["status"] = service("web", "10.0.0.200")["status"]
        await client.update(SERVICE, made, subresource="status")
        assert "network 10.0.0.200/32 route-map FAIRWAY" in await bgpd.until(2)
        await client.update(CONFIG_MAP, config("pools: ["))  # changes nothing
        bgpd.forgotten = True
        await client.update(CONFIG_MAP, config())
        assert "network 10.0.0.200/32 route-map FAIRWAY" in await bgpd.until(3)
        await client.update(CONFIG_MAP, config("pools: []"))
        assert "no network 10.0.0.200/32 route-map FAIRWAY" in await bgpd.until(4)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await api.stop()

    with caplog.at_level(logging.ERROR):
        asyncio.run(scene())
    assert caplog.messages.count("vtysh: failed to connect to any daemons") == 1


def _plain(name: str) -> dict[str, Any]:
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
