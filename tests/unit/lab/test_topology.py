"""A lab's plan: who is where, and what is refused."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import combinations

import pytest

from fairway.lab.topology import TopologyError, plan
from tests import plan as addresses


def test_the_standard_lab_is_the_address_plan() -> None:
    topology = plan(nodes=3)
    assert {node.name: node.address for node in topology.nodes} == addresses.NODES
    assert topology.control_plane == addresses.CONTROL_PLANE
    assert topology.outside_client == addresses.OUTSIDE_CLIENT
    assert topology.pod_range == addresses.POD_RANGE
    assert topology.service_range == addresses.SERVICE_RANGE
    assert topology.kubernetes_address == addresses.KUBERNETES_IP
    assert topology.dns_address == addresses.DNS_IP


def test_nodes_have_their_pods_ranges_in_the_order_of_their_names_however_soon_they_come() -> None:
    topology = plan(nodes=3, dual=True)
    assert topology.pod_ranges_of("node-a") == ("10.244.0.0/24", "fd00:10:244::/64")
    assert topology.pod_ranges_of("node-c") == ("10.244.2.0/24", "fd00:10:244:2::/64")
    small = replace(topology, pod_range="10.244.0.0/23")
    assert (len(small.pod_ranges_of("node-b")), small.pod_ranges_of("node-c")) == (2, ())
    assert replace(small, pod_range="10.244.0.0/25").pod_ranges_of("node-a") == ()


def test_a_lab_of_both_families_has_everything_twice() -> None:
    topology = plan(nodes=3, dual=True, router=True)
    on_segment = topology.on_segment()
    assert {name: on_segment[name] for name in addresses.NODES} == {
        name: (addresses.NODES[name], addresses.NODES_V6[name]) for name in addresses.NODES
    }
    assert on_segment["client"] == (addresses.OUTSIDE_CLIENT, addresses.OUTSIDE_CLIENT_V6)
    assert on_segment["router"] == tuple(addresses.ROUTER.values())
    assert topology.segments == (addresses.SEGMENT, addresses.SEGMENT_V6)
    assert topology.pod_ranges == (addresses.POD_RANGE, addresses.POD_RANGE_V6)
    assert topology.service_ranges == (addresses.SERVICE_RANGE, addresses.SERVICE_RANGE_V6)
    assert [each.segment for each in topology.behind] == list(addresses.FAR_SEGMENT.values())
    assert [each.client for each in topology.behind] == list(addresses.FAR_CLIENT.values())
    networks = [*topology.segments, *topology.pod_ranges, *topology.service_ranges, *addresses.FAR_SEGMENT.values()]
    assert not any(ip_network(a).overlaps(ip_network(b)) for a, b in combinations(networks, 2))
    for ends, network in zip(topology.load_balancer_pool, topology.segments, strict=True):
        assert all(ip_address(end) in ip_network(network) for end in ends.split("-"))


def test_the_router_is_one_familys_in_a_lab_of_one() -> None:
    topology = plan(nodes=1, router=True)
    assert topology.members() == ["segment", "control", "node-a", "client", "router", "far"]
    assert topology.on_segment()["router"] == (addresses.ROUTER[4],)


def test_namespaces_carry_the_labs_name() -> None:
    assert plan("blue", 1).namespaces() == ["fw-blue-segment", "fw-blue-control", "fw-blue-node-a", "fw-blue-client"]


@pytest.mark.parametrize("name", ["", "Lab", "a/b", "-a", "x" * 17, "..", "lab\n"])
def test_names_that_could_not_be_files_or_namespaces_are_refused(name: str) -> None:
    with pytest.raises(TopologyError, match="lab name"):
        plan(name)


@pytest.mark.parametrize("nodes", [0, -1, 27])
def test_the_number_of_nodes_is_bounded(nodes: int) -> None:
    with pytest.raises(TopologyError, match=f"--nodes {nodes}"):
        plan(nodes=nodes)


def test_an_unknown_node_is_named_with_those_there_are() -> None:
    with pytest.raises(TopologyError, match=r"no node 'node-x'.*node-a, node-b"):
        plan(nodes=2).node("node-x")
