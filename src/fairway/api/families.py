"""Which address families a Service gets (KEP-563), and what it holds of the cluster's numbers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairway.api.allocate import family_of
from fairway.objects.errors import FieldError
from fairway.objects.errors import invalid as invalid_field
from fairway.objects.services import HEADLESS, needs_cluster_ip

Object = dict[str, Any]

OTHER_FAMILY = {"IPv4": "IPv6", "IPv6": "IPv4"}
DUAL = ("PreferDualStack", "RequireDualStack")


def is_headless(spec: Object) -> bool:
    """Whether the Service asks to have no address."""
    return HEADLESS in (spec.get("clusterIP"), *(spec.get("clusterIPs") or []))


def addresses(spec: Object) -> list[str]:
    """The cluster addresses that are addresses."""
    return [ip for ip in spec.get("clusterIPs") or [] if ip and ip != HEADLESS]


def held_ports(spec: Object) -> set[int]:
    """Every number the Service holds of the node ports."""
    ports = {port["nodePort"] for port in spec.get("ports") or [] if port.get("nodePort")}
    return ports | ({spec["healthCheckNodePort"]} if spec.get("healthCheckNodePort") else set())


def settle_families(spec: Object, old: Object | None, configured: Sequence[str]) -> list[FieldError]:
    """Fill in `ipFamilies` and `ipFamilyPolicy` as the cluster's families allow (KEP-563), or say what cannot be."""
    if not needs_cluster_ip(spec):
        return []
    if old is not None and spec.get("ipFamilyPolicy") == "SingleStack" and old.get("ipFamilyPolicy") in DUAL:
        _downgrade(spec, old)
    families = list(spec.get("ipFamilies") or [])
    families += [family for family in map(family_of, addresses(spec)[len(families) :]) if family not in families]
    bare = is_headless(spec) and not spec.get("selector")
    if errors := _family_errors(spec, families, configured, bare):
        return errors
    families = families or [configured[0]]
    policy = spec.get("ipFamilyPolicy") or ("RequireDualStack" if bare else "SingleStack")
    other = OTHER_FAMILY[families[0]]
    if policy in DUAL and len(families) == 1 and (bare or other in configured):
        families.append(other)
    spec["ipFamilyPolicy"], spec["ipFamilies"] = policy, families
    return []


def _family_errors(spec: Object, families: Sequence[str], configured: Sequence[str], bare: bool) -> list[FieldError]:
    policy = spec.get("ipFamilyPolicy")
    if len(families) == 2 and policy not in DUAL and not (bare and policy is None):
        detail = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
        return [invalid_field("spec.ipFamilyPolicy", policy or "", detail)]
    if bare:
        return []
    errors = [
        invalid_field(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
        for index, family in enumerate(families)
        if family not in configured
    ]
    if policy == "RequireDualStack" and len(configured) < 2:
        detail = "this cluster is not configured for dual-stack services"
        errors.append(invalid_field("spec.ipFamilyPolicy", policy, detail))
    return errors


def _downgrade(spec: Object, old: Object) -> None:
    """Back to one family: the second address and family go if the writer left them as they were."""
    for name in ("clusterIPs", "ipFamilies"):
        if spec.get(name) == old.get(name):
            spec[name] = list(spec.get(name) or [])[:1]
