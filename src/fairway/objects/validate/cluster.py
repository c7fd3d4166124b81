"""Namespaces, nodes, events, configuration, and the cluster's Service ranges and addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fairway.objects import names
from fairway.objects.errors import FieldError, duplicate, forbidden, invalid, required
from fairway.objects.validate.fields import cidr
from fairway.objects.validate.meta import IMMUTABLE
from fairway.packet import family_of

Object = dict[str, Any]

DATA_LIMIT = 1024 * 1024
"""Bytes a ConfigMap's or Secret's values may have together."""

# Which keys the data of a Secret of a well-known type must have.
_SECRET_KEYS: Mapping[str, tuple[str, ...]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"
_ACCOUNT_NAME = "kubernetes.io/service-account.name"


def validate_namespace(namespace: Object) -> Iterator[FieldError]:
    """The finalizers that hold a namespace."""
    for index, finalizer in enumerate((namespace.get("spec") or {}).get("finalizers") or []):
        for detail in names.qualified(finalizer):
            yield invalid(f"spec.finalizers[{index}]", finalizer, detail)


def validate_node(node: Object) -> Iterator[FieldError]:
    """Taints are unique by key and effect; pod ranges come one per family."""
    spec = node.get("spec") or {}
    seen: set[tuple[Any, Any]] = set()
    for index, taint in enumerate(spec.get("taints") or []):
        key = (taint.get("key"), taint.get("effect"))
        if key in seen:
            yield duplicate(f"spec.taints[{index}]", taint)
        seen.add(key)
    ranges = spec.get("podCIDRs") or []
    yield from _one_per_family(ranges, "spec.podCIDRs")
    if ranges and spec.get("podCIDR") and ranges[0] != spec["podCIDR"]:
        yield invalid("spec.podCIDRs[0]", ranges[0], "must be the same as `podCIDR`")


def validate_node_update(new: Object, old: Object) -> Iterator[FieldError]:
    """Pod ranges and the provider's id may be set once."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    for name in ("podCIDR", "podCIDRs", "providerID"):
        if before.get(name) and after.get(name) != before[name]:
            yield forbidden(f"spec.{name}", "node updates may not change it once it is set")


def validate_event(event: Object) -> Iterator[FieldError]:
    """An event lives in the namespace of what it is about; for cluster-scoped objects in `default`."""
    about = (event.get("involvedObject") or {}).get("namespace")
    namespace = (event.get("metadata") or {}).get("namespace")
    if about and about != namespace:
        yield invalid("involvedObject.namespace", about, "does not match event.namespace")
    if not about and namespace not in ("default", "kube-system"):
        yield invalid("involvedObject.namespace", "", "does not match event.namespace")


def validate_config_map(config: Object) -> Iterator[FieldError]:
    """Keys are file names, told apart over both maps; size is bounded."""
    text, binary = config.get("data") or {}, config.get("binaryData") or {}
    yield from _keys(text, "data")
    yield from _keys(binary, "binaryData")
    for key in text.keys() & binary.keys():
        yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    yield from _size([*text.values(), *binary.values()], "[]")


def validate_secret(secret: Object) -> Iterator[FieldError]:
    """Keys, size, and what the well-known types must hold."""
    data = secret.get("data") or {}
    yield from _keys(data, "data")
    yield from _size(list(data.values()), "data")
    type_ = secret.get("type") or ""
    for key in _SECRET_KEYS.get(type_, ()):
        if key not in data:
            yield required(f"data[{key}]")
    if type_ == "kubernetes.io/basic-auth" and not data.keys() & {"username", "password"}:
        yield required("data[username]")
    annotations = (secret.get("metadata") or {}).get("annotations") or {}
    if type_ == _ACCOUNT_TOKEN and not annotations.get(_ACCOUNT_NAME):
        yield required(f"metadata.annotations[{_ACCOUNT_NAME}]")


def validate_secret_update(new: Object, old: Object) -> Iterator[FieldError]:
    """The type stays, and so does everything once `immutable` is set."""
    if new.get("type") != old.get("type"):
        yield invalid("type", new.get("type"), IMMUTABLE)
    yield from validate_data_update(new, old)


def validate_data_update(new: Object, old: Object) -> Iterator[FieldError]:
    """ConfigMaps and Secrets: `immutable` cannot be undone and freezes the data."""
    if not old.get("immutable"):
        return
    if not new.get("immutable"):
        yield forbidden("immutable", "field is immutable when `immutable` is set")
    for name in ("data", "binaryData"):
        if (new.get(name) or {}) != (old.get(name) or {}):
            yield forbidden(name, "field is immutable when `immutable` is set")


def validate_service_cidr(service_cidr: Object) -> Iterator[FieldError]:
    """One range, or one of each family."""
    ranges = (service_cidr.get("spec") or {}).get("cidrs") or []
    if not ranges:
        yield required("spec.cidrs", "at least one CIDR required")
    yield from _one_per_family(ranges, "spec.cidrs")


def validate_service_cidr_update(new: Object, old: Object) -> Iterator[FieldError]:
    """Ranges that exist stay; a second family may join."""
    had = (old.get("spec") or {}).get("cidrs") or []
    have = (new.get("spec") or {}).get("cidrs") or []
    if have[: len(had)] != had:
        yield invalid("spec.cidrs", have, IMMUTABLE)


def validate_ip_address_update(new: Object, old: Object) -> Iterator[FieldError]:
    """An address is held for one parent for life."""
    if new.get("spec") != old.get("spec"):
        yield invalid("spec", new.get("spec"), IMMUTABLE)


def _one_per_family(ranges: list[str], path: str) -> Iterator[FieldError]:
    if len(ranges) > 2:
        yield invalid(path, ranges, "may only hold up to 2 values")
    elif len(ranges) == 2 and not (cidr(ranges[0]) or cidr(ranges[1])) and family_of(ranges[0]) == family_of(ranges[1]):
        yield invalid(path, ranges, "may specify no more than one range for each IP family")


def _keys(data: Mapping[str, str], path: str) -> Iterator[FieldError]:
    for key in data:
        for detail in names.config_key(key):
            yield invalid(f"{path}[{key}]", key, detail)


def _size(values: list[str], path: str) -> Iterator[FieldError]:
    if sum(len(value.encode()) for value in values) > DATA_LIMIT:
        yield FieldError(path, "TooLong", "", f"may not be more than {DATA_LIMIT} bytes")
