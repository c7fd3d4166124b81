"""Why a pod is, or is not, an endpoint of a Service: each condition of `control.endpointslices` asked by itself. Pure.

Sources: KEP-752 (slices), KEP-1672 (terminating), KEP-580 (readiness gates), discovery.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairway.client.base import Object
from fairway.control import backends, pods
from fairway.control.packing import SERVICE_NAME


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that keeps the pod out (`blocks`), or that is only worth knowing. `code` is for programs, `field` is
    where `object` ("Service default/web") says it, `remedy` what would change it."""

    code: str
    message: str
    object: str
    field: str
    remedy: str = ""
    blocks: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer: `listed`, an EndpointSlice names the pod; `serves`, it is named as ready, so that new connections
    are led to it."""

    pod: str
    service: str
    listed: bool
    serves: bool
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """The objects in question: `slices` are those of the Service, of any writer; `node` is the pod's, None when it is
    not known."""

    pod: Object
    service: Object
    slices: Sequence[Object] = ()
    node: Object | None = None
    entries: Sequence[Mapping[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", tuple(_entries(self.pod, self.slices)))

    @property
    def pod_name(self) -> str:
        return f"Pod {_key(self.pod)}"

    @property
    def service_name(self) -> str:
        return f"Service {_key(self.service)}"


def why_not(case: Case) -> Verdict:
    """Everything that decides, those that keep the pod out first; nothing of these: it serves."""
    reasons = list(_of_service(case))
    if not any(reason.blocks for reason in reasons):
        reasons += _of_pod(case)
    ready = [entry for entry in case.entries if _condition(entry, "ready", True)]
    if not any(reason.blocks for reason in reasons) and not ready:
        reasons.append(_unwritten(case))
    ordered = sorted(reasons, key=lambda reason: not reason.blocks)
    without_port = any(reason.blocks and reason.code == "target-port" for reason in reasons)
    serves = bool(ready) and not without_port
    return Verdict(_key(case.pod), _key(case.service), bool(case.entries), serves, tuple(ordered))


def _of_service(case: Case) -> Iterator[Reason]:
    """What has nothing to do with how the pod fares: kind of Service, namespace, selector."""
    spec, name = case.service["spec"], case.service_name
    if spec.get("type") == "ExternalName":
        alias = spec.get("externalName", "")
        what = f"the Service is another name for {alias}: it has no endpoints, whatever pods there are"
        yield Reason("external-name", what, name, "spec.type", "make it a ClusterIP Service with a selector")
        return
    ours, theirs = (each["metadata"].get("namespace", "default") for each in (case.service, case.pod))
    if ours != theirs:
        what = f"the pod is in namespace {theirs}, the Service in {ours}; selectors do not reach across"
        yield Reason("namespace", what, case.pod_name, "metadata.namespace", f"make a Service in namespace {theirs}")
    if pods.is_going(case.service):
        what = "the Service is being deleted: its slices are left alone"
        yield Reason("service-deleted", what, name, "metadata.deletionTimestamp")
    if not spec.get("selector"):
        yield from _by_hand(case)
    else:
        yield from _mismatches(case)
    if backends.is_headless(case.service):
        what = "the Service is headless: its name resolves to its endpoints' addresses, and no rules lead to them"
        yield Reason("headless", what, name, "spec.clusterIP", blocks=False)


def _by_hand(case: Case) -> Iterator[Reason]:
    what = "the Service has no selector: its endpoints are those that somebody writes into EndpointSlices"
    remedy = "give the Service a selector, or write the pod's address into a slice of it"
    yield Reason("no-selector", what, case.service_name, "spec.selector", remedy, blocks=not case.entries)


def _mismatches(case: Case) -> Iterator[Reason]:
    labels = pods.labels(case.pod)
    for key, wanted in sorted(case.service["spec"]["selector"].items()):
        has = labels.get(key)
        if has != wanted:
            said = f"has {key}={has}" if has is not None else f"has no label {key}"
            what = f"the selector wants {key}={wanted}, and the pod {said}"
            namespace, _, pod = _key(case.pod).partition("/")
            remedy = f"kubectl label pod -n {namespace} {pod} {key}={wanted} --overwrite"
            yield Reason("selector", what, case.service_name, f"spec.selector.{key}", remedy)


def _of_pod(case: Case) -> Iterator[Reason]:
    """What the pod lacks, once the Service wants it."""
    if pods.is_finished(case.pod):
        what = f"the pod has ended ({pods.phase(case.pod)}): what has ended serves nobody"
        yield Reason("finished", what, case.pod_name, "status.phase", "its owner makes another one, if it has one")
        return
    yield from _addresses(case)
    yield from _going(case)
    yield from _readiness(case)
    yield from _ports(case)
    if case.pod["spec"].get("hostNetwork"):
        what = "the pod uses its node's network: the endpoint has the node's address"
        yield Reason("host-network", what, case.pod_name, "spec.hostNetwork", blocks=False)


def _addresses(case: Case) -> Iterator[Reason]:
    wanted = backends.families(case.service)
    missing = [family for family in wanted if backends.address_of(case.pod, family) is None]
    if not missing:
        return
    if len(missing) < len(wanted):
        what = f"the pod has no {missing[0]} address; it is an endpoint in the other family alone"
        yield Reason("family", what, case.pod_name, "status.podIPs", blocks=False)
        return
    has_any = any(backends.address_of(case.pod, family) for family in ("IPv4", "IPv6"))
    if has_any:
        what = f"the pod has no address of the Service's family ({', '.join(missing)})"
        yield Reason("family", what, case.service_name, "spec.ipFamilies", "give the pods' network that family")
    elif not pods.node_name(case.pod):
        said = (pods.condition(case.pod, "PodScheduled") or {}).get("message") or "the scheduler has not said why"
        what = f"the pod is on no node yet, so it has no address: {said}"
        yield Reason("unscheduled", what, case.pod_name, "spec.nodeName", "kubectl describe pod tells more")
    else:
        what = f"the pod has no address yet: {pods.node_name(case.pod)} has not started it{_waiting(case.pod)}"
        yield Reason("no-address", what, case.pod_name, "status.podIPs", "wait, or look at the node's agent")


def _going(case: Case) -> Iterator[Reason]:
    if not pods.is_going(case.pod):
        return
    what = "the pod is being deleted; it serves only where no ready endpoint is left, as long as it is ready itself"
    ignored = backends.publishes_not_ready(case.service)
    yield Reason("terminating", what, case.pod_name, "metadata.deletionTimestamp", blocks=not ignored)


def _readiness(case: Case) -> Iterator[Reason]:
    if pods.is_ready(case.pod):
        return
    ignored = backends.publishes_not_ready(case.service)
    for code, what, where, remedy in _unready(case):
        said = f"{what}; publishNotReadyAddresses lets it in all the same" if ignored else what
        yield Reason(code, said, case.pod_name, where, remedy, blocks=not ignored)


def _unready(case: Case) -> Iterator[tuple[str, str, str, str]]:
    """(code, what, field, remedy) of everything that keeps the pod from being ready."""
    found = False
    lost = case.node is not None and (pods.condition(case.node, "Ready") or {}).get("status") != "True"
    if lost:
        found = True
        yield (
            "node",
            f"its node {pods.node_name(case.pod)} is not ready",
            "status.conditions[Ready]",
            "look at the node",
        )
    statuses = case.pod.get("status", {}).get("containerStatuses") or ()
    for status in (each for each in statuses if not each.get("ready")):
        found = True
        code, what = _container(case.pod, status)
        yield code, what, f"status.containerStatuses[{status.get('name')}].ready", _logs(case.pod, status)
    for gate in case.pod["spec"].get("readinessGates") or ():
        name = gate.get("conditionType", "")
        if (pods.condition(case.pod, name) or {}).get("status") != "True":
            found = True
            what = f"its readiness gate {name} is not True"
            yield "gate", what, f"status.conditions[{name}]", "whoever sets that condition has not done so"
    if not found:
        ready = pods.condition(case.pod, "Ready") or {}
        said = ready.get("message") or ready.get("reason") or "its node has not said so yet"
        yield "not-ready", f"the pod is not ready: {said}", "status.conditions[Ready]", ""


def _container(pod: Object, status: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong with a container that is not ready."""
    name, state = status.get("name", ""), status.get("state") or {}
    if "waiting" in state:
        return "container", f"container {name} waits: {_said(state['waiting'])}"
    if "terminated" in state:
        ended = state["terminated"]
        return "container", f"container {name} has ended with exit code {ended.get('exitCode')}: {_said(ended)}"
    if "running" not in state:
        return "container", f"container {name} is not known to run"
    containers: Iterable[Mapping[str, Any]] = pod["spec"].get("containers") or ()
    spec = next((each for each in containers if each.get("name") == name), {})
    if status.get("started") is False and spec.get("startupProbe"):
        return "startup-probe", f"container {name} runs, but its startup probe ({_probe(spec, 'startupProbe')}) fails"
    if spec.get("readinessProbe"):
        return "readiness-probe", f"container {name} runs, but its readiness probe ({_probe(spec)}) fails"
    return "container", f"container {name} runs and is not ready yet"


def _said(state: Mapping[str, Any]) -> str:
    return ": ".join(filter(None, (state.get("reason"), state.get("message")))) or "no reason is given"


def _probe(container: Mapping[str, Any], kind: str = "readinessProbe") -> str:
    """How the probe asks."""
    probe = container[kind]
    if get := probe.get("httpGet"):
        return f"GET {get.get('path', '/')} at port {get.get('port')}"
    if tcp := probe.get("tcpSocket"):
        return f"a connection to port {tcp.get('port')}"
    if run := probe.get("exec"):
        return f"`{' '.join(run.get('command') or ())}`"
    return f"gRPC at port {(probe.get('grpc') or {}).get('port')}"


def _logs(pod: Object, status: Mapping[str, Any]) -> str:
    namespace, _, name = _key(pod).partition("/")
    return f"kubectl logs -n {namespace} {name} -c {status.get('name', '')}; kubectl describe pod -n {namespace} {name}"


def _waiting(pod: Object) -> str:
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    waits = [each["state"]["waiting"] for each in statuses if "waiting" in (each.get("state") or {})]
    return f" ({_said(waits[0])})" if waits else ""


def _ports(case: Case) -> Iterator[Reason]:
    """Target ports that no container names; of numbers, those that nobody declares are only worth a word."""
    ports = case.service["spec"].get("ports") or ()
    served = {(port.name, port.protocol) for port in backends.ports_of(case.service, case.pod)}
    lost = [port for port in ports if (port.get("name") or "", port.get("protocol") or "TCP") not in served]
    for port in lost:
        what, remedy = _missing_port(case.pod, port)
        where = f"spec.ports[{port.get('name') or port['port']}].targetPort"
        yield Reason("target-port", what, case.service_name, where, remedy, blocks=len(lost) == len(ports))
    for port in ports:
        target = port.get("targetPort") or port["port"]
        declared = {number for _, number, _ in declared_ports(case.pod)}
        if isinstance(target, int) and declared and target not in declared:
            what = f"no container declares port {target}; that forbids nothing, but is it the right number?"
            where = f"spec.ports[{port.get('name') or port['port']}].targetPort"
            yield Reason("undeclared-port", what, case.service_name, where, blocks=False)


def _missing_port(pod: Object, port: Mapping[str, Any]) -> tuple[str, str]:
    target, protocol = port.get("targetPort"), port.get("protocol") or "TCP"
    known = sorted(f"{name} ({number}/{its})" for name, number, its in declared_ports(pod) if name)
    other = [its for name, _, its in declared_ports(pod) if name == target]
    if other:
        return f"the pod's port {target} is {other[0]}, the Service asks for {protocol}", f"set protocol: {other[0]}"
    has = f"it has {', '.join(known)}" if known else "its containers name none"
    return f"no container of the pod has a port named {target}: {has}", "name the container's port, or give a number"


def declared_ports(pod: Object) -> list[tuple[str, int, str]]:
    """(name or "", number, protocol) of every port that the pod's containers declare."""
    return [
        (each.get("name") or "", int(each["containerPort"]), each.get("protocol") or "TCP")
        for container in pod["spec"].get("containers") or ()
        for each in container.get("ports") or ()
    ]


def _unwritten(case: Case) -> Reason:
    """The pod should serve and the slices do not say so."""
    if not case.entries:
        what = (
            "nothing keeps it out, and no EndpointSlice of the Service names it: the controller has not written it yet"
        )
        remedy = "is the EndpointSlice controller running?"
        return Reason("slice-missing", what, case.service_name, "EndpointSlices", remedy)
    what = "nothing keeps it out, and its EndpointSlice still says that it is not ready: the slice is behind the pod"
    return Reason("slice-stale", what, case.service_name, "EndpointSlices", "is the EndpointSlice controller running?")


def _entries(pod: Object, slices: Sequence[Object]) -> Iterator[Mapping[str, Any]]:
    """The endpoints that are this pod: by reference, or where a slice has none, by address."""
    addresses = {backends.address_of(pod, family) for family in ("IPv4", "IPv6")}
    for piece in slices:
        for entry in piece.get("endpoints") or ():
            reference = entry.get("targetRef")
            if reference and reference.get("kind") == "Pod":
                same = all(reference.get(key) == pod["metadata"].get(key) for key in ("namespace", "name"))
                same &= reference.get("uid") in (None, "", pod["metadata"].get("uid"))
            else:
                same = bool(addresses.intersection(entry.get("addresses") or ()))
            if same:
                yield entry


def of_service(service: Object, slices: Sequence[Object]) -> list[Object]:
    """The slices that belong to the Service."""
    ours = service["metadata"]
    return [
        piece
        for piece in slices
        if piece["metadata"].get("namespace") == ours.get("namespace")
        and pods.labels(piece).get(SERVICE_NAME) == ours["name"]
    ]


def _condition(entry: Mapping[str, Any], name: str, unsaid: bool) -> bool:
    value = (entry.get("conditions") or {}).get(name)
    return unsaid if value is None else bool(value)


def _key(item: Object) -> str:
    return f"{item['metadata'].get('namespace') or 'default'}/{item['metadata']['name']}"


def text(verdict: Verdict) -> str:
    """The answer for people."""
    serves = f"Pod {verdict.pod} is an endpoint of Service {verdict.service}"
    lines = [
        f"{serves}." if verdict.serves else f"{serves.replace(' is ', ' is not ', 1)} that new connections are led to."
    ]
    if verdict.listed and not verdict.serves:
        lines.append("An EndpointSlice names it, but not as one that serves.")
    if verdict.serves and any(reason.blocks for reason in verdict.reasons):
        lines.append("It will be none any more: its EndpointSlice is behind.")
    for reason in verdict.reasons:
        lines += ["", f"{'-' if reason.blocks else 'note:'} {reason.message}", f"    {reason.object}: {reason.field}"]
        lines += [f"    to change it: {reason.remedy}"] if reason.remedy else []
    return "\n".join(lines)


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The answer for programs."""
    return {
        "pod": verdict.pod,
        "service": verdict.service,
        "listed": verdict.listed,
        "serves": verdict.serves,
        "reasons": [
            {
                "code": each.code,
                "blocks": each.blocks,
                "message": each.message,
                "object": each.object,
                "field": each.field,
                "remedy": each.remedy,
            }
            for each in verdict.reasons
        ],
    }
