"""Changes of objects in, updates out: the same as from everything at once, and nothing named that stayed."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.client.base import Listing
from fairway.client.informer import Cache
from fairway.dataplane.tracker import Tracker
from fairway.desired import view
from fairway.desired.build import build
from tests.unit.desired.objects import OPTIONS, endpoint, node, service_json, slice_json

KINDS = [
    {},
    {"sessionAffinity": "ClientIP"},
    {"clusterIP": "None", "clusterIPs": ["None"]},
    {"ports": [{"name": "a", "port": 80, "protocol": "TCP"}, {"name": "", "port": 53, "protocol": "UDP"}]},
    {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 32000,
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}},
    },
]


def stamped(raw: bytes) -> bytes:
    """With a revision that tells different contents apart."""
    return raw.replace(b'"metadata": {', b'"metadata": {"resourceVersion": "%d", ' % abs(hash(raw)), 1)


# names of Services with their kinds; slices with the Service they belong to, which may not exist, and their endpoints
clusters = st.tuples(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, len(KINDS) - 1)),
    st.dictionaries(
        st.sampled_from(["s1", "s2", "s3", "s4"]),
        st.tuples(st.sampled_from("abcd"), st.lists(st.integers(1, 5), max_size=3)),
    ),
    st.sampled_from(["", "z1", "z2"]),
)
Cluster = tuple[dict[str, int], dict[str, tuple[str, list[int]]], str]


def listings(cluster: Cluster) -> tuple[Listing, Listing]:
    services, slices, _ = cluster
    return (
        Listing([stamped(service_json(name, f"10.96.0.{ord(name)}", **KINDS[k])) for name, k in services.items()], "1"),
        Listing(
            [
                stamped(slice_json(of, *(endpoint(f"10.244.0.{n}", zones=[f"z{1 + n % 2}"]) for n in ends), name=name))
                for name, (of, ends) in slices.items()
            ],
            "1",
        ),
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(clusters, min_size=1, max_size=5))
def test_updates_add_up_to_the_whole(history: list[Cluster]) -> None:
    tracker = Tracker(OPTIONS)
    services, slices = Cache(view.service), Cache(view.endpoint_slice)
    known: dict[object, object] = {}
    for cluster in history:
        listed = listings(cluster)
        tracker.services_changed(services.replace(listed[0]))
        tracker.slices_changed(slices.replace(listed[1]))
        here = node(zone=cluster[2])

        update = tracker.update(here)

        whole = build(services.items.values(), slices.items.values(), here, OPTIONS)
        wanted = {port.key: port for port in whole.ports}
        assert dict(update.ports) == wanted
        assert update.settings == whole.settings
        assert sorted(tracker.health_checks) == list(whole.health_checks)
        assert update.changed == {key for key in {*known, *wanted} if known.get(key) != wanted.get(key)}
        known = dict(wanted)


def test_nothing_is_named_twice() -> None:
    tracker = Tracker(OPTIONS)
    cache = Cache(view.service)
    tracker.services_changed(cache.replace(Listing([service_json("web")], "1")))
    assert len(tracker.update(node()).changed or ()) == 1

    assert tracker.update(node()).changed == frozenset()


def test_the_node_object_s_pod_ranges_count_where_it_has_some() -> None:
    tracker = Tracker(OPTIONS)
    cache = Cache(view.node)
    known = {"metadata": {"name": "node-a", "labels": {"topology.kubernetes.io/zone": "z9"}}, "spec": {"podCIDR": "x"}}
    tracker.node_changed(cache.replace(Listing([json.dumps(known).encode()], "1")))

    assert tracker.update(node()).settings == build([], [], node(), OPTIONS).settings
