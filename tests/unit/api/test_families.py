"""ipFamilies and ipFamilyPolicy: what is given, what the cluster has, what comes out."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.api.families import held_ports, settle_families

V4, V6 = ["IPv4"], ["IPv6"]
BOTH = ["IPv4", "IPv6"]


def spec(**fields: Any) -> dict[str, Any]:
    return {"type": "ClusterIP", "selector": {"a": "b"}, **fields}


@pytest.mark.parametrize(
    ("given", "configured", "policy", "families"),
    [
        ({}, V4, "SingleStack", V4),
        ({}, BOTH, "SingleStack", V4),
        ({}, ["IPv6", "IPv4"], "SingleStack", V6),
        ({"ipFamilies": ["IPv6"]}, BOTH, "SingleStack", V6),
        ({"ipFamilyPolicy": "PreferDualStack"}, V4, "PreferDualStack", V4),
        ({"ipFamilyPolicy": "PreferDualStack"}, BOTH, "PreferDualStack", BOTH),
        ({"ipFamilyPolicy": "RequireDualStack"}, BOTH, "RequireDualStack", BOTH),
        ({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}, BOTH, "RequireDualStack", ["IPv6", "IPv4"]),
        ({"clusterIP": "fd00::9", "clusterIPs": ["fd00::9"]}, BOTH, "SingleStack", V6),
        ({"clusterIP": "None", "clusterIPs": ["None"]}, V4, "SingleStack", V4),
        ({"clusterIP": "None", "clusterIPs": ["None"], "selector": None}, V4, "RequireDualStack", BOTH),
    ],
)
def test_families_are_settled(given: dict[str, Any], configured: list[str], policy: str, families: list[str]) -> None:
    wanted = spec(**given)
    assert settle_families(wanted, None, configured) == []
    assert (wanted["ipFamilyPolicy"], wanted["ipFamilies"]) == (policy, families)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"ipFamilyPolicy": "RequireDualStack"},
            'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": '
            "this cluster is not configured for dual-stack services",
        ),
        ({"ipFamilies": ["IPv6"]}, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
        (
            {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "SingleStack"},
            'spec.ipFamilyPolicy: Invalid value: "SingleStack": must be '
            "'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
        ),
    ],
)
def test_what_the_cluster_cannot_do_is_said(given: dict[str, Any], message: str) -> None:
    assert [error.message() for error in settle_families(spec(**given), None, V4)] == [message]


def test_going_back_to_one_family_drops_the_second_address() -> None:
    old = spec(ipFamilyPolicy="PreferDualStack", ipFamilies=BOTH, clusterIPs=["10.96.0.5", "fd00::5"])
    new = {**old, "ipFamilyPolicy": "SingleStack"}
    assert settle_families(new, old, BOTH) == []
    assert (new["ipFamilies"], new["clusterIPs"]) == (V4, ["10.96.0.5"])


def test_an_external_name_has_no_family() -> None:
    wanted = spec(type="ExternalName")
    assert settle_families(wanted, None, V4) == [] and "ipFamilies" not in wanted


def test_held_ports_are_all_node_ports_and_the_health_check() -> None:
    assert held_ports({"ports": [{"nodePort": 1}, {}, {"nodePort": 2}], "healthCheckNodePort": 3}) == {1, 2, 3}
