"""Aggregated cluster roles have the rules of those they choose, and lose them again."""

from __future__ import annotations

from typing import Any

from fairway.client.base import Object
from fairway.control.clusterroles import gathered, plan
from fairway.control.writes import Update
from fairway.objects.kinds import CLUSTER_ROLE
from tests.unit.control.stage import Stage, play, staged


def rule(*verbs: str, things: str = "widgets") -> Object:
    return {"verbs": list(verbs), "apiGroups": ["example.com"], "resources": [things]}


def role(name: str, *rules: Object, labels: dict[str, str] | None = None, chooses: Any = None) -> Object:
    obj: Object = {"metadata": {"name": name, "labels": labels or {}}, "rules": list(rules)}
    return obj | ({"aggregationRule": {"clusterRoleSelectors": chooses}} if chooses else {})


A, B = {"matchLabels": {"to": "a"}}, {"matchLabels": {"to": "b"}}


def test_rules_are_gathered_selector_by_selector_by_name_and_once() -> None:
    others = [
        role("z", rule("get"), rule("list"), labels={"to": "a"}),
        role("y", rule("get"), rule("watch"), labels={"to": "a"}),
        role("x", rule("delete"), labels={"to": "b"}),
        role("w", rule("patch")),
    ]
    both = role("both", chooses=[B, A])
    assert gathered(both, [both, *others]) == [rule("delete"), rule("get"), rule("watch"), rule("list")]


def test_a_role_is_written_when_its_rules_are_others_and_only_then() -> None:
    other = role("x", rule("get"), labels={"to": "a"})
    own = role("own", rule("delete"), chooses=[A], labels={"to": "a"})
    [write] = plan(own, [own, other]).writes
    assert isinstance(write, Update) and write.obj["rules"] == [rule("get")]
    assert plan(write.obj, [write.obj, other]).writes == []
    assert plan(other, [own, other]).writes == []
    going = {**own, "metadata": {**own["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert plan(going, [going, other]).writes == []
    [write] = plan(role("own", rule("get"), chooses=[{"matchExpressions": [{"operator": "?"}]}]), [other]).writes
    assert isinstance(write, Update) and write.obj["rules"] == []


def test_what_is_made_viewable_is_so_for_everyone_who_looks() -> None:
    async def scene() -> None:
        async with staged(CLUSTER_ROLE) as stage:
            await stage.until(lambda: rules(stage, "view") and allows_writing(stage))
            extra = role("widgets", rule("get"), labels={"rbac.authorization.k8s.io/aggregate-to-view": "true"})
            await stage.client.create(
                CLUSTER_ROLE, {"kind": "ClusterRole", "apiVersion": CLUSTER_ROLE.api_version} | extra
            )
            await stage.until(lambda: all(rule("get") in rules(stage, name) for name in ("view", "edit", "admin")))
            await stage.client.delete(CLUSTER_ROLE, "widgets")
            await stage.until(lambda: not any(rule("get") in rules(stage, name) for name in ("view", "edit", "admin")))

    play(scene)


def rules(stage: Stage, name: str) -> list[Object]:
    [found] = [each for each in stage.items(CLUSTER_ROLE, "") if each["metadata"]["name"] == name] or [{}]
    return list(found.get("rules") or [])


def allows_writing(stage: Stage) -> bool:
    return any("services" in each.get("resources", ()) and "create" in each["verbs"] for each in rules(stage, "admin"))
