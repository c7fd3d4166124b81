"""What Services hold is put right: IPAddresses deleted by hand, what a Service left behind, what two of them have."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fairway.api.repairing import Repairer
from fairway.store.base import Delete, Put
from fairway.store.memory import MemoryStore
from tests.contract.session import CONFIG, Session, service, told

SERVICES = "/api/v1/namespaces/default/services"
ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"
EVENTS = "/api/v1/namespaces/default/events"
REGISTRY = "/registry/networking.k8s.io/ipaddresses/"
ONE_FREE = dataclasses.replace(CONFIG, service_cidrs=("10.96.0.0/30",))


def repairer(me: Session) -> Repairer:
    return me.api._repairer


async def warnings(me: Session) -> dict[str, str]:
    """Reasons of the warnings, with the object each is about."""
    return {each["reason"]: each["involvedObject"]["name"] for each in (await me.ok("GET", EVENTS))["items"]}


async def put(me: Session, key: str, value: Any) -> None:
    """Write past the server, as a crashed or older one may have left things."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    await me.api.handlers.store.commit([], [Put(key, data)])


async def stored(me: Session, prefix: str) -> dict[str, Any]:
    entries = (await me.api.handlers.store.range(prefix)).entries
    return {entry.key.removeprefix(prefix): json.loads(entry.value) for entry in entries}


def test_an_address_is_claimed_while_its_object_is_gone() -> None:
    async def story(me: Session) -> None:
        spec = (await me.ok("POST", SERVICES, service()))["spec"]
        await me.api.stop()  # only the sweep below repairs
        address, url = spec["clusterIP"], f"{ADDRESSES}/{spec['clusterIP']}"
        held = {"metadata": {"finalizers": ["example.com/hold"]}}
        await me.ok("PATCH", url, held, content_type="application/merge-patch+json")
        await me.ok("DELETE", url)
        assert await stored(me, "/allocations/") == {}
        await me.ok("PATCH", url, {"metadata": {"finalizers": None}}, content_type="application/merge-patch+json")
        assert {name: claim["name"] for name, claim in (await stored(me, "/allocations/")).items()} == {
            f"addresses/{address}": "web"
        }
        assert await repairer(me).sweep() == 1
        assert await stored(me, "/allocations/") == {} and address in await stored(me, REGISTRY)
        await me.ok("DELETE", url)
        await me.ok("DELETE", f"{SERVICES}/web")
        assert await stored(me, "/allocations/") == {} and address not in await stored(me, REGISTRY)

    told(story)


def test_an_address_deleted_by_hand_comes_back() -> None:
    async def story(me: Session) -> None:
        spec = (await me.ok("POST", SERVICES, service()))["spec"]
        url = f"{ADDRESSES}/{spec['clusterIP']}"
        before = await me.ok("GET", url)
        async with me.watch(f"{ADDRESSES}?resourceVersion={before['metadata']['resourceVersion']}") as watch:
            await me.ok("DELETE", url)
            assert [(await watch.next())[0] for _ in range(2)] == ["DELETED", "ADDED"]
        after = await me.ok("GET", url)
        assert after["metadata"]["uid"] != before["metadata"]["uid"]
        assert (after["spec"], after["metadata"]["labels"]) == (before["spec"], before["metadata"]["labels"])
        while not await warnings(me):
            await asyncio.sleep(0)
        assert await warnings(me) == {"ClusterIPNotAllocated": "web"}

    told(story)


def test_nobody_gets_an_address_whose_object_is_gone_while_its_service_lives() -> None:
    async def story(me: Session) -> None:
        spec = (await me.ok("POST", SERVICES, service()))["spec"]
        await me.api.stop()  # nobody repairs
        await me.ok("DELETE", f"{ADDRESSES}/{spec['clusterIP']}")
        code, _, message = await me.refused("POST", SERVICES, service("other"))
        assert code == 500 and "range is full" in message
        code, _, message = await me.refused("POST", SERVICES, service("other", clusterIP=spec["clusterIP"]))
        assert code == 422 and "provided IP is already allocated" in message
        await me.ok("DELETE", f"{SERVICES}/web")
        assert (await me.ok("POST", SERVICES, service("other")))["spec"]["clusterIP"] == spec["clusterIP"]

    told(story, config=ONE_FREE)


def test_an_address_taken_by_hand_stays_its_makers() -> None:
    async def story(me: Session) -> None:
        parent = {"group": "example.com", "resource": "things", "name": "mine"}
        mine = {"kind": "IPAddress", "apiVersion": "networking.k8s.io/v1", "metadata": {"name": "10.96.0.2"}}
        await me.ok("POST", ADDRESSES, {**mine, "spec": {"parentRef": parent}})
        assert await repairer(me).sweep() == 0
        assert (await me.refused("POST", SERVICES, service()))[0] == 500

    told(story, config=ONE_FREE)


def test_what_is_left_behind_is_cleaned_up_when_it_is_old_enough() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", SERVICES, service())
        labels = {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}
        for name, age in (("10.96.7.1", 30), ("10.96.7.2", 120)):
            born = (datetime.now(UTC) - timedelta(seconds=age)).isoformat()[:19] + "Z"
            meta = {"name": name, "uid": name, "labels": labels, "creationTimestamp": born}
            parent = {"group": "", "resource": "services", "namespace": "default", "name": "gone"}
            await put(me, REGISTRY + name, {"kind": "IPAddress", "metadata": meta, "spec": {"parentRef": parent}})
        for key in ("/allocations/nodeports/30001", "/allocations/addresses/10.96.7.3"):
            await put(me, key, {"namespace": "default", "name": "gone", "uid": "u"})
        assert await repairer(me).sweep() == 3
        left = await stored(me, REGISTRY)
        assert "10.96.7.1" in left and "10.96.7.2" not in left
        assert await stored(me, "/allocations/nodeports/") == {} and "10.96.7.3" not in await stored(
            me, "/allocations/addresses/"
        )
        assert await warnings(me) == {"IPAddressNotAllocated": "10.96.7.2"}
        assert await repairer(me).sweep() == 0

    told(story)


def test_claims_that_are_lost_are_made_again() -> None:
    async def story(me: Session) -> None:
        spec = (await me.ok("POST", SERVICES, service(type="NodePort")))["spec"]
        before = await stored(me, "/allocations/")
        assert set(before) == {f"nodeports/{spec['ports'][0]['nodePort']}"}
        await me.api.handlers.store.commit([], [Delete(f"/allocations/{name}") for name in before])
        assert await repairer(me).sweep() == len(before) == 1
        assert await stored(me, "/allocations/") == before

    told(story)


def test_what_two_services_have_is_told_and_left_to_people() -> None:
    async def story(me: Session) -> None:
        first = await me.ok("POST", SERVICES, service(type="NodePort"))
        for name in ("twin", "far"):
            meta = {**first["metadata"], "name": name, "uid": name, "managedFields": []}
            spec = dict(first["spec"])
            if name == "far":
                port = {"port": 80, "protocol": "TCP", "nodePort": 1234}
                spec |= {"clusterIP": "10.5.0.1", "clusterIPs": ["10.5.0.1"], "ports": [port]}
            await put(me, f"/registry/core/services/default/{name}", {**first, "metadata": meta, "spec": spec})
        kept = await stored(me, "/allocations/nodeports/")
        await me.api.stop()  # only the sweeps below look
        for _ in range(2):
            await repairer(me).sweep()
        assert await warnings(me) == {
            "ClusterIPAlreadyAllocated": "twin",
            "PortAlreadyAllocated": "twin",
            "ClusterIPOutOfRange": "far",
            "PortOutOfRange": "far",
        }
        assert {each["count"] for each in (await me.ok("GET", EVENTS))["items"]} == {2}
        assert await stored(me, "/allocations/nodeports/") == kept
        await me.ok("DELETE", f"{SERVICES}/twin")
        assert await stored(me, "/allocations/nodeports/") == kept

    told(story)


@pytest.mark.parametrize("wrong", [{"labels": {}}, {"parent": "stranger"}])
def test_an_address_that_says_something_wrong_is_made_anew(wrong: dict[str, Any]) -> None:
    async def story(me: Session) -> None:
        spec = (await me.ok("POST", SERVICES, service()))["spec"]
        key = REGISTRY + spec["clusterIP"]
        [right] = [obj for name, obj in (await stored(me, REGISTRY)).items() if name == spec["clusterIP"]]
        parent = right["spec"]["parentRef"] | ({"name": wrong["parent"]} if "parent" in wrong else {})
        meta = right["metadata"] | ({"labels": wrong["labels"]} if "labels" in wrong else {})
        await put(me, key, {**right, "metadata": meta, "spec": {"parentRef": parent}})
        assert await repairer(me).sweep() == 2
        found = (await stored(me, REGISTRY))[spec["clusterIP"]]
        assert (found["spec"], found["metadata"]["labels"]) == (right["spec"], right["metadata"]["labels"])

    told(story)


def test_what_cannot_be_read_keeps_nobody_from_the_rest() -> None:
    async def story(me: Session) -> None:
        mine = (await me.ok("POST", SERVICES, service()))["spec"]["clusterIP"]
        broken = await me.ok("POST", SERVICES, service("broken", type="NodePort"))
        await me.api.stop()  # only the sweeps below repair
        held = await stored(me, "/allocations/")
        await me.ok("DELETE", f"{ADDRESSES}/{mine}")
        await put(me, "/registry/core/services/default/broken", {**broken, "spec": {"clusterIPs": 7}})
        await put(me, f"{REGISTRY}10.96.0.77", {"metadata": "none"})
        assert await repairer(me).sweep() == 1
        assert mine in await stored(me, REGISTRY)
        assert await stored(me, "/allocations/") == held, "of what is not understood nothing is freed"

    told(story)


def test_two_servers_on_one_store_repair_once() -> None:
    store = MemoryStore()

    async def story(me: Session) -> None:
        await me.ok("POST", SERVICES, service())
        claims = await stored(me, "/allocations/")
        await store.commit([], [Delete(f"/allocations/{name}") for name in claims])
        other = Repairer(store, repairer(me)._allocator, me.api.handlers.writer, me.api._chance)
        landed = await asyncio.gather(repairer(me).sweep(), other.sweep())
        assert sum(landed) == len(claims) and await stored(me, "/allocations/") == claims

    told(story, store=store)
