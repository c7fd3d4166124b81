"""What runs: each function is one process's life, from its configuration to its orderly end on SIGTERM."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from dataclasses import replace

from fairway.api.http import serve
from fairway.api.nodes import HttpNodeClient
from fairway.api.server import Api, ApiConfig
from fairway.assemble import announcing, proxying, routes, stores
from fairway.assemble.life import run
from fairway.assemble.proxyconfig import Conntrack, KubeProxyConfiguration
from fairway.client.http import HttpClient
from fairway.client.kubeconfig import connect, load
from fairway.control import manager
from fairway.kernel.linux.links import LinuxLinks
from fairway.kernel.linux.netfilter import LinuxNetfilter
from fairway.lab import credentials, relay, system
from fairway.lab.build import API_PORT
from fairway.lab.state import StateDir
from fairway.lab.topology import Topology
from fairway.pods.agent import Agent
from fairway.pods.config import AgentConfig
from fairway.pods.images import ImageTable

HEARTBEAT_SECONDS = 1.0
NODE_GRACE_SECONDS = 4.0
LOOK_SECONDS = 2.0  # how often a proxy looks whether its rules still stand; clusters take 30
VERIFY_SECONDS = 10.0  # how often it compares them all; clusters take far longer
ANNOUNCER_PAGE = ("127.0.0.1", 10260)
MODULES_OF_PROXIES = (
    "fairway.dataplane.nft_sync",
    "fairway.dataplane.sync",
    "fairway.kernel.linux.conntrack",
    "fairway.kernel.linux.nft_notices",
    "fairway.kernel.linux.nftables",
    "fairway.kernel.linux.sysctl",
)
EVICTION_SECONDS = 0  # after the grace; clusters wait five minutes more


def modules_of_api(topology: Topology) -> tuple[str, ...]:
    """What the API server (and, since it is the first, every process after it) is forked with. Not the way to etcd:
    gRPC does not bear a fork."""
    return ("uvloop", "encodings.idna", *(() if topology.etcd else ("fairway.store.sqlite",)))


def api(state: StateDir, topology: Topology, sockets: list[socket.socket]) -> None:
    """The lab's API server on its store and the two sockets its supervisor holds."""

    async def main(stop: asyncio.Event) -> None:
        store = stores.open_store(_store(state, topology), prefix=f"/fairway-lab-{topology.name}")
        config = ApiConfig(
            service_cidrs=topology.service_ranges,
            node_ports=topology.node_ports,
            advertise_address=topology.control_plane,
            advertise_port=API_PORT,
            toleration_seconds=EVICTION_SECONDS,
            audit=True,
            root_ca=_root_ca(state),
        )
        server = Api(store, config, HttpNodeClient(_node_context(state)))
        await server.start()
        pki = state.credentials
        files = {"certfile": str(pki / "api.crt"), "keyfile": str(pki / "api.key"), "client_ca": str(pki / "ca.crt")}
        await serve(server, sockets, **files, stop=stop)
        await server.stop()
        await store.close()

    run(main)


def etcd_relay(state: StateDir, topology: Topology) -> None:
    """The API server's way to the etcd that the host reaches; runs outside the lab's namespaces."""

    async def main(stop: asyncio.Event) -> None:
        await relay.relay(state.path, topology.etcd, stop)

    run(main)


def _store(state: StateDir, topology: Topology) -> stores.StoreChoice:
    if topology.etcd:
        return stores.StoreChoice(tuple(f"unix:{path}" for path in relay.sockets(state.path, topology.etcd)))
    return stores.StoreChoice(file=state.database)


def _root_ca(state: StateDir) -> str:
    return (state.credentials / "ca.crt").read_text()


def _node_context(state: StateDir) -> ssl.SSLContext:
    """How the API server speaks to node agents: it believes the lab's CA and shows its own client certificate."""
    context = ssl.create_default_context(cafile=str(state.credentials / "ca.crt"))
    context.load_cert_chain(state.credentials / "api-to-node.crt", state.credentials / "api-to-node.key")
    return context


def _client(state: StateDir, component: str) -> HttpClient:
    return connect(load(str(credentials.kubeconfig_of(state, component))))


def control(state: StateDir, topology: Topology) -> None:
    """All controllers. A lab's nodes are declared dead after seconds, not after a minute as clusters wait."""

    async def main(stop: asyncio.Event) -> None:
        config = manager.ControlConfig(
            cluster_cidrs=topology.pod_ranges,
            node_grace_seconds=NODE_GRACE_SECONDS,
            eviction_seconds=EVICTION_SECONDS,
            root_ca=_root_ca(state),
        )
        client = _client(state, "control")
        ways = routes.start(client, LinuxLinks(), topology.pod_ranges, topology.segments)
        await manager.run(client, config, stop=stop, acting=client.acting_as)
        ways.cancel()

    run(main)


def agent(state: StateDir, topology: Topology, node: str) -> None:
    """The agent of one node, inside the node's network namespace."""

    async def main(stop: asyncio.Event) -> None:
        pki = state.credentials
        dns_program = [sys.executable, "-m", "fairway", "dns"]
        config = AgentConfig(
            node_name=node,
            state_dir=state.node(node),
            node_ip=topology.node(node).address,
            other_ips=topology.node(node).addresses[1:],
            pod_cidrs=topology.pod_ranges_of(node),
            cluster_dns=topology.dns_address,
            cluster_domain=topology.domain,
            images=ImageTable({system.DNS_IMAGE: dns_program, **topology.images}),
            heartbeat_seconds=HEARTBEAT_SECONDS,
            cert_file=str(pki / f"server-{node}.crt"),
            key_file=str(pki / f"server-{node}.key"),
            client_ca_file=str(pki / "ca.crt"),
            cluster_cidrs=topology.pod_ranges,
        )
        client = _client(state, f"agent-{node}")
        await Agent(client, LinuxLinks(), LinuxNetfilter(), config).run(stop)
        await client.close()

    run(main)


def proxy(state: StateDir, topology: Topology, node: str) -> None:
    """The node proxy of one node, inside the node's network namespace, and beside it the announcer of load-balancer
    addresses, that of `fairway announce`."""

    async def main(stop: asyncio.Event) -> None:
        plan = plan_of_proxy(topology, node)
        pace = replace(plan.pace, check=LOOK_SECONDS, verify=VERIFY_SECONDS)
        client, announcing_client = _client(state, f"proxy-{node}"), _client(state, f"announcer-{node}")
        async with asyncio.TaskGroup() as group:
            group.create_task(proxying.serve(client, replace(plan, pace=pace), stop))
            group.create_task(announcing.serve(announcing_client, announcing.Plan(node, metrics=ANNOUNCER_PAGE), stop))
        await client.close()
        await announcing_client.close()

    run(main)


def plan_of_proxy(topology: Topology, node: str) -> proxying.Plan:
    """What a lab's node proxy is told: as `fairway proxy`, to leave the limits of connection tracking as they are, and
    to program no external address but those of load balancers, which the lab's own controller grants."""
    config = KubeProxyConfiguration(
        mode=topology.proxy_mode,
        cluster_cidr=",".join(topology.pod_ranges),
        hostname_override=node,
        conntrack=Conntrack(max_per_core=0, tcp_established_timeout=None, tcp_close_wait_timeout=None),
    )
    plan = proxying.plan(config, allow_external_cidrs="")
    return replace(plan, options=replace(plan.options, trusted_status=True))
