"""EndpointSlices: states in, writes out."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.client.base import Object
from fairway.control import endpointslices
from fairway.control.endpointslices import plan
from fairway.control.writes import Create, Delete, Update, Write

CHANCE = random.Random(1).random
ZONES = {"node-a": "east", "node-b": "west"}


def service(**spec: Any) -> Object:
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "s", "labels": {"team": "x"}},
        "spec": {
            "clusterIP": "10.96.0.20",
            "ipFamilies": ["IPv4"],
            "selector": {"app": "web"},
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}],
            **spec,
        },
    }


def pod(name: str, *ips: str, ready: bool = True, going: bool = False, phase: str = "Running", **spec: Any) -> Object:
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
    if going:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {
        "metadata": metadata,
        "spec": {"nodeName": "node-a", "containers": [], **spec},
        "status": {
            "phase": phase,
            "podIPs": [{"ip": ip} for ip in ips],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def pods(count: int) -> list[Object]:
    return [pod(f"p{number:03}", f"10.244.{number // 250}.{number % 250 + 1}") for number in range(count)]


def perform(slices: list[Object], writes: list[Write]) -> list[Object]:
    """The slices after the writes, as a server would store them."""
    stored = {each["metadata"]["name"]: each for each in slices}
    for write in writes:
        match write:
            case Create():
                obj = write.obj
                assert obj["metadata"]["name"] not in stored
                stored[obj["metadata"]["name"]] = {**obj, "metadata": {**obj["metadata"], "uid": "u"}}
            case Update():
                assert write.obj["metadata"]["name"] in stored
                stored[write.obj["metadata"]["name"]] = write.obj
            case Delete():
                del stored[write.name]
            case _:
                raise AssertionError(write)
    return list(stored.values())


def made(service_object: Object, *members: Object, **options: Any) -> list[Object]:
    return perform([], plan(service_object, members, ZONES, [], CHANCE, **options).writes)


def addresses(slices: list[Object]) -> list[str]:
    return sorted(entry["addresses"][0] for each in slices for entry in each["endpoints"])


def test_the_first_slice_says_everything() -> None:
    (created,) = made(service(), pod("a", "10.244.0.2", hostname="a", subdomain="web"), trigger=0.5)
    name = created["metadata"].pop("name")
    assert name.startswith("web-")
    assert len(name) == len("web-") + 5
    assert created == {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": "web-",
            "namespace": "default",
            "uid": "u",
            "labels": {
                "team": "x",
                "kubernetes.io/service-name": "web",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "1970-01-01T00:00:00.500000Z"},
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "name": "web",
                    "uid": "s",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": ["10.244.0.2"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "targetRef": {"kind": "Pod", "namespace": "default", "name": "a", "uid": "uid-a"},
                "hostname": "a",
                "nodeName": "node-a",
                "zone": "east",
            }
        ],
    }


@pytest.mark.parametrize(
    ("ready", "going", "publish", "conditions"),
    [
        (True, False, False, (True, True, False)),
        (False, False, False, (False, False, False)),
        (True, True, False, (False, True, True)),
        (False, True, False, (False, False, True)),
        (False, False, True, (True, False, False)),
        (True, True, True, (True, True, True)),
    ],
)
def test_conditions(ready: bool, going: bool, publish: bool, conditions: tuple[bool, ...]) -> None:
    (found,) = made(service(publishNotReadyAddresses=publish), pod("a", "10.244.0.2", ready=ready, going=going))
    said = found["endpoints"][0]["conditions"]
    assert (said["ready"], said["serving"], said["terminating"]) == conditions


@pytest.mark.parametrize("other", [pod("a"), pod("a", "10.244.0.2", phase="Succeeded"), pod("a", "fd00::2")])
def test_pods_without_address_finished_or_of_another_family_leave_an_empty_slice(other: Object) -> None:
    (found,) = made(service(), other)
    assert (found["endpoints"], found["ports"]) == ([], [])


def test_dual_stack_has_slices_of_both_families() -> None:
    found = made(service(ipFamilies=["IPv6", "IPv4"]), pod("a", "10.244.0.2", "fd00::2"))
    assert sorted((each["addressType"], addresses([each])) for each in found) == [
        ("IPv4", ["10.244.0.2"]),
        ("IPv6", ["fd00::2"]),
    ]


def test_a_named_port_is_looked_up_in_each_pod() -> None:
    def named(number: int, protocol: str = "TCP") -> list[Object]:
        return [{"name": "c", "ports": [{"name": "http", "containerPort": number, "protocol": protocol}]}]

    found = made(
        service(ports=[{"name": "web", "port": 80, "protocol": "TCP", "targetPort": "http"}]),
        pod("a", "10.244.0.2", containers=named(8080)),
        pod("b", "10.244.0.3", containers=named(9090)),
        pod("c", "10.244.0.4", containers=named(8080)),
        pod("d", "10.244.0.5", containers=named(8080, "UDP")),
        pod("e", "10.244.0.6", containers=[], initContainers=[{**named(8080)[0], "restartPolicy": "Always"}]),
    )
    by_port = {tuple(port["port"] for port in each["ports"]): addresses([each]) for each in found}
    assert by_port == {(8080,): ["10.244.0.2", "10.244.0.4", "10.244.0.6"], (9090,): ["10.244.0.3"], (): ["10.244.0.5"]}


def test_headless_services_are_marked() -> None:
    (found,) = made(service(clusterIP="None", ports=None), pod("a", "10.244.0.2"))
    assert found["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    assert (addresses([found]), found["ports"]) == (["10.244.0.2"], [])


@pytest.mark.parametrize(
    ("wish", "hints"),
    [
        ("PreferSameZone", {"forZones": [{"name": "east"}]}),
        ("PreferClose", {"forZones": [{"name": "east"}]}),
        ("PreferSameNode", {"forZones": [{"name": "east"}], "forNodes": [{"name": "node-a"}]}),
        (None, None),
    ],
)
def test_hints_follow_traffic_distribution(wish: str | None, hints: Object | None) -> None:
    (found,) = made(service(trafficDistribution=wish), pod("a", "10.244.0.2"))
    assert found["endpoints"][0].get("hints") == hints


@pytest.mark.parametrize("spec", [{"selector": None}, {"type": "ExternalName"}])
def test_services_that_select_nothing_are_left_alone(spec: Object) -> None:
    assert plan(service(**spec), [pod("a", "10.244.0.2")], ZONES, [], CHANCE).writes == []


def test_250_pods_need_three_slices_and_one_change_is_one_write() -> None:
    members = pods(250)
    slices = made(service(), *members)
    assert sorted(len(each["endpoints"]) for each in slices) == [50, 100, 100]
    members[7] = pod("p007", "10.244.0.8", ready=False)
    (write,) = plan(service(), members, ZONES, slices, CHANCE).writes
    assert isinstance(write, Update)


def test_newcomers_fill_a_slice_that_is_written_anyway() -> None:
    slices = made(service(), *pods(150))
    later = [*pods(150)[1:], pod("new", "10.244.9.9")]
    writes = plan(service(), later, ZONES, slices, CHANCE).writes
    assert [type(write) for write in writes] == [Update]
    assert addresses(perform(slices, writes)) == sorted(each["status"]["podIPs"][0]["ip"] for each in later)


def test_a_newcomer_alone_goes_where_there_is_just_room_enough() -> None:
    slices = made(service(), *pods(250))
    (write,) = plan(service(), [*pods(250), pod("new", "10.244.9.9")], ZONES, slices, CHANCE).writes
    assert isinstance(write, Update)
    assert len(write.obj["endpoints"]) == 51


def test_a_new_port_rewrites_the_slice_instead_of_making_another() -> None:
    slices = made(service(), *pods(3))
    changed = service(ports=[{"port": 80, "protocol": "TCP", "targetPort": 9999}])
    (write,) = plan(changed, pods(3), ZONES, slices, CHANCE).writes
    assert isinstance(write, Update)
    assert write.obj["ports"] == [{"name": "", "port": 9999, "protocol": "TCP"}]


def test_the_last_pod_leaves_an_empty_slice_and_the_first_fills_it() -> None:
    slices = made(service(), *pods(1))
    (emptied,) = perform(slices, plan(service(), [], ZONES, slices, CHANCE).writes)
    assert (emptied["endpoints"], emptied["ports"]) == ([], [])
    assert emptied["metadata"]["name"] == slices[0]["metadata"]["name"]
    (write,) = plan(service(), pods(1), ZONES, [emptied], CHANCE).writes
    assert isinstance(write, Update)


def test_labels_follow_the_service() -> None:
    slices = made(service(), *pods(1))
    changed = service()
    changed["metadata"]["labels"] = {"team": "y"}
    (write,) = plan(changed, pods(1), ZONES, slices, CHANCE).writes
    assert isinstance(write, Update)
    assert write.obj["metadata"]["labels"]["team"] == "y"


def test_notes_that_others_make_on_a_slice_stay_and_cause_no_write() -> None:
    (slice_object,) = made(service(), *pods(1), trigger=0.5)
    slice_object["metadata"]["annotations"]["note"] = "theirs"
    assert plan(service(), pods(1), ZONES, [slice_object], CHANCE).writes == []
    (write,) = plan(service(), pods(2), ZONES, [slice_object], CHANCE).writes
    assert isinstance(write, Update)
    assert write.obj["metadata"]["annotations"] == {"note": "theirs"}


def test_a_family_given_up_loses_its_slices() -> None:
    both = service(ipFamilies=["IPv4", "IPv6"])
    members = [pod("a", "10.244.0.2", "fd00::2")]
    slices = made(both, *members)
    left = perform(slices, plan(service(), members, ZONES, slices, CHANCE).writes)
    assert [each["addressType"] for each in left] == ["IPv4"]


MEMBERS = st.lists(
    st.builds(
        lambda number, ready, going, port: pod(
            f"p{number}",
            f"10.244.0.{number + 1}",
            ready=ready,
            going=going,
            containers=[{"name": "c", "ports": [{"name": "http", "containerPort": port}]}],
        ),
        st.integers(0, 14),
        st.booleans(),
        st.booleans(),
        st.sampled_from([8080, 9090]),
    ),
    max_size=15,
    unique_by=lambda each: str(each["metadata"]["name"]),
)
PRIOR_ENDPOINT = st.builds(
    lambda number, ready: {
        "addresses": [f"10.244.0.{number + 1}"],
        "conditions": {"ready": ready},
        "targetRef": {"uid": f"uid-p{number}"},
    },
    st.integers(0, 14),
    st.booleans(),
)
PRIOR = st.lists(
    st.builds(
        lambda name, port, entries, labels: {
            "metadata": {"name": f"web-{name}", "namespace": "default", "uid": f"u{name}", "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": port, "protocol": "TCP"}] if port else [],
            "endpoints": entries,
        },
        st.integers(0, 99),
        st.sampled_from([0, 8080, 9090, 7070]),
        st.lists(PRIOR_ENDPOINT, max_size=4),
        st.sampled_from([{}, endpointslices.labels_for(service())]),
    ),
    max_size=6,
    unique_by=lambda each: str(each["metadata"]["name"]),
)
NAMED = service(ports=[{"port": 80, "protocol": "TCP", "targetPort": "http"}])


@settings(max_examples=300)
@given(PRIOR, MEMBERS)
def test_any_prior_slices_converge_in_one_step_to_exactly_the_pods(prior: list[Object], members: list[Object]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(endpointslices, "MOST", 4)
        slices = perform(prior, plan(NAMED, members, ZONES, prior, CHANCE).writes)
        found = [
            (entry["addresses"][0], each["ports"][0]["port"], entry["conditions"])
            for each in slices
            for entry in each["endpoints"]
        ]
        wanted = [
            (
                member["status"]["podIPs"][0]["ip"],
                member["spec"]["containers"][0]["ports"][0]["containerPort"],
                endpointslices.endpoint(NAMED, member, "", {})["conditions"],
            )
            for member in members
        ]
        assert sorted(found, key=str) == sorted(wanted, key=str)
        assert slices
        assert all(len(each["endpoints"]) <= 4 for each in slices)
        assert all(each["metadata"]["labels"] == endpointslices.labels_for(NAMED) for each in slices)
        assert plan(NAMED, members, ZONES, slices, CHANCE).writes == []


@settings(max_examples=100)
@given(st.lists(MEMBERS, min_size=2, max_size=6))
def test_a_history_of_changes_never_writes_more_slices_than_it_must(history: list[list[Object]]) -> None:
    slices: list[Object] = []
    for members in history:
        writes = plan(NAMED, members, ZONES, slices, CHANCE).writes
        touched = [write.obj["metadata"]["name"] for write in writes if isinstance(write, Update)]
        assert len(touched) == len(set(touched))
        assert not (
            any(isinstance(each, Create) for each in writes) and any(isinstance(each, Delete) for each in writes)
        )
        slices = perform(slices, writes)
