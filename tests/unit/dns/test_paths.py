"""Search lists of Pods by address: what the rest of a walk is."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairway.dns import names, view
from fairway.dns.paths import Paths
from fairway.pods import resolv
from fairway.pods import view as pods_view

CLUSTER = names.parse("cluster.local")


def pod(
    name: str = "web-1", ip: str = "10.244.0.5", space: str = "default", phase: str = "Running", **spec: Any
) -> Any:
    status = {"phase": phase, "podIP": ip}
    return {"metadata": {"name": name, "namespace": space}, "spec": spec, "status": status}


def paths(*pods: Any, node: tuple[str, ...] = ()) -> Paths:
    known = Paths(CLUSTER, node)
    for each in pods:
        known.set(view.decode_resolving_pod(json.dumps(each).encode()))
    return known


def rest(known: Paths, name: str, client: str = "10.244.0.5") -> list[str]:
    return [names.text(each) for each in known.rest(client, names.parse(name))]


def test_what_a_pod_asks_after_the_first_name_of_its_walk() -> None:
    assert rest(paths(pod()), "web.shop.default.svc.cluster.local") == [
        "web.shop.svc.cluster.local.",
        "web.shop.cluster.local.",
        "web.shop.",
    ]


def test_spelling_is_the_querys_own() -> None:
    assert rest(paths(pod()), "wEb.DEFAULT.svc.Cluster.Local")[0] == "wEb.svc.cluster.local."


def test_a_name_that_has_ndots_dots_was_asked_as_written_before() -> None:
    assert rest(paths(pod()), "a.b.c.d.e.f.default.svc.cluster.local")[-1] == "a.b.c.d.e.f.cluster.local."
    two = pod(dnsConfig={"options": [{"name": "ndots", "value": "2"}]})
    assert rest(paths(two), "a.b.c.default.svc.cluster.local")[-1] == "a.b.c.cluster.local."
    assert rest(paths(two), "a.b.default.svc.cluster.local")[-1] == "a.b."


def test_only_the_first_name_of_the_clients_own_walk_begins_one() -> None:
    known = paths(pod(), pod("other", "10.244.0.6", "shop"))
    assert rest(known, "web.svc.cluster.local") == []
    assert rest(known, "default.svc.cluster.local") == []
    assert rest(known, "web.shop.svc.cluster.local") == []
    assert rest(known, "web.shop.svc.cluster.local", "10.244.0.6") != []
    assert rest(known, "web.default.svc.cluster.local", "10.244.0.7") == []
    assert rest(known, "web.default.svc.cluster.local", "::ffff:zzz") == []


def test_a_pods_own_settings_count() -> None:
    own = {"searches": ["corp.example", "not..a.name", "lab.example"]}
    assert rest(paths(pod(dnsPolicy="None", dnsConfig=own)), "db.corp.example") == ["db.lab.example.", "db."]
    assert rest(paths(pod(dnsConfig=own)), "db.default.svc.cluster.local")[2:] == [
        "db.corp.example.",
        "db.lab.example.",
        "db.",
    ]
    assert rest(paths(pod(dnsPolicy="Default"), node=("node.example", "x.example")), "db.node.example") == [
        "db.x.example.",
        "db.",
    ]


def test_addresses_that_say_nothing_about_a_pod_are_not_known() -> None:
    name = "web.default.svc.cluster.local"
    assert rest(paths(pod(hostNetwork=True)), name) == []
    assert rest(paths(pod(phase="Succeeded")), name) == []
    assert rest(paths(pod(dnsPolicy="None")), name) == []


def test_an_address_that_went_to_another_pod_stays_that_pods_when_the_first_is_gone() -> None:
    known = paths(pod("old"), pod("new", space="shop"))
    known.delete("default", "old")
    assert rest(known, "web.shop.svc.cluster.local") != []
    assert not known.begins(names.parse("web.default.svc.cluster.local"))
    known.delete("shop", "new")
    assert not known.begins(names.parse("web.shop.svc.cluster.local"))


def test_names_that_would_be_too_long_are_left_out() -> None:
    label = "a" * 60
    written = f"{label}.{label}.{label}"
    known = paths(pod(dnsPolicy="None", dnsConfig={"searches": ["x", f"{label}.{label}", "y"], "options": []}))
    assert rest(known, f"{written}.x") == [f"{written}.y."]


DOMAINS = st.lists(st.sampled_from(["corp.example", "lab.example", "svc.cluster.local", "node.example"]), max_size=3)
SPECS = st.fixed_dictionaries(
    {
        "dnsPolicy": st.sampled_from(["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]),
        "dnsConfig": st.fixed_dictionaries(
            {
                "searches": DOMAINS,
                "options": st.sampled_from([[], [{"name": "ndots", "value": "2"}], [{"name": "edns0"}]]),
            }
        ),
    }
)


@given(SPECS, DOMAINS, st.sampled_from(["web", "web.shop", "a.b.c.d.e.f"]))
def test_the_walk_is_the_one_of_the_resolv_conf_that_the_pods_agent_writes(
    spec: dict[str, Any], node: list[str], written: str
) -> None:
    raw = pod(**spec)
    told = resolv.resolver(
        pods_view.decode_pod(json.dumps(raw).encode()),
        resolv.Resolver((), tuple(node)),
        ("10.96.0.10",),
        "cluster.local",
    )
    ndots = next((int(each[6:]) for each in told.options if each.startswith("ndots:")), 1)
    walk = [f"{written}.{domain}." for domain in told.searches] + [f"{written}."] * (written.count(".") < ndots)
    if told.searches:
        assert rest(paths(raw, node=tuple(node)), f"{written}.{told.searches[0]}") == walk[1:]


def test_the_first_pod_with_a_search_domain_is_told_of_and_no_other() -> None:
    told: list[str] = []
    known = Paths(CLUSTER)
    known.on_first = lambda: told.append("first")

    def come(*pods: Any) -> int:
        for each in pods:
            known.set(view.decode_resolving_pod(json.dumps(each).encode()))
        return len(told)

    assert come(pod("a"), pod("a"), pod("b", "10.244.0.9")) == 1
    assert come(pod("c", "10.244.0.10", "shop"), pod("d", "10.0.0.1", "quiet", hostNetwork=True)) == 2
    known.delete("shop", "c")
    assert come(pod("c", "10.244.0.10", "shop")) == 3
