"""Services, slices and the own Node as they change; Desired when asked, at the cost of what has changed.

No I/O: the informers' changes go in, `desired` comes out.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from fairway.client.informer import Change, Key
from fairway.desired.build import NOTHING, Built, ServiceKey, assemble, service_ports, slice_key
from fairway.desired.model import Desired
from fairway.desired.options import ProxyOptions
from fairway.desired.view import NodeView, ServiceView, SliceView
from fairway.node import Network, Node

TO_BE_DELETED_TAINT = "ToBeDeletedByClusterAutoscaler"


class Tracker:
    """The objects one node proxy works from."""

    def __init__(self, options: ProxyOptions) -> None:
        self._options = options
        self._services: dict[ServiceKey, ServiceView] = {}
        self._slices: defaultdict[ServiceKey, dict[Key, SliceView]] = defaultdict(dict)
        self._node: NodeView | None = None
        self._built: dict[ServiceKey, Built] = {}
        self._stale: set[ServiceKey] = set()
        self._place = ("", "")

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

    @property
    def node_eligible(self) -> bool:
        """Whether load balancers should still send traffic to this node (KEP-3836): not while it is being removed."""
        if self._node is None:
            return True
        taints = self._node.spec.taints or ()
        leaving = self._node.metadata.deletion_timestamp is not None
        return not leaving and all(taint.key != TO_BE_DELETED_TAINT for taint in taints)

    def desired(self, node: Node) -> Desired:
        """What `node` should do now. Its labels and pod ranges are taken from its Node object where there is one."""
        node = self._described(node)
        place = (node.name, node.zone)
        if place != self._place:
            self._place = place
            self._stale.update(self._services)
        for key in self._stale:
            self._rebuild(key, node)
        self._stale.clear()
        return assemble(self._built.values(), node, self._options)

    def _rebuild(self, key: ServiceKey, node: Node) -> None:
        service = self._services.get(key)
        built = NOTHING
        if service is not None:
            pieces = list(self._slices[key].values()) if key in self._slices else []
            built = service_ports(service, pieces, node.name, node.zone, self._options)
        if built == NOTHING:
            self._built.pop(key, None)
        elif self._built.get(key) != built:
            self._built[key] = built

    def _forget_slice(self, service: ServiceKey, piece: Key) -> None:
        pieces = self._slices.get(service)
        if pieces is None:
            return
        pieces.pop(piece, None)
        if not pieces:
            del self._slices[service]
        self._stale.add(service)

    def _described(self, node: Node) -> Node:
        if self._node is None:
            return node
        spec = self._node.spec
        ranges = spec.pod_cidrs or ((spec.pod_cidr,) if spec.pod_cidr else ())
        return replace(
            node, labels=self._node.metadata.labels or {}, pod_cidrs=tuple(_networks(ranges)) or node.pod_cidrs
        )


def _networks(texts: Iterable[str]) -> Iterable[Network]:
    for text in texts:
        try:
            yield ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue
