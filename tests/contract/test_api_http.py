"""The server on a real socket: TLS, client certificates, logs of a node's agent, slow and rude clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from fairway.api.answers import Stream
from fairway.api.app import App
from fairway.api.http import serve
from fairway.api.nodes import HttpNodeClient
from fairway.api.server import Api
from fairway.api.subresources import NodeError
from fairway.store.memory import MemoryStore
from tests.contract.served import Served, issue, served
from tests.contract.session import CONFIG, config_map, pod

PODS = "/api/v1/namespaces/default/pods"
TOKEN = {"Authorization": "Bearer token"}


class SayingNode:
    """A node whose agent answers with what it was asked."""

    async def logs(
        self, address: str, port: int, namespace: str, pod: str, container: str, query: Mapping[str, str]
    ) -> AsyncGenerator[bytes, None]:
        if pod == "mute":
            raise NodeError("no such container", 404)

        async def lines() -> AsyncGenerator[bytes, None]:
            yield f"{address}:{port} {namespace}/{pod}/{container}\n".encode()
            yield json.dumps(dict(query)).encode()

        return lines()

    async def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("http"), nodes=SayingNode()) as running:
        yield running


def context(cluster: Served, client: str = "") -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(cluster.folder / "ca.crt"))
    if client:
        made.load_cert_chain(cluster.folder / f"{client}.crt", cluster.folder / f"{client}.key")
    return made


def ask(
    cluster: Served, method: str, path: str, body: Any = None, headers: Mapping[str, str] = TOKEN, client: str = ""
) -> tuple[int, Any]:
    connection = HTTPSConnection("127.0.0.1", cluster.port, context=context(cluster, client), timeout=5)
    connection.request(method, path, None if body is None else json.dumps(body), dict(headers))
    response = connection.getresponse()
    data = response.read()
    connection.close()
    kind = response.headers.get_content_type()
    return response.status, json.loads(data) if kind == "application/json" else data.decode()


def test_a_client_certificate_is_an_identity_and_a_strange_one_is_none(cluster: Served) -> None:
    assert ask(cluster, "GET", PODS, headers={}, client="client")[0] == 200
    code, status = ask(cluster, "GET", PODS, headers={})
    assert code == 403 and 'User "system:anonymous" cannot list resource "pods"' in status["message"]
    issue("stranger").save(cluster.folder, "stranger")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(cluster, "GET", PODS, headers={}, client="stranger")


def test_tokens_open_and_wrong_ones_do_not(cluster: Served) -> None:
    assert ask(cluster, "GET", PODS)[0] == 200
    assert ask(cluster, "GET", PODS, headers={"Authorization": "Bearer wrong"})[0] == 401


def test_anybody_may_ask_how_it_is(cluster: Served) -> None:
    assert ask(cluster, "GET", "/healthz", headers={}) == (200, "ok")
    code, text = ask(cluster, "GET", "/readyz?verbose", headers={})
    assert code == 200 and text == "[+]ping ok\n[+]bootstrap ok\nreadyz check passed\n"
    assert ask(cluster, "GET", "/version", headers={})[1]["minor"] == "36"
    assert ask(cluster, "GET", "/api", headers={})[0] == 403


def test_one_connection_serves_many_requests(cluster: Served) -> None:
    connection = HTTPSConnection("127.0.0.1", cluster.port, context=context(cluster), timeout=5)
    for _ in range(3):
        connection.request("GET", PODS, headers=TOKEN)
        assert json.loads(connection.getresponse().read())["kind"] == "PodList"
    connection.close()


def test_logs_come_from_the_agent_of_the_pods_node(cluster: Served) -> None:
    node = {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": "node-a"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "10.0.0.11"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        },
    }
    assert ask(cluster, "POST", "/api/v1/nodes", node)[0] == 201
    for name in ("talker", "mute"):
        ask(cluster, "POST", PODS, pod(name))
        binding = {"kind": "Binding", "apiVersion": "v1", "target": {"kind": "Node", "name": "node-a"}}
        assert ask(cluster, "POST", f"{PODS}/{name}/binding", binding)[0] == 201
    code, text = ask(cluster, "GET", f"{PODS}/talker/log?tailLines=5&follow=true&unknown=1")
    assert (code, text) == (200, '10.0.0.11:10250 default/talker/c\n{"follow": "true", "tailLines": "5"}')
    code, status = ask(cluster, "GET", f"{PODS}/mute/log")
    assert (code, status["message"]) == (400, "no such container")


def test_a_watch_arrives_line_by_line_and_ends_with_its_client(cluster: Served) -> None:
    store = cluster.api.handlers.store
    before = len(store._log.watchers)  # type: ignore[attr-defined]
    connection = HTTPSConnection("127.0.0.1", cluster.port, context=context(cluster), timeout=5)
    connection.request("GET", "/api/v1/namespaces/default/configmaps?watch=1", headers=TOKEN)
    response = connection.getresponse()
    ask(cluster, "POST", "/api/v1/namespaces/default/configmaps", config_map("seen"))
    event = json.loads(response.readline())
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "seen")
    assert len(store._log.watchers) == before + 1  # type: ignore[attr-defined]
    response.close()
    connection.close()
    for _ in range(50):
        ask(cluster, "GET", "/healthz")
        if len(store._log.watchers) == before:  # type: ignore[attr-defined]
            break
    assert len(store._log.watchers) == before  # type: ignore[attr-defined]


def test_rubbish_instead_of_http_does_not_hurt(cluster: Served) -> None:
    with socket.create_connection(("127.0.0.1", cluster.port), timeout=5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        plain.recv(100)
    raw = socket.create_connection(("127.0.0.1", cluster.port), timeout=5)
    with context(cluster).wrap_socket(raw, server_hostname="127.0.0.1") as wrapped:
        wrapped.sendall(b"\x00\x01\x02 nonsense\r\n\r\n")
        assert b"400" in wrapped.recv(200)
    assert ask(cluster, "GET", "/healthz")[0] == 200


def test_headers_have_an_end(cluster: Served) -> None:
    raw = socket.create_connection(("127.0.0.1", cluster.port), timeout=5)
    with context(cluster).wrap_socket(raw, server_hostname="127.0.0.1") as wrapped:
        wrapped.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        with pytest.raises(OSError):
            for _ in range(500):
                wrapped.sendall(b"x" * 100_000)
    assert ask(cluster, "GET", "/healthz")[0] == 200


def test_a_head_that_is_too_large_is_told_so(cluster: Served) -> None:
    raw = socket.create_connection(("127.0.0.1", cluster.port), timeout=5)
    with context(cluster).wrap_socket(raw, server_hostname="127.0.0.1") as wrapped:
        wrapped.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 65536)
        wrapped.settimeout(0.2)
        answer = b""
        while not answer:
            # What is read counts, not what is sent: go on until the server has read enough.
            wrapped.sendall(b"x" * 1024)
            with contextlib.suppress(TimeoutError):
                answer = wrapped.recv(65536)
    assert answer.startswith(b"HTTP/1.1 431 ") and b'"code":431' in answer
    assert ask(cluster, "GET", "/healthz")[0] == 200


def test_a_long_body_is_no_long_header(cluster: Served) -> None:
    large = config_map("large")
    large["data"] = {"a": "x" * 900_000}
    assert ask(cluster, "POST", "/api/v1/namespaces/default/configmaps", large)[0] == 201


def test_an_agent_is_asked_over_tls_by_its_path(cluster: Served) -> None:
    asked: list[bytes] = []

    async def agent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        if b"absent" in asked[-1]:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\nno such\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\none\ntwo\nthr\n")
        await writer.drain()
        writer.close()

    async def story() -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(cluster.folder / "server.crt", cluster.folder / "server.key")
        server = await asyncio.start_server(agent, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        trusting = HttpNodeClient(context(cluster))
        chunks = await trusting.logs("127.0.0.1", port, "default", "p", "c", {"tailLines": "2"})
        assert b"".join([chunk async for chunk in chunks]) == b"one\ntwo\nthr\n"
        assert asked == [b"GET /containerLogs/default/p/c?tailLines=2 HTTP/1.1"]
        with pytest.raises(NodeError, match=r"^no such$") as caught:
            await trusting.logs("127.0.0.1", port, "default", "absent", "c", {})
        assert caught.value.code == 404
        await trusting.close()
        wary = HttpNodeClient()
        with pytest.raises(NodeError, match="does not answer"):
            await wary.logs("127.0.0.1", port, "default", "p", "c", {})
        await wary.close()
        server.close()

    asyncio.run(story())


def test_an_agent_that_is_not_there_is_a_node_error() -> None:
    async def story() -> None:
        client = HttpNodeClient()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        with pytest.raises(NodeError, match="does not answer"):
            await client.logs("127.0.0.1", port, "default", "p", "c", {})
        await client.close()

    asyncio.run(story())


def test_files_that_are_missing_are_an_error_of_the_start(tmp_path: Path) -> None:
    missing = str(tmp_path / "server.crt")
    start = serve(
        Api(MemoryStore(), CONFIG), [], certfile=missing, keyfile=missing, client_ca=None, stop=asyncio.Event()
    )
    with pytest.raises(FileNotFoundError):
        asyncio.run(start)


def test_a_reader_that_stands_still_costs_a_buffer_and_then_its_stream(cluster: Served) -> None:
    piece = b"x" * 65536
    pulled = 0

    async def story() -> None:
        closed = asyncio.Event()

        async def endless() -> AsyncGenerator[bytes, None]:
            nonlocal pulled
            try:
                while True:
                    pulled += 1
                    yield piece
            finally:
                closed.set()

        async def respond(*_: object) -> Stream:
            return Stream(endless())

        api = Api(MemoryStore(), CONFIG)
        api.app = App(respond, api.connect, write_seconds=0.5)
        stop = asyncio.Event()
        listener = socket.create_server(("127.0.0.1", 0))
        files = {"certfile": str(cluster.folder / "server.crt"), "keyfile": str(cluster.folder / "server.key")}
        serving = asyncio.create_task(serve(api, [listener], **files, client_ca=None, stop=stop))
        _, writer = await asyncio.open_connection(*listener.getsockname(), ssl=context(cluster), limit=1024)
        writer.write(b"GET /api/v1/pods?watch=true HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.wait_for(closed.wait(), 10)
        writer.transport.abort()
        stop.set()
        await serving

    asyncio.run(story())
    # What the two ends' sockets and the server's own buffer hold, and no more.
    assert 1 < pulled < 16 * 1024 * 1024 / len(piece)


def test_requests_sent_ahead_are_answered_in_order_over_one_connection(cluster: Served) -> None:
    paths = ["/healthz", PODS, "/readyz", "/version", "/livez"] * 3
    asked = b"".join(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token\r\n\r\n".encode() for path in paths
    )
    raw = socket.create_connection(("127.0.0.1", cluster.port), timeout=5)
    with context(cluster).wrap_socket(raw, server_hostname="127.0.0.1") as wrapped:
        wrapped.sendall(asked + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: wrapped.recv(65536), b""))
    bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert len(bodies) == len(paths) + 1
    kinds = [json.loads(body).get("kind", "version") if body != b"ok" else "ok" for body in bodies]
    assert kinds == ["ok", "PodList", "ok", "version", "ok"] * 3 + ["ok"]
