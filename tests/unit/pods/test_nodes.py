"""The Node a node keeps of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairway.pods import nodes
from fairway.pods.config import AgentConfig
from fairway.pods.nodes import Machine
from tests.unit.pods.fake_api import merge

CONFIG = AgentConfig("node-a", Path("state"), "10.0.0.11", labels={"topology.kubernetes.io/zone": "z1"})
MACHINE = Machine(2, 4 * 2**30, "amd64", "6.1.0", "Debian", "m", "b")
NOW = 1_000_000.0


def conditions(node: dict[str, Any]) -> dict[str, str]:
    return {condition["type"]: condition["status"] for condition in node["status"]["conditions"]}


def test_a_node_says_where_its_overlay_ends() -> None:
    made = nodes.node(CONFIG, MACHINE)["metadata"]
    assert made["labels"]["kubernetes.io/hostname"] == "node-a"
    assert made["labels"]["topology.kubernetes.io/zone"] == "z1"
    assert made["annotations"]["flannel.alpha.coreos.com/public-ip"] == "10.0.0.11"


def test_only_a_node_that_lacks_something_is_patched() -> None:
    patch = nodes.metadata_patch(CONFIG, MACHINE)
    assert not nodes.lacks(nodes.node(CONFIG, MACHINE), patch)
    assert nodes.lacks({"metadata": {"labels": {"kubernetes.io/hostname": "other"}}}, patch)
    assert nodes.lacks({}, patch)


def test_status_is_written_when_it_changes_and_every_five_minutes() -> None:
    node: dict[str, Any] = {}
    node = merge(node, nodes.status_patch(node, CONFIG, MACHINE, False, NOW))
    assert conditions(node)["Ready"] == "False"
    assert nodes.status_patch(node, CONFIG, MACHINE, False, NOW + 299) == {}
    node = merge(node, nodes.status_patch(node, CONFIG, MACHINE, True, NOW + 1))
    assert conditions(node)["Ready"] == "True"
    assert node["status"]["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}
    assert nodes.status_patch(node, CONFIG, MACHINE, True, NOW + 300) == {}
    beat = nodes.status_patch(node, CONFIG, MACHINE, True, NOW + 301)
    assert merge(node, beat)["status"]["conditions"][-1]["lastTransitionTime"] == "1970-01-12T13:46:41Z"


def test_a_node_declared_unknown_says_that_it_is_back() -> None:
    node = merge({}, nodes.status_patch({}, CONFIG, MACHINE, True, NOW))
    for condition in node["status"]["conditions"]:
        condition.update(status="Unknown", reason="NodeStatusUnknown")
    node["status"]["conditions"].append({"type": "Foreign", "status": "True"})
    node = merge(node, nodes.status_patch(node, CONFIG, MACHINE, True, NOW + 60))
    assert conditions(node)["Ready"] == "True"
    assert conditions(node)["Foreign"] == "True"


def test_the_lease_lasts_four_heartbeats_and_goes_with_its_node() -> None:
    lease = nodes.lease(CONFIG, "uid-1", NOW)
    assert lease["spec"]["leaseDurationSeconds"] == 40
    assert lease["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    assert lease["spec"]["renewTime"] == "1970-01-12T13:46:40.000000Z"
