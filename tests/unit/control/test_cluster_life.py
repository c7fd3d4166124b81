"""All controllers on a real API in memory: stories from a cluster's life."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fairway.client.base import ApiError, Client, Object, Unreachable, WatchEvent
from fairway.control import pods
from fairway.objects.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    ENDPOINTS,
    EVENT,
    NAMESPACE,
    NODE,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
)
from tests.unit.control.stage import Stage, play, service, staged, workload


def addresses(stage: Stage, name: str = "web") -> list[str]:
    """The ready addresses in the Service's slices."""
    return sorted(
        entry["addresses"][0]
        for each in stage.items(ENDPOINT_SLICE)
        if pods.labels(each).get("kubernetes.io/service-name") == name
        for entry in each.get("endpoints") or ()
        if entry["conditions"]["ready"]
    )


def pod_addresses(stage: Stage) -> list[str]:
    return sorted(pod["status"]["podIP"] for pod in stage.items(POD) if pods.is_ready(pod) and not pods.is_going(pod))


def in_step(stage: Stage, count: int) -> bool:
    """Whether there are exactly `count` pods, all ready, and slices and Endpoints say so."""
    listed = sorted(
        address["ip"]
        for each in stage.items(ENDPOINTS)
        if each["metadata"]["name"] == "web"
        for subset in each.get("subsets") or ()
        for address in subset.get("addresses") or ()
    )
    found = pod_addresses(stage)
    return len(stage.items(POD)) == len(found) == count and addresses(stage) == found == listed


BASIC = (POD, ENDPOINT_SLICE, ENDPOINTS)


def test_what_the_system_notes_on_a_deployment_is_no_new_generation() -> None:
    async def scene() -> None:
        async with staged(DEPLOYMENT) as stage:
            await stage.client.create(DEPLOYMENT, workload(DEPLOYMENT, "web", 2))

            def settled() -> Object | None:
                [found] = stage.items(DEPLOYMENT) or [{}]
                return found if found.get("status", {}).get("availableReplicas") == 2 else None

            found = await stage.until(settled)
            assert found["metadata"]["annotations"] == {"deployment.kubernetes.io/revision": "1"}
            assert (found["metadata"]["generation"], found["status"]["observedGeneration"]) == (1, 1)

    play(scene)


@pytest.mark.parametrize("kind", [REPLICATION_CONTROLLER, REPLICA_SET, DEPLOYMENT])
def test_a_workload_behind_a_service_from_birth_to_end(kind: Kind) -> None:
    async def scene() -> None:
        async with staged(*BASIC) as stage:
            await stage.client.create(SERVICE, service("web"))
            await stage.client.create(kind, workload(kind, "web", 3))
            await stage.until(lambda: in_step(stage, 3))
            assert {pods.node_name(pod) for pod in stage.items(POD)} == {"node-a", "node-b", "node-c"}
            victim = stage.items(POD)[0]["metadata"]["name"]
            await stage.client.delete(POD, victim, "default")
            await stage.until(lambda: in_step(stage, 3) and victim not in names(stage.items(POD)))
            await stage.client.patch(kind, "web", {"spec": {"replicas": 1}}, "default")
            await stage.until(lambda: in_step(stage, 1))
            await stage.client.delete(SERVICE, "web", "default")
            await stage.until(lambda: names(stage.items(ENDPOINTS)) == ["kubernetes"] and addresses(stage) == [])
            await stage.client.delete(kind, "web", "default", propagation="Background")
            await stage.until(lambda: not stage.items(POD))

    play(scene)


def names(objects: list[Object]) -> list[str]:
    return [obj["metadata"]["name"] for obj in objects]


def test_readiness_takes_a_pod_out_and_in() -> None:
    async def scene() -> None:
        async with staged(*BASIC) as stage:
            await stage.client.create(SERVICE, service("web"))
            await stage.client.create(REPLICA_SET, workload(REPLICA_SET, "web", 2))
            await stage.until(lambda: in_step(stage, 2))
            first = stage.items(POD)[0]
            await stage.client.update(POD, stage.ready(first, "False"), subresource="status")
            await stage.until(lambda: len(addresses(stage)) == 1)
            fresh = await stage.client.get(POD, first["metadata"]["name"], "default")
            await stage.client.update(POD, stage.ready(fresh), subresource="status")
            await stage.until(lambda: in_step(stage, 2))

    play(scene)


def test_endpoints_written_by_hand_get_slices_and_lose_them() -> None:
    async def scene() -> None:
        async with staged(*BASIC, nodes=0) as stage:
            by_hand = service("web")
            del by_hand["spec"]["selector"]
            by_hand["spec"]["ports"] = [{"port": 80}]
            await stage.client.create(SERVICE, by_hand)
            there = {"name": "web", "namespace": "default"}
            subsets = [{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 80}]}]
            source = {"apiVersion": "v1", "kind": "Endpoints", "metadata": there, "subsets": subsets}
            await stage.client.create(ENDPOINTS, source)
            await stage.until(lambda: addresses(stage) == ["192.0.2.7"])
            await stage.client.delete(ENDPOINTS, "web", "default")
            await stage.until(lambda: addresses(stage) == [])
            assert names(stage.items(ENDPOINT_SLICE)) == ["kubernetes"]

    play(scene)


def test_a_silent_node_leaves_the_endpoints_then_its_pods_are_replaced_and_it_may_return() -> None:
    async def scene() -> None:
        now = [1_000_000.0]
        async with staged(*BASIC, NODE, clock=lambda: now[0]) as stage:
            await stage.client.create(SERVICE, service("web"))
            await stage.client.create(DEPLOYMENT, workload(DEPLOYMENT, "web", 3))
            await stage.until(lambda: in_step(stage, 3))
            stage.deaf.add("node-b")
            now[0] += 41
            await stage.renew("node-a")
            await stage.renew("node-c")
            await poke(stage, "node-b")
            await stage.until(lambda: len(addresses(stage)) == 2)
            (lost,) = (pod for pod in stage.items(POD) if pods.node_name(pod) == "node-b")
            assert lost["status"]["podIP"] not in addresses(stage)
            now[0] += 1001
            await stage.renew("node-a")
            await stage.renew("node-c")
            await poke(stage, "node-b")
            await stage.until(lambda: in_step(stage, 3))
            assert {pods.node_name(pod) for pod in stage.items(POD)} == {"node-a", "node-c"}
            stage.deaf.clear()
            await stage.renew("node-b")
            await stage.until(lambda: all(pods.is_ready(node) and not taints(node) for node in stage.items(NODE, "")))

    play(scene)


async def poke(stage: Stage, node: str) -> None:
    """Make the controllers look at the node: their timers run on real time, the test's clock does not."""
    seen = await stage.client.get(NODE, node)
    await stage.client.patch(NODE, node, {"metadata": {"annotations": {"seen": seen["metadata"]["resourceVersion"]}}})


def taints(node: Object) -> list[Object]:
    return list(node["spec"].get("taints") or ())


def test_every_node_gets_its_own_pod_range() -> None:
    async def scene() -> None:
        async with staged(NODE, nodes=8) as stage:
            await stage.until(
                lambda: len([each for each in stage.items(NODE, "") if each.get("spec", {}).get("podCIDR")]) == 8
            )
            ranges = [node["spec"]["podCIDR"] for node in stage.items(NODE, "")]
            assert sorted(ranges) == [f"10.244.{number}.0/24" for number in range(8)]

    play(scene)


def test_pods_wait_for_a_node_that_fits() -> None:
    async def scene() -> None:
        async with staged(POD, EVENT, nodes=1) as stage:
            wanting = workload(REPLICA_SET, "web", 1)
            wanting["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "ssd"}
            await stage.client.create(REPLICA_SET, wanting)
            events = await stage.until(
                lambda: [event for event in stage.items(EVENT) if event["reason"] == "FailedScheduling"]
            )
            message = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
            assert events[0]["message"] == message
            await stage.client.patch(NODE, "node-a", {"metadata": {"labels": {"disk": "ssd"}}})
            await stage.until(lambda: [pod for pod in stage.items(POD) if pods.is_ready(pod)])

    play(scene)


def test_a_namespace_is_furnished_and_emptied() -> None:
    async def scene() -> None:
        async with staged(NAMESPACE, POD, SERVICE_ACCOUNT, CONFIG_MAP, SERVICE) as stage:
            await stage.client.create(
                NAMESPACE, {"metadata": {"name": "shop"}, "apiVersion": "v1", "kind": "Namespace"}
            )
            await stage.until(lambda: stage.items(SERVICE_ACCOUNT, "shop") and stage.items(CONFIG_MAP, "shop"))
            (root,) = stage.items(CONFIG_MAP, "shop")
            assert (root["metadata"]["name"], root["data"]) == ("kube-root-ca.crt", {"ca.crt": "-- PEM --"})
            await stage.client.patch(CONFIG_MAP, "kube-root-ca.crt", {"data": {"ca.crt": "forged"}}, "shop")
            await stage.until(lambda: [each for each in stage.items(CONFIG_MAP, "shop") if "-- PEM --" in str(each)])
            there = {"name": "web", "namespace": "shop"}
            await stage.client.create(SERVICE, {**service("web"), "metadata": there})
            await stage.client.create(DEPLOYMENT, {**workload(DEPLOYMENT, "web", 2), "metadata": there})
            await stage.until(lambda: len([pod for pod in stage.items(POD, "shop") if pods.is_ready(pod)]) == 2)
            held = {"metadata": {**there, "finalizers": ["example.com/hold"]}, "apiVersion": "v1", "kind": "ConfigMap"}
            await stage.client.create(CONFIG_MAP, held)
            await stage.client.delete(NAMESPACE, "shop")
            await stage.until(lambda: "example.com/hold (1)" in str(stage.items(NAMESPACE, "")))
            await stage.client.patch(CONFIG_MAP, "web", {"metadata": {"finalizers": None}}, "shop")
            await stage.until(lambda: "shop" not in names(stage.items(NAMESPACE, "")))
            assert not stage.items(POD, "shop")
            assert not stage.items(SERVICE, "shop")

    play(scene)


@pytest.mark.parametrize("propagation", ["Foreground", "Orphan"])
def test_deletion_in_the_foreground_and_leaving_orphans(propagation: str) -> None:
    async def scene() -> None:
        async with staged(POD, REPLICA_SET) as stage:
            await stage.client.create(REPLICA_SET, workload(REPLICA_SET, "web", 2))
            await stage.until(lambda: len([pod for pod in stage.items(POD) if pods.is_ready(pod)]) == 2)
            await stage.client.delete(REPLICA_SET, "web", "default", propagation=propagation)
            await stage.until(lambda: not stage.items(REPLICA_SET))
            if propagation == "Foreground":
                assert not stage.items(POD)
                return
            await stage.until(lambda: not any("ownerReferences" in pod["metadata"] for pod in stage.items(POD)))
            before = names(stage.items(POD))
            await stage.client.create(REPLICA_SET, workload(REPLICA_SET, "web", 2))
            await stage.until(lambda: all("ownerReferences" in pod["metadata"] for pod in stage.items(POD)))
            assert names(stage.items(POD)) == before

    play(scene)


class Refusing:
    """A client whose server refuses to create pods while `closed`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.closed = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def create(self, kind: Kind, obj: Object, namespace: str = "") -> Object:
        if kind is POD and self.closed:
            raise ApiError(403, "Forbidden", "exceeded quota")
        return await self._client.create(kind, obj, namespace)


class Lagging:
    """A client whose watches of pods tell nothing until `let_go` is set."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.let_go = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def watch(self, kind: Kind, namespace: str = "", **options: Any) -> AsyncIterator[WatchEvent]:
        async for event in self._client.watch(kind, namespace, **options):
            if kind is POD:
                await self.let_go.wait()
            yield event


class Flaky:
    """A client that loses connections: before a write, after it (so that its fate is unknown), and in watches."""

    def __init__(self, client: Client, seed: int) -> None:
        self._client = client
        self._chance = random.Random(seed)
        self.losses = 0

    def _lose(self, share: float) -> None:
        if self._chance.random() < share:
            self.losses += 1
            raise Unreachable("cut")

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name not in ("create", "update", "patch", "delete", "post", "get", "list"):
            return found

        async def call(*args: Any, **options: Any) -> Any:
            self._lose(0.1)
            answer = await found(*args, **options)
            self._lose(0.1)
            return answer

        return call

    async def watch(self, kind: Kind, namespace: str = "", **options: Any) -> AsyncIterator[WatchEvent]:
        async for event in self._client.watch(kind, namespace, **options):
            self._lose(0.05)
            yield event


def test_a_refused_template_is_told_and_heals() -> None:
    async def scene() -> None:
        doors: list[Refusing] = []

        def wrap(client: Client) -> Client:
            doors.append(Refusing(client))
            return doors[0]  # type: ignore[return-value]

        async with staged(POD, REPLICA_SET, EVENT, wrap=wrap) as stage:
            await stage.client.create(REPLICA_SET, workload(REPLICA_SET, "web", 3))
            failed = await stage.until(
                lambda: [each for each in stage.items(REPLICA_SET) if pods.condition(each, "ReplicaFailure")]
            )
            said = pods.condition(failed[0], "ReplicaFailure")
            assert said is not None
            assert (said["reason"], said["message"]) == ("FailedCreate", "exceeded quota")
            doors[0].closed = False
            await stage.until(lambda: len(stage.items(POD)) == 3)
            await stage.until(lambda: not pods.condition(stage.items(REPLICA_SET)[0], "ReplicaFailure"))

    play(scene)


def test_a_watch_that_lags_makes_no_replica_twice() -> None:
    async def scene() -> None:
        held: list[Lagging] = []

        def wrap(client: Client) -> Client:
            held.append(Lagging(client))
            return held[0]  # type: ignore[return-value]

        async with staged(POD, REPLICA_SET, wrap=wrap) as stage:
            await stage.client.create(REPLICA_SET, workload(REPLICA_SET, "web", 5))
            await stage.until(lambda: len(stage.items(POD)) == 5)
            for number in range(5):
                await stage.client.patch(REPLICA_SET, "web", {"spec": {"minReadySeconds": number}}, "default")
                await stage.until(
                    lambda: all(
                        each["status"].get("observedGeneration") == each["metadata"]["generation"]
                        for each in stage.items(REPLICA_SET)
                    )
                )
            assert len(stage.items(POD)) == 5
            await stage.client.patch(REPLICA_SET, "web", {"spec": {"replicas": 2, "minReadySeconds": 0}}, "default")
            await stage.until(lambda: len(stage.items(POD)) == 2)
            held[0].let_go.set()
            await stage.until(lambda: stage.items(REPLICA_SET)[0]["status"].get("availableReplicas") == 2)
            assert len(stage.items(POD)) == 2

    play(scene)


@pytest.mark.parametrize("seed", range(4))
def test_lost_connections_lose_and_double_nothing(seed: int) -> None:
    async def scene() -> None:
        flaky: list[Flaky] = []

        def wrap(client: Client) -> Client:
            flaky.append(Flaky(client, seed))
            return flaky[0]  # type: ignore[return-value]

        async with staged(*BASIC, REPLICA_SET, wrap=wrap) as stage:
            await stage.client.create(SERVICE, service("web"))
            await stage.client.create(REPLICA_SET, workload(REPLICA_SET, "web", 12))
            most = [0]

            def settled() -> bool:
                most[0] = max(most[0], sum(not pods.is_going(pod) for pod in stage.items(POD)))
                return in_step(stage, 12)

            await stage.until(settled, 60)
            assert most[0] == 12
            await stage.client.patch(REPLICA_SET, "web", {"spec": {"replicas": 4}}, "default")
            await stage.until(lambda: in_step(stage, 4), 60)
            assert flaky[0].losses > 10

    play(scene)
