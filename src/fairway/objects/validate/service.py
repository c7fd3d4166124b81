"""Services: every rule of Kubernetes 1.36 on ports, types, addresses, policies and what an update may change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec

from fairway.objects import names
from fairway.objects.defaults import externally_reachable
from fairway.objects.errors import FieldError, duplicate, forbidden, invalid, not_supported, required
from fairway.objects.services import HEADLESS, needs_cluster_ip, needs_health_check
from fairway.objects.validate.fields import address, cidr, not_special
from fairway.packet import family_of

Object = dict[str, Any]

KUBELET_PORT = 10250
IP_MODES = frozenset({"VIP", "Proxy"})
FIXED_ONCE_SET = "may not change once set"

_FOR_LOAD_BALANCERS = "may only be used when `type` is 'LoadBalancer'"
_SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"


class _Port(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    port: int
    targetPort: int | str
    protocol: str
    name: Annotated[str, msgspec.Meta(pattern=rf"\A(?:{names.PATTERNS.label})\Z")] = ""
    appProtocol: str = ""


class _Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    ports: Annotated[list[_Port], msgspec.Meta(min_length=1)]
    type: Literal["ClusterIP"]
    sessionAffinity: Literal["None"]
    internalTrafficPolicy: str = ""
    selector: Any = None
    trafficDistribution: str = ""


def _plain(service: Object, spec: Object) -> bool:
    """Whether a Service is of the most usual form, in which only its ports could contradict each other and do not.
    False says nothing."""
    if _SOURCE_RANGES in ((service.get("metadata") or {}).get("annotations") or ()):
        return False
    try:
        ports = msgspec.convert(spec, _Spec).ports
    except msgspec.ValidationError:
        return False
    count = len(ports)
    if count == 1:
        return True
    named = {port.name for port in ports}
    return "" not in named and count == len(named) == len({(port.port, port.protocol) for port in ports})


def validate_service(service: Object) -> Iterator[FieldError]:
    """The rules that relate fields to each other; the schema's own were checked before."""
    spec = service.get("spec") or {}
    return iter(()) if _plain(service, spec) else _related(service, spec)


def _related(service: Object, spec: Object) -> Iterator[FieldError]:
    yield from _ports(spec)
    yield from _type(spec)
    yield from _addresses(spec)
    yield from _families(spec)
    yield from _affinity(spec)
    yield from _external_ips(spec)
    yield from _load_balancer(spec)
    yield from _source_ranges(service)
    yield from _policies(spec)


def validate_service_update(new: Object, old: Object) -> Iterator[FieldError]:
    """What may not change while the type keeps needing it."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    if needs_cluster_ip(after) and needs_cluster_ip(before):
        yield from _fixed_addresses(after, before)
        yield from _fixed_families(after, before)
    checked = needs_health_check(after) and needs_health_check(before)
    if checked and after.get("healthCheckNodePort") != before.get("healthCheckNodePort"):
        yield forbidden("spec.healthCheckNodePort", "field is immutable")
    if after.get("type") == before.get("type") == "LoadBalancer":
        wanted = after.get("loadBalancerClass")
        if wanted != before.get("loadBalancerClass"):
            yield invalid("spec.loadBalancerClass", wanted, FIXED_ONCE_SET)


def validate_service_status(new: Object, old: Object) -> Iterator[FieldError]:
    """Who may draw in traffic by a status: load balancers alone, for addresses and names that are written as such."""
    path = "status.loadBalancer.ingress"
    had, have = _ingress(old), _ingress(new)
    if have and (new.get("spec") or {}).get("type") != "LoadBalancer":
        yield forbidden(path, 'may only be used when `spec.type` is "LoadBalancer"')
        return
    known = {point.get("ip") for point in had}
    for index, point in enumerate(have):
        yield from _ingress_point(point, f"{path}[{index}]", known)


def _ingress(service: Object) -> list[Object]:
    balancer = (service.get("status") or {}).get("loadBalancer") or {}
    return balancer.get("ingress") or []


def _ingress_point(point: Object, path: str, known: set[Any]) -> Iterator[FieldError]:
    ip, mode, host = point.get("ip"), point.get("ipMode"), point.get("hostname")
    for detail in address(ip) if ip and ip not in known else []:
        yield invalid(f"{path}.ip", ip, detail)
    if mode and not ip:
        yield forbidden(f"{path}.ipMode", "may not be specified when `ip` is not set")
    elif mode and mode not in IP_MODES:
        yield not_supported(f"{path}.ipMode", mode, sorted(IP_MODES))
    for detail in names.subdomain(host) if host else []:
        yield invalid(f"{path}.hostname", host, detail)
    if host and not address(host):
        yield invalid(f"{path}.hostname", host, "must be a DNS name, not an IP address")


def _ports(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    ports = spec.get("ports") or []
    if not ports and spec.get("type") != "ExternalName" and spec.get("clusterIP") != HEADLESS:
        yield required("spec.ports")
    taken_names: set[str] = set()
    taken_ports: set[tuple[Any, Any]] = set()
    taken_nodes: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        yield from _port_name(port.get("name"), path, taken_names, len(ports) > 1)
        yield from _once((port.get("protocol"), port.get("port")), path, taken_ports, port)
        yield from _node_port(spec, port, path, taken_nodes)
        if spec.get("type") == "LoadBalancer" and port.get("port") == KUBELET_PORT:
            detail = f"may not expose port {KUBELET_PORT} externally since it is used by kubelet"
            yield invalid(f"{path}.port", KUBELET_PORT, detail)


def _port_name(name: str | None, path: str, taken: set[str], must: bool) -> Iterator[FieldError]:
    if not name:
        if must:
            yield required(f"{path}.name", "must be given when there is more than one port")
        return
    for detail in names.label(name):
        yield invalid(f"{path}.name", name, detail)
    if name in taken:
        yield duplicate(f"{path}.name", name)
    taken.add(name)


def _once(key: tuple[Any, Any], path: str, taken: set[tuple[Any, Any]], port: Object) -> Iterator[FieldError]:
    if key in taken:
        yield duplicate(path, {name: port[name] for name in ("port", "protocol") if name in port})
    taken.add(key)


def _node_port(spec: Mapping[str, Any], port: Object, path: str, taken: set[tuple[Any, Any]]) -> Iterator[FieldError]:
    number = port.get("nodePort")
    if not number:
        return
    if spec.get("type") in ("ClusterIP", "ExternalName"):
        yield forbidden(f"{path}.nodePort", f"may not be used when `type` is '{spec['type']}'")
    if (port.get("protocol"), number) in taken:
        yield duplicate(f"{path}.nodePort", number)
    taken.add((port.get("protocol"), number))


def _type(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    type_ = spec.get("type")
    if type_ in ("NodePort", "LoadBalancer") and spec.get("clusterIP") == HEADLESS:
        yield invalid("spec.clusterIPs[0]", HEADLESS, f"may not be set to 'None' for {type_} services")
    if type_ == "ExternalName":
        yield from _external_name(spec)


def _external_name(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    if spec.get("clusterIP") or spec.get("clusterIPs"):
        yield invalid(
            "spec.clusterIPs", spec.get("clusterIPs") or [spec["clusterIP"]], "may not be set for ExternalName services"
        )
    for name in ("ipFamilies", "ipFamilyPolicy"):
        if spec.get(name):
            yield forbidden(f"spec.{name}", "may not be set for ExternalName services")
    target = spec.get("externalName") or ""
    if not target:
        yield required("spec.externalName")
        return
    for detail in names.subdomain(target.removesuffix(".")):
        yield invalid("spec.externalName", target, detail)


def _addresses(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    one, many = spec.get("clusterIP"), spec.get("clusterIPs") or []
    if not needs_cluster_ip(spec):
        return
    if many and not one:
        yield invalid("spec.clusterIPs", many, "must be empty when `clusterIP` is not specified")
    elif many and one != many[0]:
        yield invalid("spec.clusterIPs", many, "first value must match `clusterIP`")
    if not many and one:
        yield required("spec.clusterIPs", "must be given when `clusterIP` is given")
    if len(many) > 2:
        yield invalid("spec.clusterIPs", many, "may only hold up to 2 values")
    if HEADLESS in many and len(many) > 1:
        yield invalid("spec.clusterIPs", many, "'None' must be the first and only value")
        return
    for index, text in enumerate(many):
        for detail in address(text) if text != HEADLESS else []:
            yield invalid(f"spec.clusterIPs[{index}]", text, detail)
    yield from _address_families(many, spec.get("ipFamilies") or [])


def _address_families(many: list[str], families: list[str]) -> Iterator[FieldError]:
    if HEADLESS in many or any(address(text) for text in many):
        return
    if len(many) == 2 and family_of(many[0]) == family_of(many[1]):
        yield invalid("spec.clusterIPs", many, "may specify no more than one IP for each IP family")
    for index, (text, family) in enumerate(zip(many, families, strict=False)):
        if family in ("IPv4", "IPv6") and family_of(text) != family:
            yield invalid(
                f"spec.clusterIPs[{index}]", text, f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            )


def _families(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    families = spec.get("ipFamilies") or []
    if len(families) > 2:
        yield invalid("spec.ipFamilies", families, "may only hold up to 2 values")
    for index, family in enumerate(families):
        if family in families[:index]:
            yield duplicate(f"spec.ipFamilies[{index}]", family)
    if spec.get("ipFamilyPolicy") == "SingleStack":
        for name in ("ipFamilies", "clusterIPs"):
            if len(spec.get(name) or []) > 1:
                yield invalid(
                    "spec.ipFamilyPolicy", "SingleStack", f"must be dual stack when more than one of `{name}` is given"
                )


def _affinity(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    config = spec.get("sessionAffinityConfig")
    if spec.get("sessionAffinity") == "None" and config:
        yield forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None")
    if spec.get("sessionAffinity") == "ClientIP":
        seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
        if seconds is None:
            yield required("spec.sessionAffinityConfig.clientIP.timeoutSeconds")


def _external_ips(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    for index, text in enumerate(spec.get("externalIPs") or []):
        for detail in address(text) or not_special(text):
            yield invalid(f"spec.externalIPs[{index}]", text, detail)


def _load_balancer(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    if spec.get("type") == "LoadBalancer":
        if spec.get("allocateLoadBalancerNodePorts") is None:
            yield required("spec.allocateLoadBalancerNodePorts")
        return
    for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
        if spec.get(name) is not None:
            yield forbidden(f"spec.{name}", _FOR_LOAD_BALANCERS)


def _source_ranges(service: Object) -> Iterator[FieldError]:
    spec = service.get("spec") or {}
    annotation = ((service.get("metadata") or {}).get("annotations") or {}).get(_SOURCE_RANGES, "")
    path, ranges = "spec.loadBalancerSourceRanges", spec.get("loadBalancerSourceRanges") or []
    if not ranges and annotation.strip():
        path, ranges = f"metadata.annotations[{_SOURCE_RANGES}]", annotation.strip().split(",")
    if ranges and spec.get("type") != "LoadBalancer":
        yield forbidden(path, _FOR_LOAD_BALANCERS)
    for index, text in enumerate(ranges):
        for detail in cidr(text.strip()):
            yield invalid(f"{path}[{index}]" if path.startswith("spec") else path, text, detail)


def _policies(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    policy = spec.get("externalTrafficPolicy")
    if policy and not externally_reachable(spec):
        yield invalid("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services")
    if spec.get("healthCheckNodePort") and not needs_health_check(spec):
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield invalid("spec.healthCheckNodePort", spec["healthCheckNodePort"], detail)


def _fixed_addresses(after: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[FieldError]:
    had, have = before.get("clusterIPs") or [], after.get("clusterIPs") or []
    if not had:
        return
    if have[:1] != had[:1]:
        yield invalid("spec.clusterIPs[0]", have[:1] or None, FIXED_ONCE_SET)
    if len(had) > 1 and len(have) > 1 and have[1] != had[1]:
        yield invalid("spec.clusterIPs[1]", have[1], FIXED_ONCE_SET)
    if len(had) > 1 and len(have) == 1 and after.get("ipFamilyPolicy") != "SingleStack":
        yield invalid(
            "spec.ipFamilyPolicy",
            after.get("ipFamilyPolicy"),
            "must be set to 'SingleStack' when releasing the secondary cluster IP",
        )


def _fixed_families(after: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[FieldError]:
    had, have = before.get("ipFamilies") or [], after.get("ipFamilies") or []
    if had and have and have[0] != had[0]:
        yield invalid("spec.ipFamilies[0]", have[0], FIXED_ONCE_SET)
    if len(had) > 1 and len(have) > 1 and have[1] != had[1]:
        yield invalid("spec.ipFamilies[1]", have[1], FIXED_ONCE_SET)
