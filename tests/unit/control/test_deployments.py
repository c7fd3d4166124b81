"""Deployments: single steps, and whole rollouts against the bounds they promise."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.client.base import Object
from fairway.control import deployments, pods, replicas
from fairway.control.deployments import plan
from fairway.control.rollout import Limits, Set, bound, grow, limits, proportion, shrink
from fairway.control.times import stamp
from fairway.control.writes import Create, Delete, Update, Write
from fairway.objects.kinds import DEPLOYMENT, POD, REPLICA_SET

NOW = 1_000_000.0


def deployment(count: int = 3, image: str = "one", **spec: Any) -> Object:
    labels = {"app": "web"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            **spec,
        },
    }


class Play:
    """The server's objects of one Deployment, with its controllers' steps in the test's hands."""

    def __init__(self, obj: Object) -> None:
        self.deployment = obj
        self.sets: dict[str, Object] = {}
        self.pods: dict[str, Object] = {}
        self.deleted_sets: list[str] = []
        self.now = NOW
        self._chance = random.Random(7).random

    def step(self) -> list[Write]:
        """One pass of the Deployment controller."""
        self.now += 1
        counts = {pods.uid(each): len(self.pods_of(each)) for each in self.sets.values()}
        writes = plan(self.deployment, list(self.sets.values()), counts, self.now).writes
        for write in writes:
            match write:
                case Create(kind=kind) if kind is REPLICA_SET:
                    obj = copy.deepcopy(write.obj)
                    obj["metadata"] |= {"uid": obj["metadata"]["name"], "creationTimestamp": stamp(self.now)}
                    obj["metadata"]["generation"] = 1
                    self.sets[obj["metadata"]["name"]] = {**obj, "status": {"replicas": 0}}
                case Update(kind=kind) if kind is REPLICA_SET:
                    self.update(write.obj)
                case Update(kind=kind) if kind is DEPLOYMENT:
                    self.deployment = write.obj
                case Delete(kind=kind) if kind is REPLICA_SET:
                    self.deleted_sets.append(write.name)
                    del self.sets[write.name]
                case _:
                    raise AssertionError(write)
        return writes

    def update(self, replica_set: Object) -> None:
        """Store a ReplicaSet as the server does: another spec is another generation."""
        metadata = dict(replica_set["metadata"])
        metadata["generation"] += replica_set["spec"] != self.sets[metadata["name"]]["spec"]
        self.sets[metadata["name"]] = {**replica_set, "metadata": metadata}

    def pods_of(self, replica_set: Object) -> list[Object]:
        uid = pods.uid(replica_set)
        return [pod for pod in self.pods.values() if pod["metadata"]["ownerReferences"][0]["uid"] == uid]

    def act(self, name: str) -> None:
        """One pass of the ReplicaSet controller over its pods."""
        replica_set = self.sets[name]
        for write in replicas.plan(REPLICA_SET, replica_set, self.pods_of(replica_set), self.now, self._chance).writes:
            if isinstance(write, Create):
                pod = {**write.obj, "metadata": {**write.obj["metadata"], "uid": write.obj["metadata"]["name"]}}
                self.pods[pods.uid(pod)] = pod
            elif isinstance(write, Delete) and write.kind is POD:
                del self.pods[write.uid]

    def report(self, name: str) -> None:
        """The ReplicaSet controller writes the status."""
        replica_set = self.sets[name]
        status, _ = replicas.status(REPLICA_SET, replica_set, self.pods_of(replica_set), self.now, None)
        self.sets[name] = {**replica_set, "status": status}

    def make_ready(self, uid: str) -> None:
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": stamp(self.now)}
        self.pods[uid] = {**self.pods[uid], "status": {"phase": "Running", "conditions": [ready]}}

    def settle(self, ready: bool = True) -> None:
        """Let everybody act until nothing changes."""
        for _ in range(200):
            before = copy.deepcopy((self.sets, self.pods, self.deployment))
            self.step()
            for name in list(self.sets):
                self.act(name)
                for pod in list(self.pods) if ready else []:
                    if not pods.is_ready(self.pods[pod]):
                        self.make_ready(pod)
                self.report(name)
            if (self.sets, self.pods, self.deployment) == before:
                return
        raise AssertionError("it never settles")

    def set_image(self, image: str) -> None:
        self.deployment = copy.deepcopy(self.deployment)
        self.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image
        self.deployment["metadata"]["generation"] += 1

    def available(self) -> int:
        return sum(pods.is_ready(pod) for pod in self.pods.values())

    def sizes(self) -> list[tuple[str, int]]:
        found = ((each["spec"]["template"]["spec"]["containers"][0]["image"], each) for each in self.sets.values())
        return sorted((image, each["spec"]["replicas"]) for image, each in found)

    def condition(self, name: str) -> tuple[str, str]:
        found = pods.condition(self.deployment, name)
        assert found is not None
        return found["status"], found["reason"]


def settled(**spec: Any) -> Play:
    play = Play(deployment(**spec))
    play.settle()
    return play


def test_a_first_rollout_makes_one_replica_set_and_ends_available() -> None:
    play = settled()
    (name,) = play.sets
    found = play.sets[name]
    digest = found["metadata"]["labels"]["pod-template-hash"]
    assert name == f"web-{digest}"
    assert found["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": digest}
    assert found["spec"]["template"]["metadata"]["labels"] == {"app": "web", "pod-template-hash": digest}
    annotations = found["metadata"]["annotations"]
    assert annotations["deployment.kubernetes.io/revision"] == "1"
    assert annotations["deployment.kubernetes.io/desired-replicas"] == "3"
    assert annotations["deployment.kubernetes.io/max-replicas"] == "4"
    status = play.deployment["status"]
    assert [status[count] for count in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")] == [3] * 4
    assert status["observedGeneration"] == 1
    assert play.condition("Available") == ("True", "MinimumReplicasAvailable")
    assert play.condition("Progressing") == ("True", "NewReplicaSetAvailable")
    assert play.deployment["metadata"]["annotations"] == {"deployment.kubernetes.io/revision": "1"}


def test_a_new_template_rolls_and_the_old_one_again_rolls_back_to_the_old_set() -> None:
    play = settled()
    play.set_image("two")
    play.settle()
    assert play.sizes() == [("one", 0), ("two", 3)]
    play.set_image("one")
    play.settle()
    assert play.sizes() == [("one", 3), ("two", 0)]
    (old,) = (each for each in play.sets.values() if each["spec"]["replicas"])
    assert old["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert old["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"


def test_history_is_kept_as_long_as_asked() -> None:
    play = settled(revisionHistoryLimit=2)
    for image in ("two", "three", "four", "five"):
        play.set_image(image)
        play.settle()
    assert [image for image, _ in play.sizes()] == ["five", "four", "three"]
    assert len(play.deleted_sets) == 2


def test_recreate_waits_for_the_last_old_pod_before_the_first_new_one() -> None:
    play = settled(strategy={"type": "Recreate"})
    play.set_image("two")
    for _ in range(5):
        play.step()
    assert play.sizes() == [("one", 0), ("two", 0)]
    for name in play.sets:
        play.act(name)
    assert play.pods == {}
    play.settle()
    assert play.sizes() == [("one", 0), ("two", 3)]


def test_paused_follows_scale_but_not_the_template() -> None:
    play = settled(paused=False)
    play.deployment["spec"]["paused"] = True
    play.set_image("two")
    play.deployment["spec"]["replicas"] = 5
    play.settle()
    assert play.sizes() == [("one", 5)]
    assert play.condition("Progressing") == ("Unknown", "DeploymentPaused")
    play.deployment["spec"]["paused"] = False
    play.settle()
    assert play.sizes() == [("one", 0), ("two", 5)]
    assert play.condition("Progressing") == ("True", "NewReplicaSetAvailable")


def test_a_rollout_that_makes_no_progress_says_so_after_its_deadline() -> None:
    play = settled()
    play.set_image("broken")
    play.settle(ready=False)
    assert play.condition("Progressing") == ("True", "ReplicaSetUpdated")
    again = plan(play.deployment, play.sets.values(), {}, play.now).again
    assert again is not None
    assert again <= 601
    play.now += 700
    play.settle(ready=False)
    assert play.condition("Progressing") == ("False", "ProgressDeadlineExceeded")
    assert play.condition("Available") == ("True", "MinimumReplicasAvailable")
    assert play.sizes() == [("broken", 1), ("one", 3)]


def test_scaling_in_the_middle_of_a_rollout_spreads_over_both_sets() -> None:
    play = settled(count=10, strategy={"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}})
    play.set_image("two")
    play.settle(ready=False)
    assert play.sizes() == [("one", 8), ("two", 5)]
    play.deployment["spec"]["replicas"] = 15
    play.step()
    assert play.sizes() == [("one", 11), ("two", 7)]


def test_a_name_taken_by_another_template_leads_to_another_name() -> None:
    first = settled()
    counted = deployment()
    counted["status"] = {"collisionCount": 1}
    second = Play(counted)
    second.settle()
    assert set(first.sets) != set(second.sets)


def test_user_annotations_travel_to_the_set_but_not_kubectls_own() -> None:
    annotated = deployment()
    annotated["metadata"]["annotations"] = {
        "kubernetes.io/change-cause": "why",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
    }
    play = Play(annotated)
    play.settle()
    (found,) = play.sets.values()
    assert found["metadata"]["annotations"]["kubernetes.io/change-cause"] == "why"
    assert "kubectl.kubernetes.io/last-applied-configuration" not in found["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("value", "replicas_", "up", "found"),
    [(2, 9, True, 2), ("25%", 9, True, 3), ("25%", 9, False, 2), ("0%", 9, True, 0), ("100%", 9, False, 9)],
)
def test_percentages(value: int | str, replicas_: int, up: bool, found: int) -> None:
    assert bound(value, replicas_, up=up) == found


def test_no_room_in_either_direction_would_never_move() -> None:
    assert limits(4, 0, 0) == Limits(4, 0, 1)


def test_what_has_not_reported_on_its_last_order_counts_neither_as_available_nor_as_broken() -> None:
    limit = Limits(3, 0, 1)
    new, late = Set("new", 1, 1, 1), Set("old", 3, 3, 3, settled=False)
    assert [each.asked for each in shrink(new, [late], limit)] == [3]
    assert [each.asked for each in shrink(new, [Set("old", 3, 3, 3)], limit)] == [1]
    assert grow(new, [Set("old", 0, 0, 0, settled=False)], limit) == 1
    assert grow(new, [Set("old", 0, 0, 0)], limit) == 3


SETS = st.lists(st.builds(Set, st.uuids().map(str), *[st.integers(0, 9)] * 3), min_size=1, max_size=4)


@given(SETS, st.integers(0, 12), st.integers(0, 4), st.integers(0, 4))
def test_arithmetic_stays_in_bounds(sets: list[Set], wanted: int, surge: int, unavailable: int) -> None:
    new, *old = sets
    limit = limits(wanted, surge, unavailable)
    grown = grow(new, old, limit)
    if grown > new.asked:
        assert grown + sum(each.most for each in old) <= limit.most
    assert grown <= max(limit.replicas, new.asked)
    shrunk = shrink(new, old, limit)
    assert all(0 <= after.asked <= before.asked for after, before in zip(shrunk, old, strict=True))
    scaled = proportion(sets, limit, {})
    assert all(each.asked >= 0 for each in scaled)
    if sum(each.asked for each in sets):
        assert sum(each.asked for each in scaled) == (limit.most if wanted else 0)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 5),
    st.one_of(st.integers(0, 2), st.sampled_from(["25%", "50%"])),
    st.one_of(st.integers(0, 2), st.sampled_from(["25%", "50%"])),
    st.integers(0, 2**32),
)
def test_a_rollout_never_leaves_its_bounds(count: int, surge: int | str, unavailable: int | str, seed: int) -> None:
    """Controllers act in any order and report late; pods become ready whenever they like."""
    update = {"maxSurge": surge, "maxUnavailable": unavailable}
    play = Play(deployment(count, strategy={"type": "RollingUpdate", "rollingUpdate": update}))
    play.settle()
    limit = limits(count, surge, unavailable)
    play.set_image("two")
    chance = random.Random(seed)
    for _ in range(150):
        step = chance.choices(["step", "act", "report", "ready", "image"], [8, 6, 6, 6, 1])[0]
        choice = chance.randrange(6)
        names = sorted(play.sets)
        if step == "step":
            play.step()
        elif step == "act" and names:
            play.act(names[choice % len(names)])
        elif step == "report" and names:
            play.report(names[choice % len(names)])
        elif step == "ready" and play.pods:
            play.make_ready(sorted(play.pods)[choice % len(play.pods)])
        elif step == "image":
            play.set_image(f"image{choice}")
        assert len(play.pods) <= limit.most
        assert play.available() >= limit.least_available
    play.settle()
    wanted = play.deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    assert [image for image, size in play.sizes() if size] == [wanted]
    assert play.available() == count == len(play.pods)
    assert deployments.sort_out(play.deployment, play.sets.values(), {}).new is not None
