"""Whose each node port is, and who serves it for a process on the node itself. Values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from fairway.dataplane.base import Update
from fairway.desired.model import Endpoint, PortKey, ServicePort
from fairway.packet import Family, Protocol


class NodePort(NamedTuple):
    """A port of the node itself."""

    protocol: Protocol
    number: int


class NodePorts:
    """All node ports, kept at the cost of what changes."""

    def __init__(self) -> None:
        self._ports: dict[NodePort, dict[Family, ServicePort]] = {}
        self._known: dict[PortKey, NodePort] = {}

    def take(self, update: Update) -> set[NodePort]:
        """Learn what is wanted now; the node ports that something about is different."""
        named = (self._known.keys() | update.ports.keys()) if update.changed is None else update.changed
        return {node_port for key in named for node_port in self._put(key, update.ports.get(key))}

    def _put(self, key: PortKey, port: ServicePort | None) -> Iterable[NodePort]:
        old = self._known.pop(key, None)
        if old is not None:
            del self._ports[old][key[2]]
            if not self._ports[old]:
                del self._ports[old]
            yield old
        if port is not None and port.node_port:
            new = self._known[key] = NodePort(port.protocol, port.node_port)
            self._ports.setdefault(new, {})[key[2]] = port
            yield new

    def __iter__(self) -> Iterator[NodePort]:
        return iter(self._ports)

    def of(self, node_port: NodePort) -> Mapping[Family, ServicePort]:
        """The Service port that has it, by family; nothing: nobody."""
        return self._ports.get(node_port, {})


def near(ports: Mapping[Family, ServicePort], family: Family) -> tuple[Endpoint, ...]:
    """Who serves a process on the node: any endpoint, policy Local or not, as for the node's own packets (see
    `desired.decide`). Where the family has no Service, the other's endpoints do as well: this way is no packet's."""
    port = ports.get(family) or next(iter(ports.values()), None)
    return (port.cluster or port.external_endpoints) if port is not None else ()
