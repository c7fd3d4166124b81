"""The Endpoints object in canonical form."""

from __future__ import annotations

from fairway.client.base import Object
from fairway.control import endpoints
from fairway.control.writes import Create, Update
from tests.unit.control.test_endpointslices import pod, pods, service


def written(members: list[Object], stored: Object | None = None, service_object: Object | None = None) -> Object:
    (write,) = endpoints.plan(service_object or service(), members, stored).writes
    assert isinstance(write, Create | Update)
    return write.obj


def test_ready_and_not_ready_addresses_stand_apart() -> None:
    going = pod("d", "10.244.0.5", going=True)
    found = written([pod("b", "10.244.0.3"), pod("a", "10.244.0.2"), pod("c", "10.244.0.4", ready=False), going])
    assert found["metadata"]["labels"] == {"team": "x", "endpoints.kubernetes.io/managed-by": "endpoint-controller"}
    (subset,) = found["subsets"]
    assert [each["ip"] for each in subset["addresses"]] == ["10.244.0.2", "10.244.0.3"]
    assert [each["ip"] for each in subset["notReadyAddresses"]] == ["10.244.0.4"]
    assert subset["ports"] == [{"port": 8080, "protocol": "TCP"}]
    assert subset["addresses"][0]["targetRef"] == {
        "kind": "Pod",
        "namespace": "default",
        "name": "a",
        "uid": "uid-a",
    }


def test_the_order_of_pods_makes_no_difference_and_no_write() -> None:
    members = [pod("a", "10.244.0.2"), pod("b", "10.244.0.3", ready=False)]
    stored = written(members)
    assert endpoints.plan(service(), members[::-1], stored).writes == []


def test_no_pods_mean_empty_subsets() -> None:
    assert written([])["subsets"] == []


def test_more_than_a_thousand_are_cut_and_say_so_and_ready_ones_stay() -> None:
    unready = pod("aaa", "10.1.0.1", ready=False)
    found = written([unready, *pods(1000)])
    assert found["metadata"]["annotations"]["endpoints.kubernetes.io/over-capacity"] == "truncated"
    (subset,) = found["subsets"]
    assert (len(subset["addresses"]), "notReadyAddresses" in subset) == (1000, False)
    again = written(pods(5), found)
    assert "endpoints.kubernetes.io/over-capacity" not in again["metadata"]["annotations"]


def test_pods_with_other_numbers_for_a_named_port_make_another_subset() -> None:
    def named(number: int) -> list[Object]:
        return [{"name": "c", "ports": [{"name": "http", "containerPort": number}]}]

    by_name = service(ports=[{"name": "web", "port": 80, "targetPort": "http"}])
    members = [pod("a", "10.244.0.2", containers=named(1)), pod("b", "10.244.0.3", containers=named(2))]
    found = written([*members, pod("c", "10.244.0.4", containers=[])], None, by_name)
    assert [(each["ports"][0]["port"], each["addresses"][0]["ip"]) for each in found["subsets"]] == [
        (1, "10.244.0.2"),
        (2, "10.244.0.3"),
    ]


def test_services_without_selector_are_left_alone() -> None:
    assert endpoints.plan(service(selector=None), [pod("a", "10.244.0.2")], None).writes == []
