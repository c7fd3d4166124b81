"""Addresses and node ports of Services: given once, given back, and said so when there are none."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.api.server import Api
from fairway.store.base import Check, Conflict, Delete, Put, StoreError
from fairway.store.memory import MemoryStore
from tests.contract.session import CONFIG, Session, service, told

SERVICES = "/api/v1/namespaces/default/services"
ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"
MERGE = "application/merge-patch+json"

TINY = dataclasses.replace(CONFIG, service_cidrs=("10.96.0.0/29",), node_ports=(30000, 30002))
DUAL = dataclasses.replace(CONFIG, service_cidrs=("10.96.0.0/16", "fd00:96::/112"))


async def spec_of(me: Session, name: str = "web") -> dict[str, Any]:
    return dict((await me.ok("GET", f"{SERVICES}/{name}"))["spec"])


async def change(me: Session, name: str = "web", **spec: Any) -> dict[str, Any]:
    return dict((await me.ok("PATCH", f"{SERVICES}/{name}", {"spec": spec}, content_type=MERGE))["spec"])


async def held(me: Session) -> tuple[set[str], set[int]]:
    """Every address and node port that is taken, without those of `kubernetes`."""
    addresses = {item["metadata"]["name"] for item in (await me.ok("GET", ADDRESSES))["items"]}
    page = await me.api.handlers.store.range("/allocations/nodeports/")
    return addresses - {"10.96.0.1"}, {int(entry.key.rpartition("/")[2]) for entry in page.entries}


async def used(me: Session) -> tuple[list[str], list[int]]:
    """Every address and node port that Services say they have."""
    items = (await me.ok("GET", "/api/v1/services"))["items"]
    specs = [item["spec"] for item in items if item["metadata"]["name"] != "kubernetes"]
    addresses = [ip for spec in specs for ip in spec.get("clusterIPs", []) if ip != "None"]
    ports = [number for spec in specs for number in {port.get("nodePort", 0) for port in spec["ports"]} if number]
    return addresses, ports + [spec["healthCheckNodePort"] for spec in specs if spec.get("healthCheckNodePort")]


async def sound(me: Session) -> None:
    """Nothing is given twice, nothing is lost."""
    addresses, ports = await used(me)
    assert len(addresses) == len(set(addresses)) and len(ports) == len(set(ports))
    assert await held(me) == (set(addresses), set(ports))


def test_an_address_has_an_object_that_says_whose_it_is() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", SERVICES, service(clusterIP="10.96.0.10"))
        address = await me.ok("GET", f"{ADDRESSES}/10.96.0.10")
        assert address["spec"]["parentRef"] == {
            "group": "",
            "resource": "services",
            "namespace": "default",
            "name": "web",
        }
        await me.ok("DELETE", f"{SERVICES}/web")
        assert await held(me) == (set(), set())

    told(story)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"clusterIP": "10.96.0.1"},
            'Service "x" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.1"]: '
            "failed to allocate IP 10.96.0.1: provided IP is already allocated",
        ),
        (
            {"clusterIP": "10.200.0.1"},
            'Service "x" is invalid: spec.clusterIPs: Invalid value: ["10.200.0.1"]: failed to allocate IP 10.200.0.1: '
            "the provided IP (10.200.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/12",
        ),
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]},
            'Service "x" is invalid: spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated',
        ),
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
            'Service "x" is invalid: spec.ports[0].nodePort: Invalid value: 80: '
            "provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
    ],
)
def test_what_cannot_be_had_is_said_and_nothing_changes(spec: dict[str, Any], message: str) -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", SERVICES, service(type="NodePort", ports=[{"port": 1, "nodePort": 30000}]))
        before = await held(me)
        assert (await me.refused("POST", SERVICES, service("x", **spec)))[2] == message
        assert await held(me) == before

    told(story)


def test_full_ranges_are_told_as_such() -> None:
    async def story(me: Session) -> None:
        for number in range(5):
            await me.ok("POST", SERVICES, service(f"s{number}"))
        code, _, message = await me.refused("POST", SERVICES, service("more"))
        assert (code, message) == (500, "Internal error occurred: failed to allocate a serviceIP: range is full")
        await me.ok("DELETE", f"{SERVICES}/s0")
        ports = [{"port": n, "name": f"p{n}"} for n in range(1, 5)]
        _, _, message = await me.refused("POST", SERVICES, service("more", type="NodePort", ports=ports))
        assert message == "Internal error occurred: failed to allocate a nodePort: range is full"
        await me.ok("POST", SERVICES, service("more", type="NodePort", ports=ports[:3]))
        await sound(me)

    told(story, config=TINY)


def test_dynamic_numbers_stay_out_of_the_static_band() -> None:
    async def story(me: Session) -> None:
        for number in range(30):
            made = await me.ok("POST", SERVICES, service(f"s{number}", type="NodePort"))
            assert made["spec"]["ports"][0]["nodePort"] >= 30086
            assert ip_address(made["spec"]["clusterIP"]) > ip_address("10.96.1.0")

    told(story)


def test_one_number_serves_two_protocols_of_one_port() -> None:
    async def story(me: Session) -> None:
        ports = [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            {"name": "metrics", "port": 9153},
        ]
        made = await me.ok("POST", SERVICES, service(type="NodePort", ports=ports))
        numbers = [port["nodePort"] for port in made["spec"]["ports"]]
        assert numbers[0] == numbers[1] != numbers[2]
        await sound(me)

    told(story)


def test_changes_of_type_keep_take_and_give_back() -> None:
    async def story(me: Session) -> None:
        created = await me.ok("POST", SERVICES, service())
        address = created["spec"]["clusterIP"]
        spec = await change(me, type="NodePort")
        assert spec["clusterIP"] == address and spec["ports"][0]["nodePort"]
        number = spec["ports"][0]["nodePort"]
        spec = await change(me, type="LoadBalancer", externalTrafficPolicy="Local")
        assert spec["ports"][0]["nodePort"] == number and spec["healthCheckNodePort"]
        await sound(me)
        spec = await change(me, type="ClusterIP")
        assert "nodePort" not in spec["ports"][0] and "healthCheckNodePort" not in spec
        assert "externalTrafficPolicy" not in spec and spec["clusterIP"] == address
        await sound(me)
        spec = await change(me, type="ExternalName", externalName="example.com")
        assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & set(spec)
        assert await held(me) == (set(), set())
        spec = await change(me, type="ClusterIP")
        assert spec["clusterIP"]
        await sound(me)

    told(story)


def test_a_balancer_has_node_ports_unless_it_says_it_needs_none() -> None:
    both = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]

    async def story(me: Session) -> None:
        without = service(type="LoadBalancer", allocateLoadBalancerNodePorts=False, ports=both)
        made = await me.ok("POST", SERVICES, without)
        assert not any("nodePort" in port for port in made["spec"]["ports"])
        assert (await held(me))[1] == set()
        spec = await change(me, externalTrafficPolicy="Local")
        assert (await held(me))[1] == {spec["healthCheckNodePort"]}  # the check needs its own all the same
        spec = await change(me, allocateLoadBalancerNodePorts=True)
        numbers = {port["nodePort"] for port in spec["ports"]}
        assert len(numbers) == 1 and (await held(me))[1] == numbers | {spec["healthCheckNodePort"]}
        spec = await change(me, allocateLoadBalancerNodePorts=False)
        assert {port["nodePort"] for port in spec["ports"]} == numbers  # what it has it keeps
        spec = await change(me, ports=both)
        assert (await held(me))[1] == {spec["healthCheckNodePort"]}
        await me.ok("DELETE", f"{SERVICES}/web")
        assert await held(me) == (set(), set())

    told(story)


def test_a_cluster_address_cannot_be_changed() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", SERVICES, service())
        patch = {"spec": {"clusterIP": "10.96.0.77", "clusterIPs": ["10.96.0.77"]}}
        code, _, message = await me.refused("PATCH", f"{SERVICES}/web", patch, content_type=MERGE)
        assert code == 422 and "spec.clusterIPs[0]: Invalid value:" in message
        await sound(me)

    told(story)


def test_a_headless_service_has_no_address() -> None:
    async def story(me: Session) -> None:
        made = await me.ok("POST", SERVICES, service(clusterIP="None"))
        assert (made["spec"]["clusterIP"], made["spec"]["clusterIPs"]) == ("None", ["None"])
        assert await held(me) == (set(), set())

    told(story)


def test_two_families_mean_two_addresses_and_back() -> None:
    async def story(me: Session) -> None:
        made = await me.ok("POST", SERVICES, service(ipFamilyPolicy="PreferDualStack"))
        assert made["spec"]["ipFamilies"] == ["IPv4", "IPv6"] and made["spec"]["clusterIPs"][1].startswith("fd00:96::")
        await sound(me)
        spec = await change(me, ipFamilyPolicy="SingleStack")
        assert spec["ipFamilies"] == ["IPv4"] and len(spec["clusterIPs"]) == 1
        await sound(me)
        spec = await change(me, ipFamilyPolicy="RequireDualStack")
        assert len(spec["clusterIPs"]) == 2
        await sound(me)

    told(story, config=DUAL)


def test_a_second_range_serves_when_the_first_is_full() -> None:
    async def story(me: Session) -> None:
        for number in range(5):
            await me.ok("POST", SERVICES, service(f"s{number}"))
        more = {
            "kind": "ServiceCIDR",
            "apiVersion": "networking.k8s.io/v1",
            "metadata": {"name": "more"},
            "spec": {"cidrs": ["10.97.0.0/28"]},
        }
        await me.ok("POST", "/apis/networking.k8s.io/v1/servicecidrs", more)
        assert (await me.ok("POST", SERVICES, service("more")))["spec"]["clusterIP"].startswith("10.97.0.")

    told(story, config=TINY)


MORE = "/registry/networking.k8s.io/servicecidrs/more"


class Withdrawing(MemoryStore):
    """A store in which a range begins to go in the very moment before the first commit that takes an address of it."""

    armed = False

    async def commit(self, checks: Sequence[Check], changes: Sequence[Put | Delete]) -> int:
        if self.armed and any("/ipaddresses/10.97." in change.key for change in changes):
            self.armed = False
            entry = await self.get(MORE)
            assert entry
            going = json.loads(entry.value)
            going["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}
            await super().commit([], [Put(MORE, json.dumps(going).encode())])
        return await super().commit(checks, changes)


def test_no_address_is_given_from_a_range_that_begins_to_go() -> None:
    store = Withdrawing()

    async def story(me: Session) -> None:
        more = {
            "kind": "ServiceCIDR",
            "apiVersion": "networking.k8s.io/v1",
            "metadata": {"name": "more"},
            "spec": {"cidrs": ["10.97.0.0/28"]},
        }
        # A range beyond the configured one.
        await me.ok("POST", "/apis/networking.k8s.io/v1/servicecidrs", more)
        await me.ok("POST", SERVICES, service("early", clusterIP="10.97.0.4"))
        store.armed = True
        _, _, message = await me.refused("POST", SERVICES, service("late", clusterIP="10.97.0.5"))
        assert "10.97.0.5" in message and "not in the valid range" in message
        await sound(me)

    told(story, config=TINY, store=store)


class Distant(MemoryStore):
    """A store whose commits take their time, so that others write between a look and a commit."""

    async def commit(self, checks: Sequence[Check], changes: Sequence[Put | Delete]) -> int:
        await asyncio.sleep(0)
        return await super().commit(checks, changes)


def test_many_at_once_never_share_a_number() -> None:
    async def story(me: Session) -> None:
        config = {"type": "NodePort"}
        answers = await asyncio.gather(*(me.ask("POST", SERVICES, service(f"s{n}", **config)) for n in range(40)))
        assert all(code == 201 for code, _, _ in answers)
        await sound(me)

    narrow = dataclasses.replace(CONFIG, node_ports=(30000, 30041), service_cidrs=("10.96.0.0/26",))
    told(story, config=narrow, store=Distant())


class Crashing(MemoryStore):
    """A store whose process dies at a chosen commit: before it lands, or after it landed but before it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.crash_at = -1
        self.landed = False

    async def commit(self, checks: Sequence[Check], changes: Sequence[Put | Delete]) -> int:
        self.crash_at -= 1
        if self.crash_at == 0 and not self.landed:
            raise StoreError("killed before")
        revision = await super().commit(checks, changes)
        if self.crash_at == 0:
            raise StoreError("killed after")
        return revision


WRITES = st.sampled_from(
    [
        ("POST", "", service()),
        ("POST", "", service(type="NodePort")),
        ("POST", "", service(type="LoadBalancer", externalTrafficPolicy="Local")),
        ("PATCH", "/web", {"spec": {"type": "NodePort"}}),
        ("PATCH", "/web", {"spec": {"type": "ClusterIP"}}),
        ("PATCH", "/web", {"spec": {"type": "ExternalName", "externalName": "a.example"}}),
        ("DELETE", "/web", None),
    ]
)


@settings(max_examples=80, deadline=None)
@given(st.lists(WRITES, max_size=6), st.integers(1, 6), st.booleans())
def test_no_crash_at_any_step_doubles_or_leaks_a_number(
    writes: list[tuple[str, str, Any]], crash_at: int, landed: bool
) -> None:
    async def story() -> None:
        store = Crashing()
        api = Api(store, CONFIG)
        await api.start()
        me = Session(api)
        store.crash_at, store.landed = crash_at, landed
        for method, path, body in writes:
            content_type = MERGE if method == "PATCH" else "application/json"
            await me.ask(method, SERVICES + path, body, content_type=content_type)
        await api.stop()
        store.crash_at = -1  # the next one lives
        again = Api(store, CONFIG)
        await again.start()
        await sound(Session(again))
        await again.stop()

    asyncio.run(story())


def test_a_lost_race_for_a_number_is_tried_again() -> None:
    class Racing(MemoryStore):
        lost = 0

        async def commit(self, checks: Sequence[Check], changes: Sequence[Put | Delete]) -> int:
            if any("/services/" in check.key and check.key.endswith("/web") for check in checks) and self.lost < 3:
                self.lost += 1
                raise Conflict("/registry/networking.k8s.io/ipaddresses/10.96.9.9", None)
            return await super().commit(checks, changes)

    async def story(me: Session) -> None:
        await me.ok("POST", SERVICES, service())
        await sound(me)

    told(story, store=Racing())
