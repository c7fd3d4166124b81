"""Load-balancer addresses by BGP: FRR on the nodes, kept in step by `fairway lb frr`, and FRR as the router."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests import plan
from tests.lab.cluster import FAIRWAY, Lab, until
from tests.lab.frr import DAEMONS, Frr

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not (shutil.which("vtysh") and (DAEMONS / "bgpd").exists()), reason="no FRR"),
]
VIPS = {4: "10.0.0.200", 6: "fd00:a::200"}
NODES = ("node-a", "node-b")
BGP = f"""
bgp:
  localAS: 64512
  peers:
  - {{address: {plan.ROUTER[4]}, as: 64513, bfd: true, holdTime: 300}}
  - {{address: "{plan.ROUTER[6]}", as: 64513, holdTime: 6}}
"""
ROUTER = """
router bgp 64513
 no bgp ebgp-requires-policy
 neighbor V4 peer-group
 neighbor V4 remote-as 64512
 neighbor V4 bfd
 neighbor V6 peer-group
 neighbor V6 remote-as 64512
 bgp listen range 10.0.0.0/24 peer-group V4
 bgp listen range fd00:a::/64 peer-group V6
 address-family ipv4 unicast
  maximum-paths 16
 exit-address-family
 address-family ipv6 unicast
  neighbor V6 activate
  maximum-paths 16
 exit-address-family
exit
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab(f"t{os.getpid()}bgp"[:16])
    try:
        made.up(2, "--ip-family", "dual", "--router", "--proxy-mode", "nftables")
        for node in NODES:
            web(made, node)
        settings = made.get("configmap", "fairway-loadbalancer", "-n", "kube-system")["data"]["config"]
        patch = json.dumps({"data": {"config": settings + BGP}})
        made.kubectl("patch", "configmap", "fairway-loadbalancer", "-n", "kube-system", "-p", patch)
        balanced(made)
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module", autouse=True)
def router(lab: Lab) -> Iterator[Frr]:
    """FRR as the router, and on the nodes, where it is kept in step."""
    with ExitStack() as undo:
        made = Frr(f"fw-{lab.name}-router")
        undo.callback(made.stop)
        hashing = [f"net.{family}.fib_multipath_hash_policy=1" for family in ("ipv4", "ipv6")]
        lab.inside("router", "sysctl", "-qw", *hashing)
        until(lambda: made.tell(ROUTER), "the router listens")
        for node in NODES:
            frr = Frr(f"fw-{lab.name}-{node}")
            undo.callback(frr.stop)
            undo.callback(end, keeper(lab, node, frr))
        yield made


def web(lab: Lab, node: str) -> None:
    where = json.dumps({"spec": {"nodeName": node}})
    lab.kubectl("run", f"web-{node}", "--image=agnhost", "--labels=app=web", f"--overrides={where}",
                "--", "netexec", "--http-port=80")  # fmt: skip


def balanced(lab: Lab) -> None:
    spec = {
        "type": "LoadBalancer",
        "loadBalancerClass": "fairway.io/l2",
        "ipFamilyPolicy": "RequireDualStack",
        "externalTrafficPolicy": "Local",
        "selector": {"app": "web"},
        "ports": [{"port": 8080, "targetPort": 80}],
    }
    made = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "vip"}, "spec": spec}
    lab.kubectl("apply", "-f", "-", text=json.dumps(made))


def keeper(lab: Lab, node: str, frr: Frr) -> subprocess.Popen[bytes]:
    words = ["lb", "frr", "--lab", lab.name, "--node", node, "--apply", "--vtysh", shlex.join(frr.vtysh)]
    with (frr.directory / "keeper.log").open("wb") as output:
        return subprocess.Popen([*FAIRWAY, *words], stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(20)


def ways(lab: Lab, version: int) -> int:
    """By how many nodes the router reaches the address."""
    said = lab.run("ip", "-n", f"fw-{lab.name}-router", f"-{version}", "-j", "route", "show", VIPS[version])
    routes: list[dict[str, Any]] = json.loads(said or "[]")
    return sum(len(each.get("nexthops", [each])) for each in routes)


def announcer(lab: Lab) -> str:
    """The node that answers on the segment for the IPv4 address; "" for none."""
    told = json.loads(lab.fairway("lb", "-o", "json"))
    return next((each["node"] for each in told["announcements"] if each["address"] == VIPS[4]), "")


def answers(lab: Lab, version: int, path: str, client: str = "far") -> set[str]:
    """What two dozen connections hear, from behind the router unless said otherwise."""
    host = VIPS[4] if version == 4 else f"[{VIPS[6]}]"
    urls = [f"http://{host}:8080/{path}"] * 24
    words = ["curl", "-gsS", "-m", "2", "-H", "Connection: close", "-w", "\\n", *urls]
    return set(lab.run("ip", "netns", "exec", f"fw-{lab.name}-{client}", *words, allow=True).split())


def printed(lab: Lab) -> str:
    return lab.fairway("lb", "frr", "--node", "node-a")


@pytest.mark.parametrize("version", [4, 6])
def test_connections_are_spread_over_the_nodes_that_serve(lab: Lab, version: int) -> None:
    until(lambda: ways(lab, version) == 2, "both nodes have told the router", 80)
    until(lambda: answers(lab, version, "hostname") == {"web-node-a", "web-node-b"}, "both pods are reached")
    seen = {each.rpartition(":")[0].strip("[]") for each in answers(lab, version, "clientip")}
    assert seen == {plan.FAR_CLIENT[version]}  # policy Local: the client's own address


def test_it_is_printed_for_who_keeps_files(lab: Lab) -> None:
    until(lambda: f"  network {VIPS[6]}/128 route-map FAIRWAY\n" in printed(lab), "the node serves the address")
    assert "router bgp 64512\n bgp router-id 10.0.0.11\n" in printed(lab)
    refused = lab.fairway("lb", "frr", "--node", "node-x", allow=True)
    assert refused == "fairway: there is no node 'node-x'\n"


def test_a_node_without_a_pod_and_one_that_is_excluded_take_it_back(lab: Lab) -> None:
    """On the segment, too, the address goes to the node with a pod: it is the announcing node that loses its own."""
    until(lambda: announcer(lab) in NODES, "one of them announces it on the segment")
    gone = announcer(lab)
    [left] = set(NODES) - {gone}
    lab.kubectl("delete", "pod", f"web-{gone}", "--wait=false")
    until(lambda: [ways(lab, 4), ways(lab, 6)] == [1, 1], "the node without a pod has taken it back")
    until(lambda: announcer(lab) == left, "the other one announces it")
    for client in ("far", "client"):
        for version in VIPS:
            until(
                lambda c=client, v=version: answers(lab, v, "hostname", c) == {f"web-{left}"}, "the other pod answers"
            )  # type: ignore[misc]
    label = "node.kubernetes.io/exclude-from-external-load-balancers"
    lab.kubectl("label", "node", left, f"{label}=")
    until(lambda: [ways(lab, 4), ways(lab, 6)] == [0, 0], "nobody says it any more")
    lab.kubectl("label", "node", left, f"{label}-")
    until(lambda: [ways(lab, 4), ways(lab, 6)] == [1, 1], "and again")


def test_a_node_that_dies_without_a_word_is_found_out_by_bfd_or_the_hold_time(lab: Lab, router: Frr) -> None:
    """Over IPv4 the hold time is five minutes, but BFD is spoken; over IPv6 it is six seconds."""
    [pod] = lab.pods("app=web")
    node = pod["spec"]["nodeName"]
    until(lambda: router.bfd().get(plan.NODES[node]) == "up", "they speak BFD")
    until(lambda: [ways(lab, 4), ways(lab, 6)] == [1, 1], "one node serves")
    lab.fairway("kill-node", node)
    until(lambda: ways(lab, 4) == 0, "BFD has found out")
    until(lambda: ways(lab, 6) == 0, "the hold time is over", 60)
