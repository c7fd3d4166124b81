"""Which object, and which field of it, made a step of a packet's way what it is; and what would change it.

Rules name their Service in comments; where they do not, the connection's first address and port tell it. Everything
is read from objects as the API has them, in the few fields looked at here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from fairway.packet import Packet, Verdict
from fairway.ruleset.iptables_match import understand
from fairway.ruleset.iptables_terms import Recent
from fairway.trace.names import chain_kind, named
from fairway.trace.steps import Event, Path, State, Step, Trace

Object: TypeAlias = Mapping[str, Any]


class Objects(Protocol):
    """What was given of a cluster's objects, by namespace and name."""

    @property
    def services(self) -> Mapping[tuple[str, str], Object]: ...

    def slices_of(self, namespace: str, service: str) -> Sequence[Object]:
        """A Service's EndpointSlices."""


@dataclass(frozen=True, slots=True)
class Cause:
    """`object` is "Service default/web", `field` a path into it ("spec.externalTrafficPolicy"), `value` what it says
    there, `why` a clause that follows "because", `remedy` one that follows "if" ("" where nothing is wrong)."""

    object: str
    field: str
    value: str = ""
    why: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.object}, {self.field}" + (f": {self.value}" if self.value else "")


@dataclass(frozen=True, slots=True)
class Claim:
    """A Service port that an address and port belong to, and the field by which they do."""

    namespace: str
    name: str
    service: Object
    index: int
    field: str
    value: str

    @property
    def port(self) -> Object:
        found: Object = self.service["spec"]["ports"][self.index]
        return found

    @property
    def external(self) -> bool:
        """Whether it is reached from outside: externalTrafficPolicy decides."""
        return not self.field.startswith("spec.clusterIP")

    @property
    def policy(self) -> str:
        """The field of the policy that decides which endpoints serve it."""
        return "externalTrafficPolicy" if self.external else "internalTrafficPolicy"

    @property
    def local(self) -> bool:
        return bool(self.service["spec"].get(self.policy) == "Local")

    def cause(self, field: str, value: str = "", why: str = "", remedy: str = "") -> Cause:
        return Cause(f"Service {self.namespace}/{self.name}", field, value, why, remedy)


@dataclass(frozen=True, slots=True)
class Backend:
    """An endpoint with the slice it is in. `ready` False: it gets no new connections."""

    slice: str
    index: int
    address: str
    port: int
    ready: bool
    node: str
    pod: str


PROXY_TABLES = ("fairway", "kube-proxy")
"""Tables of nftables in which whatever is refused is refused for a Service."""


class Causes:
    """Finds causes among objects for the steps on one node."""

    def __init__(self, objects: Objects, node: str) -> None:
        self._objects = objects
        self._node = node

    def claim(self, address: str, port: int, protocol: str) -> Claim | None:
        """The Service port that an address and a port are; a node port by its number, whatever the address."""
        by_number = None
        for (namespace, name), service in self._objects.services.items():
            for field, value, index in _claims(service, address, port, protocol):
                found = Claim(namespace, name, service, index, field, value)
                if value == address or field.startswith("spec.clusterIP"):
                    return found
                by_number = by_number or found
        return by_number

    def claim_of(self, state: State) -> Claim | None:
        """The Service port that a packet on its way was first sent to."""
        ends = state.original or state.ends
        return self.claim(ends.destination, ends.destination_port, state.protocol.value)

    def backends(self, claim: Claim) -> list[Backend]:
        """The endpoints of a Service port, ready or not."""
        found: list[Backend] = []
        for one in self._objects.slices_of(claim.namespace, claim.name):
            ports = [p for p in one.get("ports") or () if (p.get("name") or "") == (claim.port.get("name") or "")]
            for index, endpoint in enumerate(one.get("endpoints") or () if ports else ()):
                target = endpoint.get("targetRef") or {}
                pod = f"{target.get('namespace') or claim.namespace}/{target['name']}" if target.get("name") else ""
                ready = (endpoint.get("conditions") or {}).get("ready", True) is not False
                name = f"{claim.namespace}/{one['metadata'].get('name', '')}"
                at = (endpoint.get("addresses") or [""])[0], int(ports[0].get("port") or 0)
                found.append(Backend(name, index, *at, ready, endpoint.get("nodeName") or "", pod))
        return found

    def of_step(self, step: Step) -> Cause | None:
        """What caused a step, or None when no object at hand did."""
        if step.event not in (Event.JUMP, Event.GOTO, Event.DNAT, Event.REJECT, Event.DROP):
            return None
        claim = self._claim_of(step)
        if claim is None:
            return None
        if step.event is Event.DNAT:
            return self._endpoint(claim, step.packet)
        if step.event in (Event.REJECT, Event.DROP):
            return self.refusal(claim, step.packet)
        return self._jump(claim, step)

    def _claim_of(self, step: Step) -> Claim | None:
        about = named(step) if step.rule else None
        claim = self.claim_of(step.packet)
        if claim is None or about is None:
            speaks = step.event is Event.DNAT or chain_kind(step.chain) or _of_proxy(step)
            return claim if speaks else None
        return claim if (about.namespace, about.service) == (claim.namespace, claim.name) else None

    def _endpoint(self, claim: Claim, packet: State) -> Cause | None:
        at = (packet.destination, packet.destination_port)
        for backend in self.backends(claim):
            if (backend.address, backend.port) == at:
                whose = f"Pod {backend.pod}" if backend.pod else "an endpoint"
                why = f"{whose} is a ready endpoint of it" if backend.ready else f"{whose} serves it until it has ended"
                return Cause(f"EndpointSlice {backend.slice}", f"endpoints[{backend.index}]", backend.pod, why)
        return None

    def _jump(self, claim: Claim, step: Step) -> Cause | None:
        target = step.detail.partition(";")[0]
        if named(step) is None and not chain_kind(step.chain) and "@" not in step.rule:
            return None  # a rule of nftables that holds for every Service
        if target == "KUBE-MARK-MASQ":
            if chain_kind(step.chain) == "EXT":
                return claim.cause(f"spec.{claim.policy}", claim.service["spec"].get(claim.policy) or "Cluster")
            return None
        if target.endswith("MARK-DROP") or chain_kind(target) == "FW":
            return claim.cause("spec.loadBalancerSourceRanges", _listed(_ranges(claim)))
        if chain_kind(target) in ("SVL", "XLB"):
            return claim.cause(f"spec.{claim.policy}", "Local")
        if any(isinstance(match, Recent) for match in understand(step.rule).matches):
            return claim.cause("spec.sessionAffinity", claim.service["spec"].get("sessionAffinity") or "ClientIP")
        if chain_kind(step.chain) in ("SVC", "SVL", "EXT", "FW", "XLB"):
            return None  # the endpoint's own step says which
        return claim.cause(claim.field, claim.value)

    def refusal(self, claim: Claim, packet: State) -> Cause:
        """Why a Service port refuses or drops a packet."""
        if claim.field.startswith("status.loadBalancer") and _kept_out(claim, packet.source):
            ranges = _listed(_ranges(claim))
            remedy = (
                f"the source's address were added to spec.loadBalancerSourceRanges of {claim.namespace}/{claim.name}"
            )
            return claim.cause("spec.loadBalancerSourceRanges", ranges, f"it lets in {ranges} alone", remedy)
        backends = self.backends(claim)
        if not backends:
            return self._without_backends(claim)
        ready = [backend for backend in backends if backend.ready]
        if not ready:
            return Cause(
                f"EndpointSlice {backends[0].slice}",
                f"endpoints[{backends[0].index}].conditions.ready",
                "false",
                f"none of the {len(backends)} endpoints of {claim.namespace}/{claim.name} is ready",
                f"one of its pods became ready ({_listed([b.pod or b.address for b in backends[:3]])})",
            )
        field = f"spec.{claim.policy}"
        if claim.local:
            return claim.cause(
                field,
                "Local",
                f"{claim.policy}: Local on {claim.namespace}/{claim.name} has no ready endpoint on "
                f"{self._node or 'this node'} (they are on {_listed(sorted({b.node for b in ready if b.node}))})",
                f"a ready pod of it ran on {self._node or 'this node'}, or {field} were Cluster",
            )
        return claim.cause(claim.field, claim.value, "the rules were written when it had no endpoint")

    def _without_backends(self, claim: Claim) -> Cause:
        selector = claim.service["spec"].get("selector")
        who = f"{claim.namespace}/{claim.name}"
        if not selector:
            why = f"{who} has no selector, and nobody wrote an EndpointSlice for it"
            return claim.cause("spec.selector", "none", why, "an EndpointSlice were written for it, or a selector set")
        said = ", ".join(f"{key}={value}" for key, value in sorted(selector.items()))
        port = claim.port.get("targetPort", claim.port.get("port"))
        if self._objects.slices_of(claim.namespace, claim.name) and isinstance(port, str):
            why = f"no pod of {who} has a container port named {port}"
            field = f"spec.ports[{claim.index}].targetPort"
            return claim.cause(field, port, why, f"a container named a port {port}, or {field} were a number")
        return claim.cause(
            "spec.selector", said, f"the selector of {who} ({said}) matches no pod", f"a pod with {said} were ready"
        )

    def of_path(self, path: Path, trace: Trace) -> Cause | None:
        """What decided about the end of a path."""
        packet = trace.packet
        claim = self.claim(packet.destination, packet.destination_port, packet.protocol.value)
        last = next((s for s in reversed(path.steps) if s.event in (Event.REJECT, Event.DROP, Event.DNAT)), None)
        match path.outcome.verdict:
            case Verdict.REJECTED | Verdict.DROPPED if last is not None:
                if claim is None and _of_proxy(last):
                    return self._unclaimed(packet)
                return self.of_step(last)
            case Verdict.ENDPOINT if claim is not None:
                return _remembered(claim, path) or claim.cause(claim.field, claim.value)
            case Verdict.UNTRANSLATED:
                return self._unclaimed(packet) if claim is None else None
        return None

    def _unclaimed(self, packet: Packet) -> Cause | None:
        for (namespace, name), service in self._objects.services.items():
            spec = service.get("spec") or {}
            if packet.destination in _cluster_ips(spec):
                ports = [f"{port.get('port')}/{port.get('protocol') or 'TCP'}" for port in spec.get("ports") or ()]
                why = f"{namespace}/{name} has that address but no {packet.protocol} port {packet.destination_port}"
                remedy = f"one of its ports were asked ({_listed(ports)})"
                return Cause(f"Service {namespace}/{name}", "spec.ports", _listed(ports), why, remedy)
        return None


def _remembered(claim: Claim, path: Path) -> Cause | None:
    """Session affinity, where a list of clients has led the packet."""
    for step in path.steps:
        matches = understand(step.rule).matches if step.event in (Event.JUMP, Event.GOTO) else ()
        for match in matches:
            if isinstance(match, Recent):
                who = f"{claim.namespace}/{claim.name} remembers its clients"
                why = f"{who}, and {step.packet.source} is one of that endpoint's"
                remedy = f"it had not come for {match.seconds} seconds, or the endpoint went"
                return claim.cause("spec.sessionAffinity", "ClientIP", why, remedy)
    return None


def _claims(service: Object, address: str, port: int, protocol: str) -> Iterator[tuple[str, str, int]]:
    """The fields by which a Service claims an address and a port, each with its value and the port's index."""
    spec = service.get("spec") or {}
    balancer = (service.get("status") or {}).get("loadBalancer") or {}
    for index, one in enumerate(spec.get("ports") or ()):
        if (one.get("protocol") or "TCP") != protocol:
            continue
        if one.get("port") == port:
            for field, values in (
                ("spec.clusterIP", _cluster_ips(spec)),
                ("spec.externalIPs", spec.get("externalIPs") or ()),
                ("status.loadBalancer.ingress", [i.get("ip") for i in balancer.get("ingress") or ()]),
            ):
                if address in values:
                    yield field, address, index
        if one.get("nodePort") == port:
            yield f"spec.ports[{index}].nodePort", str(port), index


def _cluster_ips(spec: Object) -> Sequence[str]:
    return [*(spec.get("clusterIPs") or ()), spec.get("clusterIP") or ""]


def _of_proxy(step: Step) -> bool:
    return step.table.rpartition(" ")[2] in PROXY_TABLES


def _kept_out(claim: Claim, source: str) -> bool:
    ranges = _ranges(claim)
    if not ranges or not source:
        return False
    address = ipaddress.ip_address(source)
    return not any(address in ipaddress.ip_network(each.strip(), strict=False) for each in ranges)


def _ranges(claim: Claim) -> Sequence[str]:
    return claim.service["spec"].get("loadBalancerSourceRanges") or ()


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items) or "nothing"
