"""Service variables: which Services a pod is told of, under what names, and why."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fairway.pods import links
from fairway.pods.view import Container, Pod, Service


def service(name: str, ip: str = "10.96.0.7", namespace: str = "default", **spec: Any) -> Service:
    ports = spec.pop("ports", [{"port": 80}])
    created = spec.pop("created", "2026-01-01T00:00:00Z")
    metadata = {"name": name, "namespace": namespace, "creationTimestamp": created}
    return msgspec.convert({"metadata": metadata, "spec": {"clusterIP": ip, "ports": ports, **spec}}, Service)


def pod(namespace: str = "default", created: str = "2026-01-02T00:00:00Z", **spec: Any) -> Pod:
    metadata = {
        "name": "web-1",
        "namespace": namespace,
        "uid": "u-1",
        "creationTimestamp": created,
        "labels": {"app": "web"},
        "annotations": {"example.com/note": "hi"},
    }
    return msgspec.convert({"metadata": metadata, "spec": spec}, Pod)


def container(**fields: Any) -> Container:
    return msgspec.convert({"name": "web", **fields}, Container)


def names(services: list[Service], of: Pod) -> list[str]:
    return [s.metadata.name for s in links.visible(services, of)]


def test_a_service_is_told_in_both_forms() -> None:
    redis = service(
        "redis-primary", "10.0.0.11", ports=[{"port": 6379, "name": "in-mem"}, {"port": 53, "protocol": "UDP"}]
    )
    assert links.variables([redis]) == {
        "REDIS_PRIMARY_SERVICE_HOST": "10.0.0.11",
        "REDIS_PRIMARY_SERVICE_PORT": "6379",
        "REDIS_PRIMARY_SERVICE_PORT_IN_MEM": "6379",
        "REDIS_PRIMARY_PORT": "tcp://10.0.0.11:6379",
        "REDIS_PRIMARY_PORT_6379_TCP": "tcp://10.0.0.11:6379",
        "REDIS_PRIMARY_PORT_6379_TCP_PROTO": "tcp",
        "REDIS_PRIMARY_PORT_6379_TCP_PORT": "6379",
        "REDIS_PRIMARY_PORT_6379_TCP_ADDR": "10.0.0.11",
        "REDIS_PRIMARY_PORT_53_UDP": "udp://10.0.0.11:53",
        "REDIS_PRIMARY_PORT_53_UDP_PROTO": "udp",
        "REDIS_PRIMARY_PORT_53_UDP_PORT": "53",
        "REDIS_PRIMARY_PORT_53_UDP_ADDR": "10.0.0.11",
    }


def test_ipv6_addresses_stand_in_brackets_in_urls_only() -> None:
    told = links.variables([service("six", "fd00::7")])
    assert (told["SIX_SERVICE_HOST"], told["SIX_PORT"]) == ("fd00::7", "tcp://[fd00::7]:80")


def test_services_younger_than_the_pod_are_not_told() -> None:
    old, same, young = (
        service(n, created=f"2026-01-0{d}T00:00:00Z") for n, d in (("old", 1), ("same", 2), ("young", 3))
    )
    assert names([young, same, old], pod()) == ["old", "same"]


def test_headless_and_externalname_services_are_not_told() -> None:
    assert names([service("headless", "None"), service("ext", "", type="ExternalName"), service("ok")], pod()) == ["ok"]


def test_only_the_own_namespace_and_the_kubernetes_service() -> None:
    services = [service("web"), service("kubernetes", created="2027-01-01T00:00:00Z"), service("db", namespace="shop")]
    assert names(services, pod("shop")) == ["db", "kubernetes"]
    assert names(services, pod()) == ["kubernetes", "web"]
    assert names(services, pod(enableServiceLinks=False)) == ["kubernetes"]


def test_a_namespaces_own_service_named_kubernetes_wins() -> None:
    own = service("kubernetes", "10.96.9.9", namespace="shop")
    for services in ([own, service("kubernetes")], [service("kubernetes"), own]):
        assert [s.spec.cluster_ip for s in links.visible(services, pod("shop"))] == ["10.96.9.9"]


@given(st.lists(st.from_regex(r"[a-z]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True), unique=True), st.integers(1, 65535))
def test_variable_names_are_names_a_shell_can_say(services: list[str], port: int) -> None:
    told = links.variables([service(name, ports=[{"port": port, "name": "a-b"}]) for name in services])
    assert all(name.replace("_", "").isalnum() and name == name.upper() and not name[0].isdigit() for name in told)
    assert {f"{s.upper().replace('-', '_')}_SERVICE_HOST" for s in services} <= set(told)


def why(service: Service, of: Pod) -> str:
    (verdict,) = links.verdicts([service], of)
    return verdict.why


def test_each_service_has_its_reason() -> None:
    young = service("web", created="2026-01-02T00:00:07Z")
    assert why(young, pod()) == "made 7 s after the pod; a new pod is told of it"
    assert why(service("web", "None"), pod()) == "headless: it has no address of its own"
    assert why(service("web", ""), pod()) == "no address is allocated yet"
    assert why(service("web", "", type="ExternalName"), pod()) == "an ExternalName Service has no address"
    assert why(service("web"), pod(enableServiceLinks=False)) == "the pod has enableServiceLinks: false"
    assert why(service("web"), pod()) == "in the pod's namespace, and no younger than the pod"
    assert why(service("kubernetes"), pod("shop")) == "the API server's Service is told to every pod"
    assert links.verdicts([service("web", namespace="shop")], pod()) == []


def test_the_cluster_wide_kubernetes_service_gives_way_to_ones_own() -> None:
    own = service("kubernetes", "10.96.9.9", namespace="shop")
    told = {each.service.metadata.namespace: each for each in links.verdicts([own, service("kubernetes")], pod("shop"))}
    assert (told["shop"].told, told["default"].told) == (True, False)
    assert told["default"].why.startswith("Service shop/kubernetes of the pod's own namespace has the same name")
    headless = service("kubernetes", "None", namespace="shop")
    assert names([headless, service("kubernetes")], pod("shop")) == ["kubernetes"]


def test_two_services_may_claim_one_variable_and_the_loser_is_told() -> None:
    redis, clash = service("redis", "10.96.0.7"), service("redis-service", "10.96.0.8", ports=[{"port": 81}])
    told = links.explain([clash, redis], pod(), container())
    by_service = {each.service: each for each in told.variables if each.name == "REDIS_SERVICE_PORT"}
    assert by_service["default/redis"].loses == "Service default/redis-service"
    assert by_service["default/redis-service"].loses == ""
    seen = links.as_json(told)["environment"]
    assert seen["REDIS_SERVICE_PORT"] == "tcp://10.96.0.8:81"
    assert seen == links.variables(links.visible([clash, redis], pod()))


def test_a_containers_own_variables_win_over_services() -> None:
    web = container(env=[{"name": "DB_PORT", "value": "5432"}], envFrom=[{"configMapRef": {"name": "all"}}])
    told = links.explain([service("db")], pod(), web)
    assert [each.name for each in told.variables if each.loses == "the container's own env"] == ["DB_PORT"]
    assert told.remarks == ("container web has envFrom: keys of those ConfigMaps and Secrets win over Services",)


def test_the_explanation_as_people_read_it() -> None:
    services = [service("db", ports=[{"port": 5432, "name": "sql"}]), service("pets", "None"), service("kubernetes")]
    web = container(env=[{"name": "DB_PORT", "value": "5432"}])
    lines = links.text(links.explain(services, pod(), web)).splitlines()
    assert lines[:10] == [
        "# Service variables of pod default/web-1, container web",
        "",
        "# Service default/db: in the pod's namespace, and no younger than the pod",
        "DB_SERVICE_HOST=10.96.0.7  # cluster IP",
        "DB_SERVICE_PORT=5432  # first port",
        "# DB_PORT=tcp://10.96.0.7:5432  (lost to the container's own env)",
        "DB_SERVICE_PORT_SQL=5432  # port sql",
        "DB_PORT_5432_TCP=tcp://10.96.0.7:5432  # docker link, port 5432/TCP",
        "DB_PORT_5432_TCP_PROTO=tcp  # docker link, port 5432/TCP",
        "DB_PORT_5432_TCP_PORT=5432  # docker link, port 5432/TCP",
    ]
    assert lines[-2:] == ["", "# not told: Service default/pets: headless: it has no address of its own"]


def test_the_explanation_as_programs_read_it() -> None:
    told = links.as_json(links.explain([service("db"), service("pets", "None")], pod(), container()))
    assert json.loads(json.dumps(told)) == told
    assert told["services"] == [
        {"service": "default/db", "told": True, "why": "in the pod's namespace, and no younger than the pod"},
        {"service": "default/pets", "told": False, "why": "headless: it has no address of its own"},
    ]
