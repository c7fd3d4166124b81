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

_HANDED_ON = ("upgrade", "connection", "x-stream-protocol-version")
# What the agent calls the query's switches (as kubelets do) by what the API calls them.
_SWITCHES = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}


@dataclass(frozen=True, slots=True)
class _Place:
    """An agent's address and port, and the path to ask it for."""

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
            raise _failure(request.target, error) from error

    async def refuse(self, request: Request, query: str) -> status.Failure:
        """Why a request for a door that asks for no upgrade goes no further. The agent is asked here, too: it looks
        at the container before it looks for a protocol, which this time it is not offered."""
        place = await self._locate(request.target, query)
        try:
            tunnel = await self._nodes.connect(*place.agent, place.path, {})
        except NodeError as error:
            return _failure(request.target, error)
        tunnel.writer.close()
        return status.internal("the agent agreed to an upgrade that it was not asked for")

    async def _locate(self, target: Target, query: str) -> _Place:
        pod = await load(self._store, target)
        asked = parse_qs(query)
        path = f"{quote(target.namespace)}/{quote(target.name)}"
        if target.subresource == "portforward":
            ports = urlencode({"ports": asked["ports"]}, doseq=True) if "ports" in asked else ""
            path = f"/portForward/{path}?{ports}".rstrip("?")
        else:
            container = container_of(pod, asked.get("container", [""])[0])
            path = f"/{target.subresource}/{path}/{quote(container)}?{_options(target, asked)}"
        node = pod["spec"].get("nodeName", "")
        if not node:
            raise status.bad_request(f"pod {target.name} does not have a host assigned")
        return _Place(agent_endpoint(await load(self._store, Target(NODE, "v1", "", node))), path)


def _failure(target: Target, error: NodeError) -> status.Failure:
    """What the agent's refusal is to the client."""
    if error.code == 404:
        return status.Failure(404, "NotFound", str(error))
    if 400 <= error.code < 500:
        return status.bad_request(str(error))
    return status.internal(f"the agent behind pod {target.name} gave no connection: {error}")


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
