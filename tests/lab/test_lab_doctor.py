"""Faults made on purpose, and what finds them."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fairway.trace.evidence.pseudonyms import Pseudonyms
from tests.lab.cluster import FAIRWAY, Lab, until

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module", autouse=True)
def applied(lab: Lab) -> None:
    lab.apply("httpd.yaml", "httpd-svc.yaml", "nginx-rc-nodeport.yaml")
    lab.settled("httpd-svc", 3)
    lab.settled("nginx-service", 3)


def ask(lab: Lab, command: str, *words: str) -> Any:
    return json.loads(lab.run(*FAIRWAY, command, "--lab", lab.name, "-o", "json", *words, allow=True))


def test_why_not_names_the_label_that_differs_and_follows_its_advice(lab: Lab) -> None:
    lab.kubectl("run", "lone", "--image=pause", "--restart=Never")
    lab.kubectl("wait", "--for=condition=Ready", "pod/lone", "--timeout=20s")
    said = ask(lab, "why-not", "lone", "httpd-svc")
    assert (said["serves"], [each["code"] for each in said["reasons"]]) == (False, ["selector"])
    lab.run(*said["reasons"][0]["remedy"].split())
    until(lambda: bool(ask(lab, "why-not", "lone", "httpd-svc")["serves"]), "the pod is an endpoint")
    lab.kubectl("delete", "pod", "lone", "--now")
    lab.settled("httpd-svc", 3)


@contextmanager
def proxy_stopped(lab: Lab, node: str) -> Iterator[None]:
    """The node's proxy sleeps meanwhile, so that nobody mends its rules."""
    process = lab.status()["units"][f"proxy-{node}"]["pid"]
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def found(lab: Lab) -> dict[str, str]:
    """What the doctor finds beside notes: messages by code and node."""
    said = ask(lab, "doctor")["findings"]
    return {f"{each['code']} {each['node']}".strip(): each["message"] for each in said if each["severity"] != "note"}


def test_a_lab_in_order_is_clean(lab: Lab) -> None:
    until(lambda: found(lab) == {}, "nothing is found")
    assert "nothing found" in lab.fairway("doctor")


def test_rules_that_are_gone_stale_or_too_many_are_found(lab: Lab) -> None:
    gone = lab.endpoints("nginx-service")
    with proxy_stopped(lab, "node-a"):
        (rule,) = [
            line
            for line in lab.inside("node-a", "iptables-save", "-t", "nat").splitlines()
            if line.startswith("-A KUBE-SERVICES") and "default/httpd-svc cluster IP" in line
        ]
        lab.inside("node-a", "iptables", "-t", "nat", *shlex.split(rule.replace("-A", "-D", 1)))
        lab.kubectl("scale", "rc", "nginx-controller", "--replicas=1")
        until(lambda: len(lab.endpoints("nginx-service")) == 1, "one endpoint is left")
        lost = next(iter(set(gone) - set(lab.endpoints("nginx-service"))))
        said = found(lab)
        assert said.keys() == {"missing node-a", "stale node-a"}
        assert "default/httpd-svc" in said["missing node-a"]
        assert lost in said["stale node-a"]
        lab.kubectl("delete", "service", "nginx-service")
        until(lambda: "extra node-a" in found(lab), "the rules of a Service that is gone")
    lab.apply("nginx-rc-nodeport.yaml")
    lab.kubectl("scale", "rc", "nginx-controller", "--replicas=3")
    lab.settled("nginx-service", 3)
    until(lambda: found(lab) == {}, "nothing is found")


def test_a_rule_of_somebody_else_and_a_kernel_setting_are_found_with_a_command_that_shows_them(lab: Lab) -> None:
    lab.inside("node-b", "iptables", "-I", "FORWARD", "-p", "tcp", "--dport", "80", "-j", "DROP")
    lab.inside("node-b", "sysctl", "-w", "net.ipv4.conf.all.route_localnet=1")
    said = ask(lab, "doctor")["findings"]
    (foreign, *_) = [each for each in said if each["code"] == "foreign-rule"]
    assert foreign["node"] == "node-b"
    assert "filter FORWARD rule 1: -p tcp -m tcp --dport 80 -j DROP" in foreign["evidence"]
    shown = lab.run(*foreign["command"].replace("fairway", f"{sys.executable} -m fairway").split(), allow=True)
    assert "-j DROP" in shown
    assert "route-localnet node-b" in found(lab)
    lab.inside("node-b", "sysctl", "-w", "net.ipv4.conf.all.route_localnet=0")
    lab.inside("node-b", "iptables", "-D", "FORWARD", "-p", "tcp", "--dport", "80", "-j", "DROP")
    until(lambda: found(lab) == {}, "nothing is found")


def test_services_that_lead_nowhere_are_found(lab: Lab) -> None:
    lab.kubectl("create", "service", "clusterip", "nobody", "--tcp=80")
    until(lambda: "selector" in found(lab), "a selector that matches nothing")
    assert "default/nobody" in found(lab)["selector"]
    lab.kubectl("delete", "service", "nobody")


def test_the_page_s_server_reads_the_rules_of_the_node_where_a_packet_begins(lab: Lab) -> None:
    words = [*FAIRWAY, "ui", "--lab", lab.name]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=lab.environment)
    try:
        assert process.stdout
        address, _, token = process.stdout.readline().rpartition(" ")[2].strip().partition("?token=")

        def put(question: dict[str, str]) -> Any:
            headers = {"authorization": f"Bearer {token}"}
            request = urllib.request.Request(f"{address}api/trace", json.dumps(question).encode(), headers)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as refused:
                return json.load(refused)

        pod = lab.pods("run=httpd")[0]
        asked = {"source": pod["metadata"]["name"], "destination": "httpd-svc:8080"}
        until(lambda: "parts" in put(asked), "the cluster has answered")
        (part,) = put(asked)["parts"]
        assert part["node"] == pod["spec"]["nodeName"]
        addresses = {outcome["endpoint"].rpartition(":")[0] for outcome in part["outcomes"]}
        assert addresses == set(lab.endpoints("httpd-svc"))
    finally:
        process.terminate()
        process.wait(20)


def test_connections_and_remembered_clients_have_names_and_time_left(lab: Lab) -> None:
    ways = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}}}
    lab.kubectl("patch", "service", "httpd-svc", "-p", json.dumps({"spec": ways}))
    until(lambda: "--rcheck --seconds 600" in lab.inside("node-a", "iptables-save", "-t", "nat"), "affinity in rules")
    lab.curl("node-a", f"http://{lab.cluster_ip('httpd-svc')}:8080/")
    pods = {pod["status"]["podIP"]: f"default/{pod['metadata']['name']}" for pod in lab.pods("run=httpd")}

    (remembered,) = ask(lab, "affinity", "httpd-svc")
    assert (remembered["node"], remembered["client"], remembered["stale"]) == ("node-a", "10.0.0.11", "")
    assert remembered["pod"] == pods[remembered["endpoint"].rpartition(":")[0]]
    assert 500 < remembered["seconds"] <= 600
    flows = [row for row in ask(lab, "conntrack", "httpd-svc") if row["client"].startswith("10.0.0.11:")]
    assert {(row["service"], row["stale"]) for row in flows} == {("default/httpd-svc", "")}
    assert flows[-1]["endpoint"] == remembered["endpoint"]
    assert "NODE" in lab.fairway("conntrack", "httpd-svc", "--stale")


def test_anonymous_rules_name_nobody_and_answer_the_same(lab: Lab, tmp_path: Path) -> None:
    rules, address = tmp_path / "rules.txt", lab.cluster_ip("nginx-service")
    rules.write_text(lab.inside("node-a", "iptables-save"))
    lab.run(*FAIRWAY, "anonymise", "--secret", "s", "--into", str(tmp_path / "out"), str(rules))
    anonymous = (tmp_path / "out" / "rules.txt").read_text()
    assert not [word for word in (address, "nginx", *lab.endpoints("nginx-service")) if word in anonymous]

    other = Pseudonyms(b"s").address
    asked = {rules: (address, "192.0.2.9"), tmp_path / "out" / "rules.txt": (other(address), other("192.0.2.9"))}
    said = [
        json.loads(
            lab.run(
                *(*FAIRWAY, "trace", "--rules", str(file), "--from", source, "--to", f"{to}:8000", "-o", "json"),
                allow=True,
            )
        )["outcomes"]
        for file, (to, source) in asked.items()
    ]
    for outcome in said[0]:
        host, _, port = outcome["endpoint"].rpartition(":")
        outcome["endpoint"] = f"{other(host)}:{port}"
    assert len(said[0]) == 3
    assert sorted(map(str, said[0])) == sorted(map(str, said[1]))
