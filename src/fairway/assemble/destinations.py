"""What the destination of `fairway trace` stands for: address and port, and what is worth a note about them.

`of_service` and `of_pod` are pure; `find` asks the API.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fairway.client.base import ApiError, Client
from fairway.lab.topology import Topology
from fairway.objects import kinds
from fairway.packet import Protocol

SERVICE_NAME = "kubernetes.io/service-name"
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

    @classmethod
    def read(cls, said: str, protocol: Protocol) -> Wanted:
        """`HOST:PORT` or `HOST`; IPv6 addresses in brackets. Raises QuestionError for a number that is no port."""
        host, colon, port = said.strip("/").rpartition(":")
        if not colon:
            host, port = said.strip("/"), ""
        wanted = cls(said, host.strip("[]"), port, protocol)
        if port.isdigit() and not 0 < int(port) < 65536:
            raise wanted.error("ports go from 1 to 65535")
        return wanted

    def error(self, why: str) -> QuestionError:
        return QuestionError(f"--to {self.said}: {why}")


async def find(client: Client, topology: Topology, wanted: Wanted, namespace: str) -> Destination:
    """Node, `client`, address, Service or pod, in this order; `svc/` and `pod/` say which is meant. Raises
    QuestionError."""
    if address := address_of(topology, wanted.host):
        if not wanted.port.isdigit():
            raise wanted.error("needs a port between 1 and 65535 after the last ':'")
        return Destination(address, int(wanted.port))
    what, _, host = wanted.host.rpartition("/")
    if what not in ("", *_SERVICE_WORDS, *_POD_WORDS):
        raise wanted.error("only svc/NAME and pod/NAME may have a '/'")
    name, _, second = host.removesuffix(f".svc.{topology.domain}").removesuffix(".svc").partition(".")
    there = second or namespace
    service = None if what in _POD_WORDS else await _get(client, kinds.SERVICE, name, there, wanted)
    if service is not None:
        selector = f"{SERVICE_NAME}={name}"
        slices = (await client.list(kinds.ENDPOINT_SLICE, there, label_selector=selector)).items
        return of_service(service, [msgspec.json.decode(raw) for raw in slices], wanted)
    pod = None if what in _SERVICE_WORDS else await _get(client, kinds.POD, host, namespace, wanted)
    if pod is not None:
        return of_pod(pod, wanted)
    kind = "Service" if what in _SERVICE_WORDS else "pod" if what in _POD_WORDS else "Service or pod"
    raise wanted.error(f'there is no {kind} "{name}" in namespace {there}')


_SERVICE_WORDS = ("svc", "service", "services")
_POD_WORDS = ("pod", "pods", "po")


def address_of(topology: Topology, host: str) -> str:
    """The address a node's or the client's name stands for, or the address itself; "" for other names."""
    for node in topology.nodes:
        if node.name == host:
            return node.address
    if host == "client":
        return topology.outside_client
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""


async def _get(client: Client, kind: kinds.Kind, name: str, namespace: str, wanted: Wanted) -> dict[str, Any] | None:
    try:
        return await client.get(kind, name, namespace)
    except ApiError as error:
        if error.code == 404:
            return None
        raise wanted.error(error.message) from error


def of_service(service: Object, slices: Sequence[Object], wanted: Wanted) -> Destination:
    """Where a Service's name leads: to its ClusterIP, or, when headless, to its first ready endpoint."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        alias = spec.get("externalName", "")
        raise wanted.error(f"an ExternalName Service has no address: its name is an alias of {alias}")
    if spec.get("clusterIP") in (None, "", "None"):
        return _headless(slices, wanted)
    ports: Sequence[Object] = spec.get("ports") or []
    if not wanted.port.isdigit():
        return Destination(spec["clusterIP"], _port(ports, wanted))
    port = int(wanted.port)
    if any(_is(p, wanted.protocol) and p["port"] == port for p in ports):
        return Destination(spec["clusterIP"], port)
    note = f"The Service has no {wanted.protocol} port {port}; its ports are {_listed(ports)}."
    others = [p["protocol"].lower() for p in ports if p["port"] == port]
    return Destination(spec["clusterIP"], port, (note + (f" Ask with --protocol {others[0]}." if others else ""),))


def _headless(slices: Sequence[Object], wanted: Wanted) -> Destination:
    ready = sorted(
        (_order(endpoint["addresses"][0]), endpoint["addresses"][0], index)
        for index, found in enumerate(slices)
        for endpoint in found.get("endpoints") or []
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
    address = (pod.get("status") or {}).get("podIP", "")
    if not address:
        raise wanted.error("the pod has no address yet")
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
