"""Packets through the rules: what the model says happens, on the real kernel."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from fairway.dataplane.base import Programmer, Update
from fairway.dataplane.nft_sync import NftSync
from fairway.dataplane.sync import RuleSync
from fairway.desired.build import build
from fairway.desired.decide import decide
from fairway.desired.model import Desired
from fairway.desired.options import ProxyOptions
from fairway.desired.view import ServiceView
from fairway.kernel.linux.conntrack import LinuxConntrack
from fairway.kernel.linux.netfilter import Backend, LinuxNetfilter
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.packet import Family, Packet, Protocol, Verdict
from tests.kernel.proxy_scene import NODE_ADDRESS, OUTSIDE, PODS, PORT, REFUSED, SILENT, Scene, scene
from tests.unit.desired.objects import endpoint, endpoint_slice, service

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not shutil.which("iptables-restore"), reason="iptables is not installed"),
]

CLUSTER_IP, VIP, NODE_PORT = "10.96.0.20", "203.0.113.10", 30080
ALL = tuple(four for four, _ in PODS.values())
OPTIONS = ProxyOptions(cluster_cidrs=("10.244.0.0/16", "fd00:10:244::/48"))
ELSEWHERE = endpoint(OUTSIDE, on="node-b")


@pytest.fixture(scope="module")
def world() -> Iterator[Scene]:
    with scene() as built:
        yield built


@pytest.fixture(params=["nftables", Backend.NFT, Backend.LEGACY], ids=["nftables", "iptables", "legacy"])
def rules(world: Scene, request: pytest.FixtureRequest) -> Iterator[Programmer]:
    """The node's rules in one dialect and backend; there are no others, and afterwards none at all."""
    node = world.paths["node"]
    kernel = LinuxNftables(node)
    made: Programmer = NftSync(kernel, LinuxConntrack(node))
    if request.param != "nftables":
        made = RuleSync(LinuxNetfilter(node, request.param), LinuxConntrack(node))
    yield made
    made.clean()
    kernel.close()


def web(**over: Any) -> ServiceView:
    spec: dict[str, Any] = {
        "type": "LoadBalancer",
        "ports": [{"port": 80, "protocol": "TCP", "nodePort": NODE_PORT}],
        "status": {"loadBalancer": {"ingress": [{"ip": VIP}]}},
    }
    return service("web", CLUSTER_IP, **{**spec, **over})


def state(
    world: Scene, *endpoints: Any, options: ProxyOptions = OPTIONS, protocol: str = "TCP", **over: Any
) -> Desired:
    """The Service `web` with these endpoints: addresses of pods, or endpoints in full."""
    if not endpoints and not over:
        return build([], [], world.node(), options)
    full = [endpoint(e) if isinstance(e, str) else e for e in endpoints]
    piece = endpoint_slice("web", *full, port=PORT, protocol=protocol)
    return build([web(**over)], [piece], world.node(), options)


def test_a_pod_reaches_every_endpoint_with_equal_chances_and_is_seen_as_itself(world: Scene, rules: Programmer) -> None:
    rules.sync(Update.of(state(world, *ALL[1:], ELSEWHERE)))

    counts = world.spread("pod-5", CLUSTER_IP, 80, 150)

    assert set(counts) == {f"{server} 10.244.0.5" for server in (*ALL[1:], OUTSIDE)}
    # two degrees of freedom: beyond 27.6 once in a million runs
    assert sum((n - 50) ** 2 / 50 for n in counts.values()) < 27.6


def test_an_endpoint_that_calls_its_own_service_gets_an_answer(world: Scene, rules: Programmer) -> None:
    rules.sync(Update.of(state(world, ALL[0])))

    assert world.ask("pod-5", CLUSTER_IP, 80) == "10.244.0.5 10.244.0.1"


def test_the_node_itself_uses_services(world: Scene, rules: Programmer) -> None:
    rules.sync(Update.of(state(world, ALL[0])))

    assert world.ask("node", CLUSTER_IP, 80) == "10.244.0.5 10.244.0.1"
    assert world.ask("node", NODE_ADDRESS, NODE_PORT) == "10.244.0.5 10.244.0.1"


def test_an_outsider_uses_the_node_port_and_is_hidden_by_the_node(world: Scene, rules: Programmer) -> None:
    rules.sync(Update.of(state(world, ALL[0])))

    assert world.ask("outside", NODE_ADDRESS, NODE_PORT) == "10.244.0.5 10.244.0.1"
    assert world.ask("outside", NODE_ADDRESS, NODE_PORT + 1) == REFUSED


def test_policy_local_shows_the_outsider_s_address(world: Scene, rules: Programmer) -> None:
    rules.sync(Update.of(state(world, ALL[0], ELSEWHERE, externalTrafficPolicy="Local")))

    assert world.spread("outside", NODE_ADDRESS, NODE_PORT, 10) == {f"10.244.0.5 {OUTSIDE}": 10}
    assert world.spread("outside", VIP, 80, 10) == {f"10.244.0.5 {OUTSIDE}": 10}


def test_policy_local_without_an_endpoint_here_is_silent(world: Scene, rules: Programmer) -> None:
    rules.sync(Update.of(state(world, ELSEWHERE, externalTrafficPolicy="Local", internalTrafficPolicy="Local")))

    assert world.ask("outside", NODE_ADDRESS, NODE_PORT) == SILENT
    assert world.ask("pod-5", CLUSTER_IP, 80) == SILENT


@pytest.mark.parametrize("who", ["pod-5", "node"])
def test_without_endpoints_everybody_is_refused_at_once(world: Scene, rules: Programmer, who: str) -> None:
    rules.sync(Update.of(state(world, type="NodePort")))

    assert world.ask(who, CLUSTER_IP, 80) == REFUSED
    assert world.ask("outside", NODE_ADDRESS, NODE_PORT) == REFUSED


def test_source_ranges_guard_the_balancer_s_address_only(world: Scene, rules: Programmer) -> None:
    rules.sync(Update.of(state(world, ALL[0], loadBalancerSourceRanges=["192.0.2.0/24"])))

    assert world.ask("outside", VIP, 80) == SILENT
    assert world.ask("outside", NODE_ADDRESS, NODE_PORT).startswith("10.244.0.5")

    rules.sync(Update.of(state(world, ALL[0], loadBalancerSourceRanges=[f"{OUTSIDE}/32"])))
    assert world.ask("outside", VIP, 80).startswith("10.244.0.5")


def test_two_services_at_one_balancer_s_address_share_its_clients_by_their_ranges(
    world: Scene, rules: Programmer
) -> None:
    """Both are sticky: each client stays where it came to."""
    other, sticky = ALL[2], {"sessionAffinity": "ClientIP"}
    first = web(loadBalancerSourceRanges=[f"{OUTSIDE}/32"], **sticky)
    second = service(
        "web-2",
        "10.96.0.21",
        type="LoadBalancer",
        ports=[{"port": 80, "protocol": "TCP", "nodePort": NODE_PORT + 1}],
        status={"loadBalancer": {"ingress": [{"ip": VIP}]}},
        loadBalancerSourceRanges=["10.0.0.0/24", f"{ALL[1]}/32"],
        **sticky,
    )
    pieces = [
        endpoint_slice("web", endpoint(ALL[0]), ELSEWHERE, port=PORT),
        endpoint_slice("web-2", endpoint(other), port=PORT),
    ]
    rules.sync(Update.of(build([first, second], pieces, world.node(), OPTIONS)))

    assert {world.ask("outside", VIP, 80).split()[0] for _ in range(8)} in ({ALL[0]}, {OUTSIDE})
    assert world.ask("node", VIP, 80) == world.ask("pod-6", VIP, 80) == f"{other} 10.244.0.1"
    assert world.ask("pod-7", VIP, 80) == SILENT

    again = service("web-2", "10.96.0.21", type="ClusterIP")
    rules.sync(Update.of(build([first, again], pieces, world.node(), OPTIONS)))

    assert world.ask("outside", VIP, 80).split()[0] in (ALL[0], OUTSIDE)
    assert world.ask("pod-6", VIP, 80) == SILENT


def test_affinity_keeps_a_client_at_its_endpoint_until_that_is_gone(world: Scene, rules: Programmer) -> None:
    sticky = {"sessionAffinity": "ClientIP"}
    rules.sync(Update.of(state(world, *ALL, **sticky)))

    (answer,) = world.spread("outside", NODE_ADDRESS, NODE_PORT, 12)
    chosen = answer.split()[0]
    rules.sync(Update.of(state(world, *(a for a in ALL if a != chosen), **sticky)))
    (answer,) = world.spread("outside", NODE_ADDRESS, NODE_PORT, 12)

    assert answer.split()[0] in set(ALL) - {chosen}


def test_ipv6(world: Scene, rules: Programmer) -> None:
    dual = web(clusterIPs=[CLUSTER_IP, "fd00:10:96::20"])
    six = endpoint_slice("web", endpoint("fd00:10:244::5"), port=PORT, family="IPv6")
    rules.sync(Update.of(build([dual], [six], world.node(), OPTIONS)))

    assert world.ask("pod-6", "fd00:10:96::20", 80) == "fd00:10:244::5 fd00:10:244::6"
    assert world.ask("outside", "fd00:a::11", NODE_PORT) == "fd00:10:244::5 fd00:10:244::1"


def test_udp_follows_its_endpoint_within_one_flow(world: Scene, rules: Programmer) -> None:
    """The sender's socket never closes, so its flow would hold the old translation for as long as it sends."""
    udp = {"ports": [{"port": 80, "protocol": "UDP"}], "type": "ClusterIP", "status": {}}
    rules.sync(Update.of(state(world, ALL[0], protocol="UDP", **udp)))
    with world.datagrams("pod-7") as sender:
        sender.sendto(b"?", (CLUSTER_IP, 80))
        assert sender.recv(100) == b"10.244.0.5 10.244.0.7"

        report = rules.sync(Update.of(state(world, ALL[1], protocol="UDP", **udp)))

        assert report.flows_deleted == 1
        sender.sendto(b"?", (CLUSTER_IP, 80))
        assert sender.recv(100) == b"10.244.0.6 10.244.0.7"
        assert rules.sync(Update.of(state(world, *ALL[1:], protocol="UDP", **udp))).flows_deleted == 0


UDP: dict[str, Any] = {"ports": [{"port": 80, "protocol": "UDP", "nodePort": NODE_PORT}]}
MOVED: dict[str, Any] = {"ports": [{"port": 80, "protocol": "UDP", "nodePort": NODE_PORT + 1}]}
OTHER_VIP = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.11"}]}}}
WAYS = {
    "cluster IP": ("pod-7", CLUSTER_IP, 80),
    "node port": ("outside", NODE_ADDRESS, NODE_PORT),
    "VIP": ("outside", VIP, 80),
}
OTHERS, IT = {"loadBalancerSourceRanges": ["8.8.8.0/24"]}, {"loadBalancerSourceRanges": [f"{OUTSIDE}/32"]}
LOCAL, GOING = {"externalTrafficPolicy": "Local"}, endpoint(ALL[0], ready=False, serving=True, terminating=True)
TRANSITIONS: dict[str, tuple[tuple[Any, ...], dict[str, Any], set[str]]] = {
    "one endpoint more": ((ALL[0], ALL[1]), UDP, {*WAYS}),
    "another endpoint": ((ALL[1],), UDP, set()),
    "not ready": ((endpoint(ALL[0], ready=False), ALL[1]), UDP, set()),
    "going, and others serve": ((GOING, ALL[1]), UDP, set()),
    "going, and nobody else serves": ((GOING,), UDP, {*WAYS}),
    "scaled to zero": ((), UDP, set()),
    "the Service is gone": ((), {}, set()),
    "the node port has moved": ((ALL[0],), MOVED, {"cluster IP", "VIP"}),
    "the balancer has moved": ((ALL[0],), {**UDP, **OTHER_VIP}, {"cluster IP", "node port"}),
    "its ranges let others in": ((ALL[0],), {**UDP, **OTHERS}, {"cluster IP", "node port"}),
    "its ranges let it in": ((ALL[0],), {**UDP, **IT}, {*WAYS}),
    "outsiders are for this node's": ((ALL[0],), {**UDP, **LOCAL}, {*WAYS}),
    "outsiders are for others' nodes": ((endpoint(ALL[0], on="node-b"),), {**UDP, **LOCAL}, {"cluster IP"}),
}


@pytest.mark.parametrize("rules", ["nftables"], indirect=True)  # which flows end is the same in every mode
@pytest.mark.parametrize("transition", list(TRANSITIONS))
def test_exactly_those_flows_end_that_are_served_otherwise(world: Scene, rules: Programmer, transition: str) -> None:
    endpoints, spec, left = TRANSITIONS[transition]
    conntrack = LinuxConntrack(world.paths["node"])

    def standing() -> set[str]:
        found = {(flow.destination, flow.destination_port) for flow in conntrack.flows(Family.IPV4, 17)}
        return {way for way, (_, address, port) in WAYS.items() if (address, port) in found}

    rules.sync(Update.of(state(world, ALL[0], protocol="UDP", **UDP)))
    for who, address, port in WAYS.values():
        with world.datagrams(who) as sender:
            sender.settimeout(20)  # on a machine that has other things to do
            sender.sendto(b"?", (address, port))
            assert sender.recv(100).split()[0] == ALL[0].encode()
    assert standing() == {*WAYS}

    report = rules.sync(Update.of(state(world, *endpoints, protocol="UDP", **spec)))

    assert standing() == left
    assert report.flows_deleted == len(WAYS) - len(left)
    rules.sync(Update.of(state(world)))


def test_node_ports_on_loopback_where_asked_for(world: Scene, rules: Programmer) -> None:
    guarded = replace(OPTIONS, localhost_nodeports=True)
    rules.sync(Update.of(state(world, ALL[0], options=guarded)))

    assert world.ask("node", "127.0.0.1", NODE_PORT) == "10.244.0.5 10.244.0.1"


def test_no_connection_fails_while_rules_change(world: Scene, rules: Programmer) -> None:
    """One endpoint stays through all of it; another comes and goes, and so do policies and other Services."""
    rules.sync(Update.of(state(world, ALL[0])))
    stop, failed, made = threading.Event(), [], []

    def connect() -> None:
        while not stop.is_set():
            answer = world.ask("pod-7", CLUSTER_IP, 80)
            (made if answer.startswith("10.244.0.") else failed).append(answer)

    client = threading.Thread(target=connect)
    client.start()
    try:
        for n in range(12):
            spec: dict[str, Any] = {"externalTrafficPolicy": ("Cluster", "Local")[n % 2]}
            if n % 3 == 0:
                spec["sessionAffinity"] = "ClientIP"
            rules.sync(Update.of(state(world, *ALL[: 1 + n % 2], **spec)))
            rules.forget()  # the next sync takes over what it finds
    finally:
        stop.set()
        client.join()

    assert failed == []
    assert len(made) > 20


SENDERS = {"pod-6": ("10.244.0.6", "cni0"), "node": (NODE_ADDRESS, ""), "outside": (OUTSIDE, "eth0")}
POLICIES: list[dict[str, Any]] = [
    {},
    {"externalTrafficPolicy": "Local"},
    {"internalTrafficPolicy": "Local"},
    {"loadBalancerSourceRanges": ["192.0.2.0/24"]},
]


@pytest.mark.parametrize("endpoints", [(), ALL[:2], (ELSEWHERE,)], ids=["nobody", "here", "elsewhere"])
@pytest.mark.parametrize("policy", POLICIES, ids=["cluster", "external-local", "internal-local", "ranges"])
def test_the_kernel_does_what_the_oracle_says(
    world: Scene, rules: Programmer, policy: dict[str, Any], endpoints: tuple[Any, ...]
) -> None:
    desired = state(world, *endpoints, **{"externalTrafficPolicy": "Cluster", **policy})
    node = world.node()
    rules.sync(Update.of(desired))

    for who, (source, interface) in SENDERS.items():
        for address, port in ((CLUSTER_IP, 80), (NODE_ADDRESS, NODE_PORT), (VIP, 80)):
            packet = Packet(source, address, Protocol.TCP, port, in_interface=interface)
            said = decide(desired, node, packet)
            verdicts = {outcome.verdict for outcome in said}
            if verdicts == {Verdict.UNTRANSLATED}:
                continue  # goes off to an address that nobody here has
            seen = world.ask(who, address, port)
            expected = {
                Verdict.REJECTED: {REFUSED},
                Verdict.DROPPED: {SILENT},
            }.get(verdicts.pop(), {o.endpoint.partition(":")[0] for o in said})
            assert seen.split()[0] in expected, f"{who} to {address}:{port}"
            for outcome in said:
                if outcome.endpoint == f"{seen.split()[0]}:{PORT}":
                    assert (seen.split()[1] != source) == outcome.masqueraded or who == "node"
