"""From objects to what is to be announced, by whom, and what `fairway lb` says of it."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.announce import bulletin
from fairway.announce.bulletin import Bulletin, Claim
from fairway.assemble import announcements
from fairway.assemble.announceable import settings_of, wishes
from fairway.assemble.announcements import Scene, UnknownNode
from fairway.control.loadbalancer_pools import Settings
from fairway.control.times import micro_stamp

V4 = "10.0.0.200"
NOW = 1_800_000_000.0
EXCLUDED = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}


def node(name: str, ready: str = "True", cordoned: bool = False, **labels: str) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready}]
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"unschedulable": True} if cordoned else {},
        "status": {"conditions": conditions},
    }


def service(name: str = "web", address: str = V4, **spec: Any) -> dict[str, Any]:
    conditions = [{"type": "fairway.io/LoadBalancer", "status": "True", "reason": "Assigned"}]
    return {
        "metadata": {"namespace": "default", "name": name},
        "spec": {"type": "LoadBalancer", **spec},
        "status": {"loadBalancer": {"ingress": [{"ip": address}]}, "conditions": conditions},
    }


def piece(**conditions_by_node: dict[str, bool]) -> dict[str, Any]:
    endpoints = [{"nodeName": name.replace("_", "-"), "conditions": said} for name, said in conditions_by_node.items()]
    labels = {"kubernetes.io/service-name": "web"}
    return {"metadata": {"namespace": "default", "name": "web-1", "labels": labels}, "endpoints": endpoints}


NODES = [node("node-a"), node("node-b", cordoned=True), node("node-c", ready="Unknown")]
LOCAL = {"externalTrafficPolicy": "Local"}
ENDING = {"ready": False, "serving": True, "terminating": True}


def best(services: list[Any], able: set[str], slices: list[Any] = [], nodes: list[Any] = NODES) -> set[str]:  # noqa: B006
    return set(wishes(services, nodes, {"default/web": slices}, Settings())[V4].best(able))


def test_cordoned_nodes_come_after_others_and_those_that_are_not_ready_last() -> None:
    assert best([service()], {"node-a", "node-b", "node-c"}) == {"node-a"}
    assert best([service()], {"node-b", "node-c"}) == {"node-b"}
    assert best([service()], {"node-c"}) == {"node-c"}


def test_excluded_nodes_and_those_without_the_settings_labels_never_announce() -> None:
    nodes = [node("node-a", **EXCLUDED), node("node-b")]
    assert best([service()], {"node-a", "node-b"}, nodes=nodes) == {"node-b"}
    chosen = Settings(node_labels={"lb": "yes"})
    assert wishes([service()], nodes, {}, chosen)[V4].best({"node-a", "node-b"}) == frozenset()


def test_under_local_only_nodes_with_an_endpoint_announce() -> None:
    local = service(**LOCAL)
    assert best([local], {"node-a", "node-b"}, [piece(node_b={"ready": True})]) == {"node-b"}
    assert best([local], {"node-a", "node-b"}, [piece(node_b={"ready": False})]) == set()
    ending = piece(node_a=ENDING, node_b={"ready": True})
    assert best([local], {"node-a", "node-b"}, [ending]) == {"node-b"}
    assert best([local], {"node-a", "node-b"}, [piece(node_a=ENDING)]) == {"node-a"}
    assert best([local], {"node-a", "node-b"}, [piece(node_a={})]) == {"node-a"}  # ready unless said otherwise


def test_what_is_not_ours_is_not_announced() -> None:
    theirs = service(loadBalancerClass="example.com/x")
    waiting = service()
    waiting["status"]["conditions"] = []
    of_nodes = service(loadBalancerClass="fairway.io/nodes")
    assert wishes([theirs, waiting, of_nodes, service(type="ClusterIP")], NODES, {}, Settings()) == {}
    assert settings_of(None) is None and settings_of("style: arp") is None


def test_services_that_share_an_address_are_announced_together() -> None:
    shared = [service("one"), service("two")]
    assert wishes(shared, NODES, {}, Settings())[V4].services == ("default/one", "default/two")


def lease(name: str, *claims: str, age: float = 0.1, reach: tuple[str, ...] = ("10.0.0.0/24",)) -> dict[str, Any]:
    held = {address: Claim(1, "2026-01-01T00:00:00.123456Z", "nobody announced it", True) for address in claims}
    said = Bulletin(name, "host", held, reach, (), 1.2 if claims else 25.0)
    return bulletin.lease(said, "", "", micro_stamp(NOW - age))


def scene(*leases: dict[str, Any]) -> Scene:
    nodes = [node("node-a"), node("node-b"), node("node-c")]
    services = [service(), service("v6", "fd00:a::200")]
    return Scene.of(services, nodes, [], leases, Settings(), NOW)


def test_it_tells_who_announces_and_who_would() -> None:
    told = scene(lease("node-a", V4), lease("node-b"), lease("node-c", age=40.0))
    assert announcements.lines(told.announcements()) == [
        "ADDRESS      NODE    SINCE                 WHY" + " " * 60 + "NEXT",
        "10.0.0.200   node-a  2026-01-01T00:00:00Z  nobody announced it" + " " * 44 + "node-b",
        "fd00:a::200  -       -                     no node that may announce it has an announcer that reaches it  -",
    ]
    assert announcements.fate(told.if_dead("node-a")) == [
        "if node-a died, which others would know in 1.2 s:",
        "  10.0.0.200 would be announced by node-b",
    ]
    assert announcements.fate(told.if_dead("node-b")) == ["if node-b died: no address would move"]
    with pytest.raises(UnknownNode, match="no announcer on node 'node-x'; there are on node-a, node-b, node-c"):
        told.if_dead("node-x")


def test_a_silent_announcer_is_told() -> None:
    [first, _] = scene(lease("node-a", V4, age=30.0), lease("node-b")).announcements()
    assert (first.node, round(first.silent), first.next) == ("node-a", 30, ("node-b",))
    assert "silent for 30 s" in announcements.lines([first])[1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda found: found["metadata"].pop("annotations"),
        lambda found: found["metadata"].update(name="fairway-announcer-node-z"),
        lambda found: found["metadata"]["annotations"].update({bulletin.RECORD: '{"node": 7}'}),
        lambda found: found["metadata"]["annotations"].update(
            {bulletin.RECORD: '{"node": "node-a", "reach": ["everywhere"]}'}
        ),
        lambda found: found["metadata"]["annotations"].update({bulletin.RECORD: '{"node": "node-a", "lapse": 1e9}'}),
    ],
)
def test_a_lease_that_says_nothing_sensible_is_passed_over(damage: Any) -> None:
    strange = lease("node-a", V4)
    damage(strange)
    with pytest.raises(ValueError, match=r"Lease|does not appear"):
        bulletin.read(strange)
    [first, _] = scene(strange, lease("node-b")).announcements()
    assert first.node == "" and first.why == "about to be taken"


def test_a_bulletin_comes_back_as_it_was_said() -> None:
    said = Bulletin("node-a", "host", {V4: Claim(3, "now", "why", True)}, ("10.0.0.0/24",), ("02:00:00:00:00:0a",), 1.2)
    found = bulletin.lease(said, "uid-of-node", "17", "2026-01-01T00:00:00.000000Z")
    assert bulletin.posted(found) == bulletin.Posted(said, "17")
    assert found["metadata"]["ownerReferences"][0]["uid"] == "uid-of-node"
