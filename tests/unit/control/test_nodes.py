"""A node's silence, step by step, and ranges that are never given twice."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.client.base import Object
from fairway.control import nodes, pods
from fairway.control.nodes import Patience, assign, plan
from fairway.control.times import stamp
from fairway.control.writes import Delete, Tell, Update

NOW = 1_000_000.0
PATIENCE = Patience(40, 300)


def node(status: str = "True", since: float = NOW - 100, **changes: Any) -> Object:
    ready = {"type": "Ready", "status": status, "reason": "KubeletReady", "lastTransitionTime": stamp(since)}
    if status == "Unknown":
        ready["reason"] = nodes.SILENT
    return {"metadata": {"name": "a", "uid": "a"}, "spec": {}, "status": {"conditions": [ready]}, **changes}


def pod(name: str = "p", ready: str = "True", reason: str = "", **spec: Any) -> Object:
    conditions = [
        {"type": "Ready", "status": ready, "reason": reason, "lastTransitionTime": stamp(NOW - 500)},
        {"type": "ContainersReady", "status": "True"},
    ]
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"nodeName": "a", **spec},
        "status": {"phase": "Running", "conditions": conditions},
    }


def settle(
    obj: Object, members: list[Object], silence: float, now: float = NOW
) -> tuple[Object, list[Any], float | None]:
    """Plans until the node itself needs no more writes: (node, writes about pods, when to look again)."""
    for _ in range(5):
        found = plan(obj, members, silence, PATIENCE, now)
        updates = [write for write in found.writes if isinstance(write, Update) and write.kind is nodes.NODE]
        if not updates:
            return obj, found.writes, found.again
        obj = updates[0].obj
    raise AssertionError("it never settles")


def taints(obj: Object) -> list[tuple[str, str]]:
    return sorted((each["key"], each["effect"]) for each in obj["spec"].get("taints", []))


def test_a_node_heard_of_is_looked_at_when_its_grace_would_end() -> None:
    found = plan(node(), [pod()], 15, PATIENCE, NOW)
    assert (found.writes, found.again) == ([], 25)


def test_silence_makes_a_node_unknown_tainted_and_its_pods_unready_at_once() -> None:
    silent, writes, again = settle(node(), [pod()], 40)
    ready = pods.condition(silent, "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"], ready["lastTransitionTime"]) == ("Unknown", nodes.SILENT, stamp(NOW))
    assert taints(silent) == [(nodes.UNREACHABLE, "NoExecute"), (nodes.UNREACHABLE, "NoSchedule")]
    (write,) = writes
    assert isinstance(write, Update)
    assert not pods.is_ready(write.obj)
    assert again == 300
    _, later, _ = settle(silent, [write.obj], 60, NOW + 20)
    assert later == []


def test_after_the_eviction_delay_pods_are_deleted_without_grace() -> None:
    silent, _, _ = settle(node(), [], 40)
    tolerant = pod("stays", tolerations=[{"key": nodes.UNREACHABLE, "operator": "Exists"}])
    short = pod("short", tolerations=[{"operator": "Exists", "tolerationSeconds": 10}])
    _, early, again = settle(silent, [pod("p", "False"), short], 60, NOW + 11)
    assert [write.name for write in early if isinstance(write, Delete)] == ["short"]
    assert again == 289
    _, late, _ = settle(silent, [pod("p", "False"), tolerant], 400, NOW + 301)
    (deletion,) = (write for write in late if isinstance(write, Delete))
    assert (deletion.name, deletion.grace_seconds) == ("p", 0)


def test_a_node_heard_again_recovers_with_its_pods() -> None:
    silent, writes, _ = settle(node(), [pod()], 40)
    (unready,) = writes
    back, restored, _ = settle(silent, [unready.obj, pod("sick", "False", "ContainersNotReady")], 0, NOW + 60)
    assert pods.is_ready(back)
    assert taints(back) == []
    (write,) = restored
    assert isinstance(write, Update)
    assert (write.obj["metadata"]["name"], pods.is_ready(write.obj)) == ("p", True)


def test_a_node_that_calls_itself_unready_is_tainted_only() -> None:
    obj, writes, _ = settle(node("False"), [pod()], 0)
    assert (taints(obj), writes) == ([(nodes.NOT_READY, "NoSchedule")], [])


def test_taints_of_others_stay() -> None:
    mine = {"key": "mine", "effect": "NoSchedule"}
    cordoned = node(spec={"unschedulable": True, "taints": [mine, {"key": nodes.UNREACHABLE, "effect": "NoSchedule"}]})
    obj, _, _ = settle(cordoned, [], 0)
    assert taints(obj) == [("mine", "NoSchedule"), (nodes.UNSCHEDULABLE, "NoSchedule")]


def test_a_heartbeat_is_the_lease_or_the_nodes_own_word_but_not_ours() -> None:
    lease = {"spec": {"renewTime": "2026-01-01T00:00:00.000001Z"}}
    obj = node()
    obj["status"]["conditions"][0]["lastHeartbeatTime"] = stamp(NOW)
    assert nodes.heartbeat(obj, lease) == (lease["spec"]["renewTime"], stamp(NOW))
    silent, _, _ = settle(obj, [], 40)
    assert nodes.heartbeat(silent, lease) == nodes.heartbeat(obj, lease)
    back, _, _ = settle(silent, [], 0)
    assert nodes.heartbeat(back, lease) == nodes.heartbeat(obj, lease)


@pytest.mark.parametrize(
    ("beat", "known", "news"),
    [(("2", "1"), ("1", "1"), True), (("1", "1"), ("1", "1"), False), (("", "1"), ("1", "1"), False)],
)
def test_only_a_new_sign_is_news(beat: tuple[str, str], known: tuple[str, str], news: bool) -> None:
    assert nodes.is_news(beat, known) is news


V4 = (ipaddress.ip_network("10.244.0.0/16"), 24)
V6 = (ipaddress.ip_network("fd00:10:244::/48"), 64)


def given_to(used: list[str], *ranges: Any) -> list[str]:
    (write,) = assign(node(), used, ranges).writes
    assert isinstance(write, Update)
    assert write.obj["spec"]["podCIDR"] == write.obj["spec"]["podCIDRs"][0]
    return list(write.obj["spec"]["podCIDRs"])


def test_a_node_gets_the_first_free_part_of_each_range() -> None:
    assert given_to([], V4, V6) == ["10.244.0.0/24", "fd00:10:244::/64"]
    assert given_to(["10.244.0.0/24", "10.244.2.0/24", "fd00:10:244::/64"], V4, V6) == [
        "10.244.1.0/24",
        "fd00:10:244:1::/64",
    ]
    assert given_to(["10.244.0.0/22"], V4) == ["10.244.4.0/24"]
    assert given_to(["10.244.0.128/25", "192.168.0.0/24"], V4) == ["10.244.1.0/24"]


def test_a_full_range_is_told_and_nodes_with_ranges_keep_them() -> None:
    small = (ipaddress.ip_network("10.244.0.0/23"), 24)
    (tell,) = assign(node(), ["10.244.0.0/24", "10.244.1.0/24"], [small]).writes
    assert isinstance(tell, Tell)
    assert tell.told.reason == "CIDRNotAvailable"
    assert assign(node(spec={"podCIDR": "10.9.0.0/24"}), [], [V4]).writes == []


@given(st.lists(st.integers(0, 15), unique=True, max_size=16))
def test_no_part_is_given_twice(taken: list[int]) -> None:
    cluster = ipaddress.ip_network("10.0.0.0/20")
    used = [f"10.0.{index}.0/24" for index in taken]
    while len(used) < 16:
        (fresh,) = given_to(used, (cluster, 24))
        assert fresh not in used
        used.append(fresh)
    with pytest.raises(AssertionError):
        given_to(used, (cluster, 24))
