"""Services of type LoadBalancer in a lab, in both languages of node proxies."""

from __future__ import annotations

import json
import os
import re
import sys
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
    try:
        made.up(2, "--proxy-mode", request.param, "--ip-family", "dual", "--router", "--load-balancer-style", "nodes")
        made.kubectl("run", "web", "--image=agnhost", "--labels=app=web", "--", "netexec", "--http-port=80")
        yield made
    finally:
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
    assert not re.search("^(ERROR|WARNING)", lab.fairway("doctor"), re.M)


TWO = ("10.0.0.201", "fd00:a::200")
CLIENTS = {"client": (plan.OUTSIDE_CLIENT, plan.OUTSIDE_CLIENT_V6), "far": tuple(plan.FAR_CLIENT.values())}
ASK_UDP = """
import socket, sys
host, port = sys.argv[1:]
asker = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
asker.settimeout(1)
asker.sendto(b"hostname", (host, int(port)))
print(asker.recv(100).decode())
"""


def patched(lab: Lab, name: str, **spec: Any) -> None:
    lab.kubectl("patch", "svc", name, "-p", json.dumps({"spec": spec}))


def host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def reaches(lab: Lab, client: str, address: str) -> str:
    """Whom the pod believes to hear when `client` asks at the address of the Service `two`; "" when it is kept out."""
    url = f"http://{host(address)}:8082/clientip"
    found = re.fullmatch(r"\[?([0-9a-f.:]+?)\]?:\d+\s*", lab.inside(client, "curl", "-sS", "-m", "1", url, allow=True))
    return found[1] if found else ""


def test_policy_local_keeps_the_source_in_both_families_and_from_both_segments(lab: Lab) -> None:
    ports = [
        {"name": "tcp", "port": 8082, "targetPort": 80},
        {"name": "udp", "port": 8082, "targetPort": 8081, "protocol": "UDP"},
    ]
    balanced(lab, "two", loadBalancerClass="fairway.io/l2", ipFamilyPolicy="RequireDualStack",
             externalTrafficPolicy="Local", ports=ports)  # fmt: skip
    until(lambda: shown(lab, "two") == list(TWO), "it has an address in both families")
    for client, own in CLIENTS.items():
        for address, seen in zip(TWO, own, strict=True):
            until(lambda c=client, a=address, s=seen: reaches(lab, c, a) == s, f"{address} sees {seen}")  # type: ignore[misc]
    for address in TWO:
        said = lab.inside("client", sys.executable, "-c", ASK_UDP, address, "8082")
        assert said.strip() == "web"
        traced = lab.fairway("trace", "--from", "far", "--to", f"{host(address)}:8082")
        assert re.search(r"always +reaches \S+:80 \(default/web\) by cni0", traced), traced


def test_the_health_check_tells_where_the_pod_is(lab: Lab) -> None:
    port = lab.get("service", "two")["spec"]["healthCheckNodePort"]
    here = lab.pods("app=web")[0]["spec"]["nodeName"]
    for node in ("node-a", "node-b"):
        for address in (plan.NODES[node], plan.NODES_V6[node]):
            url = f"http://{host(address)}:{port}/"
            told = lab.inside("client", "curl", "-sS", "-m", "5", "-w", " %{http_code}", url)
            count, code = (1, 200) if node == here else (0, 503)
            assert f'"localEndpoints": {count}' in told and told.endswith(f" {code}"), told


def test_pods_take_the_short_cut_and_policy_local_does_not_hold_for_them(lab: Lab) -> None:
    away = {"node-a": "node-b", "node-b": "node-a"}[lab.pods("app=web")[0]["spec"]["nodeName"]]
    where = json.dumps({"spec": {"nodeName": away}})
    lab.kubectl("run", "other", "--image=agnhost", f"--overrides={where}", "--", "pause")
    lab.kubectl("wait", "--for=condition=Ready", "pod/other", "--timeout=60s")
    own = [each["ip"] for each in lab.get("pod", "other")["status"]["podIPs"]]
    for address, seen in zip(TWO, own, strict=True):
        until(lambda a=address, s=seen: reaches(lab, "other", a) == s, "the pod's own address is seen")  # type: ignore[misc]


def test_source_ranges_are_of_both_families(lab: Lab) -> None:
    patched(lab, "two", loadBalancerSourceRanges=["10.0.0.0/24", plan.FAR_SEGMENT[6]])
    let_in = {
        (client, address): own for client, both in CLIENTS.items() for address, own in zip(TWO, both, strict=True)
    }
    kept_out = [("client", TWO[1]), ("far", TWO[0])]
    for client, address in kept_out:
        until(lambda c=client, a=address: reaches(lab, c, a) == "", f"{client} is kept out of {address}")  # type: ignore[misc]
        del let_in[client, address]
    for (client, address), own in let_in.items():
        until(lambda c=client, a=address, s=own: reaches(lab, c, a) == s, f"{client} is let in to {address}")  # type: ignore[misc]
    patched(lab, "two", loadBalancerSourceRanges=None)


def test_policy_cluster_hides_the_source(lab: Lab) -> None:
    patched(lab, "two", externalTrafficPolicy="Cluster")
    for client, own in CLIENTS.items():
        for address, hidden in zip(TWO, own, strict=True):
            until(lambda c=client, a=address, s=hidden: reaches(lab, c, a) not in ("", s), f"{address} hides {hidden}")  # type: ignore[misc]


def test_an_address_of_mode_proxy_is_left_to_the_proxy(lab: Lab) -> None:
    """Another controller's Service, so that the test can say what its status is."""
    addresses = ("198.51.100.9", "2001:db8:9::9")
    balanced(lab, "proxied", loadBalancerClass="example.com/x", ipFamilyPolicy="RequireDualStack",
             ports=[{"port": 8082, "targetPort": 80}])  # fmt: skip

    def mode(name: str) -> None:
        service = lab.get("service", "proxied")
        service["status"]["loadBalancer"] = {"ingress": [{"ip": each, "ipMode": name} for each in addresses]}
        path = "/api/v1/namespaces/default/services/proxied/status"
        lab.kubectl("replace", "--raw", path, "-f", "-", text=json.dumps(service))

    mode("VIP")
    for address in addresses:
        until(lambda a=address: reaches(lab, "other", a) != "", "by the short cut")  # type: ignore[misc]
    mode("Proxy")
    for address in addresses:
        until(lambda a=address: reaches(lab, "other", a) == "", "it is left to the network, where nobody has it")  # type: ignore[misc]
