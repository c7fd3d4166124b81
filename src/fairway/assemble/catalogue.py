"""The objects that a trace knows by name: Services, EndpointSlices, Pods and Nodes, from an API server or a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fairway.assemble.rendering import MAX_FILE_BYTES
from fairway.client.base import Client
from fairway.objects import codec, kinds
from fairway.objects.errors import ObjectError
from fairway.trace.evidence.texts import EvidenceError

Object = Mapping[str, Any]
Key = tuple[str, str]
SERVICE_NAME = "kubernetes.io/service-name"
KINDS = (kinds.SERVICE, kinds.ENDPOINT_SLICE, kinds.POD, kinds.NODE)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Objects by namespace and name. `given` False: nobody gave any."""

    services: dict[Key, Object] = field(default_factory=dict)
    slices: dict[Key, Object] = field(default_factory=dict)
    pods: dict[Key, Object] = field(default_factory=dict)
    nodes: dict[Key, Object] = field(default_factory=dict)
    given: bool = True

    @classmethod
    async def fetch(cls, client: Client) -> Catalogue:
        """Everything an API server has of these kinds. Raises ApiError, Unreachable."""
        found = cls()
        for kind in KINDS:
            found._add(kind.name, (msgspec.json.decode(raw) for raw in (await client.list(kind)).items))
        return found

    @classmethod
    def read(cls, raw: bytes, file: str) -> Catalogue:
        """The objects of a manifest or of `kubectl get -o json`; others are passed over. Raises EvidenceError."""
        found = cls()
        try:
            documents = codec.decode_all(raw, MAX_FILE_BYTES)
        except ObjectError as error:
            raise EvidenceError(file, str(error)) from error
        for number, document in enumerate(documents, 1):
            if not isinstance(document, dict) or not isinstance(document.get("metadata"), dict):
                raise EvidenceError(file, f"object {number} has no metadata, so it is no object of Kubernetes")
            kind = next((kind for kind in KINDS if kind.name == document.get("kind")), None)
            if kind is None:
                continue
            if problems := codec.check(kind, document).problems:
                raise EvidenceError(file, f"object {number}, {kind.name}: {problems[0].message()}")
            found._add(kind.name, (document,))
        return found

    @property
    def size(self) -> int:
        """How many objects there are."""
        return len(self.services) + len(self.slices) + len(self.pods) + len(self.nodes)

    def joined(self, other: Catalogue) -> Catalogue:
        """Both together; of one name the other's counts."""
        return Catalogue(
            self.services | other.services,
            self.slices | other.slices,
            self.pods | other.pods,
            self.nodes | other.nodes,
            self.given or other.given,
        )

    def _add(self, kind: str, objects: Iterable[Object]) -> None:
        book = {"Service": self.services, "EndpointSlice": self.slices, "Pod": self.pods, "Node": self.nodes}[kind]
        for one in objects:
            metadata = one["metadata"]
            namespace = "" if kind == "Node" else metadata.get("namespace") or "default"
            book[namespace, metadata.get("name") or ""] = one

    def slices_of(self, namespace: str, service: str) -> list[Object]:
        """A Service's EndpointSlices, by name."""
        return [
            one
            for (there, _), one in sorted(self.slices.items(), key=lambda item: item[0])
            if there == namespace and (one["metadata"].get("labels") or {}).get(SERVICE_NAME) == service
        ]

    def node_addresses(self) -> dict[str, list[str]]:
        """Every node's addresses by its name."""
        return {
            name: [
                each["address"]
                for each in (node.get("status") or {}).get("addresses") or ()
                if each.get("type") in ("InternalIP", "ExternalIP") and each.get("address")
            ]
            for (_, name), node in self.nodes.items()
        }

    def names(self) -> dict[str, str]:
        """Who has which address: pods, nodes, and the next hops of an overlay."""
        found = dict(self.next_hops())
        found |= {address: name for name, own in self.node_addresses().items() for address in own}
        for (namespace, name), pod in self.pods.items():
            if not (pod.get("spec") or {}).get("hostNetwork"):
                found |= dict.fromkeys(addresses_of(pod), f"{namespace}/{name}")
        return found

    def next_hops(self) -> Iterator[tuple[str, str]]:
        """The nodes by the next hops that lead to them: flannel's is the network address of a node's range."""
        for (_, name), node in self.nodes.items():
            spec = node.get("spec") or {}
            for cidr in spec.get("podCIDRs") or filter(None, [spec.get("podCIDR")]):
                yield cidr.partition("/")[0], name

    def pod_at(self, address: str) -> Object | None:
        """The pod with an address of its own."""
        for pod in self.pods.values():
            if address in addresses_of(pod) and not (pod.get("spec") or {}).get("hostNetwork"):
                return pod
        return None


def addresses_of(pod: Object) -> list[str]:
    """A pod's addresses, the first one first."""
    status = pod.get("status") or {}
    found = [each.get("ip") or "" for each in status.get("podIPs") or ()]
    return list(dict.fromkeys(filter(None, [status.get("podIP") or "", *found])))
