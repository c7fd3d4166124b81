"""Doors into pods over real sockets: who gets through, what is handed on, and that bytes flow both ways."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fairway.api.answers import Tunnel
from fairway.api.nodes import HttpNodeClient
from fairway.api.subresources import NodeError
from tests.contract.served import Served, issue, served

NODE = {
    "kind": "Node",
    "apiVersion": "v1",
    "metadata": {"name": "node-a"},
    "status": {
        "addresses": [{"type": "InternalIP", "address": "10.0.0.11"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
    },
}
POD = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "p"},
    "spec": {"nodeName": "node-a", "containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]},
}
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "a2V5"}


class EchoingAgent:
    """An agent that agrees to everything but pod `gone`, and says every line back."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, str, dict[str, str]]] = []

    async def connect(self, address: str, port: int, path: str, headers: Mapping[str, str]) -> Tunnel:
        self.asked.append((address, port, path, dict(headers)))
        if "/gone" in path:
            raise NodeError("container c does not run (now)", 400)
        if "upgrade" not in headers:
            raise NodeError("this is served to WebSocket clients", 400)
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=theirs)
        self.echo = asyncio.ensure_future(_echo(*await asyncio.open_connection(sock=ours)))
        return Tunnel(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", reader, writer)

    async def close(self) -> None:
        pass


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data.upper())
        await writer.drain()
    writer.close()


AGENT = EchoingAgent()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("api"), nodes=AGENT) as running:  # type: ignore[arg-type]
        for path, obj in (
            ("/api/v1/nodes", NODE),
            ("/api/v1/namespaces/default/pods", POD),
            ("/api/v1/namespaces/default/pods", {**POD, "metadata": {"name": "gone"}}),
        ):
            assert b" 201 " in talk(running, "POST", path, {}, json.dumps(obj).encode())[0]
        yield running


def connection(cluster: Served, certificate: bool = True) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(cluster.folder / "ca.crt"))
    if certificate:
        context.load_cert_chain(cluster.folder / "client.crt", cluster.folder / "client.key")
    handle = socket.create_connection(("127.0.0.1", cluster.port), timeout=10)
    return context.wrap_socket(handle, server_hostname="127.0.0.1")


def ask(handle: ssl.SSLSocket, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Send a request; the head of its answer."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers.items())]
    handle.sendall("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = handle.recv(1)
        assert piece, head
        head += piece
    return head


def talk(
    cluster: Served, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", certificate: bool = True
) -> tuple[bytes, Any]:
    """A request that gets a whole answer: its first line and its object."""
    with connection(cluster, certificate) as handle:
        head = ask(handle, method, path, headers | {"Connection": headers.get("Connection", "close")}, body)
        rest = b"".join(iter(lambda: handle.recv(65536), b""))
        return head.splitlines()[0], json.loads(rest)


def test_bytes_flow_both_ways_until_the_client_leaves(cluster: Served) -> None:
    path = "/api/v1/namespaces/default/pods/p/exec?command=cat&command=-n&container=d&stdin=true&stdout=true&tty=false"
    headers = UPGRADE | {"Authorization": "", "Sec-WebSocket-Protocol": "v5.channel.k8s.io", "Cookie": "mine"}
    with connection(cluster) as handle:
        assert ask(handle, "GET", path, headers).startswith(b"HTTP/1.1 101 ")
        sent = bytes(range(97, 123)) * 40_000
        received = b""
        for start in range(0, len(sent), 65536):
            handle.sendall(sent[start : start + 65536])
            wanted = min(start + 65536, len(sent))
            while len(received) < wanted:
                received += handle.recv(65536)
        assert received == sent.upper()
    address, port, asked, handed = AGENT.asked[-1]
    assert (address, port) == ("10.0.0.11", 10250)
    assert asked == "/exec/default/p/d?input=1&output=1&command=cat&command=-n"
    assert handed == {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "a2V5",
        "sec-websocket-protocol": "v5.channel.k8s.io",
    }, "neither credentials nor cookies are the agent's business"


def test_a_port_forward_names_no_container(cluster: Served) -> None:
    with connection(cluster) as handle:
        path = "/api/v1/namespaces/default/pods/p/portforward?ports=80,81&ports=82&more=1"
        headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "portforward.k8s.io"}
        assert ask(handle, "POST", path, headers).startswith(b"HTTP/1.1 101 ")
    assert AGENT.asked[-1][2] == "/portForward/default/p?ports=80%2C81&ports=82"


def test_a_spdy_client_gets_through_with_all_the_protocols_it_speaks(cluster: Served) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "v4.channel.k8s.io"}
    more = "X-Stream-Protocol-Version: v3.channel.k8s.io"
    with connection(cluster) as handle:
        path = "/api/v1/namespaces/default/pods/p/exec?command=ls&stdout=1&container=c"
        assert ask(handle, "POST", path, headers | {"X-Other": f"1\r\n{more}"}).startswith(b"HTTP/1.1 101 ")
        handle.sendall(b"frames")
        assert handle.recv(100) == b"FRAMES"
    handed = AGENT.asked[-1][3]
    assert handed["upgrade"] == "SPDY/3.1"
    assert handed["x-stream-protocol-version"] == "v4.channel.k8s.io, v3.channel.k8s.io"


@pytest.mark.parametrize(
    ("path", "code", "why"),
    [
        ("absent/exec?command=ls&stdout=1", 404, 'pods "absent" not found'),
        ("p/exec?command=ls&stdout=1", 400, "a container name must be specified for pod p, choose one of: [c d]"),
        ("p/exec?command=ls&stdout=1&container=e", 400, "container e is not valid for pod p"),
        ("p/exec?stdout=1&container=c", 400, "you must specify at least one command for the container"),
        ("p/exec?command=ls&container=c", 400, "at least one of stdin, stdout and stderr must be asked for"),
        ("p/attach?stderr=1&tty=1&container=c", 400, "tty and stderr cannot both be asked for"),
        ("gone/attach?stdout=1&container=c", 400, "container c does not run (now)"),
        ("gone/portforward", 400, "container c does not run (now)"),
    ],
)
def test_a_door_that_does_not_open_says_why(cluster: Served, path: str, code: int, why: str) -> None:
    first, status = talk(cluster, "GET", f"/api/v1/namespaces/default/pods/{path}", UPGRADE)
    assert b" %d " % code in first
    assert (status["kind"], status["code"]) == ("Status", code) and why in status["message"]


def test_strangers_do_not_get_in(cluster: Served) -> None:
    path = "/api/v1/namespaces/default/pods/p/exec?command=ls&stdout=1&container=c"
    before = len(AGENT.asked)
    first, status = talk(cluster, "GET", path, UPGRADE, certificate=False)
    assert b" 403 " in first and 'cannot create resource "pods/exec"' in status["message"]
    first, _ = talk(cluster, "GET", path, UPGRADE | {"Authorization": "Bearer wrong"}, certificate=False)
    assert b" 401 " in first
    assert len(AGENT.asked) == before


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_upgrade_to_something_else_is_answered_and_not_left_hanging(cluster: Served, method: str) -> None:
    base = "/api/v1/namespaces/default/pods/{}/exec?command=ls&stdout=1&container=c"
    for path, why in ((base.format("p"), "WebSocket"), (base.format("gone"), "container c does not run (now)")):
        with connection(cluster) as handle:
            head = ask(handle, method, path, {"Connection": "Upgrade", "Upgrade": "h2c"})
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            status = json.loads(handle.recv(length))
        assert head.startswith(b"HTTP/1.1 400 ") and why in status["message"]


def test_elsewhere_an_upgrade_is_not_taken_up(cluster: Served) -> None:
    with connection(cluster) as handle:
        assert ask(handle, "GET", "/api/v1/namespaces", UPGRADE).startswith(b"HTTP/1.1 200 ")


def test_the_agent_is_asked_over_tls_and_its_refusal_is_told(tmp_path: Path) -> None:
    authority = issue("ca")
    authority.save(tmp_path, "ca")
    issue("node", authority).save(tmp_path, "node")
    agent_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    agent_tls.load_cert_chain(tmp_path / "node.crt", tmp_path / "node.key")

    async def agent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/refused" in head:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\nno such\n")
        elif b"/broken" not in head:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nhello")
        writer.close()

    async def story() -> None:
        server = await asyncio.start_server(agent, "127.0.0.1", 0, ssl=agent_tls)
        port = server.sockets[0].getsockname()[1]
        client = HttpNodeClient(ssl.create_default_context(cafile=str(tmp_path / "ca.crt")))
        tunnel = await client.connect("127.0.0.1", port, "/exec", {"upgrade": "websocket"})
        assert tunnel.head.endswith(b"Upgrade: websocket\r\n\r\n")
        assert await tunnel.reader.read() == b"hello"
        tunnel.writer.close()
        with pytest.raises(NodeError, match=r"^no such$") as caught:
            await client.connect("127.0.0.1", port, "/refused", {})
        assert caught.value.code == 404
        with pytest.raises(NodeError, match="broke off"):
            await client.connect("127.0.0.1", port, "/broken", {})
        with pytest.raises(NodeError, match="does not answer"):
            await HttpNodeClient().connect("127.0.0.1", port, "/exec", {})
        server.close()

    asyncio.run(story())
