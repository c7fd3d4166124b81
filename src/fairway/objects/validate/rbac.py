"""Roles and bindings: rules that can grant something, bindings that name someone and something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairway.objects import names
from fairway.objects.errors import FieldError, invalid, not_supported, required
from fairway.objects.kinds import RBAC

Object = dict[str, Any]

_SUBJECT_GROUPS = {"User": RBAC, "Group": RBAC, "ServiceAccount": ""}


def validate_role(role: Object) -> Iterator[FieldError]:
    """Rules of one namespace: about resources only."""
    yield from _rules(role, namespaced=True)


def validate_cluster_role(role: Object) -> Iterator[FieldError]:
    """Rules about resources or about paths, never both in one; or the selectors of roles to gather them from."""
    yield from _rules(role, namespaced=False)
    aggregation = role.get("aggregationRule")
    if aggregation is not None and not aggregation.get("clusterRoleSelectors"):
        yield required(
            "aggregationRule.clusterRoleSelectors", "at least one clusterRoleSelector required if aggregated"
        )


def validate_role_binding(binding: Object) -> Iterator[FieldError]:
    """A role of the namespace, or a cluster role whose rules then hold in the namespace."""
    yield from _binding(binding, ("Role", "ClusterRole"))


def validate_cluster_role_binding(binding: Object) -> Iterator[FieldError]:
    """A cluster role, everywhere."""
    yield from _binding(binding, ("ClusterRole",))


def validate_binding_update(new: Object, old: Object) -> Iterator[FieldError]:
    """What a binding grants stays: to grant another role is to make another binding."""
    if new.get("roleRef") != old.get("roleRef"):
        yield invalid("roleRef", new.get("roleRef"), "cannot change roleRef")


def _rules(role: Object, *, namespaced: bool) -> Iterator[FieldError]:
    for index, rule in enumerate(role.get("rules") or []):
        path = f"rules[{index}]"
        paths = rule.get("nonResourceURLs")
        if paths:
            if namespaced:
                yield invalid(f"{path}.nonResourceURLs", paths, "namespaced rules cannot apply to non-resource URLs")
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                detail = "rules cannot apply to both regular resources and non-resource URLs"
                yield invalid(f"{path}.nonResourceURLs", paths, detail)
            continue
        if not rule.get("apiGroups"):
            yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{path}.resources", "resource rules must supply at least one resource")


def _binding(binding: Object, role_kinds: tuple[str, ...]) -> Iterator[FieldError]:
    role = binding.get("roleRef") or {}
    if role.get("apiGroup") != RBAC:
        yield not_supported("roleRef.apiGroup", role.get("apiGroup") or "", [RBAC])
    if role.get("kind") not in role_kinds:
        yield not_supported("roleRef.kind", role.get("kind") or "", sorted(role_kinds))
    for detail in names.path_segment(role.get("name") or ""):
        yield invalid("roleRef.name", role["name"], detail)
    for index, subject in enumerate(binding.get("subjects") or []):
        yield from _subject(subject, f"subjects[{index}]")


def _subject(subject: Object, path: str) -> Iterator[FieldError]:
    kind, group = subject.get("kind") or "", subject.get("apiGroup") or ""
    wanted = _SUBJECT_GROUPS.get(kind)
    if wanted is None:
        yield not_supported(f"{path}.kind", kind, sorted(_SUBJECT_GROUPS))
        return
    if group != wanted:
        yield not_supported(f"{path}.apiGroup", group, [wanted])
    if kind == "ServiceAccount":
        for detail in names.subdomain(subject.get("name") or "") if subject.get("name") else []:
            yield invalid(f"{path}.name", subject["name"], detail)
        if not subject.get("namespace"):
            yield required(f"{path}.namespace")
