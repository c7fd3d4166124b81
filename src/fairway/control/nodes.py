"""Node lifecycle: a node that is silent too long is Unknown, its pods stop being endpoints at once and are deleted
after a while; and each node's range of pod addresses. Pure.

Silence is measured by our own clock from the last change seen of the node's Lease (or of its own heartbeat), so that
clocks of nodes need not agree.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairway.client.base import Object
from fairway.control import pods
from fairway.control.scheduler import tolerates
from fairway.control.times import parse, stamp
from fairway.control.writes import Delete, Note, Plan, Tell, Update, Write
from fairway.node import Network
from fairway.objects.kinds import NODE, POD

LEASE_NAMESPACE = "kube-node-lease"
UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_KEYS = (UNREACHABLE, NOT_READY, UNSCHEDULABLE)
SILENT = "NodeStatusUnknown"
"""The reason of conditions that were set because the node is silent."""
POD_REASON = "NodeNotReady"
"""The reason of a pod's Ready=False that was set because its node is silent."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds of silence after which a node is Unknown, and seconds from then until its pods are deleted."""

    grace: float
    eviction: float


def heartbeat(node: Object, lease: Object | None) -> tuple[str, str]:
    """What changes when the node gives a sign of life, and only then: we never touch either of the two."""
    renewed = str((lease or {}).get("spec", {}).get("renewTime") or "")
    return renewed, str((pods.condition(node, "Ready") or {}).get("lastHeartbeatTime") or "")


def is_news(beat: tuple[str, str], known: tuple[str, str]) -> bool:
    """Whether `beat` is a sign of life after `known`. A sign that vanished is none: a deleted Lease says nothing."""
    return any(now and now != before for now, before in zip(beat, known, strict=True))


def plan(node: Object, members: Iterable[Object], silence: float, patience: Patience, now: float) -> Plan:
    """The next writes for a node that has been silent for `silence` seconds and has the pods `members` bound to it."""
    silent = silence >= patience.grace
    judged = _judge(node, silent, now)
    if judged is not None:
        return Plan([judged])
    tainted = _taint(node, now)
    if tainted is not None:
        return Plan([tainted])
    ready = (pods.condition(node, "Ready") or {}).get("status")
    if ready == "Unknown":
        return _abandon(node, list(members), patience, now)
    again = None if silent else patience.grace - silence
    return Plan([write for pod in members if (write := _restored(pod, now)) is not None], again)


def _judge(node: Object, silent: bool, now: float) -> Update | None:
    """Set the conditions of a node that fell silent to Unknown, and back when it is heard again."""
    ready = pods.condition(node, "Ready") or {}
    if silent and ready.get("status") != "Unknown":
        names = [each["type"] for each in node.get("status", {}).get("conditions") or ()]
        result = node
        for name in dict.fromkeys([*names, "Ready"]):
            result = pods.with_condition(result, _unknown(name), stamp(now))
        note = Note(
            NODE, node, "Normal", "NodeNotReady", f"Node {node['metadata']['name']} status is now: NodeNotReady"
        )
        return Update(NODE, result, "status", note)
    if not silent and ready.get("status") == "Unknown" and ready.get("reason") == SILENT:
        conditions = node.get("status", {}).get("conditions") or ()
        result = node
        for each in conditions:
            if each.get("reason") == SILENT:
                result = pods.with_condition(result, _heard(each["type"]), stamp(now))
        note = Note(NODE, node, "Normal", "NodeReady", f"Node {node['metadata']['name']} status is now: NodeReady")
        return Update(NODE, result, "status", note)
    return None


def _unknown(name: str) -> Mapping[str, str]:
    return {
        "type": name,
        "status": "Unknown",
        "reason": SILENT,
        "message": "The node agent has stopped renewing its lease.",
    }


def _heard(name: str) -> Mapping[str, str]:
    status = "True" if name == "Ready" else "False"
    return {
        "type": name,
        "status": status,
        "reason": "LeaseRenewed",
        "message": "The node agent renews its lease again.",
    }


def _taint(node: Object, now: float) -> Update | None:
    """Bring the taints that follow from conditions in line."""
    spec = node.get("spec", {})
    taints = spec.get("taints") or []
    wanted = _wanted_taints(node)
    kept = [each for each in taints if each.get("key") not in _KEYS or (each["key"], each.get("effect")) in wanted]
    present = {(each.get("key"), each.get("effect")) for each in kept}
    added: list[dict[str, Any]] = [
        {"key": key, "effect": effect, **({"timeAdded": stamp(now)} if effect == "NoExecute" else {})}
        for key, effect in wanted
        if (key, effect) not in present
    ]
    if not added and len(kept) == len(taints):
        return None
    rest = {name: value for name, value in spec.items() if name != "taints"}
    return Update(NODE, {**node, "spec": {**rest, "taints": [*kept, *added]} if kept or added else rest})


def _wanted_taints(node: Object) -> list[tuple[str, str]]:
    status = (pods.condition(node, "Ready") or {}).get("status")
    wanted = []
    if status == "Unknown":
        wanted += [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]
    elif status == "False":
        wanted += [(NOT_READY, "NoSchedule")]
    if node.get("spec", {}).get("unschedulable"):
        wanted += [(UNSCHEDULABLE, "NoSchedule")]
    return wanted


def _abandon(node: Object, members: Sequence[Object], patience: Patience, now: float) -> Plan:
    """Take the pods of a silent node out of service, and delete those whose patience is at its end."""
    since = parse((pods.condition(node, "Ready") or {}).get("lastTransitionTime")) or now
    writes: list[Write] = []
    waits = []
    for pod in members:
        wait = _patience(pod, patience.eviction)
        if wait is not None and since + wait <= now:
            writes.append(_evict(node, pod))
            continue
        if wait is not None:
            waits.append(since + wait - now)
        if pods.is_ready(pod):
            writes.append(_set_ready(pod, "False", POD_REASON, now))
    return Plan(writes, min(waits, default=None))


def _patience(pod: Object, default: float) -> float | None:
    """Seconds that the pod stays bound to an unreachable node, None for ever: as its own tolerations of the taint say,
    or `default`."""
    taint = {"key": UNREACHABLE, "effect": "NoExecute"}
    matching = [each for each in pod["spec"].get("tolerations") or () if tolerates(each, taint)]
    if not matching:
        return default
    limits = [each["tolerationSeconds"] for each in matching if each.get("tolerationSeconds") is not None]
    return float(min(limits)) if limits else None


def _evict(node: Object, pod: Object) -> Delete:
    metadata = pod["metadata"]
    message = (
        f"Deleting pod {metadata['namespace']}/{metadata['name']}: node {node['metadata']['name']} does not answer"
    )
    told = Note(POD, pod, "Normal", "TaintManagerEviction", message)
    # Grace 0: no agent is there to confirm that the containers have ended.
    return Delete(POD, metadata["namespace"], metadata["name"], metadata["uid"], grace_seconds=0, told=told)


def _set_ready(pod: Object, status: str, reason: str, now: float) -> Update:
    condition = {"type": "Ready", "status": status, "reason": reason}
    return Update(POD, pods.with_condition(pod, condition, stamp(now)), "status")


def _restored(pod: Object, now: float) -> Update | None:
    """Ready again, if it was its node's silence alone that made it unready."""
    ready, containers = pods.condition(pod, "Ready") or {}, pods.condition(pod, "ContainersReady") or {}
    ours = ready.get("status") == "False" and ready.get("reason") == POD_REASON
    return _set_ready(pod, "True", "", now) if ours and containers.get("status") == "True" else None


def assign(node: Object, used: Iterable[str], ranges: Sequence[tuple[Network, int]]) -> Plan:
    """Give the node one pod range of each cluster range (`ranges`: network and the prefix length of a node's part)
    that none of `used` (CIDR texts) overlaps; an event when a range is full. Nodes that have ranges keep them."""
    spec = node.get("spec", {})
    if spec.get("podCIDR") or pods.is_going(node):
        return Plan()
    taken = [ipaddress.ip_network(each) for each in used]
    chosen = [_free(network, length, taken) for network, length in ranges]
    if not chosen or None in chosen:
        message = f"Node {node['metadata']['name']} gets no pod range: the cluster's ranges are used up"
        return Plan([Tell(Note(NODE, node, "Warning", "CIDRNotAvailable", message))])
    texts = [str(each) for each in chosen]
    return Plan([Update(NODE, {**node, "spec": {**spec, "podCIDR": texts[0], "podCIDRs": texts}})])


def _free(network: Network, length: int, taken: Sequence[Network]) -> Network | None:
    """The first part of `network` that overlaps nothing taken."""
    width = network.max_prefixlen - length
    first, last = int(network.network_address) >> width, int(network.broadcast_address) >> width
    blocked: set[int] = set()
    for each in taken:
        if each.version == network.version and each.overlaps(network):
            start, end = int(each.network_address) >> width, int(each.broadcast_address) >> width
            blocked.update(range(max(start, first), min(end, last) + 1))
    index = next((each for each in range(first, last + 1) if each not in blocked), None)
    if index is None:
        return None
    address = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
    return ipaddress.ip_network(f"{address(index << width)}/{length}")
