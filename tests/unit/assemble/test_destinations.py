"""What `--to` of a trace may name, and what is said when it names nothing."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.assemble.destinations import Destination, QuestionError, Wanted, of_pod, of_service
from fairway.packet import Protocol

WEB: dict[str, Any] = {
    "spec": {
        "clusterIP": "10.96.0.20",
        "ports": [
            {"name": "http", "port": 80, "protocol": "TCP"},
            {"name": "admin", "port": 8080, "protocol": "TCP"},
            {"name": "names", "port": 53, "protocol": "UDP"},
        ],
    }
}
HEADLESS = {"spec": {"clusterIP": "None", "ports": [{"port": 80, "targetPort": 8080}]}}
SLICE = {
    "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
    "endpoints": [
        {"addresses": ["10.244.2.10"], "conditions": {"ready": True}},
        {"addresses": ["10.244.2.9"], "conditions": {"ready": True}},
        {"addresses": ["10.244.1.2"], "conditions": {"ready": False}},
    ],
}
POD = {"spec": {"containers": [{"ports": [{"containerPort": 8080}]}]}, "status": {"podIP": "10.244.1.2"}}


def wanted(said: str, protocol: Protocol = Protocol.TCP) -> Wanted:
    return Wanted.read(said, protocol)


@pytest.mark.parametrize(
    ("said", "host", "port"),
    [
        ("web", "web", ""),
        ("web:80", "web", "80"),
        ("web.shop:http", "web.shop", "http"),
        ("10.0.0.11:30000", "10.0.0.11", "30000"),
        ("[fd00::1]:80", "fd00::1", "80"),
        ("svc/web:80", "svc/web", "80"),
    ],
)
def test_a_destination_is_host_and_port(said: str, host: str, port: str) -> None:
    assert (wanted(said).host, wanted(said).port) == (host, port)


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_number_that_is_no_port(port: str) -> None:
    with pytest.raises(QuestionError, match=f"--to web:{port}: ports go from 1 to 65535"):
        wanted(f"web:{port}")


@pytest.mark.parametrize(
    ("said", "protocol", "port"),
    [("web:80", Protocol.TCP, 80), ("web:admin", Protocol.TCP, 8080), ("web", Protocol.UDP, 53)],
)
def test_a_service_is_its_address_and_one_of_its_ports(said: str, protocol: Protocol, port: int) -> None:
    assert of_service(WEB, [], wanted(said, protocol)) == Destination("10.96.0.20", port)


@pytest.mark.parametrize("said", ["web", "web:names", "web:nope"])
def test_a_port_that_is_not_one_port(said: str) -> None:
    with pytest.raises(QuestionError, match=r"there are 80/TCP \(http\), 8080/TCP \(admin\), 53/UDP \(names\)"):
        of_service(WEB, [], wanted(said))


def test_a_port_that_the_service_lacks_is_followed_and_noted() -> None:
    found = of_service(WEB, [], wanted("web:81"))
    assert (found.address, found.port) == ("10.96.0.20", 81)
    assert found.notes[0].startswith("The Service has no TCP port 81; its ports are 80/TCP (http), ")
    assert of_service(WEB, [], wanted("web:53")).notes[0].endswith("Ask with --protocol udp.")


def test_a_headless_service_is_its_first_ready_endpoint() -> None:
    found = of_service(HEADLESS, [SLICE], wanted("direct"))
    assert (found.address, found.port) == ("10.244.2.9", 8080)
    assert "(10.244.2.9, 10.244.2.10). This is the way to the first of them." in found.notes[0]
    assert of_service(HEADLESS, [SLICE], wanted("direct:80")).port == 80


def test_names_without_an_address() -> None:
    with pytest.raises(QuestionError, match="headless and has no ready endpoint"):
        of_service(HEADLESS, [], wanted("direct:80"))
    alias = {"spec": {"type": "ExternalName", "externalName": "example.org"}}
    with pytest.raises(QuestionError, match=r"alias of example\.org"):
        of_service(alias, [], wanted("out:80"))
    with pytest.raises(QuestionError, match="the pod has no address yet"):
        of_pod({"spec": {}}, wanted("web-1:80"))


def test_a_pod_is_its_address_and_the_port_asked_or_its_only_one() -> None:
    assert of_pod(POD, wanted("web-1")) == Destination("10.244.1.2", 8080)
    assert of_pod(POD, wanted("web-1:9")) == Destination("10.244.1.2", 9)
    with pytest.raises(QuestionError, match="there are 8080/TCP"):
        of_pod(POD, wanted("web-1", Protocol.UDP))
