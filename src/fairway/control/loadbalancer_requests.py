"""What a Service of type LoadBalancer asks for, as its spec and annotations say it. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from fairway.client.base import Object
from fairway.control import pods
from fairway.control.loadbalancer_claims import Terms
from fairway.control.loadbalancer_pools import Address, Style

PREFIX = "fairway.io/load-balancer-"
ADDRESSES = f"{PREFIX}ips"
POOL = f"{PREFIX}pool"
SHARING = f"{PREFIX}sharing-key"
CLASSES: Mapping[str, Style] = {"fairway.io/l2": "addresses", "fairway.io/nodes": "nodes"}
"""The values of spec.loadBalancerClass that are ours; without one the settings decide."""

_VERSIONS = {"IPv4": 4, "IPv6": 6}


@dataclass(frozen=True, slots=True)
class Request:
    """One Service's wish. `versions` are its IP versions, `strict` whether it wants all of them or nothing; `wanted`
    the addresses it asks for by name, `pool` the pool; `error` what is wrong with the asking; `shown` the addresses
    that its status has now."""

    uid: str
    namespace: str
    name: str
    created: float
    style: Style
    versions: tuple[int, ...]
    strict: bool
    terms: Terms
    wanted: tuple[str, ...] = ()
    pool: str = ""
    error: str = ""
    shown: tuple[str, ...] = ()

    @property
    def who(self) -> str:
        return f"{self.namespace}/{self.name}"


def style_of(service: Object, default: Style) -> Style | None:
    """In which style we serve the Service; None when it is not ours (another type or another's class)."""
    spec = service.get("spec") or {}
    if spec.get("type") != "LoadBalancer":
        return None
    name = spec.get("loadBalancerClass")
    return CLASSES.get(name) if name else default


def request(service: Object, default: Style) -> Request | None:
    """The Service's wish; None when it is not ours to grant."""
    style = style_of(service, default)
    if style is None:
        return None
    metadata, spec = service["metadata"], service["spec"]
    said = metadata.get("annotations") or {}
    versions = tuple(_VERSIONS[each] for each in spec.get("ipFamilies") or ["IPv4"])
    wanted, error = _wanted(spec.get("loadBalancerIP") or "", said.get(ADDRESSES, ""), versions)
    unknown = sorted(name for name in said if name.startswith(PREFIX) and name not in (ADDRESSES, POOL, SHARING))
    return Request(
        uid=pods.uid(service),
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        created=pods.created(service),
        style=style,
        versions=versions,
        strict=spec.get("ipFamilyPolicy") == "RequireDualStack",
        terms=_terms(spec, said.get(SHARING, "")),
        wanted=wanted,
        pool=said.get(POOL, ""),
        error=error or (f"annotation {unknown[0]}: there are {ADDRESSES}, {POOL} and {SHARING}" if unknown else ""),
        shown=tuple(each["ip"] for each in ingress(service) if each.get("ip")),
    )


def ingress(service: Object) -> list[Object]:
    """status.loadBalancer.ingress."""
    return list(((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or [])


def _terms(spec: Object, key: str) -> Terms:
    ports = tuple(sorted((port.get("protocol", "TCP"), port["port"]) for port in spec.get("ports") or []))
    local = ""
    if spec.get("externalTrafficPolicy") == "Local":
        local = ",".join(f"{name}={value}" for name, value in sorted((spec.get("selector") or {}).items())) or "*"
    return Terms(ports, key, local)


def _wanted(field: str, annotation: str, versions: tuple[int, ...]) -> tuple[tuple[str, ...], str]:
    """The addresses asked for in canonical spelling, and what is wrong with the asking ("" when nothing is)."""
    sources = [("spec.loadBalancerIP", field)] if field else []
    sources += [(f"annotation {ADDRESSES}", text.strip()) for text in annotation.split(",") if annotation]
    found: dict[int, str] = {}
    for where, text in sources:
        address = _address(text)
        if address is None:
            return (), f"{where}: {text!r} is no IP address"
        if address.version not in versions:
            return (), f"{where}: {text} is IPv{address.version}, which is not in spec.ipFamilies"
        if found.setdefault(address.version, str(address)) != str(address):
            return (), f"{where}: {text}, but {found[address.version]} is asked for, too"
    return tuple(found[version] for version in versions if version in found), ""


def _address(text: str) -> Address | None:
    """The address; None for what is none, and for one that counts on a single link (RFC 4007)."""
    try:
        return None if "%" in text else ipaddress.ip_address(text)
    except ValueError:
        return None
