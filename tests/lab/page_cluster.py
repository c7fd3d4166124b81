"""A small cluster for the page: an API server in memory with objects that nobody but the test writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fairway.client.base import Client
from fairway.client.kubeconfig import connect, load
from fairway.objects import kinds

Object = dict[str, Any]
NODES = {"node-a": ("10.0.0.11", "10.244.0.0/24"), "node-b": ("10.0.0.12", "10.244.1.0/24")}
LONG = "a-pod-whose-name-goes-on-and-on-as-those-of-deployments-do-7d4b9c"
PODS = {
    "web-1": ("node-a", "10.244.0.5"),
    "web-2": ("node-b", "10.244.1.5"),
    "shell": ("node-a", "10.244.0.9"),
    LONG: ("node-b", "10.244.1.77"),
}
READY = {"conditions": [{"type": "Ready", "status": "True"}]}


def service(name: str, cluster_ip: str, port: int, **spec: Any) -> Object:
    ports = [{"port": port, "targetPort": 8080, **({"nodePort": 30080} if spec.get("type") == "NodePort" else {})}]
    told = {"clusterIP": cluster_ip, "selector": {"app": name}, "ports": ports, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": told}


def slice_of(name: str, *pods: str, ready: bool = True) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [PODS[pod][1]],
                "nodeName": PODS[pod][0],
                "conditions": {"ready": ready},
                "targetRef": {"kind": "Pod", "namespace": "default", "name": pod},
            }
            for pod in pods
        ],
    }


def ask(kubeconfig: Path, work: Callable[[Client], Awaitable[None]]) -> None:
    """Do something with a client of the cluster, in a thread: where a browser is driven, a loop runs already."""

    async def talk() -> None:
        client = connect(load(str(kubeconfig)))
        try:
            await work(client)
        finally:
            await client.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, talk()).result()


async def populate(client: Client) -> None:
    """Two nodes; `web` with an endpoint on each, at node port 30080, too; `nobody` without any; `local`, which has two
    on node-b and asks for local ones."""
    for name, (address, pods) in NODES.items():
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"podCIDRs": [pods]}}
        await client.create(kinds.NODE, node)
        status = {"status": {"addresses": [{"type": "InternalIP", "address": address}], **READY}}
        await client.patch(kinds.NODE, name, status, subresource="status")
    for name, (node, address) in PODS.items():
        spec = {"nodeName": node, "containers": [{"name": "c", "image": "pause", "ports": [{"containerPort": 8080}]}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        await client.create(kinds.POD, pod, "default")
        status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], **READY}}
        await client.patch(kinds.POD, name, status, "default", subresource="status")
    for made in (
        service("web", "10.96.0.80", 80, type="NodePort"),
        service("nobody", "10.96.0.81", 80),
        service("local", "10.96.0.82", 80, internalTrafficPolicy="Local"),
    ):
        await client.create(kinds.SERVICE, made, "default")
    await client.create(kinds.ENDPOINT_SLICE, slice_of("web", "web-1", "web-2"), "default")
    await client.create(kinds.ENDPOINT_SLICE, slice_of("local", "web-2", LONG), "default")
