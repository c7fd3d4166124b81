"""What diagnoses need of a cluster: the objects behind a question, by name."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from fairway.assemble.inquiring import Cluster
from fairway.client.base import ApiError, Client, Object
from fairway.control import pods, whynot
from fairway.objects import kinds


class DiagnosisError(Exception):
    """The question names something that is not there; the message says what."""


def why_not(cluster: Cluster, pod: str, service: str, namespace: str) -> whynot.Verdict:
    """Why the pod is no endpoint of the Service, or that it is. Both are NAME (in `namespace`) or NAMESPACE/NAME.
    Raises DiagnosisError, and what the client raises."""
    return asyncio.run(_why_not(cluster.client(), pod, service, namespace))


async def _why_not(client: Client, pod_said: str, service_said: str, namespace: str) -> whynot.Verdict:
    try:
        pod = await _named(client, kinds.POD, pod_said, namespace)
        service = await _named(client, kinds.SERVICE, service_said, namespace)
        there = service["metadata"]["namespace"]
        listed = (await client.list(kinds.ENDPOINT_SLICE, there)).items
        slices = whynot.of_service(service, [msgspec.json.decode(raw) for raw in listed])
        node = await _node(client, pods.node_name(pod))
    finally:
        await client.close()
    return whynot.why_not(whynot.Case(pod, service, slices, node))


async def _named(client: Client, kind: kinds.Kind, said: str, namespace: str) -> Object:
    there, _, name = said.removeprefix(f"{kind.name.lower()}/").rpartition("/")
    try:
        found: dict[str, Any] = await client.get(kind, name, there or namespace)
    except ApiError as error:
        raise DiagnosisError(f"{kind.name} {there or namespace}/{name}: {error.message}") from error
    return found


async def _node(client: Client, name: str) -> Object | None:
    """The pod's Node; None where there is none, or where one may not ask for it."""
    try:
        return await client.get(kinds.NODE, name) if name else None
    except ApiError:
        return None
