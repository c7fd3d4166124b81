"""`fairway trace` on files, as an engineer types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fairway.cli import main

DUMPS = Path(__file__).parents[2] / "dumps"
HTTPD, NGINX, NODEPORT, CLUSTERIP = (
    str(DUMPS / f"{name}.txt")
    for name in (
        "httpd-clusterip-nodeport-grep-2017",
        "nginx-list-verbose-2016",
        "nodeport-grep-2018",
        "clusterip-grep-2018",
    )
)


def run(*words: str, output: str = "json") -> Result:
    return CliRunner().invoke(main, ["trace", *words, "--output", output])


def shares(*words: str) -> list[tuple[str, str, str, bool]]:
    """Every outcome: its probability, verdict, endpoint, and whether it is masqueraded."""
    told: dict[str, Any] = json.loads(run(*words).stdout)
    return [(o["probability"], o["verdict"], o["endpoint"], o["masqueraded"]) for o in told["outcomes"]]


def thirds(*endpoints: str, masqueraded: bool = False) -> list[tuple[str, str, str, bool]]:
    return [("1/3", "endpoint", endpoint, masqueraded) for endpoint in endpoints]


MYHTTPD = ("10.244.1.32:80", "10.244.1.33:80", "10.244.2.26:80")
K8S_NGINX = ("10.244.0.113:80", "10.244.0.114:80", "10.244.0.115:80")


def test_the_endpoints_of_a_cluster_ip_share_alike_and_see_the_pod() -> None:
    asked = ("--rules", HTTPD, "--from", "10.244.0.9", "--to", "10.96.203.6:8080")
    assert shares(*asked) == thirds("10.244.1.28:80", "10.244.1.29:80", "10.244.2.22:80")


def test_who_is_no_pod_is_masqueraded_and_not_refused() -> None:
    asked = ("--rules", HTTPD, "--from", "192.168.1.9", "--to", "httpd-svc:8080")
    assert shares(*asked) == thirds("10.244.1.28:80", "10.244.1.29:80", "10.244.2.22:80", masqueraded=True)


@pytest.mark.parametrize("source", ["192.168.1.9", "10.244.0.9"])
def test_a_node_port_is_masqueraded_for_everybody(source: str) -> None:
    asked = ("--rules", HTTPD, "--from", source, "--to", "192.168.1.5:30000")
    assert shares(*asked) == thirds(*MYHTTPD, masqueraded=True)


def test_a_hairpin_is_masqueraded() -> None:
    asked = ("--rules", HTTPD, "--from", "10.244.1.32", "--to", "myhttpd-svc")
    assert shares(*asked) == [*thirds(MYHTTPD[0], masqueraded=True), *thirds(*MYHTTPD[1:])]


def test_a_node_port_of_2018() -> None:
    assert shares("--rules", NODEPORT, "--from", "10.244.0.9", "--to", "k8s-nginx-node:80") == thirds(*K8S_NGINX)
    asked = ("--rules", NODEPORT, "--from", "192.168.1.9", "--to", "192.168.1.5:30136")
    assert shares(*asked) == thirds(*K8S_NGINX, masqueraded=True)


def test_a_listing_shows_one_endpoint_of_three() -> None:
    asked = ("--rules", NGINX, "--from", "10.1.13.9", "--to", "nginx-service")
    assert shares(*asked) == [*thirds("10.1.13.2:80"), ("2/3", "unknown", "", False)]


def test_a_listing_s_node_port() -> None:
    asked = ("--rules", NGINX, "--from", "10.9.9.9", "--to", "192.168.1.5:30802")
    assert shares(*asked)[0] == ("1/3", "endpoint", "10.1.13.2:80", True)


def test_a_dump_without_the_service_s_chain_names_its_endpoints_and_is_not_delivered() -> None:
    told = run("--rules", CLUSTERIP, "--from", "10.244.0.9", "--to", "k8s-nginx-cluster", output="text")
    assert told.exit_code == 3
    said = " ".join(told.stdout.split())
    assert "Chain KUBE-SVC-3FL7SSXCKTCXAYCR of table nat is missing" in said
    assert "10.244.0.88:80, 10.244.0.90:80, 10.244.0.89:80" in said


def test_old_chain_names_and_printed_probabilities_are_explained() -> None:
    told = run("--rules", HTTPD, "--from", "10.244.0.9", "--to", "httpd-svc", output="text").stdout
    assert "KUBE-SVC-RL3JAE4GN7VOGDGP: all endpoints of a Service port" in " ".join(told.split())
    assert "it takes 1/3 (the rule prints 0.33332999982)" in " ".join(told.split())


def test_what_was_guessed_is_said() -> None:
    notes = " ".join(
        json.loads(run("--rules", NODEPORT, "--from", "10.9.9.9", "--to", "192.168.1.5:30136").stdout)["notes"]
    )
    assert "The node's addresses were not given (`ip addr`); judging by its rules, it has 192.168.1.5." in notes
    assert "That the packet comes in by eth0 is assumed" in notes
    named = json.loads(run("--rules", HTTPD, "--from", "10.244.0.9", "--to", "httpd-svc").stdout)["notes"]
    assert "That default/httpd-svc is 10.96.203.6 is what the rules' comments say." in named


def test_several_files_together_and_what_is_around_the_rules(tmp_path: Path) -> None:
    (tmp_path / "addr").write_text("2: eth0: <UP>\n    inet 192.168.1.5/24 scope global eth0\n")
    (tmp_path / "route").write_text(
        "192.168.1.0/24 dev eth0\n10.244.0.0/16 dev flannel.1\ndefault via 192.168.1.1 dev eth0\n"
    )
    around = ("--ip-addr", str(tmp_path / "addr"), "--ip-route", str(tmp_path / "route"))
    told = json.loads(
        run("--rules", HTTPD, "--rules", NODEPORT, *around, "--from", "node", "--to", "k8s-nginx-node").stdout
    )
    assert [o["endpoint"] for o in told["outcomes"]] == list(K8S_NGINX)
    assert {b["egress"]["device"] for b in told["branches"]} == {"flannel.1"}
    assert told["packet"]["source"] == "192.168.1.5"
    assert not any("addresses" in note or "routes" in note for note in told["notes"])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--to", "nowhere:80"), "--to nowhere:80: the rules name no Service default/nowhere; give its address"),
        (("--to", "httpd-svc:81"), "--to httpd-svc:81: name one port after the ':'; the rules know 8080/TCP"),
        (("--to", "10.96.203.6"), "needs a port between 1 and 65535"),
        (("--to", "httpd-svc", "--from", "web-1"), "--from web-1: names need --objects FILE or --kubeconfig FILE"),
        (("--to", "[fd00::1]:80"), "has no address of that family"),
        (("--to", "httpd-svc", "--ip-addr", "/nowhere"), "/nowhere: No such file or directory"),
        (("--to", "httpd-svc", "--rules", __file__), "is not recognised"),
    ],
)
def test_questions_that_cannot_be_answered(words: tuple[str, ...], complaint: str) -> None:
    told = run("--rules", HTTPD, "--from", "10.244.0.9", *words)
    assert told.exit_code == 1
    assert complaint in told.stderr
    assert told.stdout == ""


def test_names_come_from_objects(tmp_path: Path) -> None:
    objects = tmp_path / "objects.yaml"
    objects.write_text(
        "kind: Pod\napiVersion: v1\nmetadata: {name: client}\nstatus: {podIP: 10.244.0.9}\n---\n"
        "kind: Service\napiVersion: v1\nmetadata: {name: httpd-svc}\n"
        "spec: {clusterIP: 10.96.203.6, ports: [{port: 8080, protocol: TCP}]}\n"
    )
    asked = ("--rules", HTTPD, "--objects", str(objects), "--from", "client", "--to", "httpd-svc")
    told = json.loads(run(*asked).stdout)
    assert told["packet"]["source"] == "10.244.0.9"
    assert len(told["outcomes"]) == 3


@pytest.mark.parametrize(
    ("form", "beginning"),
    [("dot", "digraph"), ("mermaid", "flowchart"), ("svg", "<svg"), ("html", "<!DOCTYPE html>")],
)
def test_pictures(form: str, beginning: str) -> None:
    told = run("--rules", HTTPD, "--from", "10.244.0.9", "--to", "httpd-svc", output=form)
    assert told.exit_code == 0
    assert told.stdout.startswith(beginning)
    assert told.stdout.count("reaches 10.244.") >= 3


def test_who_stops_reading_is_told_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = ["trace", "--rules", HTTPD, "--from", "10.244.1.5", "--to", "10.96.203.6:8080"]
    done = subprocess.run([sys.executable, "-m", "fairway", *words], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.stderr == ""
