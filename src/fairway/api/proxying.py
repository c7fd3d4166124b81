"""Requests that are handed on to a pod or a Service: where they go, and what of them and of the answer is passed. Pure.

The address is chosen once, checked, and is then what is connected to; no name is ever looked up on the way, and no
redirect is followed (CVE-2020-8562, CVE-2022-3294).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import urljoin, urlsplit

from fairway.api import status
from fairway.packet import host_port

Object = Mapping[str, Any]
Headers = tuple[tuple[str, str], ...]

SCHEMES = ("http", "https")
# RFC 9110, section 7.6.1; and what proves to this server who asks, which is nobody else's business.
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade"}
)
_NOT_PASSED = _HOP_BY_HOP | {"authorization", "content-length", "host", "proxy-authorization"}


@dataclass(frozen=True, slots=True)
class Name:
    """`[scheme:]name[:port]`, as it stands in the URL; `port` a number, a name, or ""."""

    scheme: str
    name: str
    port: str


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a request is handed on to."""

    scheme: str
    address: str
    port: int

    @property
    def origin(self) -> str:
        """`http://10.244.1.2:8080`."""
        return f"{self.scheme}://{host_port(self.address, self.port)}"


def parse_name(text: str) -> Name:
    """Raises 400."""
    parts = text.split(":")
    if len(parts) == 1:
        return Name("http", parts[0], "")
    if len(parts) == 2:
        return Name("http", *parts)
    if len(parts) == 3 and parts[0] in ("", *SCHEMES):
        return Name(parts[0] or "http", parts[1], parts[2])
    raise status.bad_request(f"invalid request: {text!r} is not [scheme:]name[:port] with the scheme http or https")


def pod_goal(pod: Object, wanted: Name) -> Goal:
    """The pod itself, on the port asked for or its first. Raises 400, 503."""
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        raise status.bad_request("address not allowed: the pod has none yet")
    ports = [port for one in pod["spec"]["containers"] for port in one.get("ports") or []]
    if wanted.port.isdigit():
        return Goal(wanted.scheme, address, _port(int(wanted.port)))
    named = [port["containerPort"] for port in ports if wanted.port in ("", port.get("name"))]
    if wanted.port and not named:
        raise status.bad_request(f"no port named {wanted.port!r} in pod {wanted.name}")
    return Goal(wanted.scheme, address, named[0] if named else 443 if wanted.scheme == "https" else 80)


def service_goals(service: Object, slices: Sequence[Object], wanted: Name) -> list[Goal]:
    """The ready endpoints of the Service's port that was asked for by number or name, or of its only one. Raises 400
    for a port it does not have, 503 when nobody is ready."""
    ports = (service.get("spec") or {}).get("ports") or []
    chosen = [port for port in ports if wanted.port in (str(port["port"]), port.get("name"))]
    if not wanted.port:
        chosen = list(ports) if len(ports) == 1 else [port for port in ports if not port.get("name")]
    if not chosen:
        raise status.bad_request(f"no service port {wanted.port!r} found for service {wanted.name!r}")
    name = chosen[0].get("name") or ""
    goals = [Goal(wanted.scheme, *where) for piece in slices for where in _ready(piece, name)]
    if not goals:
        raise status.unavailable(f'no endpoints available for service "{wanted.scheme}:{wanted.name}:{wanted.port}"')
    return goals


def _ready(piece: Object, port_name: str) -> Iterator[tuple[str, int]]:
    for port in piece.get("ports") or []:
        if (port.get("name") or "") == port_name and port.get("port"):
            for endpoint in piece.get("endpoints") or []:
                if (endpoint.get("conditions") or {}).get("ready") is not False:
                    yield from ((address, port["port"]) for address in endpoint["addresses"])


def check_address(text: str, nodes: Collection[str]) -> None:
    """Raises 400 for an address that leads to this machine, its neighbours or a node instead of to a pod."""
    try:
        address = ip_address(text)
    except ValueError:
        raise status.bad_request("address not allowed: it is none") from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        raise status.bad_request("address not allowed: it is of this machine or its link")
    if str(address) in nodes:
        raise status.bad_request("address not allowed: it is a node's")


def passed(headers: Mapping[str, str]) -> dict[str, str]:
    """What of a request's headers goes on."""
    dropped = _NOT_PASSED | {name.strip().lower() for name in headers.get("connection", "").split(",")}
    return {k: v for k, v in headers.items() if k not in dropped and not k.startswith("impersonate-")}


def returned(headers: Sequence[tuple[str, str]], goal: Goal, path: str, prefix: str) -> Headers:
    """What of an answer's headers comes back. A redirect within the goal leads to the same place behind `prefix`, the
    path of the proxy; `path` is that of the request."""
    kept = [(name.lower(), value) for name, value in headers if name.lower() not in _HOP_BY_HOP]
    return tuple((n, relocated(v, goal, path, prefix) if n == "location" else v) for n, v in kept)


def relocated(location: str, goal: Goal, path: str, prefix: str) -> str:
    """A redirect's goal as the client of the proxy reaches it; one that leads elsewhere stays as it is."""
    whole = urlsplit(urljoin(f"{goal.origin}{path}", location))
    if f"{whole.scheme}://{whole.netloc}" != goal.origin and urlsplit(location).netloc:
        return location
    query = f"?{whole.query}" if whole.query else ""
    return f"{prefix}{whole.path or '/'}{query}" + (f"#{whole.fragment}" if whole.fragment else "")


def _port(number: int) -> int:
    if not 0 < number < 65536:
        raise status.bad_request(f"invalid port {number}")
    return number
