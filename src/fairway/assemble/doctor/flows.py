"""A kernel's connections and remembered clients as tables with the names of Services and endpoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fairway.assemble.doctor.findings import Finding, Severity
from fairway.desired.model import Claim, Desired, Endpoint, Policy, ServicePort, claims
from fairway.packet import Protocol, family_of, host_port
from fairway.trace.connections import Entry

_LASTING = (Protocol.UDP, Protocol.SCTP)
"""Whose flows their senders keep alive, whoever answers; a TCP client notices that its peer is gone."""


@dataclass(frozen=True, slots=True)
class Row:
    """One connection to a Service. Addresses are "address:port"; `service` is "" for a translation that no Service
    makes, `pod` for an endpoint that is no known pod. `seconds` are left until it is forgotten; `stale` says what is
    wrong with it, "" when nothing is."""

    protocol: Protocol
    client: str
    destination: str
    service: str
    endpoint: str
    pod: str = ""
    state: str = ""
    seconds: int = 0
    stale: str = ""


class Book:
    """Who answers at which destination, by what one node should do."""

    def __init__(self, desired: Desired, own: Iterable[str], names: Mapping[str, str]) -> None:
        """`own` are the node's addresses, `names` those of pods and nodes by address."""
        self._own = frozenset(own)
        self.names = names
        self.all = desired.ports
        self._ports: defaultdict[Claim, list[ServicePort]] = defaultdict(list)
        for port in desired.ports:
            for claim in claims(port):
                self._ports[claim].append(port)

    def ports(self, protocol: Protocol, address: str, number: int) -> list[ServicePort]:
        """The Service ports that answer for a destination."""
        exact = Claim(family_of(address), protocol, address, number)
        found = self._ports.get(exact, [])
        return found or (self._ports.get(exact._replace(address=""), []) if address in self._own else [])

    def node_ports(self, protocol: Protocol, number: int) -> list[ServicePort]:
        """The Service ports that answer at a node port, in any family."""
        return [port for port in self.all if port.protocol is protocol and 0 < port.node_port == number]

    def rows(self, entries: Iterable[Entry]) -> Iterator[Row]:
        """The connections that were, or should have been, translated to endpoints."""
        for entry in entries:
            first, back = entry.original, entry.reply
            translated = (first.destination, first.destination_port) != (back.source, back.source_port)
            ports = self.ports(entry.protocol, first.destination, first.destination_port)
            if not translated and not ports:
                continue
            place = host_port(back.source, back.source_port) if translated else ""
            stale = self._stale(ports, place)
            yield Row(
                entry.protocol,
                host_port(first.source, first.source_port),
                host_port(first.destination, first.destination_port),
                ", ".join(dict.fromkeys(str(port.name) for port in ports)),
                place,
                self.names.get(back.source, "") if translated else "",
                entry.state,
                entry.seconds,
                stale,
            )

    def _stale(self, ports: Iterable[ServicePort], place: str) -> str:
        served = [str(endpoint) for port in ports for endpoint in endpoints(port)]
        if not place:
            return "it was never translated, and there are endpoints now" if served else ""
        if not any(True for _ in ports):
            return "no Service claims its destination"
        return "" if place in served else "the Service does not have that endpoint"


def endpoints(port: ServicePort) -> tuple[Endpoint, ...]:
    """Everyone that some client of the Service port may rightly be led to."""
    if Policy.LOCAL in (port.internal_policy, port.external_policy):
        return (*port.cluster, *port.local)
    return port.cluster


def stale(rows: Iterable[Row], node: str) -> Iterator[Finding]:
    """Connections that lead where they should not. Of TCP only those to addresses that no pod or node has: what was
    begun with an endpoint that has since gone from the Service may be finished."""
    found: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.stale and row.service and (row.protocol in _LASTING or (row.endpoint and not row.pod)):
            found[row.service, row.stale].append(row)
    for (service, why), cases in found.items():
        message = f"connections to {service} that lead nowhere good: {len(cases)}, since {why}"
        evidence = tuple(f"{row.protocol} {row.client} -> {row.destination} -> {row.endpoint}" for row in cases[:4])
        lasting = any(row.protocol in _LASTING for row in cases)
        severity = Severity.ERROR if lasting else Severity.NOTE
        target = cases[0].destination.rpartition(":")[0].strip("[]")
        command = f"conntrack -L -d {target}"
        subject = f"Service {service.partition(':')[0]}"
        yield Finding(severity, "stale-flow", message, subject, "", node, evidence, command)
