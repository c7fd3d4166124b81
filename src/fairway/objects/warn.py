"""Warnings: what is accepted and yet worth a word to the writer. They travel in the answer's Warning header."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fairway.objects.kinds import Kind
from fairway.objects.validate.fields import address

Object = dict[str, Any]


def warnings(kind: Kind, obj: Object, api_version: str) -> list[str]:
    """One sentence per thing worth a word about `obj`, written in `api_version`."""
    found: list[str] = []
    if api_version in kind.old:
        found.append(f"{api_version} {kind.name} is deprecated; use {kind.api_version} {kind.name}")
    if kind.name == "Endpoints":
        found.append("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    rules = _RULES.get(kind.name)
    if rules is not None:
        found += rules(obj)
    return found


def _service(service: Object) -> Iterator[str]:
    spec = service.get("spec") or {}
    if spec.get("loadBalancerIP"):
        yield "spec.loadBalancerIP: deprecated in v1.24+, use what your load balancer's implementation offers instead"
    if spec.get("externalIPs"):
        yield "spec.externalIPs is insecure and deprecated: whoever may set it can take traffic meant for others"
    if spec.get("trafficDistribution") == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is now known as "PreferSameZone"'
    if spec.get("clusterIP") == "None" and spec.get("sessionAffinity") == "ClientIP":
        yield "spec.sessionAffinity is ignored for headless services"
    if spec.get("type") == "ExternalName" and spec.get("externalIPs"):
        yield "spec.externalIPs is ignored when spec.type is ExternalName"
    for field in ("clusterIPs", "externalIPs"):
        for index, text in enumerate(spec.get(field) or []):
            yield from _spelling(f"spec.{field}[{index}]", text)


def _spelling(path: str, text: str) -> Iterator[str]:
    if ":" in text and not address(text):
        canonical = str(ipaddress.ip_address(text))
        if canonical != text:
            yield f'{path}: IPv6 address "{text}" should be in RFC 5952 canonical format ("{canonical}")'


def _pod(pod: Object) -> Iterator[str]:
    yield from _pod_spec(pod.get("spec") or {}, "spec")


def _template(workload: Object) -> Iterator[str]:
    template = (workload.get("spec") or {}).get("template") or {}
    yield from _pod_spec(template.get("spec") or {}, "spec.template.spec")


def _pod_spec(spec: Object, path: str) -> Iterator[str]:
    for index, container in enumerate(spec.get("containers") or []):
        seen: set[tuple[Any, Any]] = set()
        for position, port in enumerate(container.get("ports") or []):
            key = (port.get("containerPort"), port.get("protocol") or "TCP")
            if key in seen:
                yield f"{path}.containers[{index}].ports[{position}]: duplicate port definition"
            seen.add(key)
        names: set[str] = set()
        for position, variable in enumerate(container.get("env") or []):
            name = variable.get("name") or ""
            if name in names:
                yield f'{path}.containers[{index}].env[{position}]: hides previous definition of "{name}"'
            names.add(name)


_RULES: Mapping[str, Callable[[Object], Iterator[str]]] = {
    "Service": _service,
    "Pod": _pod,
    "ReplicationController": _template,
    "ReplicaSet": _template,
    "Deployment": _template,
}
