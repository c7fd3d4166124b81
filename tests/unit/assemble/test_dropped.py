"""Files given to the page: what each is taken for, and what can be asked of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fairway.assemble import dropped, tracing
from fairway.assemble.offers import Offer
from fairway.trace.evidence.bundle import Bundle, pack
from fairway.trace.evidence.texts import EvidenceError

DUMPS = Path(__file__).parents[2] / "dumps"
SAVED = (DUMPS / "httpd-clusterip-nodeport-grep-2017.txt").read_bytes()
LISTED = (DUMPS / "nginx-list-verbose-2016.txt").read_bytes()
NFT = b"""table ip mine {
  chain pre {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr 10.96.0.9 tcp dport 80 dnat to 10.244.2.7:8080
  }
}
"""
OBJECTS = yaml.safe_dump_all(
    [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"clusterIP": "10.96.0.80", "ports": [{"port": 80, "targetPort": 8080}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "node-a"},
            "spec": {"podCIDRs": ["10.244.0.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.11"}]},
        },
    ]
).encode()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (SAVED, "output of iptables-save"),
        (LISTED, "a listing of iptables -L"),
        (NFT, "output of nft list ruleset"),
        (b'{"nftables": []}', "output of nft -j list ruleset"),
    ],
)
def test_dumps_are_recognised(content: bytes, what: str) -> None:
    assert [piece.what for piece in dropped.read({"rules": content}).pieces] == [what]


def test_rules_name_what_can_be_asked() -> None:
    told = dropped.read({"rules": SAVED}).as_json()
    assert told["destinations"] == [
        {"value": "default/httpd-svc:8080", "hint": "10.96.203.6 TCP", "protocol": "TCP"},
        {"value": "default/myhttpd-svc:8080", "hint": "10.104.223.18 TCP", "protocol": "TCP"},
    ]
    assert [each["value"] for each in told["sources"][:3]] == ["node", "10.244.1.28", "10.244.1.29"]


def test_sets_of_nftables_name_it_too() -> None:
    rules = b"""table ip kube-proxy {
      map service-ips {
        type ipv4_addr . inet_proto . inet_service : verdict
        elements = { 10.96.0.10 . udp . 53 : goto service-FY5PMXPG-kube-system/kube-dns/udp/dns }
      }
      chain service-FY5PMXPG-kube-system/kube-dns/udp/dns {
      }
    }
    """
    hint = "service-FY5PMXPG-kube-system/kube-dns/udp/dns UDP"
    assert dropped.read({"nft": rules}).destinations == [Offer("10.96.0.10:53", hint, "UDP")]


def test_several_files_are_one_node() -> None:
    routes = b"default via 10.0.0.1 dev eth0\n10.244.1.0/24 dev cni0 proto kernel scope link src 10.244.1.1\n"
    ground = dropped.read({"rules": SAVED, "routes": routes, "objects": OBJECTS})
    assert [piece.what for piece in ground.pieces][1:] == ["output of ip route", "2 objects"]
    question = tracing.Question("10.244.1.28", "10.96.203.6:8080")
    answer = tracing.ask_of(dropped.scene_of(ground, ""), ground.catalogue, question)
    assert answer.trace.packet.in_interface == "cni0"


def test_a_bundle_knows_its_node_and_what_is_missing() -> None:
    made = pack(Bundle("worker-3", {"iptables-save.txt": SAVED}, {"nft.txt": "not there"}))
    ground = dropped.read({"worker-3.tar.gz": made})
    assert ground.gathered.name == "worker-3"
    assert ground.gathered.notes == ["nft.txt is missing from the bundle: not there."]
    with pytest.raises(EvidenceError, match="second bundle"):
        dropped.read({"a": made, "b": made})


def test_from_objects_alone_rules_are_worked_out() -> None:
    ground = dropped.read({"objects.yaml": OBJECTS})
    assert ground.computed
    assert ground.as_json()["nodes"] == ["node-a"]
    question = tracing.Question("node-a", "web:80")
    answer = tracing.ask_of(dropped.scene_of(ground, "node-a"), ground.catalogue, question)
    assert [str(outcome.verdict) for outcome in answer.trace.shares] == ["rejected"]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"noise": b"hello\n"}, "noise: line 1: is not recognised"),
        ({"empty": b""}, "empty: is empty"),
        ({"binary": b"*nat\n\0"}, "binary: line 2: holds a zero byte"),
        ({"cut.gz": b"\x1f\x8b\x08\x00"}, "cut.gz: "),
        ({"routes": b"default via 10.0.0.1 dev eth0\n"}, "routes: holds no rules"),
        ({"objects": b'{"kind": "List", "apiVersion": "v1", "items": [{}]}'}, "objects: "),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(files: dict[str, bytes], why: str) -> None:
    with pytest.raises(EvidenceError) as refused:
        dropped.read(files)
    assert str(refused.value).startswith(why)
