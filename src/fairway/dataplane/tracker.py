"""Services, slices and the own Node as they change; what to do about it when asked, at the cost of what has changed.

No I/O: the informers' changes go in, updates come out.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace

from fairway.client.informer import Change, Key
from fairway.dataplane.base import Update
from fairway.desired.build import NOTHING, Built, ServiceKey, service_ports, settings, slice_key
from fairway.desired.model import HealthCheck, PortKey, ServicePort
from fairway.desired.options import ProxyOptions
from fairway.desired.view import CidrView, NodeView, ServiceView, SliceView
from fairway.node import Address, Network, Node

TO_BE_DELETED_TAINT = "ToBeDeletedByClusterAutoscaler"


class Tracker:
    """The objects one node proxy works from."""

    def __init__(self, options: ProxyOptions) -> None:
        self._options = options
        self._services: dict[ServiceKey, ServiceView] = {}
        self._slices: defaultdict[ServiceKey, dict[Key, SliceView]] = defaultdict(dict)
        self._cidrs: dict[Key, tuple[str, ...]] = {}
        self._node: NodeView | None = None
        self._built: dict[ServiceKey, Built] = {}
        self._stale: set[ServiceKey] = set()
        self._place = ("", "")
        self._ports: dict[PortKey, ServicePort] = {}
        self._checks: dict[ServiceKey, HealthCheck] = {}

    def services_changed(self, changes: Iterable[Change[ServiceView]]) -> None:
        for change in changes:
            if change.new is None:
                self._services.pop(change.key, None)
            else:
                self._services[change.key] = change.new
            self._stale.add(change.key)

    def slices_changed(self, changes: Iterable[Change[SliceView]]) -> None:
        """A slice may move from one Service to another: its label decides each time."""
        for change in changes:
            if change.old is not None:
                self._forget_slice(slice_key(change.old), change.key)
            if change.new is not None:
                service = slice_key(change.new)
                self._slices[service][change.key] = change.new
                self._stale.add(service)

    def node_changed(self, changes: Iterable[Change[NodeView]]) -> None:
        for change in changes:
            self._node = change.new

    def cidrs_changed(self, changes: Iterable[Change[CidrView]]) -> None:
        """Ranges of cluster IPs, which count where they are guarded and were not given."""
        for change in changes:
            if change.new is None:
                self._cidrs.pop(change.key, None)
            else:
                self._cidrs[change.key] = change.new.spec.cidrs or ()

    @property
    def node_eligible(self) -> bool:
        """Whether load balancers should still send traffic to this node (KEP-3836): not while it is being removed."""
        if self._node is None:
            return True
        taints = self._node.spec.taints or ()
        leaving = self._node.metadata.deletion_timestamp is not None
        return not leaving and all(taint.key != TO_BE_DELETED_TAINT for taint in taints)

    @property
    def health_checks(self) -> Collection[HealthCheck]:
        """As of the last update."""
        return self._checks.values()

    def update(self, node: Node) -> Update:
        """What `node` should do now, with the ports that differ from the update before. Its labels and pod ranges are
        taken from its Node object where there is one."""
        node = self.described(node)
        place = (node.name, node.zone)
        if place != self._place:
            self._place = place
            self._stale.update(self._services)
        changed: set[PortKey] = set()
        for key in self._stale:
            changed.update(self._rebuild(key, node))
        self._stale.clear()
        wanted = settings(node, self._options)
        if wanted.guarded_cidrs == () and self._cidrs:
            ranges = {cidr for cidrs in self._cidrs.values() for cidr in cidrs}
            wanted = replace(wanted, guarded_cidrs=tuple(str(cidr) for cidr in _networks(sorted(ranges))))
        return Update(wanted, self._ports, frozenset(changed))

    def _rebuild(self, key: ServiceKey, node: Node) -> Iterable[PortKey]:
        """Build one Service anew; the keys of its ports that are others now."""
        service = self._services.get(key)
        built = NOTHING
        if service is not None:
            pieces = list(self._slices[key].values()) if key in self._slices else []
            built = service_ports(service, pieces, node.name, node.zone, self._options)
        before = {port.key: port for port in self._built.pop(key, NOTHING).ports}
        after = {port.key: port for port in built.ports}
        if built != NOTHING:
            self._built[key] = built
        for gone in before.keys() - after.keys():
            del self._ports[gone]
        self._ports.update(after)
        self._checks.pop(key, None)
        if built.health_check is not None:
            self._checks[key] = built.health_check
        return {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}

    def _forget_slice(self, service: ServiceKey, piece: Key) -> None:
        pieces = self._slices.get(service)
        if pieces is None:
            return
        pieces.pop(piece, None)
        if not pieces:
            del self._slices[service]
        self._stale.add(service)

    def described(self, node: Node) -> Node:
        """The node with the labels, pod ranges and addresses that its Node object gives it."""
        if self._node is None:
            return node
        spec = self._node.spec
        ranges = spec.pod_cidrs or ((spec.pod_cidr,) if spec.pod_cidr else ())
        return replace(
            node,
            labels=self._node.metadata.labels or {},
            pod_cidrs=tuple(_networks(ranges)) or node.pod_cidrs,
            primary=(*node.primary, *_internal(self._node)),
        )


def _internal(node: NodeView) -> Iterable[Address]:
    """The addresses of a Node object, as far as they are addresses."""
    for told in (node.status and node.status.addresses) or ():
        if told.type == "InternalIP":
            try:
                yield ipaddress.ip_address(told.address)
            except ValueError:
                continue


def _networks(texts: Iterable[str]) -> Iterable[Network]:
    for text in texts:
        try:
            yield ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue
