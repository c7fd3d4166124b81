"""Doors that keep a connection open into a pod: exec, attach, port-forward.

The server decides who may and which node is asked; what then flows is between the client and that node's agent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from fairway.api import status
from fairway.api.answers import Tunnel
from fairway.api.requests import Request, Target
from fairway.api.subresources import NodeClient, NodeError, agent_endpoint, container_of, load
from fairway.objects.kinds import NODE
from fairway.store.base import Store

Object = dict[str, Any]

_HANDED_ON = ("upgrade", "connection")
# What the agent calls the query's switches (as kubelets do) by what the API calls them.
_SWITCHES = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}


@dataclass(frozen=True, slots=True)
class _Place:
    """A container ("" for port-forward, which is the pod's) and the agent's address and path for it."""

    pod: Object
    container: str
    agent: tuple[str, int]
    path: str


class Connector:
    """Finds the agent behind a door and opens the way to it."""

    def __init__(self, store: Store, nodes: NodeClient) -> None:
        self._store = store
        self._nodes = nodes

    async def open(self, request: Request, query: str, headers: Mapping[str, str]) -> Tunnel:
        """A connection on which the pod's agent has agreed to the client's upgrade. `query` is the URL's own, since a
        command is a parameter that repeats. Raises 400, 404, 500."""
        place = await self._locate(request.target, query)
        handed = {n: v for n, v in headers.items() if n in _HANDED_ON or n.startswith("sec-websocket-")}
        try:
            return await self._nodes.connect(*place.agent, place.path, handed)
        except NodeError as error:
            if error.code == 404:
                raise status.Failure(404, "NotFound", str(error)) from error
            if 400 <= error.code < 500:
                raise status.bad_request(str(error)) from error
            why = f"the agent behind pod {request.target.name} gave no connection: {error}"
            raise status.internal(why) from error

    async def refuse(self, request: Request, query: str) -> status.Failure:
        """Why a request for a door that is no WebSocket goes no further: what is wrong with it anyhow, or the way
        it wants to talk. Clients whose WebSocket was refused try SPDY next, and tell only what that was answered."""
        place = await self._locate(request.target, query)
        if place.container and not _runs(place.pod, place.container):
            return status.bad_request(f"container {place.container} does not run (now)")
        return status.bad_request(
            f"pods/{request.target.subresource} is served to WebSocket clients (sub-protocols v5.channel.k8s.io and "
            "v4.channel.k8s.io, kubectl 1.31 and newer); an upgrade to SPDY is not"
        )

    async def _locate(self, target: Target, query: str) -> _Place:
        pod = await load(self._store, target)
        asked = parse_qs(query)
        container = ""
        place = f"{quote(target.namespace)}/{quote(target.name)}"
        if target.subresource == "portforward":
            path = f"/portForward/{place}?{urlencode({'port': asked.get('ports') or []}, doseq=True)}"
        else:
            container = container_of(pod, asked.get("container", [""])[0])
            path = f"/{target.subresource}/{place}/{quote(container)}?{_options(target, asked)}"
        node = pod["spec"].get("nodeName", "")
        if not node:
            raise status.bad_request(f"pod {target.name} does not have a host assigned")
        return _Place(pod, container, agent_endpoint(await load(self._store, Target(NODE, "v1", "", node))), path)


def _runs(pod: Object, container: str) -> bool:
    """Whether the pod's status says that the container runs."""
    found = pod.get("status") or {}
    statuses = [*(found.get("containerStatuses") or []), *(found.get("initContainerStatuses") or [])]
    return any(one.get("name") == container and (one.get("state") or {}).get("running") is not None for one in statuses)


def _options(target: Target, asked: Mapping[str, Sequence[str]]) -> str:
    """PodExecOptions and PodAttachOptions as the agent reads them."""
    wanted = {theirs: "1" for ours, theirs in _SWITCHES.items() if asked.get(ours, [""])[-1].lower() in ("true", "1")}
    if not wanted.keys() - {"tty"}:
        raise status.bad_request("at least one of stdin, stdout and stderr must be asked for")
    if "tty" in wanted and "error" in wanted:
        raise status.bad_request("tty and stderr cannot both be asked for: a terminal has one output")
    if target.subresource == "attach":
        return urlencode(wanted)
    if not asked.get("command"):
        raise status.bad_request("you must specify at least one command for the container")
    return urlencode([*wanted.items(), *(("command", word) for word in asked["command"])])
