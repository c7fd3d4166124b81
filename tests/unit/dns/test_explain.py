"""Names explained: the walk told with its sources, what would shorten it, what stands in its way."""

from __future__ import annotations

import json

import pytest

from fairway.dns import explain as telling
from fairway.dns import names, view
from fairway.dns.explain import Explanation, explain
from fairway.dns.origin import Facts, origin
from fairway.dns.walk import Candidate, Library, Reply, Settings, walk
from fairway.dns.zone import Zone
from tests.unit.dns.cluster import Object, endpoints, external, host, namespace, pod, put, service, unready

POD = Settings(("10.96.0.10",), ("default.svc.cluster.local", "svc.cluster.local", "cluster.local"), 5)
SHOP = (
    namespace("default"),
    namespace("shop"),
    service("web", "default", "10.96.1.2", ports=["http:80/TCP", "81/TCP"]),
    service("web", "shop", "10.96.1.3"),
    service("pets", "default", "None"),
    service("lone", "default", "None"),
    service("sick", "default", "None"),
    external("docs", "www.example.com"),
    endpoints("pets", host("cat", "10.244.0.5"), "10.244.0.6", host("ill", "10.244.0.7", ready=False)),
    endpoints("sick", unready("10.244.0.8")),
    pod("web-1", "10.244.0.9"),
)


def facts_of(*objects: Object) -> Facts:
    raw = [(each, json.dumps(each).encode()) for each in objects]
    return Facts.of(
        [view.decode_service(text) for each, text in raw if "spec" in each],
        [view.decode_slice(text) for each, text in raw if "addressType" in each],
        [view.decode_namespace(text) for each, text in raw if len(each) == 1],
        [view.decode_pod(text) for each, text in raw if "status" in each],
    )


def explained(written: str, *more: Object, settings: Settings = POD, library: Library = "glibc") -> Explanation:
    objects = (*SHOP, *more)
    zone = put(Zone(), *objects)
    walked = walk(written, settings, telling.from_objects(zone), library=library)
    return explain(walked, "pod default/web-1", zone, facts_of(*objects))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("web.default.svc", "Service default/web: ClusterIP 10.96.1.2"),
        ("web.none.svc", 'there is no Namespace "none"'),
        ("api.shop.svc", 'there is no Service "api" in namespace shop'),
        ("docs.default.svc", "Service default/docs: an alias of www.example.com"),
        ("pets.default.svc", "Service default/pets: headless, 2 ready endpoints in EndpointSlice pets-1"),
        ("lone.default.svc", "Service default/lone: headless, without endpoints"),
        ("sick.default.svc", "Service default/sick: headless, and none of its 1 endpoints is ready"),
        ("CAT.pets.default.svc", "endpoint cat in EndpointSlice default/pets-1 of Service default/pets"),
        (
            "ill.pets.default.svc",
            "endpoint ill in EndpointSlice default/pets-1 of Service default/pets, which is not ready",
        ),
        ("10-244-0-6.pets.default.svc", "endpoint 10-244-0-6 in EndpointSlice default/pets-1 of Service default/pets"),
        ("dog.pets.default.svc", 'Service default/pets has no endpoint named "dog"'),
        ("cat.web.default.svc", "Service default/web is not headless: its endpoints have no names"),
        ("_http._tcp.web.default.svc", "port http (80/TCP) of Service default/web"),
        ("_http._udp.web.default.svc", 'Service default/web has no UDP port named "http"'),
        ("_tcp.web.default.svc", "the TCP ports of Service default/web, if it has named ones"),
        ("10-244-0-9.default.pod", "Pod default/web-1"),
        ("10-244-0-1.default.pod", "no Pod of namespace default has this address"),
        ("shop.svc", "Namespace shop: a level of the tree, without records"),
        ("svc", "a level of the tree, without records"),
        ("dns-version", "the version of the DNS specification"),
        ("a.b.c", "no name of the zone has this form"),
    ],
)
def test_the_object_a_name_comes_from_or_misses(name: str, said: str) -> None:
    domain = names.parse("cluster.local")
    assert origin(names.parse(f"{name}.cluster.local"), domain, facts_of(*SHOP)) == said


def test_names_outside_the_zone_have_no_object() -> None:
    assert origin(names.parse("www.example.com"), names.parse("cluster.local"), facts_of(*SHOP)) == ""


def test_a_walk_as_people_read_it() -> None:
    assert telling.text(explained("web.shop")) == (
        "web.shop asked by pod default/web-1, as glibc asks\n"
        "  nameserver 10.96.0.10\n"
        "  search default.svc.cluster.local svc.cluster.local cluster.local\n"
        "  ndots:5; the name has 1 dot: the search list comes first\n"
        "\n"
        "1. web.shop.default.svc.cluster.local.  (search domain default.svc.cluster.local)\n"
        "     A, AAAA: NXDOMAIN\n"
        '     from: there is no Service "shop" in namespace default\n'
        "\n"
        "2. web.shop.svc.cluster.local.  (search domain svc.cluster.local)\n"
        "     A     web.shop.svc.cluster.local. 5 IN A 10.96.1.3\n"
        "     AAAA: NODATA (the name exists, without such a record)\n"
        "     from: Service shop/web: ClusterIP 10.96.1.3\n"
        "\n"
        "Found at step 2. Cost: 2 round trips, 4 queries (A and AAAA of each name).\n"
        "Shorter: write web.shop.svc.cluster.local. with the final dot: 1 round trip instead of 2."
    )


def test_a_walk_as_programs_read_it() -> None:
    told = telling.as_json(explained("web"))
    assert json.loads(json.dumps(told)) == told
    assert (told["found"], told["roundTrips"], told["queries"]) == ("web.default.svc.cluster.local.", 1, 2)
    assert told["steps"][0]["replies"][0]["records"] == ["web.default.svc.cluster.local. 5 IN A 10.96.1.2"]
    assert told["unasked"] == ["web.svc.cluster.local.", "web.cluster.local.", "web."]


def test_names_outside_are_not_asked_of_objects_and_ndots_would_shorten_them() -> None:
    told = explained("www.example.com")
    assert telling.as_json(told)["steps"][-1]["replies"][0]["rcode"] == "NOT ASKED"
    assert told.origins[-1] == telling.UPSTREAM

    zone = put(Zone(), *SHOP)
    inside = telling.from_objects(zone)

    def ask(candidate: Candidate, type: str) -> Reply:
        return (
            Reply("NOERROR", ("www.example.com. 60 IN A 192.0.2.1",))
            if candidate.as_written
            else inside(candidate, type)
        )

    found = explain(walk("www.example.com", POD, ask), "x", zone, facts_of(*SHOP), live=True)
    assert found.shorter[0] == "write www.example.com. with the final dot: 1 round trip instead of 4"
    assert "ndots:2" in found.shorter[1]
    assert found.warnings == ()
    assert "www.example.com.svc.cluster.local. is free because its namespace does not exist" in found.remarks[0]


def test_a_namespace_called_svc_catches_names_of_services_and_is_warned_of() -> None:
    told = explained(
        "web.shop.svc",
        namespace("svc"),
        service("shop", "svc", "None"),
        endpoints("shop", host("web", "10.244.6.6"), namespace="svc"),
    )
    assert told.walk.found is not None
    assert told.walk.found.candidate.name == "web.shop.svc.svc.cluster.local."
    shadows, captures, collides = told.warnings
    assert shadows.startswith("web.shop.svc.svc.cluster.local. shadows web.shop.svc.cluster.local., which exists too")
    assert captures.startswith("web.shop.svc looks like a name of its own, but namespace svc captures it")
    assert collides.startswith("namespace svc collides with the search path")


def test_a_namespace_called_like_a_public_domain_catches_names_of_the_outside() -> None:
    told = explained("example.com", namespace("com"), service("example", "com", "10.96.6.6"))
    assert [line.split(":")[0] for line in told.warnings] == [
        "example.com looks like a name of its own, but namespace com captures it",
        "namespace com collides with the search path",
    ]
    assert explained("example.com.", namespace("com"), service("example", "com", "10.96.6.6")).warnings == ()
    country = explained("example.de", namespace("de"), service("example", "de", "10.96.6.6"))
    assert [line.split(":")[0] for line in country.warnings] == [
        "example.de looks like a name of its own, but namespace de captures it"
    ]


@pytest.mark.parametrize("colliding", ["svc", "pod", "cluster", "local", "com", "org"])
def test_namespaces_that_collide_with_the_search_path(colliding: str) -> None:
    assert any(
        line.startswith(f"namespace {colliding} collides") for line in explained("web", namespace(colliding)).warnings
    )


@pytest.mark.parametrize("harmless", ["default", "kube-system", "shop-1", "qa", "production"])
def test_namespaces_that_do_not_collide(harmless: str) -> None:
    assert explained("web", namespace(harmless)).warnings == ()


def test_a_headless_service_called_like_a_namespace_shadows_that_namespaces_services() -> None:
    told = explained("web.shop", service("shop", "default", "None"), endpoints("shop", host("web", "10.244.0.66")))
    shadows = "web.shop.default.svc.cluster.local. shadows web.shop.svc.cluster.local."
    assert told.warnings == (f"{shadows}, which exists too and is never asked for",)


def test_a_server_that_says_something_else_than_the_objects_is_told_on() -> None:
    zone = put(Zone(), *SHOP)
    stale = walk("web", POD, lambda *_: Reply("NOERROR", ("web.default.svc.cluster.local. 30 IN A 10.96.9.9",)), ("A",))
    told = explain(stale, "x", zone, facts_of(*SHOP), live=True)
    assert told.warnings == (
        "web.default.svc.cluster.local. A: the server says A 10.96.9.9, the cluster's objects say A 10.96.1.2",
    )
    right = walk("web", POD, lambda *_: Reply("NOERROR", ("WEB.default.svc.cluster.local. 1 IN A 10.96.1.2",)), ("A",))
    assert explain(right, "x", zone, facts_of(*SHOP), live=True).warnings == ()


def test_a_server_that_walks_by_itself_is_understood() -> None:
    zone = put(Zone(), *SHOP)
    first = "web.shop.default.svc.cluster.local."
    alias = f"{first} 5 IN CNAME web.shop.svc.cluster.local."

    def ask(candidate: Candidate, type: str) -> Reply:
        address = ("web.shop.svc.cluster.local. 5 IN A 10.96.1.3",) if type == "A" else ()
        return Reply("NOERROR", (alias, *address))

    told = explain(walk("web.shop", POD, ask), "x", zone, facts_of(*SHOP), live=True)
    assert told.origins == ("Service shop/web: ClusterIP 10.96.1.3, to which the server went on by itself",)
    assert (told.warnings, len(told.walk.steps)) == ((), 1)

    def wrong(candidate: Candidate, type: str) -> Reply:
        return (
            Reply("NOERROR", (alias, "web.shop.svc.cluster.local. 5 IN A 10.96.6.6"))
            if type == "A"
            else ask(candidate, type)
        )

    (warning,) = explain(walk("web.shop", POD, wrong), "x", zone, facts_of(*SHOP), live=True).warnings
    assert warning == f"{first} A: the server says A 10.96.6.6, the cluster's objects say A 10.96.1.3"


def test_an_alias_that_is_an_external_name_is_no_shortcut() -> None:
    told = explained("docs", external("docs", "docs.example.com"))
    assert told.origins == ("Service default/docs: an alias of docs.example.com",)
