"""Things die: pods, processes, a node. Requests go on, everything converges, nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.lab.cluster import Lab, result, until

pytestmark = pytest.mark.lab

POD_GAP = 1.0  # seconds without an answer that a pod's replacement may cost
NODE_GAP = 8.0  # a node's death: 4 s until its lease runs out, and the change after that
UNITS = ("api", "control", "agent-node-a", "proxy-node-a", "supervisor", "standby")


@pytest.fixture(scope="module", autouse=True)
def applied(lab: Lab) -> None:
    lab.apply("httpd.yaml", "httpd-svc.yaml")
    lab.settled("httpd-svc", 3)


def url(lab: Lab) -> str:
    return f"http://{lab.cluster_ip('httpd-svc')}:8080/hostname"


def test_a_deleted_pod_is_replaced_with_a_new_address_and_requests_go_on(lab: Lab) -> None:
    before = lab.settled("httpd-svc", 3)
    victim = lab.pods("run=httpd")[0]
    probe = lab.probe("node-b", url(lab), 4)
    time.sleep(0.5)
    lab.kubectl("delete", "pod", victim["metadata"]["name"])
    after = lab.settled("httpd-svc", 3)
    assert victim["status"]["podIP"] not in after
    assert len(set(after) - set(before)) == 1
    assert set(after) == {pod["status"]["podIP"] for pod in lab.pods("run=httpd")}
    said = result(probe)
    print(f"a pod deleted: {said['failures']} of {said['requests']} failed, gap {said['longest_gap']} s")
    assert said["longest_gap"] < POD_GAP


def test_names_of_a_headless_service_follow_its_pods(lab: Lab) -> None:
    lab.kubectl("create", "service", "clusterip", "direct", "--clusterip=None", "--tcp=80:80")
    lab.kubectl("patch", "service", "direct", "-p", '{"spec":{"selector":{"run":"httpd","app":null}}}')
    pod = lab.pods("run=httpd")[0]["metadata"]["name"]

    def resolved() -> set[str]:
        answer = lab.inside("node-a", "dig", "+short", "@10.96.0.10", "direct.default.svc.cluster.local")
        return {line for line in answer.split() if line.startswith("10.")}

    until(lambda: resolved() == set(lab.settled("httpd-svc", 3)), "the name has the pods' addresses")
    lab.kubectl("delete", "pod", pod)
    addresses = lab.settled("httpd-svc", 3)
    until(lambda: resolved() == set(addresses), "the name follows")


DAMAGE = {
    "devices": "ip link del cni0; ip link del flannel.1",
    "ports": "for l in $(ip -o link show master cni0 | grep -o 'veth[0-9a-f]*'); do ip link set $l nomaster; done",
    "entries": "ip route flush dev flannel.1; ip neigh flush dev flannel.1; sysctl -qw net.ipv4.ip_forward=0",
    "rules": "iptables -t nat -F; iptables -t nat -X; iptables -F; iptables -X",
    "a chain": "iptables -t nat -F KUBE-SERVICES",
    "the Services' chains": "for c in $(iptables -t nat -S | grep -o 'KUBE-SVC-[A-Z0-9]*'); "
    "do iptables -t nat -F $c; done",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_somebody_breaks_in_a_node_comes_back(lab: Lab, what: str) -> None:
    pods = lab.settled("httpd-svc", 3)
    here = next(pod["status"]["podIP"] for pod in lab.pods("run=httpd") if pod["spec"]["nodeName"] == "node-a")
    near = [f"http://{pod}/hostname" for pod in pods] + [url(lab)]

    def answers() -> bool:
        asked = (("node-a", near), ("node-b", [f"http://{here}/hostname"]))
        return all(
            lab.inside(node, "curl", "-sS", "--fail-early", "-m", "1", *urls, allow=True).count("httpd-") == len(urls)
            for node, urls in asked
        )

    until(answers, "all is well before")
    lab.inside("node-a", "sh", "-c", DAMAGE[what])
    until(answers, f"{what}: all is well again")
    assert lab.settled("httpd-svc", 3) == pods, "no pod had to be replaced"


@pytest.mark.parametrize("unit", UNITS)
def test_any_process_may_be_killed_while_things_change(lab: Lab, unit: str) -> None:
    """Objects are created while the process dies; every one that kubectl was told of is there afterwards, and rules,
    endpoints and names agree with them."""
    created: list[str] = []
    stop = threading.Event()

    def create() -> None:
        number = 0
        while not stop.is_set() and number < 60:
            name = f"made-{unit}-{number}"
            answer = lab.kubectl("create", "configmap", name, f"--from-literal=n={number}", allow=True)
            if f"configmap/{name} created" in answer:
                created.append(name)
            number += 1

    writer = threading.Thread(target=create)
    writer.start()
    try:
        lab.kubectl("scale", "deployment/httpd", "--replicas=5", allow=True)
        os.kill(pid_of(lab, unit), signal.SIGKILL)
        until(lambda: alive(lab, unit), f"{unit} is back")
        until(lambda: "scaled" in lab.kubectl("scale", "deployment/httpd", "--replicas=4", allow=True), "kubectl works")
    finally:
        stop.set()
        writer.join()
    assert created, "objects were created around the kill"
    found = {item["metadata"]["name"] for item in lab.get("configmaps")["items"]}
    assert set(created) <= found
    lab.settled("httpd-svc", 4)
    lab.kubectl("scale", "deployment/httpd", "--replicas=3")
    assert "It works!" in lab.curl("node-a", url(lab).replace("/hostname", "/"))
    lab.settled("httpd-svc", 3)


def pid_of(lab: Lab, unit: str) -> int:
    if unit == "supervisor":
        return int(lab.status()["supervisor"])
    if unit == "standby":
        return int(json.loads((lab.path / "processes.json").read_text())["standby"][0])
    return int(lab.status()["units"][unit]["pid"])


def alive(lab: Lab, unit: str) -> bool:
    try:
        os.kill(pid_of(lab, unit), 0)
    except (AssertionError, ProcessLookupError, TypeError, KeyError):
        return False
    return True


def test_a_killed_dns_server_is_restarted_in_its_pod(lab: Lab) -> None:
    pod = lab.get("pods", "-n", "kube-system", "-l", "k8s-app=kube-dns")["items"][0]["metadata"]["name"]
    os.kill(dns_pid(pod), signal.SIGKILL)
    until(lambda: restarts(lab, pod) == 1, "the container is restarted")
    answer = ["dig", "+short", "+tries=5", "+time=1", "@10.96.0.10", "kubernetes.default.svc.cluster.local"]
    until(lambda: "10.96.0.1\n" in lab.inside("node-a", *answer, allow=True), "names are answered again")


def dns_pid(pod: str) -> int:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words, variables = ((entry / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:
            continue
        if b"dns" in words and b"HOSTNAME=" + pod.encode() in variables:
            return int(entry.name)
    raise AssertionError("no DNS server runs")


def restarts(lab: Lab, pod: str) -> int:
    status = lab.get("pod", "-n", "kube-system", pod)["status"]["containerStatuses"][0]
    return int(status["restartCount"]) if status["ready"] else -1


def test_a_dead_node_is_noticed_and_its_pods_are_replaced(lab: Lab) -> None:
    lab.settled("httpd-svc", 3)
    probe = lab.probe("node-a", url(lab), 12)
    time.sleep(0.5)
    lab.fairway("kill-node", "node-c")
    until(lambda: "NotReady" in lab.kubectl("get", "node", "node-c"), "node-c is NotReady")

    def moved() -> bool:
        pods = lab.pods("run=httpd")
        return len(pods) == 3 and all(
            pod["spec"].get("nodeName") != "node-c" and pod["status"].get("podIP") in lab.endpoints("httpd-svc")
            for pod in pods
        )

    until(moved, "three endpoints on the living nodes")
    lab.settled("httpd-svc", 3)
    said = result(probe)
    print(f"a node killed: {said['failures']} of {said['requests']} failed, gap {said['longest_gap']} s")
    assert said["longest_gap"] < NODE_GAP
    answer = ["dig", "+short", "+tries=10", "+time=1", "@10.96.0.10", "httpd-svc.default.svc.cluster.local"]
    until(
        lambda: lab.cluster_ip("httpd-svc") in lab.inside("node-a", *answer, allow=True),
        "DNS has moved if it was there",
    )


def test_the_node_comes_back(lab: Lab) -> None:
    lab.fairway("start-node", "node-c")
    until(lambda: " Ready" in lab.kubectl("get", "node", "node-c"), "node-c is Ready")
    lab.kubectl("scale", "deployment/httpd", "--replicas=6")
    lab.settled("httpd-svc", 6)
    assert "node-c" in {pod["spec"]["nodeName"] for pod in lab.pods("run=httpd")}
    assert "It works!" in lab.curl("node-c", url(lab).replace("/hostname", "/"))
    assert "node 'node-x'" in lab.fairway("kill-node", "node-x", allow=True)
