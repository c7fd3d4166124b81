"""Which node an unbound pod goes to: one that is ready and allowed, with the fewest pods of the same owner. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fairway.client.base import Object
from fairway.control import pods
from fairway.control.times import stamp
from fairway.control.writes import Note, Plan, Post, Tell, Update, Write
from fairway.objects.kinds import POD
from fairway.objects.selectors import Requirement

SCHEDULER = "default-scheduler"
_KEEPS_OUT = ("NoSchedule", "NoExecute")
_NO_MATCH = "node(s) didn't match Pod's node affinity/selector"


_NO_PORTS = "node(s) didn't have free ports for the requested pod ports"
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})

HostPort: TypeAlias = tuple[str, int, str]
"""Protocol, port, and the node's address it is taken at ("" for all)."""


@dataclass
class Load:
    """How full the nodes are: pods on each by node name, among them those of the same owner, and what host ports are
    taken (where that matters)."""

    all: Counter[str] = field(default_factory=Counter)
    same: Counter[str] = field(default_factory=Counter)
    ports: dict[str, list[HostPort]] = field(default_factory=dict)


def is_ours(pod: Object) -> bool:
    """Whether the pod waits for this scheduler."""
    spec = pod.get("spec", {})
    return (
        not spec.get("nodeName")
        and not pods.is_finished(pod)
        and not pods.is_going(pod)
        and not spec.get("schedulingGates")
        and (spec.get("schedulerName") or SCHEDULER) == SCHEDULER
    )


def host_ports(pod: Object) -> list[HostPort]:
    """The ports a pod takes of its node: those of containers, and of init containers that go on beside them."""
    spec = pod["spec"]
    beside = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    ports = [port for container in (*spec["containers"], *beside) for port in container.get("ports") or ()]
    return [
        (port.get("protocol") or "TCP", port["hostPort"], port.get("hostIP") or "")
        for port in ports
        if port.get("hostPort")
    ]


def conflict(one: HostPort, other: HostPort) -> bool:
    """Whether two pods cannot have these on one node; an address for all stands against each."""
    if one[:2] != other[:2]:
        return False
    return one[2] == other[2] or bool({one[2], other[2]} & _EVERYWHERE)


def choose(pod: Object, nodes: Sequence[Object], load: Load) -> tuple[str, Counter[str]]:
    """(the best node's name, {}), or ("", how many nodes each reason keeps out)."""
    reasons: Counter[str] = Counter()
    fitting = []
    for node in nodes:
        reason = obstacle(pod, node, load)
        if reason:
            reasons[reason] += 1
        else:
            fitting.append(node["metadata"]["name"])
    if not fitting:
        return "", reasons
    return min(fitting, key=lambda name: (load.same[name], load.all[name], name)), Counter()


def obstacle(pod: Object, node: Object, load: Load) -> str:
    """Why the pod cannot go to the node; "" when it can."""
    spec = node.get("spec", {})
    if spec.get("unschedulable") and not _tolerates(pod, {"key": _UNSCHEDULABLE, "effect": "NoSchedule"}):
        return "node(s) were unschedulable"
    for taint in spec.get("taints") or ():
        if taint.get("effect") in _KEEPS_OUT and not _tolerates(pod, taint):
            return f"node(s) had untolerated taint {{{taint.get('key', '')}: {taint.get('value', '')}}}"
    if not pods.is_ready(node):
        return "node(s) were not ready"
    if not _wants(pod, node):
        return _NO_MATCH
    if any(conflict(port, taken) for port in host_ports(pod) for taken in load.ports.get(node["metadata"]["name"], ())):
        return _NO_PORTS
    most = str((node.get("status", {}).get("allocatable") or {}).get("pods", ""))
    return "Too many pods" if most.isdecimal() and load.all[node["metadata"]["name"]] >= int(most) else ""


_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


def _tolerates(pod: Object, taint: Mapping[str, Any]) -> bool:
    return any(tolerates(each, taint) for each in pod["spec"].get("tolerations") or ())


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether one toleration covers a taint: an empty key or effect covers all, `Exists` covers all values."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def _wants(pod: Object, node: Object) -> bool:
    """Whether nodeSelector and required node affinity allow the node."""
    spec, labels = pod["spec"], dict(pods.labels(node))
    if not (spec.get("nodeSelector") or {}).items() <= labels.items():
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(_term_matches(term, node, labels) for term in required.get("nodeSelectorTerms") or ())


_OPERATORS: Mapping[str, Any] = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
    "Gt": ">",
    "Lt": "<",
}


def _term_matches(term: Mapping[str, Any], node: Object, labels: Mapping[str, str]) -> bool:
    """All expressions of a term must hold; a term without any holds for no node."""
    fields = {"metadata.name": node["metadata"]["name"]}
    checks = [(each, labels) for each in term.get("matchExpressions") or ()]
    checks += [(each, fields) for each in term.get("matchFields") or ()]
    return bool(checks) and all(_expression_holds(each, values) for each, values in checks)


def _expression_holds(expression: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    operator = _OPERATORS.get(expression.get("operator", ""))
    if operator is None:
        return False
    return Requirement(expression["key"], operator, tuple(expression.get("values") or ())).matches(values)


def plan(pod: Object, node: str, reasons: Mapping[str, int], nodes: int, now: float) -> Plan:
    """The writes that bind the pod to `node`, or, when that is "", that say why no node of `nodes` will do."""
    metadata = pod["metadata"]
    if node:
        told = Note(
            POD,
            pod,
            "Normal",
            "Scheduled",
            f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {node}",
        )
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        return Plan([Post(POD, metadata["namespace"], metadata["name"], "binding", binding, told)])
    message = explain(reasons, nodes)
    writes: list[Write] = [Tell(Note(POD, pod, "Warning", "FailedScheduling", message))]
    old = pods.condition(pod, "PodScheduled") or {}
    if (old.get("status"), old.get("message")) != ("False", message):
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        writes.append(Update(POD, pods.with_condition(pod, condition, stamp(now)), "status"))
    return Plan(writes)


def explain(reasons: Mapping[str, int], nodes: int) -> str:
    """`0/3 nodes are available: 1 node(s) were not ready, 2 ...`."""
    if not nodes:
        return "no nodes available to schedule pods"
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    return f"0/{nodes} nodes are available: {listed}."
