"""Load balancers in a whole cluster: from the wish to the address, and back."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from fairway.client.base import ApiError, Client, Object
from fairway.control.loadbalancer_claims import RECORD, read
from fairway.control.manager import run
from fairway.objects.kinds import CONFIG_MAP, EVENT, NODE, SERVICE, Kind
from tests.unit.control.stage import CONFIG, Stage, play, service, staged

POOL = "pools: [{name: lan, addresses: [10.0.0.200-10.0.0.201]}]"
SHARED = {"fairway.io/load-balancer-sharing-key": "k"}


def settings(text: str) -> Object:
    metadata = {"name": "fairway-loadbalancer", "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"config": text}}


def balanced(name: str, annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    made = service(name, type="LoadBalancer", **spec)
    made["metadata"]["annotations"] = annotations or {}
    return made


def shown(stage: Stage, name: str) -> str:
    """The Service's addresses, or the reason of its condition; "" before anything is said."""
    found = next((each for each in stage.items(SERVICE) if each["metadata"]["name"] == name), {"status": {}})
    addresses = [each["ip"] for each in found["status"].get("loadBalancer", {}).get("ingress") or []]
    conditions = found["status"].get("conditions") or []
    return ",".join(addresses) or "".join(each["reason"] for each in conditions)


async def reach(stage: Stage, name: str, wanted: str) -> None:
    try:
        await stage.until(lambda: shown(stage, name) == wanted, 5.0)
    except TimeoutError:
        pytest.fail(f"{name} shows {shown(stage, name)!r}, not {wanted!r}")


def test_addresses_are_given_waited_for_and_released() -> None:
    async def scene() -> None:
        async with staged(SERVICE, EVENT) as stage:
            await stage.client.create(CONFIG_MAP, settings(POOL), "kube-system")
            for name in ("a", "b", "c"):
                await stage.client.create(SERVICE, balanced(name), "default")
                await reach(stage, name, {"a": "10.0.0.200", "b": "10.0.0.201", "c": "PoolEmpty"}[name])
            found = await stage.client.get(SERVICE, "a", "default")
            assert found["status"]["loadBalancer"] == {"ingress": [{"ip": "10.0.0.200", "ipMode": "VIP"}]}
            assert found["status"]["conditions"][0]["message"] == "10.0.0.200 of pool 'lan'"
            await stage.client.patch(SERVICE, "a", {"spec": {"type": "ClusterIP"}}, "default")
            await reach(stage, "c", "10.0.0.200")
            await reach(stage, "a", "")
            found = await stage.client.get(SERVICE, "a", "default")
            assert found["status"] == {"loadBalancer": {}}
            await stage.client.delete(SERVICE, "b", "default")
            await stage.client.create(SERVICE, balanced("d"), "default")
            await reach(stage, "d", "10.0.0.201")
            record = read(await stage.client.get(CONFIG_MAP, RECORD, "kube-system"))
            assert [(each.name, each.addresses) for each in record.claims] == [
                ("c", ("10.0.0.200",)),
                ("d", ("10.0.0.201",)),
            ]
            told = {each["reason"] for each in stage.items(EVENT) if each["involvedObject"]["name"] == "c"}
            await stage.until(lambda: {"PoolEmpty", "Assigned"} <= {each["reason"] for each in stage.items(EVENT)})
            assert told <= {"PoolEmpty", "Assigned"}

    play(scene)


def test_pools_change_and_what_fits_stays() -> None:
    async def scene() -> None:
        async with staged(SERVICE, EVENT) as stage:
            await stage.client.create(CONFIG_MAP, settings(POOL), "kube-system")
            await stage.client.create(SERVICE, balanced("a"), "default")
            await reach(stage, "a", "10.0.0.200")
            await stage.client.create(SERVICE, balanced("b"), "default")
            await reach(stage, "b", "10.0.0.201")
            more = "pools: [{name: bad, addresses: [10.96.0.0/24]}, {name: new, addresses: [10.0.0.201-10.0.0.210]}]"
            await stage.client.update(CONFIG_MAP, settings(more))
            await stage.client.create(SERVICE, balanced("c"), "default")
            await reach(stage, "c", "10.0.0.202")
            await reach(stage, "a", "10.0.0.200")  # a pool is refused: it may have come from that one
            [told] = await stage.until(
                lambda: [each for each in stage.items(EVENT, "kube-system") if each["reason"] == "PoolRefused"]
            )
            assert told["message"] == "pool 'bad': 10.96.0.0-10.96.0.255 overlaps the Service range 10.96.0.0/12"
            await stage.client.update(CONFIG_MAP, settings("pools: [{name: new, addresses: [10.0.0.201-10.0.0.210]}]"))
            await reach(stage, "a", "10.0.0.203")
            await reach(stage, "b", "10.0.0.201")

    play(scene)


def test_whoever_asks_for_what_is_somebody_elses_is_told_and_others_are_served() -> None:
    """The API server's address, one that another controller gave, a pod's, one of a pool that overlaps another."""

    async def scene() -> None:
        async with staged(SERVICE, NODE, EVENT) as stage:
            await stage.until(lambda: sum("podCIDR" in each.get("spec", {}) for each in stage.items(NODE, "")) == 3)
            foreign = balanced("foreign", loadBalancerClass="example.com/other")
            foreign = await stage.client.create(SERVICE, foreign, "default")
            foreign["status"] = {"loadBalancer": {"ingress": [{"ip": "10.0.0.11"}]}}
            await stage.client.update(SERVICE, foreign, subresource="status")
            pool = "pools: [{name: lan, addresses: [10.0.0.10-10.0.0.12]}, {name: more, addresses: [10.0.0.0/24]}]"
            await stage.client.create(CONFIG_MAP, settings(pool), "kube-system")
            for address, word in (("10.0.0.10", "InUse"), ("10.0.0.11", "InUse"), ("10.244.0.7", "PodRange")):
                name = f"asks-{address.rpartition('.')[2]}"
                await stage.client.create(SERVICE, balanced(name, loadBalancerIP=address), "default")
                await reach(stage, name, word)
            misspelt = balanced("misspelt", {"fairway.io/load-balancer-ip": "10.0.0.12"})
            await stage.client.create(SERVICE, misspelt, "default")
            await reach(stage, "misspelt", "Malformed")
            await stage.client.create(SERVICE, balanced("plain"), "default")
            await reach(stage, "plain", "10.0.0.12")
            reasons = {"InUse", "PodRange", "Malformed", "Assigned", "PoolRefused"}
            await stage.until(
                lambda: (
                    reasons
                    <= {each["reason"] for space in ("default", "kube-system") for each in stage.items(EVENT, space)}
                )
            )
            messages = {each["message"] for each in stage.items(EVENT)}
            assert "10.0.0.10 is where default/kubernetes is served" in messages
            assert "10.0.0.11 is the address of default/foreign, which is another controller's" in messages

    play(scene)


def test_the_style_of_nodes_shows_the_nodes_addresses_and_guards_ports() -> None:
    async def scene() -> None:
        async with staged(SERVICE, nodes=0) as stage:
            await stage.client.create(CONFIG_MAP, settings("style: nodes"), "kube-system")
            await stage.client.create(SERVICE, balanced("a"), "default")
            await reach(stage, "a", "NoNodes")
            await stage.client.create(SERVICE, balanced("b"), "default")
            await reach(stage, "b", "AddressTaken")
            other = balanced("other", loadBalancerClass="example.com/other")
            await stage.client.create(SERVICE, other, "default")
            await stage.client.patch(SERVICE, "a", {"spec": {"ports": [{"port": 81}]}}, "default")
            await stage.client.delete(SERVICE, "a", "default")
            await reach(stage, "b", "NoNodes")
            assert shown(stage, "other") == ""

    play(scene)


def test_two_managers_and_settings_that_come_and_go_bad() -> None:
    async def scene() -> None:
        async with staged(SERVICE, EVENT, nodes=0) as stage:
            stop = asyncio.Event()
            second = asyncio.create_task(run(stage.client, CONFIG, stop=stop))
            await stage.client.create(
                CONFIG_MAP, settings("pools: [{name: lan, addresses: [10.0.0.0/25]}]"), "kube-system"
            )
            names = [f"s{number}" for number in range(100)]
            for name in names:
                await stage.client.create(SERVICE, balanced(name), "default")
            await stage.until(lambda: all(shown(stage, name).startswith("10.") for name in names))
            assert len({shown(stage, name) for name in names}) == 100
            await stage.client.update(CONFIG_MAP, settings("pools: ["))
            await stage.until(
                lambda: any(each["reason"] == "SettingsRefused" for each in stage.items(EVENT, "kube-system"))
            )
            assert all(shown(stage, name).startswith("10.") for name in names)
            stop.set()
            await second

    play(scene)


def test_a_status_that_is_refused_keeps_no_other_from_being_written() -> None:
    class Refusing:
        """A client that lets one Service's status never through."""

        def __init__(self, inner: Client) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        async def update(self, kind: Kind, obj: Object, *, subresource: str = "") -> Object:
            if kind == SERVICE and obj["metadata"]["name"] == "a":
                raise ApiError(422, "Invalid", "no")
            return await self._inner.update(kind, obj, subresource=subresource)

    async def scene() -> None:
        async with staged(SERVICE, nodes=0, wrap=lambda client: cast("Client", Refusing(client))) as stage:
            await stage.client.create(CONFIG_MAP, settings(POOL), "kube-system")
            await stage.client.create(SERVICE, balanced("a"), "default")
            await stage.client.create(SERVICE, balanced("b"), "default")
            await reach(stage, "b", "10.0.0.201")
            assert shown(stage, "a") == ""

    play(scene)
