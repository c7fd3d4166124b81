"""Services of type LoadBalancer in a lab, in both languages of node proxies."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests import plan
from tests.lab.cluster import Lab, until

pytestmark = pytest.mark.lab
VIP = "10.0.0.200"


@pytest.fixture(scope="module", params=["iptables", "nftables"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    made = Lab(f"t{os.getpid()}lb"[:16])
    made.up(2, "--proxy-mode", request.param, "--ip-family", "dual", "--router", "--load-balancer-style", "nodes")
    made.kubectl("run", "web", "--image=agnhost", "--labels=app=web", "--", "netexec", "--http-port=80")
    yield made
    made.down()


def balanced(lab: Lab, name: str, **spec: Any) -> None:
    ports = [{"port": 8080, "targetPort": 80}]
    whole = {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": ports, **spec}
    made = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": whole}
    lab.kubectl("apply", "-f", "-", text=json.dumps(made))


def shown(lab: Lab, name: str) -> list[str]:
    points = lab.get("service", name)["status"]["loadBalancer"].get("ingress") or []
    assert all(each["ipMode"] == "VIP" for each in points)
    return [each["ip"] for each in points]


def source(lab: Lab, url: str, client: str = "client") -> str:
    """Whom the pod believes to hear; "" when nothing answers."""
    found = re.fullmatch(r"\[?([0-9a-f.:]+?)\]?:\d+\s*", lab.curl(client, f"{url}/clientip", allow=True))
    return found[1] if found else ""


def test_an_address_of_the_pool_leads_to_the_pod_without_node_ports(lab: Lab) -> None:
    balanced(lab, "vip", loadBalancerClass="fairway.io/l2", allocateLoadBalancerNodePorts=False,
             externalTrafficPolicy="Local")  # fmt: skip
    until(lambda: shown(lab, "vip") == [VIP], "the Service has its address")
    assert not any(port.get("nodePort") for port in lab.get("service", "vip")["spec"]["ports"])
    until(lambda: source(lab, f"http://{VIP}:8080") == plan.OUTSIDE_CLIENT, "the pod sees the client itself")
    assert lab.curl("web", f"http://{VIP}:8080/hostname").strip() == "web"  # from inside, by the short cut
    assert f"{VIP} " in lab.kubectl("get", "svc", "vip", "--no-headers")


def test_its_source_ranges_are_kept(lab: Lab) -> None:
    ranges = {"spec": {"loadBalancerSourceRanges": ["192.0.2.0/24"]}}
    lab.kubectl("patch", "svc", "vip", "-p", json.dumps(ranges))
    until(lambda: source(lab, f"http://{VIP}:8080") == "", "the client is kept out")
    lab.kubectl("patch", "svc", "vip", "-p", json.dumps({"spec": {"loadBalancerSourceRanges": ["10.0.0.0/24"]}}))
    until(lambda: source(lab, f"http://{VIP}:8080") == plan.OUTSIDE_CLIENT, "and let in again")


def test_without_a_class_the_nodes_own_addresses_serve(lab: Lab) -> None:
    balanced(lab, "open")
    balanced(lab, "late")
    until(lambda: shown(lab, "open") == [plan.NODES["node-a"], plan.NODES["node-b"]], "both nodes serve")
    for address in shown(lab, "open"):
        until(lambda url=f"http://{address}:8080": source(lab, url) != "", f"{address} answers")  # type: ignore[misc]
    told = json.loads(lab.fairway("lb", "-o", "json"))
    said = {each["service"]: (each["addresses"], each["reason"]) for each in told["services"]}
    assert said["default/late"] == ([], "AddressTaken") and said["default/vip"] == ([VIP], "Assigned")
    assert told["pools"][0]["held"] == 1
    text = lab.fairway("lb")
    assert "the nodes' addresses are taken by default/open: both want port 8080/TCP" in text


def test_under_local_only_the_pods_node_serves(lab: Lab) -> None:
    lab.kubectl("patch", "svc", "open", "-p", '{"spec": {"externalTrafficPolicy": "Local"}}')
    node = lab.pods("app=web")[0]["spec"]["nodeName"]
    until(lambda: shown(lab, "open") == [plan.NODES[node]], "the pod's node alone serves")
    url = f"http://{plan.NODES[node]}:8080"
    until(lambda: source(lab, url) == plan.OUTSIDE_CLIENT, "the pod sees the client itself")


def test_what_is_released_goes_to_who_waits(lab: Lab) -> None:
    lab.kubectl("patch", "svc", "open", "-p", '{"spec": {"type": "ClusterIP"}}')
    until(lambda: shown(lab, "late") == list(plan.NODES.values())[:2], "the waiting Service has the nodes' ports")
    assert not lab.get("service", "open")["status"].get("loadBalancer")


def test_in_both_families_from_behind_a_router(lab: Lab) -> None:
    balanced(lab, "both", loadBalancerClass="fairway.io/nodes", ipFamilyPolicy="RequireDualStack",
             externalTrafficPolicy="Local", ports=[{"port": 8081, "targetPort": 80}])  # fmt: skip
    node = lab.pods("app=web")[0]["spec"]["nodeName"]
    until(lambda: shown(lab, "both") == [plan.NODES[node], plan.NODES_V6[node]], "the pod's node serves in both")
    for host, client in ((plan.NODES[node], plan.FAR_CLIENT[4]), (f"[{plan.NODES_V6[node]}]", plan.FAR_CLIENT[6])):
        url = f"http://{host}:8081"
        until(lambda url=url, client=client: source(lab, url, "far") == client, f"{host} sees {client}")  # type: ignore[misc]
    traced = lab.fairway("trace", "--from", "far", "--to", f"[{plan.NODES_V6[node]}]:8081")
    assert re.search(r"always +reaches \[fd00:10:244:", traced) and plan.FAR_CLIENT[6] in traced, traced
    assert not re.search("^(ERROR|WARNING)", lab.fairway("doctor"), re.M)
