"""What the server can do, told as clients look for it: groups, versions, resources, the server's version. Pure.

Legacy discovery (`APIResourceList` per group/version) and the aggregated form of KEP-3352
(one `APIGroupDiscoveryList`).
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from fairway import __version__
from fairway.api.accept import parse_media_types
from fairway.objects.kinds import KINDS, NAMESPACE, REVIEW_GROUPS, REVIEWS, Kind

Object = dict[str, Any]

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_SUBRESOURCES: Mapping[str, tuple[Object, Sequence[str]]] = {
    # subresource: (group, version and kind where they are not the parent's own; verbs)
    "status": ({}, ("get", "patch", "update")),
    "ephemeralcontainers": ({}, ("get", "patch", "update")),
    "resize": ({}, ("get", "patch", "update")),
    "scale": ({"group": "autoscaling", "version": "v1", "kind": "Scale"}, ("get", "patch", "update")),
    "finalize": ({}, ("update",)),
    "log": ({}, ("get",)),
    "binding": ({"group": "", "version": "v1", "kind": "Binding"}, ("create",)),
    "proxy": ({}, ("create", "delete", "get", "patch", "update")),
    "token": ({"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"}, ("create",)),
    "eviction": ({"group": "policy", "version": "v1", "kind": "Eviction"}, ("create",)),
    "exec": ({"group": "", "version": "v1", "kind": "PodExecOptions"}, ("create", "get")),
    "attach": ({"group": "", "version": "v1", "kind": "PodAttachOptions"}, ("create", "get")),
    "portforward": ({"group": "", "version": "v1", "kind": "PodPortForwardOptions"}, ("create", "get")),
}
KUBERNETES_VERSION = ("1", "36", "0")


def version_info() -> Object:
    """`/version`. The version of the API served; Fairway's own follows the plus."""
    major, minor, fix = KUBERNETES_VERSION
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{major}.{minor}.{fix}+fairway-{__version__}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{platform.system().lower()}/{_ARCHITECTURES.get(platform.machine(), platform.machine())}",
    }


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@cache
def group_versions() -> Mapping[str, Sequence[str]]:
    """Every group with its versions, the preferred one first."""
    found: dict[str, list[str]] = {}
    for kind in (*KINDS, *REVIEWS):
        for name in (kind.api_version, *kind.old):
            group, _, version = name.rpartition("/")
            versions = found.setdefault(group, [])
            if version not in versions:
                versions.append(version)
    return {group: tuple(sorted(versions, key=_rank)) for group, versions in found.items()}


def _rank(version: str) -> tuple[int, str]:
    """Stable versions before betas; newer before older."""
    return (1 if "beta" in version else 0, "".join(chr(0x10FFFF - ord(char)) for char in version))


def api_versions(address: str) -> Object:
    """`/api`. `address` is where clients reach the server, as `host:port`."""
    where = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": where}


def group_list() -> Object:
    """`/apis`."""
    groups = [_group(name) for name in group_versions() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(name: str) -> Object | None:
    """`/apis/GROUP`, or None for a group that is not served."""
    if not name or name not in group_versions():
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)}


def _group(name: str) -> Object:
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in group_versions()[name]]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def resource_list(api_version: str) -> Object | None:
    """`/api/v1` or `/apis/GROUP/VERSION`, or None for a version that is not served."""
    kinds = _kinds_of(api_version)
    if not kinds:
        return None
    resources = [resource for kind in kinds for resource in _resources(kind, api_version)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": resources}


def _kinds_of(api_version: str) -> list[Kind]:
    return [kind for kind in (*KINDS, *REVIEWS) if api_version in (kind.api_version, *kind.old)]


def _verbs(kind: Kind) -> list[str]:
    if kind.group in REVIEW_GROUPS:
        return ["create"]
    return [verb for verb in VERBS if verb != "deletecollection" or kind is not NAMESPACE]


def _nicknames(kind: Kind, group: str) -> Object:
    """Short names and categories, in the kind's own group only: in two groups they would be ambiguous."""
    if group != kind.group:
        return {}
    return {
        **({"shortNames": list(kind.short)} if kind.short else {}),
        **({"categories": list(kind.categories)} if kind.categories else {}),
    }


def _resources(kind: Kind, api_version: str) -> list[Object]:
    main: Object = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": _verbs(kind),
    }
    main |= _nicknames(kind, api_version.rpartition("/")[0])
    return [main, *(_subresource(kind, name) for name in kind.subresources)]


def _subresource(kind: Kind, name: str) -> Object:
    other, verbs = _SUBRESOURCES[name]
    shown: Object = {
        "name": f"{kind.plural}/{name}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": list(verbs),
    }
    return shown | {key: value for key, value in other.items() if value}


def wants_aggregated(accept: str) -> str:
    """The version ("v2", "v2beta1") of aggregated discovery that the client prefers over the plain form, or ""."""
    for media in parse_media_types(accept):
        if media.name != "application/json":
            continue
        if media.parameter("as") != "APIGroupDiscoveryList":
            return ""
        if media.parameter("v") in ("v2", "v2beta1"):
            return media.parameter("v")
    return ""


def aggregated(core: bool, version: str) -> Object:
    """`/api` (core) or `/apis` as an `APIGroupDiscoveryList` of apidiscovery.k8s.io."""
    names = [name for name in group_versions() if bool(name) != core]
    items = [_aggregated_group(name) for name in names]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _aggregated_group(name: str) -> Object:
    versions = []
    for version in group_versions()[name]:
        kinds = _kinds_of(f"{name}/{version}" if name else version)
        resources = [_aggregated_resource(kind, name, version) for kind in kinds]
        versions.append({"version": version, "freshness": "Current", "resources": resources})
    return {"metadata": {"name": name, "creationTimestamp": None}, "versions": versions}


def _aggregated_resource(kind: Kind, group_name: str, version: str) -> Object:
    own = {"group": group_name, "version": version, "kind": kind.name}
    shown: Object = {
        "resource": kind.plural,
        "responseKind": own,
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": _verbs(kind),
    }
    shown |= _nicknames(kind, group_name)
    if kind.subresources:
        shown["subresources"] = [
            {"subresource": name, "responseKind": own | _SUBRESOURCES[name][0], "verbs": list(_SUBRESOURCES[name][1])}
            for name in kind.subresources
        ]
    return shown
