"""The Node object a node keeps of itself (pure), and its Lease."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fairway.network import flannel
from fairway.node import HOSTNAME_LABEL
from fairway.pods.config import AgentConfig
from fairway.pods.status import merge_conditions
from fairway.pods.view import micro_timestamp_of, seconds_of, timestamp_of

LEASE_NAMESPACE = "kube-node-lease"
LEASE_ROUNDS = 4  # heartbeats that may be missed: the lease lasts this many times their interval (kubelet: 10 s, 40 s)
STATUS_SECONDS = 300.0  # how old the heartbeat in the status may get when nothing else changes, as the kubelet's

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Machine:
    """What the node runs on; memory in bytes."""

    cpus: int
    memory: int
    architecture: str
    kernel: str
    os_image: str
    machine_id: str
    boot_id: str


def labels(config: AgentConfig, machine: Machine) -> dict[str, str]:
    """The labels a node gives itself; the configured ones win."""
    own = {HOSTNAME_LABEL: config.node_name}
    for prefix in ("kubernetes.io", "beta.kubernetes.io"):
        own |= {f"{prefix}/os": "linux", f"{prefix}/arch": machine.architecture}
    return {**own, **config.labels}


def node(config: AgentConfig, machine: Machine) -> Object:
    """The Node to register; its status comes afterwards."""
    metadata = {"name": config.node_name, **metadata_patch(config, machine)["metadata"]}
    spec = {"podCIDR": config.pod_cidrs[0], "podCIDRs": list(config.pod_cidrs)} if config.pod_cidrs else {}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}


def metadata_patch(config: AgentConfig, machine: Machine) -> Object:
    """What a registered Node must carry: a merge patch."""
    notes = flannel.annotations(config.node_name, config.node_ip)
    return {"metadata": {"labels": labels(config, machine), "annotations": notes}}


def lacks(present: Mapping[str, Any], patch: Mapping[str, Any]) -> bool:
    """Whether the object's metadata is without something of `metadata_patch`."""
    metadata = present.get("metadata") or {}
    return any(
        (metadata.get(part) or {}).get(name) != value
        for part, wanted in patch["metadata"].items()
        for name, value in wanted.items()
    )


def status_patch(present: Mapping[str, Any], config: AgentConfig, machine: Machine, ready: bool, now: float) -> Object:
    """A merge patch for the status; {} when what the API has is still true and its heartbeat recent."""
    old = present.get("status") or {}
    conditions = merge_conditions(old.get("conditions") or [], list(_conditions(ready)), now)
    before = {condition["type"]: condition for condition in old.get("conditions") or []}
    wanted: Object = {
        "addresses": [
            *({"type": "InternalIP", "address": address} for address in config.node_ips),
            {"type": "Hostname", "address": config.node_name},
        ],
        "capacity": capacity(config, machine),
        "allocatable": capacity(config, machine),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.port}},
        "nodeInfo": _node_info(config, machine),
    }
    same = all(old.get(name) == value for name, value in wanted.items()) and all(
        _said(condition) == _said(before.get(condition["type"], {})) for condition in conditions
    )
    if same and not _stale(before, now):
        return {}
    mine = {condition["type"] for condition in _conditions(ready)}
    beat = [{**c, "lastHeartbeatTime": timestamp_of(now)} if c["type"] in mine else c for c in conditions]
    return {"status": {**wanted, "conditions": beat}}


def _said(condition: Mapping[str, Any]) -> tuple[Any, Any]:
    return condition.get("status"), condition.get("reason")


def _stale(before: Mapping[str, Mapping[str, Any]], now: float) -> bool:
    beat = before.get("Ready", {}).get("lastHeartbeatTime")
    return not beat or now - seconds_of(beat) >= STATUS_SECONDS


def _conditions(ready: bool) -> Iterator[Object]:
    for kind, what in (("Memory", "memory"), ("Disk", "disk space"), ("PID", "process ids")):
        yield _condition(f"{kind}Pressure", False, f"AgentHasSufficient{kind}", f"the node has enough {what}")
    if ready:
        yield _condition("NetworkUnavailable", False, "FlannelIsUp", "bridge and overlay are laid")
        yield _condition("Ready", True, "AgentReady", "the node agent runs and pods can have addresses")
    else:
        yield _condition("NetworkUnavailable", True, "NoPodRange", "waiting for spec.podCIDR")
        yield _condition("Ready", False, "NetworkNotReady", "the pod network is not laid yet")


def _condition(kind: str, holds: bool, reason: str, message: str) -> Object:
    return {"type": kind, "status": "True" if holds else "False", "reason": reason, "message": message}


def capacity(config: AgentConfig, machine: Machine) -> dict[str, str]:
    """What the node has, all of it for pods: nothing is set aside."""
    return {"cpu": str(machine.cpus), "memory": f"{machine.memory // 1024}Ki", "pods": str(config.max_pods)}


def _node_info(config: AgentConfig, machine: Machine) -> Object:
    return {
        "machineID": machine.machine_id,
        "systemUUID": machine.machine_id,
        "bootID": machine.boot_id,
        "kernelVersion": machine.kernel,
        "osImage": machine.os_image,
        "containerRuntimeVersion": f"fairway://{config.version.lstrip('v')}",
        "kubeletVersion": config.version,
        "kubeProxyVersion": config.version,
        "operatingSystem": "linux",
        "architecture": machine.architecture,
    }


def lease(config: AgentConfig, uid: str, now: float) -> Object:
    """The node's Lease, owned by its Node (`uid`) so that it goes with it."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": config.node_name, "uid": uid}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": config.node_name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
        "spec": {
            "holderIdentity": config.node_name,
            "leaseDurationSeconds": max(1, round(config.heartbeat_seconds * LEASE_ROUNDS)),
            "renewTime": micro_timestamp_of(now),
        },
    }
