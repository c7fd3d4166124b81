"""What the destination of `fairway trace` stands for: address and port, and what is worth a note about them.

Everything is pure: what names stand for is in the catalogue.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairway.assemble.catalogue import Catalogue, addresses_of
from fairway.packet import Family, Protocol, family_of

Object = Mapping[str, Any]


class QuestionError(Exception):
    """The question names something that is not there; the message names it."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a packet is sent to, and `notes` to bear in mind about it."""

    address: str
    port: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A destination as the user wrote it, taken apart: `port` is a number, a name or ""."""

    said: str
    host: str
    port: str
    protocol: Protocol
    family: Family | None = None

    @classmethod
    def read(cls, said: str, protocol: Protocol, family: Family | None = None) -> Wanted:
        """`HOST:PORT` or `HOST`; IPv6 addresses in brackets. `family` chooses among several addresses of one name.
        Raises QuestionError for a number that is no port."""
        host, colon, port = said.strip("/").rpartition(":")
        if not colon:
            host, port = said.strip("/"), ""
        wanted = cls(said, host.strip("[]"), port, protocol, family)
        if port.isdigit() and not 0 < int(port) < 65536:
            raise wanted.error("ports go from 1 to 65535")
        return wanted

    def choose(self, addresses: Sequence[str]) -> str:
        """The first address of the family that is wanted. Raises QuestionError."""
        found = next((each for each in addresses if self.family in (None, family_of(each))), "")
        if not found:
            raise self.error(f"has no {self.family} address; it has {', '.join(addresses)}")
        return found

    def error(self, why: str) -> QuestionError:
        return QuestionError(f"--to {self.said}: {why}")


@dataclass(frozen=True, slots=True)
class Places:
    """What names stand for besides objects: nodes and, in a lab, the outside client; `domain` is the cluster's."""

    addresses: Mapping[str, str] = field(default_factory=dict)
    domain: str = "cluster.local"

    def address(self, host: str) -> str:
        """The address a node's or the client's name stands for, or the address itself; "" for other names."""
        if host in self.addresses:
            return self.addresses[host]
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            return ""


def find(catalogue: Catalogue, places: Places, wanted: Wanted, namespace: str) -> Destination:
    """Node, `client`, address, Service or pod, in this order; `svc/` and `pod/` say which is meant. Raises
    QuestionError."""
    if address := places.address(wanted.host):
        if not wanted.port.isdigit():
            raise wanted.error("needs a port between 1 and 65535 after the last ':'")
        return Destination(address, int(wanted.port))
    what, name, there = service_name(wanted, places.domain, namespace)
    service = None if what in _POD_WORDS else catalogue.services.get((there, name))
    if service is not None:
        return of_service(service, catalogue.slices_of(there, name), wanted)
    host = wanted.host.rpartition("/")[2]
    pod = None if what in _SERVICE_WORDS else catalogue.pods.get((namespace, host)) or catalogue.pods.get((there, name))
    if pod is not None:
        return of_pod(pod, wanted)
    kind = "Service" if what in _SERVICE_WORDS else "pod" if what in _POD_WORDS else "Service or pod"
    raise wanted.error(f'there is no {kind} "{name}" in namespace {there}')


def service_name(wanted: Wanted, domain: str, namespace: str) -> tuple[str, str, str]:
    """The word before the `/`, the Service's name and its namespace: `web`, `web.shop`, `shop/web`,
    `svc/web.shop.svc.cluster.local`. Raises QuestionError."""
    what, _, host = wanted.host.rpartition("/")
    if "/" in what:
        raise wanted.error("no more than one '/' may stand in it")
    name, _, second = host.removesuffix(f".svc.{domain}").removesuffix(".svc").partition(".")
    if what not in ("", *_SERVICE_WORDS, *_POD_WORDS):
        return "", name, what
    return what, name, second or namespace


_SERVICE_WORDS = ("svc", "service", "services")
_POD_WORDS = ("pod", "pods", "po")


def of_service(service: Object, slices: Sequence[Object], wanted: Wanted) -> Destination:
    """Where a Service's name leads: to its ClusterIP, or, when headless, to its first ready endpoint."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        alias = spec.get("externalName", "")
        raise wanted.error(f"an ExternalName Service has no address: its name is an alias of {alias}")
    if spec.get("clusterIP") in (None, "", "None"):
        return _headless(slices, wanted)
    address = wanted.choose(spec.get("clusterIPs") or [spec["clusterIP"]])
    ports: Sequence[Object] = spec.get("ports") or []
    if not wanted.port.isdigit():
        return Destination(address, _port(ports, wanted))
    port = int(wanted.port)
    if any(_is(p, wanted.protocol) and p["port"] == port for p in ports):
        return Destination(address, port)
    note = f"The Service has no {wanted.protocol} port {port}; its ports are {_listed(ports)}."
    others = [p["protocol"].lower() for p in ports if p["port"] == port]
    return Destination(address, port, (note + (f" Ask with --protocol {others[0]}." if others else ""),))


def _headless(slices: Sequence[Object], wanted: Wanted) -> Destination:
    ready = sorted(
        (_order(endpoint["addresses"][0]), endpoint["addresses"][0], index)
        for index, found in enumerate(slices)
        for endpoint in found.get("endpoints") or []
        if wanted.family in (None, family_of(endpoint["addresses"][0]))
        if (endpoint.get("conditions") or {}).get("ready", True)
    )
    if not ready:
        raise wanted.error("the Service is headless and has no ready endpoint: its name has no address")
    _, address, index = ready[0]
    port = int(wanted.port) if wanted.port.isdigit() else _port(slices[index].get("ports") or [], wanted)
    addresses = ", ".join(found for _, found, _ in ready)
    note = "The Service is headless: no rule is about it, its name gives the endpoints' own addresses"
    return Destination(address, port, (f"{note} ({addresses}). This is the way to the first of them.",))


def _order(address: str) -> tuple[int, int]:
    value = ipaddress.ip_address(address)
    return value.version, int(value)


def of_pod(pod: Object, wanted: Wanted) -> Destination:
    """A pod's own address; its port by number, by name, or the only one it declares."""
    addresses = addresses_of(pod)
    if not addresses:
        raise wanted.error("the pod has no address yet")
    address = wanted.choose(addresses)
    if wanted.port.isdigit():
        return Destination(address, int(wanted.port))
    declared = [
        {**port, "port": port["containerPort"]}
        for container in pod["spec"].get("containers") or []
        for port in container.get("ports") or []
    ]
    return Destination(address, _port(declared, wanted))


def _port(ports: Sequence[Object], wanted: Wanted) -> int:
    """The number of the port wanted by its name, or of the only one."""
    found = [p["port"] for p in ports if _is(p, wanted.protocol) and wanted.port in ("", p.get("name") or "")]
    if len(found) != 1:
        raise wanted.error(f"name one port after the ':'; there are {_listed(ports)}")
    return int(found[0])


def _is(port: Object, protocol: Protocol) -> bool:
    return bool(port.get("protocol", "TCP") == protocol.value)


def _listed(ports: Sequence[Object]) -> str:
    """ "80/TCP (web), 53/UDP"."""
    texts = [
        f"{port['port']}/{port.get('protocol', 'TCP')}" + (f" ({port['name']})" if port.get("name") else "")
        for port in ports
    ]
    return ", ".join(texts) or "none"
