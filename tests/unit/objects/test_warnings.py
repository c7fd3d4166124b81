"""What is accepted and yet worth a word."""

from typing import Any

import pytest

from fairway.objects import admit
from fairway.objects.kinds import DEPLOYMENT, ENDPOINTS, POD, SERVICE, Kind

TWICE = {
    "containers": [{"env": [{"name": "A"}, {"name": "A"}], "ports": [{"containerPort": 80}, {"containerPort": 80}]}]
}


@pytest.mark.parametrize(
    ("kind", "obj", "version", "starts"),
    [
        (SERVICE, {"spec": {"externalIPs": [], "clusterIP": "10.96.0.1"}}, "v1", []),
        (DEPLOYMENT, {}, "apps/v1", []),
        (DEPLOYMENT, {}, "apps/v1beta1", ["apps/v1beta1 Deployment is deprecated; use apps/v1 Deployment"]),
        (ENDPOINTS, {}, "v1", ["v1 Endpoints is deprecated in v1.33+"]),
        (SERVICE, {"spec": {"loadBalancerIP": "192.0.2.1"}}, "v1", ["spec.loadBalancerIP: deprecated"]),
        (SERVICE, {"spec": {"externalIPs": ["192.0.2.1"]}}, "v1", ["spec.externalIPs is"]),
        (SERVICE, {"spec": {"trafficDistribution": "PreferClose"}}, "v1", ["spec.trafficDistribution: "]),
        (SERVICE, {"spec": {"clusterIP": "None", "sessionAffinity": "ClientIP"}}, "v1", ["spec.sessionAffinity is"]),
        (
            SERVICE,
            {"spec": {"clusterIPs": ["FD00::0:1", "10.96.0.1"]}},
            "v1",
            ['spec.clusterIPs[0]: IPv6 address "FD00::0:1" should be in RFC 5952 canonical format ("fd00::1")'],
        ),
        (
            POD,
            {"spec": TWICE},
            "v1",
            ["spec.containers[0].ports[1]: duplicate", 'spec.containers[0].env[1]: hides previous definition of'],
        ),
        (DEPLOYMENT, {"spec": {"template": {"spec": TWICE}}}, "apps/v1", ["spec.template.spec.containers[0]."] * 2),
    ],
)  # fmt: skip
def test_warnings(kind: Kind, obj: dict[str, Any], version: str, starts: list[str]) -> None:
    found = admit.warnings(kind, obj, version)
    assert len(found) == len(starts), found
    assert all(text.startswith(start) for text, start in zip(found, starts, strict=True)), found
