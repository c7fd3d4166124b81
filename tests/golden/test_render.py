"""`fairway render` through its command line: the goldens' objects, flags and node in, the reference's rules out."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result

from fairway.cli import main
from fairway.kernel.linux import netns
from fairway.packet import Family
from fairway.ruleset import nft_parse
from fairway.ruleset.iptables import parse
from tests.golden import cases

FAMILY = {Family.IPV4: "ipv4", Family.IPV6: "ipv6"}


def raw(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((cases.FOLDER / f"{name}.json").read_text())
    return loaded


def render(file: Path, golden: dict[str, Any], *words: str) -> Result:
    node = golden["node"]
    labels = ",".join(f"{key}={value}" for key, value in (node.get("labels") or {}).items())
    told = ["--node-name", node["name"], "--node-ip", ",".join(node["addresses"]), "--pod-cidr", "10.244.1.0/24"]
    more = ["--node-labels", labels] if labels else []
    return CliRunner().invoke(main, ["render", "--objects", str(file), *told, *more, *golden["flags"], *words])


def written(folder: Path, objects: list[Any], form: str = "json") -> Path:
    """The case's objects and the Service that every cluster has, as a file."""
    items = [cases.KUBERNETES, *objects]
    file = folder / f"objects.{form}"
    if form == "json":
        file.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": items}))
    else:
        file.write_text("\n---\n".join(json.dumps(item, indent=2) for item in items))
    return file


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("name", cases.NAMES)
def test_iptables_rules_are_the_reference_s(name: str, family: Family, tmp_path: Path) -> None:
    golden = raw(name)

    answer = render(written(tmp_path, golden["objects"]), golden, "--mode", "iptables", "--family", FAMILY[family])

    assert answer.exit_code == 0, answer.output
    tables = parse(answer.stdout).tables
    found = {table: {c.name: c.rules for c in kept.chains.values()} for table, kept in tables.items()}
    assert cases.comparable(found) == cases.comparable(cases.load(name).expected[family])


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_forms_of_files_say_the_same(form: str, tmp_path: Path) -> None:
    golden = raw("48-mixed-bag")
    usual = render(written(tmp_path, golden["objects"]), golden).stdout

    assert render(written(tmp_path, golden["objects"], form), golden).stdout == usual


def test_lists_of_an_api_server_have_items_without_kind(tmp_path: Path) -> None:
    golden = raw("01-clusterip-three-endpoints")
    lists = []
    for kind, version in (("Service", "v1"), ("EndpointSlice", "discovery.k8s.io/v1")):
        items = [{k: v for k, v in o.items() if k not in ("kind", "apiVersion")} for o in golden["objects"]
                 if o["kind"] == kind]  # fmt: skip
        lists.append({"kind": f"{kind}List", "apiVersion": version, "items": items})
    file = tmp_path / "lists.yaml"
    file.write_text(yaml.safe_dump_all([cases.KUBERNETES, *lists]))

    assert render(file, golden).stdout == render(written(tmp_path, golden["objects"]), golden).stdout


def test_objects_as_users_write_them(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text("""
kind: Service
apiVersion: v1
metadata: {name: web}
spec: {clusterIP: 10.96.0.20, ports: [{port: 80}]}
---
kind: EndpointSlice
apiVersion: discovery.k8s.io/v1
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.244.1.5]}, {addresses: [127.0.0.1]}, {addresses: [169.254.1.1]}]
---
kind: Service
apiVersion: v1
metadata: {name: unborn, namespace: shop}
spec: {ports: [{port: 80}]}
---
kind: Deployment
apiVersion: apps/v1
metadata: {name: web}
""")

    answer = CliRunner().invoke(main, ["render", "-f", str(file), "--node-name", "a", "-o", "json"])

    (port,) = msgspec.json.decode(answer.stdout)["ports"]
    assert (port["namespace"], port["service"], port["cluster_ip"], port["port"]) == (
        "default",
        "web",
        "10.96.0.20",
        80,
    )
    assert [(e["address"], e["port"]) for e in port["cluster"]] == [("10.244.1.5", 8080)]
    assert "Service shop/unborn has no spec.clusterIP" in answer.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: Service\nmetadata: {name: web}\nspec: {ports: [{port: http}]}", "spec.ports[0].port"),
        (
            "kind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80, nodePort: 70000}]}",
            "spec.ports[0].nodePort",
        ),
        ("kind: EndpointSlice\nmetadata: {name: s}\nports: [{port: 0}]", "ports[0].port: 0 is not a port"),
        ("kind: Service\nspec: {}", "metadata.name: Required value"),
        ("metadata: {name: web}", "object 1 has no kind"),
        ("kind: Service\nmetadata: [\n", "line 3"),
        ("- 1", "a document must hold an object"),
    ],
)
def test_a_bad_file_is_named_with_object_and_field(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)

    answer = CliRunner().invoke(main, ["render", "-f", str(file), "--node-name", "a"])

    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert says in answer.stderr
    assert str(file) in answer.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--node-ip", "10.0.0.300"], "--node-ip 10.0.0.300"),
        (["--pod-cidr", "x"], "--pod-cidr x"),
        (["--node-labels", "zone"], "--node-labels zone"),
        (["--cluster-cidr", "10.244"], "cluster-cidr: '10.244'"),
        (["--nodeport-addresses", "10.0.0.300/24"], "nodeport-addresses: '10.0.0.300/24'"),
        (["--detect-local-mode", "BridgeInterface"], "detect-local-mode BridgeInterface needs pod-bridge-interface"),
        (["--detect-local-mode", "Magic"], "detect-local-mode: 'Magic'"),
        (["--iptables-masquerade-bit", "32"], "iptables-masquerade-bit: 32"),
        (["--cluster-cdir", "10.244.0.0/16"], "--cluster-cdir"),
    ],
)
def test_a_bad_flag_is_named(words: list[str], says: str, tmp_path: Path) -> None:
    file = written(tmp_path, [])

    answer = CliRunner().invoke(main, ["render", "-f", str(file), "--node-name", "a", *words])

    assert answer.exit_code != 0
    assert says in answer.stderr


@pytest.mark.kernel
@pytest.mark.parametrize("name", cases.NAMES)
def test_nftables_rules_load_whole(name: str, tmp_path: Path) -> None:
    golden = raw(name)
    file = written(tmp_path, golden["objects"])
    answers = [render(file, golden, "--mode", "nftables", "--family", family) for family in FAMILY.values()]
    # nft 1.0.6 aborts on rules that remember IPv6 clients; the proxy lays these by netlink
    texts = [answer.stdout for answer in answers if "@affinity { ip6" not in answer.stdout]
    namespace = f"fwt-{os.getpid()}-render"
    netns.create(namespace)
    try:
        for text in texts:
            nft(namespace, ["-f", "-"], text)
        listed = nft(namespace, ["-s", "list", "ruleset"])
    finally:
        netns.delete(namespace)

    assert texts
    assert outline(listed) == outline("".join(texts))


def outline(text: str) -> dict[str, Any]:
    """Tables with all elements and with the number of rules: nft lists some rules in other words than it was told
    (`th dport` behind a match of the protocol)."""
    return {
        table.family: (
            {kept.name: kept.elements for kept in table.sets.values()},
            {chain.name: (chain.hook, len(chain.rules)) for chain in table.chains.values()},
        )
        for table in nft_parse.parse(text).tables.values()
    }


def nft(namespace: str, words: list[str], text: str = "") -> str:
    command = ["ip", "netns", "exec", namespace, "nft", *words]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_endpoints_that_are_no_addresses_of_pods_are_never_programmed(mode: str, tmp_path: Path) -> None:
    """Whoever may write slices could otherwise reach a node's loopback, or its metadata service (CVE-2021-25740)."""
    strange = ["127.0.0.1", "169.254.169.254", "224.0.0.1", "0.0.0.0", "10.244.1.5"]
    service = {
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"clusterIP": "10.96.0.80", "ports": [{"port": 80}]},
    }
    piece = {
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]} for address in strange],
        "ports": [{"port": 8080}],
    }
    file = tmp_path / "objects.yaml"
    file.write_text("\n---\n".join(json.dumps(item) for item in (service, piece)))

    words = ["render", "-f", str(file), "--node-name", "node-a", "--node-ip", "10.0.0.11/24", "--mode", mode]
    answer = CliRunner().invoke(main, words)

    assert answer.exit_code == 0, answer.output
    pattern = r"--to-destination ([\d.]+):" if mode == "iptables" else r": ([\d.]+) \. 8080"
    assert set(re.findall(pattern, answer.stdout)) == {"10.244.1.5"}
