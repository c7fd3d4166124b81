"""EDGE. What a node answers over TLS, in the kubelet's words: container logs, its pods, its health."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qs, unquote

import msgspec

from fairway.api.answers import JSON, Answer, Stream, Upgrade
from fairway.api.app import App
from fairway.api.http import Site, context
from fairway.api.intake import Exchange
from fairway.pods import forward, logs, streaming, upgrades
from fairway.pods.channels import NoProtocol, Wanted
from fairway.pods.config import AgentConfig
from fairway.pods.errors import NotFound
from fairway.pods.logs import Query
from fairway.pods.pipes import BarePipe, upgrade_of
from fairway.pods.records import PodDir, pod_dirs
from fairway.pods.view import Pod, seconds_of

TEXT = "text/plain; charset=utf-8"
DOORS = ("/exec/", "/attach/", "/portForward/")
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


class Agent(App):
    """What a node answers. Its doors are connections."""

    def opens(self, exchange: Exchange) -> bool:
        return exchange.path.startswith(DOORS) and upgrade_of(exchange.headers) in upgrades.SERVED


class Server:
    """The handlers; `pods` tells the pods of the node."""

    def __init__(self, config: AgentConfig, pods: Callable[[], Sequence[Pod]]) -> None:
        self._config = config
        self._pods = pods

    def app(self) -> Agent:
        """What is served."""
        return Agent(self.respond, self.connect)

    async def respond(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        certificate: Mapping[str, object] | None = None,
    ) -> Answer | Stream:
        """Answer a request by its parts, as in `api.app`."""
        if method not in ("GET", "HEAD"):
            return _text(405, "only GET is served")
        try:
            match _parts(path):
                case ["containerLogs", namespace, pod, container]:
                    return self._logs(namespace, pod, container, query)
                case ["pods"]:
                    return self._list()
                case ["healthz"]:
                    return Answer(200, b"ok", TEXT)
            self._agree(path, query, headers)  # without an upgrade, this says what is missing
        except (BadQuery, NotFound, NoProtocol) as error:
            return _refused(error)
        return _text(404, "there is nothing here")

    async def connect(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        certificate: Mapping[str, object] | None = None,
    ) -> Answer | Upgrade:
        """Answer a request that asks for an upgrade of its connection, once it is sure that there is something to talk
        to."""
        if method != "GET":
            return _text(405, "only GET is served")
        try:
            return self._agree(path, query, headers) or _text(404, "there is nothing here")
        except (NotFound, NoProtocol) as error:
            return _refused(error)

    def _list(self) -> Answer:
        items = [msgspec.to_builtins(pod) for pod in self._pods()]
        body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
        return Answer(200, msgspec.json.encode(body), JSON)

    def _logs(self, namespace: str, pod: str, container: str, query: str) -> Stream:
        """Raises BadQuery, NotFound."""
        wanted = query_of({name: values[0] for name, values in _query(query).items()}, time.time())
        directory = self._directory(namespace, pod)
        source = logs.source(directory, container, wanted.previous, self._waiting(namespace, pod, container))
        return Stream(logs.read(source, wanted), TEXT)

    def _waiting(self, namespace: str, name: str, container: str) -> str:
        """Why a container waits, as its pod's status says."""
        metadata = (namespace, name)
        pod = next((pod for pod in self._pods() if (pod.metadata.namespace, pod.metadata.name) == metadata), None)
        states = (pod.status.get("containerStatuses") or []) if pod is not None else []
        found = (s["state"].get("waiting") or {} for s in states if s["name"] == container)
        return next(found, {}).get("reason") or "ContainerCreating"

    def _agree(self, path: str, query: str, headers: Mapping[str, str]) -> Upgrade | None:
        """Raises NotFound, NoProtocol."""
        match _parts(path):
            case ["exec", namespace, pod, container]:
                return self._session(self._directory(namespace, pod), container, query, headers, streaming.run_program)
            case ["attach", namespace, pod, container]:
                return self._session(
                    self._directory(namespace, pod), container, query, headers, streaming.attach_container
                )
            case ["portForward", namespace, pod]:
                dial = forward.dialer(self._directory(namespace, pod))
                head, serve = upgrades.forwarding(headers, _query(query), dial)
                return Upgrade(head, lambda reader, writer: serve(BarePipe(reader, writer)))
        return None

    def _session(
        self, directory: PodDir, container: str, query: str, headers: Mapping[str, str], session: streaming.Session
    ) -> Upgrade:
        streaming.check_runs(directory, container)
        head, make = upgrades.channels(headers)
        wanted = Wanted.of(_query(query))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            channels = make(BarePipe(reader, writer))
            try:
                if await channels.greet(wanted):
                    await channels.finish(await session(channels, directory, container, wanted))
            finally:
                await channels.end()

        return Upgrade(head, serve)

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


def _parts(path: str) -> list[str]:
    return [unquote(part) for part in path.split("/")[1:]]


def _query(text: str) -> dict[str, list[str]]:
    return parse_qs(text, keep_blank_values=True)


def _text(code: int, text: str) -> Answer:
    return Answer(code, f"{text}\n".encode(), TEXT)


def _refused(error: BadQuery | NotFound | NoProtocol) -> Answer:
    return _text(404 if isinstance(error, NotFound) and error.absent else 400, str(error))


async def serve(config: AgentConfig, pods: Callable[[], Sequence[Pod]]) -> None:
    """Serve until cancelled."""
    tls = context(config.cert_file, config.key_file, config.client_ca_file or None, required=True)
    site = Site(Server(config, pods).app(), tls)
    family = socket.AF_INET6 if ":" in config.node_ip else socket.AF_INET
    await site.open([socket.create_server((config.node_ip, config.port), family=family)])
    try:
        await asyncio.Event().wait()
    finally:
        await site.close()
