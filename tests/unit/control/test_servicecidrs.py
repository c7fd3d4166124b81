"""Service ranges: ready when made, used, and kept while somebody has an address of theirs."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.client.base import ApiError, Object
from fairway.control import servicecidrs
from fairway.control.servicecidrs import FINALIZER
from fairway.control.writes import Update
from fairway.objects.kinds import SERVICE, SERVICE_CIDR
from tests.unit.control.stage import play, staged

NOW = 1_700_000_000.0


def cidr(*ranges: str, going: bool = False, finalizers: tuple[str, ...] = (FINALIZER,), **more: Any) -> Object:
    metadata: Object = {"name": "x", "uid": "u", "finalizers": list(finalizers)}
    if going:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {"metadata": metadata, "spec": {"cidrs": list(ranges)}, **more}


def ready(plan: servicecidrs.Plan) -> tuple[str, str]:
    [write] = plan.writes
    assert isinstance(write, Update) and write.subresource == "status"
    [condition] = write.obj["status"]["conditions"]
    return condition["status"], condition["reason"]


def test_a_new_range_gets_its_finalizer_and_then_its_word() -> None:
    [write] = servicecidrs.plan(cidr("10.0.0.0/24", finalizers=()), [], [], NOW).writes
    assert isinstance(write, Update) and write.obj["metadata"]["finalizers"] == [FINALIZER]
    assert ready(servicecidrs.plan(cidr("10.0.0.0/24"), [], [], NOW)) == ("True", "")
    settled = cidr("10.0.0.0/24", status={"conditions": [{"type": "Ready", "status": "True"}]})
    assert servicecidrs.plan(settled, [], [], NOW).writes == []


@pytest.mark.parametrize(
    ("addresses", "others", "held"),
    [
        ([], [], False),
        (["10.0.1.1"], [], False),
        (["10.0.0.1"], [], True),
        (["10.0.0.1"], [cidr("10.0.0.0/16")], False),
        (["10.0.0.1"], [cidr("10.0.0.0/16", going=True)], True),
        (["fd00::1"], [cidr("10.0.0.0/16")], True),
    ],
)
def test_a_range_goes_when_others_cover_what_is_held_of_it(
    addresses: list[str], others: list[Object], held: bool
) -> None:
    going = cidr("10.0.0.0/24", "fd00::/112", going=True, finalizers=(FINALIZER, "mine"))
    plan = servicecidrs.plan(going, others, addresses, NOW)
    if held:
        assert ready(plan) == ("False", "Terminating") and plan.again
    else:
        [write] = plan.writes
        assert isinstance(write, Update) and write.obj["metadata"]["finalizers"] == ["mine"]


def test_a_second_range_from_use_to_end() -> None:
    async def story() -> None:
        async with staged(SERVICE_CIDR, nodes=0) as stage:
            await stage.client.create(
                SERVICE_CIDR,
                {
                    "apiVersion": "networking.k8s.io/v1",
                    "kind": "ServiceCIDR",
                    "metadata": {"name": "more"},
                    "spec": {"cidrs": ["10.200.0.0/24"]},
                },
            )

            def state() -> str:
                found = next(
                    (each for each in stage.items(SERVICE_CIDR, "") if each["metadata"]["name"] == "more"), None
                )
                if found is None:
                    return "gone"
                [condition] = found.get("status", {}).get("conditions") or [{"status": "silent"}]
                return str(condition["status"])

            await stage.until(lambda: state() == "True")
            spec = {"clusterIP": "10.200.0.9", "ports": [{"port": 80}]}
            web = {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "web", "namespace": "default"},
                "spec": spec,
            }
            await stage.client.create(SERVICE, web)
            await stage.client.delete(SERVICE_CIDR, "more")
            await stage.until(lambda: state() == "False")
            web["metadata"] = {"name": "late", "namespace": "default"}
            web["spec"] = {**spec, "clusterIP": "10.200.0.10"}
            with pytest.raises(ApiError, match="not in the valid range"):
                await stage.client.create(SERVICE, web)
            await stage.client.delete(SERVICE, "web", "default")
            await stage.until(lambda: state() == "gone")

    play(story)
