"""A lab's plan: who is where, and what is refused."""

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
