"""Clusters as hypothesis makes them up: Services of every kind on one lab node, who share external and
load-balancer addresses, and some claim others' cluster IPs; with endpoints here, elsewhere, terminating or none, under
every option that decides rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from fairway.desired import view
from fairway.desired.build import build
from fairway.desired.model import Desired
from fairway.desired.options import PRIMARY, DetectLocal, ProxyOptions
from fairway.node import Node
from tests.golden import nodes
from tests.unit.desired.objects import endpoint, endpoint_slice, service

HERE = {"IPv4": "10.244.1.2{}", "IPv6": "fd00:10:244:1::2{}"}
THERE = {"IPv4": "10.244.2.2{}", "IPv6": "fd00:10:244:2::2{}"}
HOST = {"IPv4": "10.0.0.11", "IPv6": "fd00:a::11"}
EXTERNAL = ["198.51.100.7", "198.51.100.8", "10.0.0.11", "2001:db8:7::7", "203.0.113.0", "2001:db8:f::", "10.96.1.0"]
POLICIES = st.sampled_from(["Cluster", "Cluster", "Local"])
BALANCERS = {
    "IPv4": ["203.0.113.0", "203.0.113.1", "10.0.0.11", "198.51.100.7"],
    "IPv6": ["2001:db8:f::", "2001:db8:f::1", "fd00:a::11", "2001:db8:7::7"],
}
RANGES = [
    [],
    [],
    ["192.0.2.0/24"],
    ["10.0.0.0/8", "10.0.0.0/24", "2001:db8::/32"],
    ["10.244.0.0/16", "192.0.2.0/25", "2001:db8::/64", "fd00:10:244::/48"],
    ["0.0.0.0/0", "::/0"],
]


@dataclass(frozen=True)
class Cluster:
    """A node and what it should do."""

    node: Node
    desired: Desired


OPTIONS = st.builds(
    ProxyOptions,
    cluster_cidrs=st.sampled_from([("10.244.0.0/16", "fd00:10:244::/48"), ()]),
    detect_local=st.sampled_from(DetectLocal),
    bridge_interface=st.just("cni0"),
    interface_prefix=st.just("veth"),
    masquerade_all=st.sampled_from([False, False, True]),
    nodeport_addresses=st.sampled_from([(), (), (PRIMARY,), ("10.0.0.0/24",), ("127.0.0.0/8", "10.0.0.0/8")]),
    localhost_nodeports=st.booleans(),
)


@st.composite
def clusters(draw: st.DrawFn, guarded: bool = False) -> Cluster:
    """One to four Services; `guarded`: in some of them the ranges of cluster IPs are guarded."""
    node = nodes.case("33").node
    options: ProxyOptions = draw(OPTIONS)
    services, pieces = [], []
    for number in range(draw(st.integers(1, 4))):
        family = draw(st.sampled_from(["IPv4", "IPv4", "IPv6"]))
        protocol = draw(st.sampled_from(["TCP", "UDP", "SCTP"]))
        services.append(draw(_service(number, family, protocol)))
        endpoints = draw(st.lists(_endpoint(family), max_size=5))
        pieces.append(endpoint_slice(f"s{number}", *endpoints, port=8080, protocol=protocol, family=family))
    cidrs = draw(st.sampled_from([None, (), ("10.96.0.0/12", "fd00:10:96::/108")])) if guarded else None
    options = ProxyOptions(**{**{f: getattr(options, f) for f in options.__slots__}, "guarded_cidrs": cidrs})
    return Cluster(node, build(services, pieces, node, options))


@st.composite
def _service(draw: st.DrawFn, number: int, family: str, protocol: str) -> view.ServiceView:
    address = f"10.96.1.{number}" if family == "IPv4" else f"fd00:10:96::1{number}"
    balancers = draw(st.lists(st.sampled_from(BALANCERS[family]), min_size=1, max_size=2, unique=True))
    kind = draw(st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]))
    port: dict[str, Any] = {"port": 80, "protocol": protocol}
    if kind != "ClusterIP":
        port["nodePort"] = 30080 + number
    return service(
        f"s{number}",
        address,
        type=kind,
        ports=[port],
        externalIPs=draw(st.lists(st.sampled_from(EXTERNAL), max_size=2, unique=True)),
        status={"loadBalancer": {"ingress": [{"ip": ip} for ip in balancers]}} if kind == "LoadBalancer" else {},
        loadBalancerSourceRanges=draw(st.sampled_from(RANGES)),
        sessionAffinity=draw(st.sampled_from(["None", "None", "ClientIP"])),
        internalTrafficPolicy=draw(POLICIES),
        externalTrafficPolicy=draw(POLICIES),
    )


@st.composite
def _endpoint(draw: st.DrawFn, family: str) -> dict[str, Any]:
    where = draw(st.sampled_from([HERE, HERE, THERE, THERE, HOST]))
    address = where[family].format(draw(st.integers(1, 3)))
    conditions = draw(
        st.sampled_from([{}, {}, {}, {"ready": False}, {"ready": False, "serving": True, "terminating": True}])
    )
    return endpoint(address, on="node-b" if where is THERE else "node-a", **conditions)
