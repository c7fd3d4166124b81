"""The golden cases as values: objects, node and options in, the reference's rules out.

Each file in this folder was captured from kube-proxy 1.36 on a real kernel. The API server's own Service
`default/kubernetes` existed in every capture and is not in the files; `Case.desired` adds it.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.desired import view
from fairway.desired.build import build
from fairway.desired.model import Desired
from fairway.desired.options import DetectLocal, ProxyOptions
from fairway.node import Interface, Node
from fairway.packet import Family

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("[0-9]*.json"))
FAMILIES = {Family.IPV4: "ipv4", Family.IPV6: "ipv6"}
UNORDERED = ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES", "KUBE-PROXY-FIREWALL")

KUBERNETES = {
    "kind": "Service",
    "apiVersion": "v1",
    "metadata": {"name": "kubernetes", "namespace": "default"},
    "spec": {
        "clusterIP": "10.96.0.1",
        "clusterIPs": ["10.96.0.1"],
        "ports": [{"name": "https", "port": 443, "protocol": "TCP"}],
    },
}

Rules = dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class Case:
    """One golden file."""

    name: str
    node: Node
    options: ProxyOptions
    objects: tuple[dict[str, Any], ...]
    expected: Mapping[Family, Rules]
    health: Mapping[str, str]

    @property
    def desired(self) -> Desired:
        services = [KUBERNETES, *(o for o in self.objects if o["kind"] == "Service")]
        slices = [o for o in self.objects if o["kind"] == "EndpointSlice"]
        return build(
            [view.service(json.dumps(o).encode()) for o in services],
            [view.endpoint_slice(json.dumps(o).encode()) for o in slices],
            self.node,
            self.options,
        )


def load(name: str) -> Case:
    """Read one case by its file's stem."""
    raw = json.loads((FOLDER / f"{name}.json").read_text())
    rules = raw["expected"]["iptables"]
    return Case(
        name=name,
        node=_node(raw["node"]),
        options=options(raw["flags"]),
        objects=tuple(raw["objects"]),
        expected={family: _specs(rules[key]) for family, key in FAMILIES.items()},
        health=rules.get("healthCheckNodePort", {}),
    )


def nft_text(name: str) -> str:
    """What `nft list ruleset` said of the reference's nftables mode."""
    text: str = json.loads((FOLDER / f"{name}.json").read_text())["expected"]["nftables"]["nft"]
    return text


def _node(raw: dict[str, Any]) -> Node:
    return Node(
        name=raw["name"],
        interfaces=(Interface("eth0", tuple(ipaddress.ip_interface(text) for text in raw["addresses"])),),
        # the range its node object had, of which the file keeps no record (case 39 shows it)
        pod_cidrs=(ipaddress.ip_network("10.244.1.0/24"),),
        labels=raw.get("labels", {}),
    )


def options(flags: list[str]) -> ProxyOptions:
    """kube-proxy's flags as our options."""
    values = dict(flag.removeprefix("--").partition("=")[::2] for flag in flags)
    return ProxyOptions(
        cluster_cidrs=_split(values.get("cluster-cidr", "")),
        detect_local=DetectLocal(values.get("detect-local-mode", "ClusterCIDR")),
        bridge_interface=values.get("pod-bridge-interface", ""),
        interface_prefix=values.get("pod-interface-name-prefix", ""),
        masquerade_all="masquerade-all" in values,
        masquerade_bit=int(values.get("iptables-masquerade-bit", "14")),
        nodeport_addresses=_split(values.get("nodeport-addresses", "")),
        localhost_nodeports=values.get("iptables-localhost-nodeports", "true") == "true",
    )


def _split(value: str) -> tuple[str, ...]:
    return tuple(part for part in value.split(",") if part)


def _specs(tables: dict[str, dict[str, list[str]]]) -> Rules:
    """Rules without their `-A CHAIN`."""
    return {
        table: {chain: [rule.removeprefix(f"-A {chain}").strip() for rule in rules] for chain, rules in chains.items()}
        for table, chains in tables.items()
    }


def comparable(rules: Mapping[str, Mapping[str, list[str]]]) -> Rules:
    """Rules with the four dispatch chains sorted and empty built-in chains (which depend on the backend) left out."""
    return {
        table: {
            chain: sorted(specs) if chain in UNORDERED else list(specs)
            for chain, specs in chains.items()
            if specs or chain.startswith("KUBE-")
        }
        for table, chains in rules.items()
    }
