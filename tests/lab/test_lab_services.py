"""From manifest to packet: what a user of kubectl does, and what clients inside and outside then see."""

from __future__ import annotations

import json
import re
from fractions import Fraction

import pytest

from tests import plan
from tests.lab.cluster import Lab, result, until

pytestmark = pytest.mark.lab

CHAINS = (
    "KUBE-SERVICES",
    "KUBE-NODEPORTS",
    "KUBE-MARK-MASQ",
    "KUBE-POSTROUTING",
    "KUBE-SVC-",
    "KUBE-SEP-",
    "KUBE-EXT-",
)


@pytest.fixture(scope="module", autouse=True)
def applied(lab: Lab) -> None:
    lab.apply("httpd.yaml", "httpd-svc.yaml", "nginx-rc-nodeport.yaml")
    lab.settled("httpd-svc", 3)
    lab.settled("nginx-service", 3)


def test_old_manifests_are_served_under_their_version_and_todays(lab: Lab) -> None:
    assert lab.get("deployments.v1.apps", "httpd")["spec"]["selector"] == {"matchLabels": {"run": "httpd"}}
    assert lab.get("deployments.v1beta1.apps", "httpd")["apiVersion"] == "apps/v1beta1"
    assert lab.get("rc", "nginx-controller")["status"]["readyReplicas"] == 3


def test_kubectl_prints_what_its_users_know(lab: Lab) -> None:
    pods = lab.kubectl("get", "pods", "-o", "wide", "-l", "run=httpd")
    assert pods.split("\n")[0].split() == [
        *("NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"),
        *("NOMINATED", "NODE", "READINESS", "GATES"),
    ]
    assert len(re.findall(r"httpd-\S+\s+1/1\s+Running\s+0\s+\d+s\s+10\.244\.\d+\.\d+\s+node-[abc]\s", pods)) == 3
    services = lab.kubectl("get", "svc")
    assert re.search(r"httpd-svc +ClusterIP +10\.\d+\.\d+\.\d+ +<none> +8080/TCP +\d+s", services)
    assert re.search(r"nginx-service +NodePort +10\.\d+\.\d+\.\d+ +<none> +8000:3\d{4}/TCP +\d+s", services)
    ready = [f"{address}:80" for address in lab.endpoints("httpd-svc")]
    listed = lab.kubectl("get", "endpoints", "httpd-svc", "--no-headers").split()[1].split(",")
    assert sorted(listed) == sorted(ready)
    slices = lab.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=httpd-svc")
    assert re.search(r"httpd-svc-\w{5} +IPv4 +80 +10\.244\.", slices)
    described = lab.kubectl("describe", "svc", "httpd-svc")
    for line in (
        r"Selector: +run=httpd",
        r"Port: +<unset>  8080/TCP",
        r"TargetPort: +80/TCP",
        r"Endpoints: +10\.244\.",
    ):
        assert re.search(line, described), line


def test_pods_spread_over_the_nodes(lab: Lab) -> None:
    assert {pod["spec"]["nodeName"] for pod in lab.pods("run=httpd")} == set(plan.NODES)


def test_a_pod_reaches_the_service_by_address_and_by_every_name(lab: Lab) -> None:
    pod = lab.pod("run=httpd")
    hosts = ("httpd-svc", "httpd-svc.default", "httpd-svc.default.svc.cluster.local", lab.cluster_ip("httpd-svc"))
    for host in hosts:
        assert lab.curl(pod, f"http://{host}:8080/").strip() == "<html><body><h1>It works!</h1></body></html>", host


def test_names_resolve_forward_and_reverse(lab: Lab) -> None:
    pod = lab.pod("run=httpd")
    resolver = lab.inside(pod, "cat", "/etc/resolv.conf")
    assert "search default.svc.cluster.local svc.cluster.local cluster.local\n" in resolver
    assert f"nameserver {plan.DNS_IP}\n" in resolver
    assert "options ndots:5" in resolver
    assert f"Address: {lab.cluster_ip('httpd-svc')}\n" in lab.inside(pod, "nslookup", "httpd-svc")
    reverse = lab.inside(pod, "nslookup", plan.DNS_IP)
    assert "10.0.96.10.in-addr.arpa\tname = kube-dns.kube-system.svc.cluster.local." in reverse
    assert "NXDOMAIN" in lab.inside(pod, "nslookup", "no-such-service.default.svc.cluster.local.", allow=True)


def test_a_pod_younger_than_a_service_has_its_variables_in_both_forms(lab: Lab) -> None:
    lab.kubectl("run", "young", "--image=pause", "--restart=Never")
    lab.kubectl("wait", "--for=condition=Ready", "pod/young", "--timeout=20s")
    ip = lab.cluster_ip("httpd-svc")
    environment = dict(line.split("=", 1) for line in lab.inside("young", "env").splitlines())
    assert environment["HTTPD_SVC_SERVICE_HOST"] == ip
    assert environment["HTTPD_SVC_SERVICE_PORT"] == "8080"
    assert environment["HTTPD_SVC_PORT"] == environment["HTTPD_SVC_PORT_8080_TCP"] == f"tcp://{ip}:8080"
    assert environment["KUBERNETES_SERVICE_HOST"] == plan.KUBERNETES_IP
    lab.kubectl("create", "service", "clusterip", "younger", "--tcp=80:80")
    assert "YOUNGER_SERVICE_HOST" not in lab.inside("young", "env")


def test_every_node_reaches_the_cluster_ip(lab: Lab) -> None:
    ip = lab.cluster_ip("httpd-svc")
    for node in plan.NODES:
        assert "It works!" in lab.curl(node, f"http://{ip}:8080/")


def test_outside_the_node_port_answers_on_every_node_and_the_cluster_ip_does_not(lab: Lab) -> None:
    service = lab.get("service", "nginx-service")
    port = service["spec"]["ports"][0]["nodePort"]
    assert port in plan.NODE_PORTS
    for address in plan.NODES.values():
        assert "It works!" in lab.curl("client", f"http://{address}:{port}/")
    assert "curl: (" in lab.curl("client", f"http://{service['spec']['clusterIP']}:8000/", allow=True)


def test_the_api_server_is_reached_from_a_pod_by_its_service(lab: Lab) -> None:
    assert "ok" in lab.inside(lab.pod("run=httpd"), "curl", "-sSk", "https://kubernetes.default.svc/healthz")


def test_connections_spread_evenly(lab: Lab) -> None:
    url = f"http://{lab.cluster_ip('httpd-svc')}:8080/hostname"
    said = result(lab.probe("node-a", url, 4))
    counts = said["answered"]
    total = sum(counts.values())
    assert said["failures"] == 0
    assert set(counts) == {pod["metadata"]["name"] for pod in lab.pods("run=httpd")}
    chi_square = sum((count - total / 3) ** 2 / (total / 3) for count in counts.values())
    assert total > 100
    assert chi_square < 18.4, counts  # 2 degrees of freedom: exceeded once in 10,000 runs


def test_the_rules_have_the_chains_operators_know(lab: Lab) -> None:
    rules = lab.inside("node-a", "iptables-save")
    for chain in CHAINS:
        assert f":{chain}" in rules, chain
    assert re.search(r"-A KUBE-SVC-\w{16} .*--probability 0.33333333349 -j KUBE-SEP-\w{16}", rules)


def test_trace_follows_a_packet_to_the_endpoints_its_service_has(lab: Lab) -> None:
    pod = next(pod for pod in lab.pods("run=httpd") if pod["spec"]["nodeName"] == "node-a")
    name, address = pod["metadata"]["name"], pod["status"]["podIP"]
    said = json.loads(lab.fairway("trace", "--from", name, "--to", "httpd-svc:8080", "-o", "json"))
    shares = {outcome["endpoint"]: Fraction(outcome["probability"]) for outcome in said["outcomes"]}
    assert shares == {f"{endpoint}:80": Fraction(1, 3) for endpoint in lab.endpoints("httpd-svc")}
    masqueraded = [outcome["endpoint"] for outcome in said["outcomes"] if outcome["masqueraded"]]
    assert masqueraded == [f"{address}:80"], "only the pod that meets itself"
    asked = f"{lab.cluster_ip('httpd-svc')}:8080"
    for branch in said["branches"]:
        way = branch["journey"]
        assert (way["end"], way["seen"], way["back"][-1]["node"]) == ("right", asked, "node-a")
        assert [leg["node"] for leg in way["onward"]] == [leg["node"] for leg in way["back"][:-1]]
    assert any(branch["journey"]["onward"] for branch in said["branches"])
    text = lab.fairway("trace", "--from", name, "--to", "httpd-svc:8080")
    for word in ("PREROUTING", "KUBE-SERVICES", "KUBE-MARK-MASQ", "1/3", "flannel.1", "cni0", "POSTROUTING"):
        assert word in text, word


def test_trace_goes_on_at_the_node_whose_port_is_asked(lab: Lab) -> None:
    port = lab.get("service", "nginx-service")["spec"]["ports"][0]["nodePort"]
    pod = next(pod for pod in lab.pods("run=httpd") if pod["spec"]["nodeName"] != "node-a")
    then = json.loads(lab.fairway("trace", "--from", pod["metadata"]["name"], "--to", f"node-a:{port}", "-o", "json"))[
        "then"
    ]
    assert (then["node"], then["packet"]["source"]) == ("node-a", pod["status"]["hostIP"])
    reached = {outcome["endpoint"].partition(":")[0] for outcome in then["outcomes"]}
    assert reached == set(lab.endpoints("nginx-service"))
    ways = [branch["journey"] for branch in then["branches"]]
    asked = f"{then['packet']['destination']}:{port}"
    assert {(way["end"], way["seen"], way["back"][-1]["node"]) for way in ways} == {
        ("right", asked, pod["spec"]["nodeName"])
    }


def test_trace_tells_the_undelivered_by_its_exit_code(lab: Lab) -> None:
    lab.kubectl("create", "service", "clusterip", "empty", "--tcp=80:80")
    until(lambda: "default/empty" in lab.inside("node-a", "iptables-save", "-t", "filter"), "the rule that refuses")
    said = json.loads(lab.fairway("trace", "--from", "node-a", "--to", "empty:80", "-o", "json", allow=True))
    assert [outcome["verdict"] for outcome in said["outcomes"]] == ["rejected"]
    said = lab.curl("node-a", f"http://{lab.cluster_ip('empty')}/", allow=True)
    refused = re.search(r"after (\d+) ms: Couldn't connect", said)
    # Nobody answers a SYN that was dropped; that it was sent again is seen by the second that takes (RFC 6298).
    assert refused and int(refused[1]) < 1000, said


def test_trace_knows_that_a_cluster_ip_ends_at_the_segments_router(lab: Lab) -> None:
    said = json.loads(lab.fairway("trace", "--from", "client", "--to", "httpd-svc:8080", "-o", "json", allow=True))
    assert [(outcome["verdict"], outcome["probability"]) for outcome in said["outcomes"]] == [("rejected", "1")]
    assert "Couldn't connect" in lab.curl("client", f"http://{lab.cluster_ip('httpd-svc')}:8080/", allow=True)


def test_logs_and_what_ran_for_an_unknown_image(lab: Lab) -> None:
    pod = lab.pod("run=httpd")
    lab.curl(pod, "http://127.0.0.1/")
    assert "GET /" in lab.kubectl("logs", pod)
    assert "StandIn" in lab.kubectl("describe", "pod", pod)
