"""Containers: names, images, ports, environment, probes, resources, mounts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairway.objects.errors import FieldError, QuantityError, duplicate, forbidden, invalid, not_supported, required
from fairway.objects.quantity import parse

Object = dict[str, Any]

_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_RESOURCES = tuple(
    f"{part}.{name}" for part in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
)
_NOT_FOR_INIT = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
_NOT_FOR_EPHEMERAL = ("ports", *_NOT_FOR_INIT)


@dataclass(slots=True)
class Surroundings:
    """What a container's rules need to know of its pod, and what containers before it have taken."""

    volumes: frozenset[str]
    host_network: bool
    names: set[str] = field(default_factory=set)
    host_ports: set[tuple[Any, ...]] = field(default_factory=set)


def validate_containers(spec: Object, path: str, around: Surroundings) -> Iterator[FieldError]:
    """All containers of a pod; their names are unique over the three lists."""
    for list_name in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(list_name) or []):
            inner = f"{path}.{list_name}[{index}]"
            yield from _container(container, inner, around, init=list_name == "initContainers")
            if list_name == "initContainers":
                yield from _init(container, inner)
            if list_name == "ephemeralContainers":
                for name in _NOT_FOR_EPHEMERAL:
                    if container.get(name):
                        yield forbidden(f"{inner}.{name}", "cannot be set for an ephemeral container")


def _container(container: Object, path: str, around: Surroundings, *, init: bool) -> Iterator[FieldError]:
    name, image = container.get("name") or "", container.get("image") or ""
    if name and name in around.names:
        yield duplicate(f"{path}.name", name)
    around.names.add(name)
    if image != image.strip():
        yield invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    # Init containers end before the others start, so they may use the same ports of the node.
    yield from _ports(container.get("ports") or [], path, around, set() if init else around.host_ports)
    for index, variable in enumerate(container.get("env") or []):
        yield from _variable(variable, f"{path}.env[{index}]")
    for index, source in enumerate(container.get("envFrom") or []):
        yield from exactly_one(source, ("configMapRef", "secretRef"), f"{path}.envFrom[{index}]", "source")
    yield from _probes(container, path)
    for name in ("postStart", "preStop"):
        handler = (container.get("lifecycle") or {}).get(name)
        if handler is not None:
            yield from exactly_one(handler, _HANDLERS, f"{path}.lifecycle.{name}", "handler type")
    yield from validate_resources(container.get("resources") or {}, f"{path}.resources")
    yield from _mounts(container, path, around)


def _init(container: Object, path: str) -> Iterator[FieldError]:
    if container.get("restartPolicy") == "Always":
        return
    for name in _NOT_FOR_INIT:
        if container.get(name) is not None:
            yield forbidden(f"{path}.{name}", "may not be set for init containers without restartPolicy=Always")


def exactly_one(obj: Mapping[str, Any], choices: tuple[str, ...], path: str, what: str) -> Iterator[FieldError]:
    """One of the named fields must be given, and no second one."""
    given = [name for name in choices if obj.get(name) is not None]
    if not given:
        yield required(path, f"must specify a {what}")
    for name in given[1:]:
        yield forbidden(f"{path}.{name}", f"may not specify more than 1 {what}")


def _ports(ports: list[Object], path: str, around: Surroundings, taken: set[tuple[Any, ...]]) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        inner = f"{path}.ports[{index}]"
        name, host_port = port.get("name"), port.get("hostPort")
        if name and name in seen:
            yield duplicate(f"{inner}.name", name)
        seen.add(name or "")
        if not host_port:
            continue
        if around.host_network and host_port != port.get("containerPort"):
            yield invalid(f"{inner}.hostPort", host_port, "must match `containerPort` when `hostNetwork` is true")
        key = (port.get("hostIP") or "", host_port, port.get("protocol"))
        if key in taken:
            yield duplicate(f"{inner}.hostPort", host_port)
        taken.add(key)


def _variable(variable: Object, path: str) -> Iterator[FieldError]:
    source = variable.get("valueFrom")
    if source is None:
        return
    if variable.get("value"):
        yield invalid(f"{path}.valueFrom", "", "may not be specified when `value` is not empty")
    yield from exactly_one(source, _ENV_SOURCES, f"{path}.valueFrom", "source")
    if source.get("fieldRef"):
        yield from _field_path(source["fieldRef"].get("fieldPath") or "", f"{path}.valueFrom.fieldRef.fieldPath")
    resource = (source.get("resourceFieldRef") or {}).get("resource")
    if (
        resource
        and resource not in _RESOURCES
        and not resource.startswith(("limits.hugepages-", "requests.hugepages-"))
    ):
        yield not_supported(f"{path}.valueFrom.resourceFieldRef.resource", resource, _RESOURCES)


def _field_path(field_path: str, path: str) -> Iterator[FieldError]:
    one_of_map = field_path.startswith(("metadata.labels['", "metadata.annotations['")) and field_path.endswith("']")
    if field_path and not one_of_map and field_path not in _ENV_FIELDS:
        yield not_supported(path, field_path, _ENV_FIELDS)


def _probes(container: Object, path: str) -> Iterator[FieldError]:
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe is None:
            continue
        yield from exactly_one(probe, _HANDLERS[:4], f"{path}.{name}", "handler type")
        if name != "readinessProbe" and probe.get("successThreshold") not in (None, 1):
            yield invalid(f"{path}.{name}.successThreshold", probe["successThreshold"], "must be 1")
        if name == "readinessProbe" and probe.get("terminationGracePeriodSeconds") is not None:
            yield invalid(
                f"{path}.{name}.terminationGracePeriodSeconds",
                probe["terminationGracePeriodSeconds"],
                "must not be set for readinessProbes",
            )


def validate_resources(resources: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    """Nobody may request more than its limit."""
    limits = resources.get("limits") or {}
    for name, wanted in (resources.get("requests") or {}).items():
        if name not in limits:
            continue
        try:
            exceeded = parse(wanted) > parse(limits[name])
        except QuantityError:
            continue  # the quantity at fault was reported with its field
        if exceeded:
            yield invalid(f"{path}.requests", wanted, f"must be less than or equal to {name} limit of {limits[name]}")


def _mounts(container: Object, path: str, around: Surroundings) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or []):
        inner = f"{path}.volumeMounts[{index}]"
        name, where = mount.get("name") or "", mount.get("mountPath") or ""
        if name and name not in around.volumes:
            yield FieldError(f"{inner}.name", "NotFound", name, "")
        if where and where in seen:
            yield invalid(f"{inner}.mountPath", where, "must be unique")
        seen.add(where)
        yield from _sub_path(mount, inner)
    for index, device in enumerate(container.get("volumeDevices") or []):
        if device.get("name") not in around.volumes:
            yield FieldError(f"{path}.volumeDevices[{index}].name", "NotFound", device.get("name"), "")


def _sub_path(mount: Object, path: str) -> Iterator[FieldError]:
    for name in ("subPath", "subPathExpr"):
        text = mount.get(name) or ""
        if text.startswith("/"):
            yield invalid(f"{path}.{name}", text, "must be a relative path")
        if ".." in text.split("/"):
            yield invalid(f"{path}.{name}", text, "must not contain '..'")
    if mount.get("subPath") and mount.get("subPathExpr"):
        yield invalid(f"{path}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
