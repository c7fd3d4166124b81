"""Hand-written Endpoints become slices."""

from __future__ import annotations

import random
from typing import Any

import pytest

from fairway.client.base import Object
from fairway.control import mirroring
from tests.unit.control.test_endpointslices import perform, service

CHANCE = random.Random(1).random
BY_HAND = service(selector=None)


def endpoints(*subsets: Object, **metadata: Any) -> Object:
    base = {"name": "web", "namespace": "default", "uid": "e", "labels": {"team": "x"}}
    return {"metadata": {**base, **metadata}, "subsets": list(subsets)}


def subset(*ips: str, unready: tuple[str, ...] = (), port: int = 5432) -> Object:
    return {
        "addresses": [{"ip": ip} for ip in ips],
        "notReadyAddresses": [{"ip": ip} for ip in unready],
        "ports": [{"port": port, "protocol": "TCP"}],
    }


def mirror(source: Object | None, slices: list[Object], service_object: Object | None = BY_HAND) -> list[Object]:
    return perform(slices, mirroring.plan(service_object, source, slices, CHANCE).writes)


def test_addresses_of_both_families_and_their_readiness() -> None:
    source = endpoints(
        subset("192.0.2.1", "2001:db8::1", unready=("192.0.2.2",)), annotations={"note": "a", mirroring.LEADER[:5]: "b"}
    )
    found = sorted(mirror(source, []), key=lambda each: str(each["addressType"]))
    assert [(each["addressType"], each["ports"][0]["port"]) for each in found] == [("IPv4", 5432), ("IPv6", 5432)]
    assert [(entry["addresses"], entry["conditions"]) for entry in found[0]["endpoints"]] == [
        (["192.0.2.1"], {"ready": True}),
        (["192.0.2.2"], {"ready": False}),
    ]
    metadata = found[0]["metadata"]
    assert metadata["labels"] == {
        "team": "x",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    }
    assert metadata["annotations"]["note"] == "a"
    assert metadata["ownerReferences"][0]["kind"] == "Endpoints"
    assert mirroring.plan(BY_HAND, source, found, CHANCE).writes == []


def test_a_change_rewrites_the_slice_and_the_end_removes_it() -> None:
    slices = mirror(endpoints(subset("192.0.2.1")), [])
    changed = mirror(endpoints(subset("192.0.2.1", "192.0.2.3")), slices)
    assert [each["metadata"]["name"] for each in changed] == [slices[0]["metadata"]["name"]]
    assert len(changed[0]["endpoints"]) == 2
    assert mirror(endpoints(), slices) == []
    assert mirror(None, slices) == []
    assert mirror(endpoints(subset("192.0.2.1")), slices, None) == []


@pytest.mark.parametrize(
    ("source", "of"),
    [
        (endpoints(subset("192.0.2.1")), service()),
        (endpoints(subset("192.0.2.1"), labels={mirroring.SKIP: "true"}), BY_HAND),
        (endpoints(subset("192.0.2.1"), annotations={mirroring.LEADER: "{}"}), BY_HAND),
    ],
    ids=["selector", "skip", "lock"],
)
def test_what_is_not_mirrored(source: Object, of: Object) -> None:
    assert mirror(source, [], of) == []
