"""Ingresses and their classes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fairway.objects import names
from fairway.objects.errors import FieldError, forbidden, invalid, required, too_long
from fairway.objects.validate.fields import PORT_RANGE, address
from fairway.objects.validate.meta import IMMUTABLE

Object = dict[str, Any]

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_NOT_AT_THE_END = ("/..", "/.")
_PREFIXED_PATH = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")
CONTROLLER_LIMIT = 250


def validate_ingress(ingress: Object) -> Iterator[FieldError]:
    """Something must be served, and every path of it must lead somewhere."""
    spec = ingress.get("spec") or {}
    rules = spec.get("rules") or []
    if not rules and spec.get("defaultBackend") is None:
        yield invalid("spec", rules, "either `defaultBackend` or `rules` must be specified")
    if spec.get("defaultBackend") is not None:
        yield from _backend(spec["defaultBackend"], "spec.defaultBackend")
    annotations = (ingress.get("metadata") or {}).get("annotations") or {}
    if CLASS_ANNOTATION in annotations and spec.get("ingressClassName"):
        path = f"metadata.annotations[{CLASS_ANNOTATION}]"
        yield invalid(path, annotations[CLASS_ANNOTATION], "can not be set when the class field is also set")
    for index, rule in enumerate(rules):
        yield from _rule(rule, f"spec.rules[{index}]")
    for index, tls in enumerate(spec.get("tls") or []):
        for place, host in enumerate(tls.get("hosts") or []):
            yield from _host(host, f"spec.tls[{index}].hosts[{place}]")


def _rule(rule: Object, path: str) -> Iterator[FieldError]:
    host = rule.get("host")
    if host and not address(host):
        yield invalid(f"{path}.host", host, "must be a DNS name, not an IP address")
    elif host:
        yield from _host(host, f"{path}.host")
    for index, entry in enumerate((rule.get("http") or {}).get("paths") or []):
        yield from _path(entry, f"{path}.http.paths[{index}]")


def _host(host: str, path: str) -> Iterator[FieldError]:
    """A DNS name whose first label may be `*`."""
    bare = host.removeprefix("*.")
    if "*" in bare or (host.startswith("*") and bare == host):
        details = ["a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain"]
    else:
        details = names.subdomain(bare)
    for detail in details:
        yield invalid(path, host, detail)


def _path(entry: Object, path: str) -> Iterator[FieldError]:
    text, type_ = entry.get("path") or "", entry.get("pathType")
    strict = type_ in ("Exact", "Prefix")
    if (strict or text) and not text.startswith("/"):
        yield invalid(f"{path}.path", text, "must be an absolute path")
    elif strict:
        for part in _NOT_IN_PATHS:
            if part in text:
                yield invalid(f"{path}.path", text, f"must not contain '{part}'")
        for end in _NOT_AT_THE_END:
            if text.endswith(end):
                yield invalid(f"{path}.path", text, f"cannot end with '{end}'")
    yield from _backend(entry.get("backend") or {}, f"{path}.backend")


def _backend(backend: Object, path: str) -> Iterator[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        yield invalid(path, "", "cannot set both resource and service backends")
    elif service is not None:
        yield from _service_port(service.get("port") or {}, f"{path}.service.port")
    elif resource is None:
        yield required(path, "resource or service backend is required")


def _service_port(port: Object, path: str) -> Iterator[FieldError]:
    name, number = port.get("name"), port.get("number")
    if name and number:
        yield invalid(path, name, "cannot set both port name & port number")
    elif name:
        for detail in names.port_name(name):
            yield invalid(f"{path}.name", name, detail)
    elif not number:
        yield required(path, "port name or number is required")
    elif not 1 <= number <= 65535:
        yield invalid(f"{path}.number", number, PORT_RANGE)


def validate_ingress_class(class_: Object) -> Iterator[FieldError]:
    """The controller is a name under a domain; parameters say where they live."""
    spec = class_.get("spec") or {}
    controller = spec.get("controller") or ""
    domain, slash, rest = controller.partition("/")
    if not controller:
        yield required("spec.controller")
    elif len(controller) > CONTROLLER_LIMIT:
        yield too_long("spec.controller", controller, CONTROLLER_LIMIT)
    elif not slash or names.subdomain(domain) or not _PREFIXED_PATH.fullmatch(rest):
        yield invalid("spec.controller", controller, 'must be a domain-prefixed path (such as "acme.io/foo")')
    parameters = spec.get("parameters") or {}
    if parameters.get("scope") == "Namespace" and not parameters.get("namespace"):
        yield required("spec.parameters.namespace", "`parameters.scope` is set to 'Namespace'")
    if parameters.get("scope") == "Cluster" and parameters.get("namespace"):
        yield forbidden("spec.parameters.namespace", "`parameters.scope` is set to 'Cluster'")


def validate_ingress_class_update(new: Object, old: Object) -> Iterator[FieldError]:
    """A class stays with its controller."""
    before, after = ((each.get("spec") or {}).get("controller") for each in (old, new))
    if before != after:
        yield invalid("spec.controller", after, IMMUTABLE)
