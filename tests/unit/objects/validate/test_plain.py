"""The quick yes for the most usual new objects is never more than what the rules say."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairway.objects import admit
from fairway.objects.kinds import CONFIG_MAP, NAMESPACE, ROLE, SERVICE, SERVICE_CIDR, Kind
from fairway.objects.validate import meta, service
from fairway.objects.validate.meta import validate_metadata

NAMES = ["web", "0a", "a.b", "A", "-a", "a-", "", "x" * 63, "x" * 64, ("y" * 62 + ".") * 4, "a\n", "ä", "a/b"]
WORDS = [*NAMES, None, 7]
LABELS: list[Any] = [None, {}, {"a": "b"}, {"a/b": ""}, {"/": "b"}, {"a": "-"}, {"A_b.c": "D_e.f"}, {"a": "x" * 64}]


def either(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


METADATA = st.fixed_dictionaries(
    {"name": st.sampled_from(NAMES), "uid": st.just("u"), "creationTimestamp": st.just("2026-01-01T00:00:00Z")},
    optional={
        "namespace": st.sampled_from(NAMES),
        "labels": st.sampled_from(LABELS),
        "annotations": either({}, {"a": "b"}, {"/": "b"}),
        "finalizers": either([], ["a/b"], ["-"]),
        "generateName": either("", "web-", "-"),
        "generation": st.just(1),
        "ownerReferences": either([], [{}]),
    },
)
PORTS = st.lists(
    st.fixed_dictionaries(
        {"port": either(80, 443, 10250), "targetPort": either(80, "http"), "protocol": either("TCP", "UDP")},
        optional={
            "name": st.sampled_from(WORDS),
            "nodePort": either(0, 30000),
            "appProtocol": either("", "a/b"),
        },
    ),
    max_size=3,
)
SPECS = st.fixed_dictionaries(
    {
        "ports": PORTS,
        "type": either(*["ClusterIP"] * 6, "NodePort", "LoadBalancer", "ExternalName", None),
        "sessionAffinity": either(*["None"] * 4, "ClientIP"),
    },
    optional={
        "selector": either(None, {}, {"a": "b"}),
        "internalTrafficPolicy": either("Cluster", "Local"),
        "trafficDistribution": either("PreferSameZone", ""),
        "clusterIP": either("", "None", "10.96.0.1", "x"),
        "externalTrafficPolicy": either("Cluster", "Local"),
        "sessionAffinityConfig": either(None, {"clientIP": {"timeoutSeconds": 1}}),
        "allocateLoadBalancerNodePorts": either(True, None),
        "loadBalancerSourceRanges": either([], ["10.0.0.0/8"]),
        "healthCheckNodePort": either(0, 30000),
    },
)
ANNOTATIONS = either({}, {"service.beta.kubernetes.io/load-balancer-source-ranges": "10.0.0.0/8"}, None)


@given(either(SERVICE, NAMESPACE, CONFIG_MAP, SERVICE_CIDR, ROLE), METADATA)
def test_plain_metadata_is_never_wrong(kind: Kind, metadata: dict[str, Any]) -> None:
    if meta.plain(kind, metadata):
        assert not list(validate_metadata(kind, metadata))


@given(SPECS, ANNOTATIONS)
def test_a_plain_service_is_never_wrong(spec: dict[str, Any], annotations: dict[str, str] | None) -> None:
    obj = {"metadata": {"annotations": annotations}, "spec": spec}
    if service._plain(obj, spec):
        assert not list(service._related(obj, spec))


def test_the_most_usual_objects_are_plain() -> None:
    metadata = {
        "name": "web",
        "namespace": "default",
        "labels": {"app": "web"},
        "uid": "u",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    assert meta.plain(SERVICE, metadata) and meta.plain(CONFIG_MAP, metadata)
    ports = [{"name": name, "port": 80, "protocol": protocol} for name, protocol in (("dns", "UDP"), ("tcp", "TCP"))]
    obj = {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": metadata,
        "spec": {"ports": ports, "selector": {"a": "b"}},
    }
    complete = admit.prepare_create(SERVICE, admit.default(SERVICE, obj), 300)
    assert service._plain(complete, complete["spec"])
