"""EDGE. What a node answers over TLS, in the kubelet's words: container logs, its pods, its health."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
from aiohttp import web

from fairway.pods import forward, logs, streaming, upgrades
from fairway.pods.channels import NoProtocol, Wanted
from fairway.pods.config import AgentConfig
from fairway.pods.errors import NotFound
from fairway.pods.logs import Query
from fairway.pods.records import PodDir, pod_dirs
from fairway.pods.view import Pod, seconds_of

_TRUE = frozenset({"1", "t", "T", "true", "True", "TRUE"})


class BadQuery(ValueError):
    """A query parameter that does not parse; the message names it."""


def query_of(parameters: Mapping[str, str], now: float) -> Query:
    """The PodLogOptions in a request's query. Raises BadQuery."""
    since = None
    if parameters.get("sinceSeconds"):
        since = now - _number(parameters, "sinceSeconds", 0)
    elif parameters.get("sinceTime"):
        try:
            since = seconds_of(parameters["sinceTime"])
        except ValueError:
            raise BadQuery(f"sinceTime: {parameters['sinceTime']!r} is no RFC 3339 time") from None
    return Query(
        follow=parameters.get("follow") in _TRUE,
        previous=parameters.get("previous") in _TRUE,
        timestamps=parameters.get("timestamps") in _TRUE,
        tail=_number(parameters, "tailLines", 0) if parameters.get("tailLines") else None,
        since=since,
        limit=_number(parameters, "limitBytes", 1) if parameters.get("limitBytes") else None,
    )


def _number(parameters: Mapping[str, str], name: str, least: int) -> int:
    text = parameters[name]
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise BadQuery(f"{name}: {text!r} must be a whole number of at least {least}")
    return int(text)


class Server:
    """The handlers; `pods` tells the pods of the node."""

    def __init__(self, config: AgentConfig, pods: Callable[[], Sequence[Pod]]) -> None:
        self._config = config
        self._pods = pods

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        app.router.add_get("/exec/{namespace}/{pod}/{container}", self._exec)
        app.router.add_get("/attach/{namespace}/{pod}/{container}", self._attach)
        app.router.add_get("/portForward/{namespace}/{pod}", self._forward)
        app.router.add_get("/pods", self._list)
        app.router.add_get("/healthz", self._healthz)
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _list(self, _: web.Request) -> web.Response:
        items = [msgspec.to_builtins(pod) for pod in self._pods()]
        body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
        return web.Response(text=json.dumps(body), content_type="application/json")

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        try:
            query = query_of(request.query, time.time())
            namespace, pod, container = (request.match_info[part] for part in ("namespace", "pod", "container"))
            directory = self._directory(namespace, pod)
            source = logs.source(directory, container, query.previous, self._waiting(namespace, pod, container))
        except BadQuery as error:
            return web.Response(status=400, text=f"{error}\n")
        except NotFound as error:
            return web.Response(status=404 if error.absent else 400, text=f"{error}\n")
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        async for piece in logs.read(source, query):
            await response.write(piece)
        await response.write_eof()
        return response

    def _waiting(self, namespace: str, name: str, container: str) -> str:
        """Why a container waits, as its pod's status says."""
        metadata = (namespace, name)
        pod = next((pod for pod in self._pods() if (pod.metadata.namespace, pod.metadata.name) == metadata), None)
        states = (pod.status.get("containerStatuses") or []) if pod is not None else []
        found = (s["state"].get("waiting") or {} for s in states if s["name"] == container)
        return next(found, {}).get("reason") or "ContainerCreating"

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        return await self._stream(request, streaming.run_program)

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        return await self._stream(request, streaming.attach_container)

    async def _stream(self, request: web.Request, serve: streaming.Session) -> web.StreamResponse:
        """Agree to the upgrade once it is sure that there is something to talk to."""
        container = request.match_info["container"]
        try:
            directory = self._directory(request.match_info["namespace"], request.match_info["pod"])
            streaming.check_runs(directory, container)
            channels = await upgrades.channels(request)
        except NotFound as error:
            return web.Response(status=404 if error.absent else 400, text=f"{error}\n")
        except NoProtocol as error:
            return web.Response(status=400, text=f"{error}\n")
        wanted = Wanted.of(request.query)
        try:
            if await channels.greet(wanted):
                await channels.finish(await serve(channels, directory, container, wanted))
        finally:
            await channels.end()
        return channels.response

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        try:
            dial = forward.dialer(self._directory(request.match_info["namespace"], request.match_info["pod"]))
            return await upgrades.forwarding(request, dial)
        except NotFound as error:
            return web.Response(status=404 if error.absent else 400, text=f"{error}\n")
        except NoProtocol as error:
            return web.Response(status=400, text=f"{error}\n")

    def _directory(self, namespace: str, name: str) -> PodDir:
        found = [
            d
            for d in pod_dirs(self._config.state_dir)
            if (r := d.read()) and (r.namespace, r.name) == (namespace, name)
        ]
        if not found:
            raise NotFound(f'pod "{name}" not found on node {self._config.node_name}', absent=True)
        living = {pod.uid for pod in self._pods()}
        return next((d for d in found if d.path.name in living), found[0])


def _tls(config: AgentConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config.cert_file, config.key_file)
    if config.client_ca_file:
        context.load_verify_locations(config.client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def serve(config: AgentConfig, pods: Callable[[], Sequence[Pod]]) -> None:
    """Serve until cancelled."""
    app = Server(config, pods).app()
    # Handlers are cancelled when their client is gone: whatever they wait for, it would be in vain.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, config.node_ip, config.port, ssl_context=_tls(config), reuse_address=True)
        await site.start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
