"""A Pod's walk answered in one trip, by a server on loopback whose client is a Pod by address."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import dns.message
import dns.rcode
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.dns import names, view
from fairway.dns.autopath import shortcut
from fairway.dns.explain import NOT_ASKED, from_objects
from fairway.dns.names import Name
from fairway.dns.paths import Paths
from fairway.dns.records import Address, Question, Rcode, Record, Type
from fairway.dns.server import Options
from fairway.dns.walk import Candidate, Reply, Settings, walk
from fairway.dns.zone import Zone
from fairway.objects.kinds import POD, SERVICE
from tests.unit.dns.api import Api
from tests.unit.dns.cluster import Object, endpoints, external, namespace, service
from tests.unit.dns.test_server import Running, eventually, serve
from tests.unit.dns.test_zone_model import EVENTS, REVERSE, Event, play

AUTOPATH = Options(autopath=True)
FIRST = "default.svc.cluster.local"


class Outside:
    """An upstream that knows one name."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def run(self, stop: asyncio.Event) -> None:
        await stop.wait()

    async def resolve(self, message: bytes, *, udp: bool, client: str) -> bytes:
        raise AssertionError("names of a walk are looked up, not forwarded")

    def resolve_cached(self, message: bytes, *, udp: bool) -> bytes | None:
        return None

    async def lookup(self, name: Name, type: int) -> tuple[Record, ...]:
        self.asked.append(names.text(name))
        known = name == names.parse("www.example.com") and type == Type.A
        return (Record(name, Type.A, 60, Address(bytes((192, 0, 2, 1)))),) if known else ()


def client_pod(space: str = "default", **spec: Any) -> Object:
    """The Pod that the tests' own address is."""
    status = {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
    return {"metadata": {"name": "me", "namespace": space}, "spec": spec, "status": status}


CLUSTER = {
    "namespaces": [namespace("default"), namespace("shop")],
    "services": [
        service("web", "default", "10.96.1.2"),
        service("api", "shop", "10.96.1.3"),
        service("pets", "shop", "None", ports=["http:80/TCP"]),
        external("docs", "www.example.com", "shop"),
    ],
    "endpointslices": [endpoints("pets", "10.244.0.7", namespace="shop", ports=["http:80/TCP"])],
    "pods": [client_pod()],
}


def lines(reply: dns.message.Message) -> list[str]:
    return [line for rrset in reply.answer for line in rrset.to_text().splitlines()]


def test_the_first_name_of_a_walk_is_answered_as_an_alias_of_the_name_found() -> None:
    async def story(running: Running, _: Api) -> None:
        found = [
            f"api.shop.{FIRST}. 5 IN CNAME api.shop.svc.cluster.local.",
            "api.shop.svc.cluster.local. 5 IN A 10.96.1.3",
        ]
        assert lines(await running.udp(f"api.shop.{FIRST}")) == found
        assert lines(await running.tcp(f"api.shop.{FIRST}")) == found
        assert lines(await running.udp(f"web.{FIRST}")) == [f"web.{FIRST}. 5 IN A 10.96.1.2"]

    serve(story, CLUSTER, options=AUTOPATH)


def test_a_type_that_the_name_found_has_not_is_no_data_and_not_the_end_of_the_name() -> None:
    async def story(running: Running, _: Api) -> None:
        reply = await running.udp(f"api.shop.{FIRST}", "AAAA")
        assert reply.rcode() == dns.rcode.NOERROR
        assert lines(reply) == [f"api.shop.{FIRST}. 5 IN CNAME api.shop.svc.cluster.local."]
        assert [each.rdtype for each in reply.authority] == [Type.SOA]

    serve(story, CLUSTER, options=AUTOPATH)


def test_srv_records_are_found_on_the_way_too() -> None:
    async def story(running: Running, _: Api) -> None:
        reply = await running.udp(f"_http._tcp.pets.shop.{FIRST}", "SRV")
        assert lines(reply)[1:] == [
            "_http._tcp.pets.shop.svc.cluster.local. 5 IN SRV 0 100 80 10-244-0-7.pets.shop.svc.cluster.local."
        ]
        assert reply.additional

    serve(story, CLUSTER, options=AUTOPATH)


def test_a_name_on_the_way_that_holds_nothing_does_not_end_the_walk() -> None:
    """`shop.svc.cluster.local` exists, being a namespace; a client would go on, and finds `shop.` outside."""
    shop = names.parse("shop")

    class Intranet(Outside):
        async def lookup(self, name: Name, type: int) -> tuple[Record, ...]:
            return (Record(name, Type.A, 60, Address(bytes((192, 0, 2, 7)))),) if (name, type) == (shop, Type.A) else ()

    async def story(running: Running, _: Api) -> None:
        assert lines(await running.udp(f"shop.{FIRST}")) == [
            f"shop.{FIRST}. 5 IN CNAME shop.",
            "shop. 60 IN A 192.0.2.7",
        ]

    serve(story, CLUSTER, options=AUTOPATH, upstream=Intranet())


def test_names_outside_are_found_by_the_upstream() -> None:
    outside = Outside()

    async def story(running: Running, _: Api) -> None:
        assert lines(await running.udp(f"www.example.com.{FIRST}")) == [
            f"www.example.com.{FIRST}. 5 IN CNAME www.example.com.",
            "www.example.com. 60 IN A 192.0.2.1",
        ]
        assert lines(await running.udp(f"docs.shop.{FIRST}")) == [
            f"docs.shop.{FIRST}. 5 IN CNAME docs.shop.svc.cluster.local.",
            "docs.shop.svc.cluster.local. 5 IN CNAME www.example.com.",
            "www.example.com. 60 IN A 192.0.2.1",
        ]
        assert set(outside.asked) == {"www.example.com."}

    serve(story, CLUSTER, options=AUTOPATH, upstream=outside)


def test_a_walk_that_finds_nothing_leaves_the_client_to_itself() -> None:
    async def story(running: Running, _: Api) -> None:
        reply = await running.udp(f"www.example.org.{FIRST}")
        assert (reply.rcode(), reply.answer) == (dns.rcode.NXDOMAIN, [])
        assert [each.rdtype for each in reply.authority] == [Type.SOA]

    serve(story, CLUSTER, options=AUTOPATH)
    serve(story, CLUSTER, options=AUTOPATH, upstream=Outside())


def test_without_the_option_and_for_strangers_nothing_is_added() -> None:
    async def story(running: Running, _: Api) -> None:
        assert (await running.udp(f"api.shop.{FIRST}")).rcode() == dns.rcode.NXDOMAIN

    serve(story, CLUSTER)
    serve(story, CLUSTER | {"pods": []}, options=AUTOPATH)
    serve(story, CLUSTER | {"pods": [client_pod(hostNetwork=True)]}, options=AUTOPATH)


def test_the_walk_follows_the_pods_own_settings() -> None:
    async def story(running: Running, _: Api) -> None:
        reply = await running.udp("api.nowhere.svc.cluster.local")
        assert lines(reply)[0] == "api.nowhere.svc.cluster.local. 5 IN CNAME api.shop.svc.cluster.local."

    own = {"searches": ["nowhere.svc.cluster.local", "shop.svc.cluster.local"]}
    serve(story, CLUSTER | {"pods": [client_pod(dnsPolicy="None", dnsConfig=own)]}, options=AUTOPATH)


def test_what_was_denied_before_the_first_pod_of_a_namespace_came_is_a_walk_from_then_on() -> None:
    async def story(running: Running, api: Api) -> None:
        for _ in range(2):  # the second reply is a ready one
            assert (await running.udp(f"api.shop.{FIRST}")).rcode() == dns.rcode.NXDOMAIN
        api.tell(POD, "ADDED", client_pod())
        await eventually(running, f"api.shop.{FIRST}", ["api.shop.svc.cluster.local.", "10.96.1.3"])

    serve(story, CLUSTER | {"pods": []}, options=AUTOPATH)


def test_a_shortcut_is_as_fresh_as_any_answer() -> None:
    async def story(running: Running, api: Api) -> None:
        first = f"new.shop.{FIRST}"
        assert (await running.udp(first)).rcode() == dns.rcode.NXDOMAIN
        api.tell(SERVICE, "ADDED", service("new", "shop", "10.96.1.9"))
        await eventually(running, first, ["new.shop.svc.cluster.local.", "10.96.1.9"])
        api.tell(SERVICE, "ADDED", service("shop", "default", "None"))
        api.tell(SERVICE, "DELETED", service("new", "shop", "10.96.1.9"))
        await eventually(running, first, [])
        api.tell(POD, "DELETED", client_pod())
        await eventually(running, f"api.shop.{FIRST}", [])

    serve(story, CLUSTER, options=AUTOPATH)


WRITTEN = ["x", "x.a", "x.b", "y.b", "h.x", "h.x.a", "_http._tcp.x", "_http._tcp.x.b", "x.a.svc", "a", "b.svc", "z"]
SETTINGS = Settings(("10.96.0.10",), ("a.svc.cluster.local", "svc.cluster.local", "cluster.local"), 5)


@given(EVENTS, st.sampled_from(WRITTEN), st.sampled_from([("A", "AAAA"), ("SRV",)]))
@settings(max_examples=300, deadline=None)
def test_the_shortcut_ends_where_the_walk_ends(events: list[Event], written: str, types: tuple[str, ...]) -> None:
    zone = Zone(reverse=REVERSE)
    play(zone, events, ask_between=False)
    paths = Paths(zone.domain)
    paths.set(view.decode_resolving_pod(json.dumps(client_pod("a")).encode()))
    inside = from_objects(zone)

    def ask(candidate: Candidate, type: str) -> Reply:
        reply = inside(candidate, type)
        return Reply("NXDOMAIN") if reply.rcode == NOT_ASKED else reply

    gone = walk(written, SETTINGS, ask, types)
    first = names.parse(f"{written}.a.svc.cluster.local")
    for type in types:
        answer = zone.answer(Question(first, Type[type]))
        if answer.rcode is not Rcode.NXDOMAIN:
            continue  # only a name that does not exist begins a shortcut
        found = asyncio.run(shortcut(Question(first, Type[type]), "127.0.0.1", paths, zone, None))
        if gone.found is None:
            assert found is None
        else:
            assert found is not None
            alias, *rest = found.answer
            assert str(alias.data) == gone.found.candidate.name
            assert tuple(map(str, rest)) == dict(gone.found.replies)[type].records
