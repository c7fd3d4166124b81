"""Probes performed: connections on loopback, programs by a stand-in for the sandbox."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from fairway.pods.errors import SandboxProblem
from fairway.pods.probes import Purpose
from fairway.pods.probing import ContainerProbes, Target, Verdict, perform
from fairway.pods.sandbox import ExecResult
from fairway.pods.view import Container, Probe


class Server:
    """Answers every connection with `answer`; nothing when that is None. Keeps what it was asked."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.asked = b""

    async def __aenter__(self) -> int:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked = await reader.read(65536)
        if self.answer is not None:
            writer.write(self.answer)
            writer.close()


def target(result: ExecResult | Exception | None = None, **fields: Any) -> Target:
    async def run(argv: Sequence[str], timeout: float) -> ExecResult:
        if isinstance(result, Exception):
            raise result
        assert result is not None
        return result

    return Target(msgspec.convert({"name": "web", **fields}, Container), "127.0.0.1", run)


def probe(server: Server | None, action: dict[str, Any], timeout: float = 1.0, at: Target | None = None) -> Verdict:
    async def play() -> Verdict:
        if server is None:
            return await perform(msgspec.convert(action, Probe), at or target(), timeout)
        async with server as port:
            [(kind, details)] = action.items()
            made = msgspec.convert({kind: {"port": port, **details}}, Probe)
            return await perform(made, target(ports=[{"containerPort": port, "name": "http"}]), timeout)

    return asyncio.run(play())


@pytest.mark.parametrize(("code", "passed"), [(200, True), (302, True), (399, True), (400, False), (503, False)])
def test_http_passes_by_status(code: int, passed: bool) -> None:
    verdict = probe(Server(f"HTTP/1.1 {code} X\r\n\r\n".encode()), {"httpGet": {}})
    assert verdict == Verdict(passed, "" if passed else f"HTTP probe failed with statuscode: {code}")


def test_http_asks_for_the_path_with_the_headers() -> None:
    server = Server(b"HTTP/1.0 200 OK\r\n\r\n")
    details = {"port": "http", "path": "healthz", "httpHeaders": [{"name": "host", "value": "me"}]}
    assert probe(server, {"httpGet": details}).passed
    asked = server.asked.decode().split("\r\n")
    assert asked[0] == "GET /healthz HTTP/1.1"
    assert "Host: me" in asked
    assert "User-Agent: kube-probe/1.36" in asked


def test_what_is_not_http_fails() -> None:
    assert probe(Server(b"SSH-2.0-x\r\n"), {"httpGet": {}}).why == "the answer is not HTTP"
    assert not probe(Server(b""), {"httpGet": {}}).passed


def test_silence_fails_in_time() -> None:
    assert probe(Server(None), {"httpGet": {}}, timeout=0.05) == Verdict(False, "no answer within 0.05s")


def test_tcp() -> None:
    assert probe(Server(b""), {"tcpSocket": {}}).passed
    assert "Connect call failed" in probe(None, {"tcpSocket": {"port": 1}}).why


def test_a_port_name_nobody_has_is_told() -> None:
    assert "no port named 'admin'" in probe(None, {"tcpSocket": {"port": "admin"}}).why


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (ExecResult(0, "fine", False), Verdict(True, "fine")),
        (ExecResult(1, "broken\n", False), Verdict(False, "broken")),
        (ExecResult(2, "", False), Verdict(False, "exit code 2")),
        (ExecResult(137, "", True), Verdict(False, "command timed out after 1s")),
        (SandboxProblem("gone"), Verdict(False, "gone")),
    ],
)
def test_exec(result: ExecResult | Exception, verdict: Verdict) -> None:
    assert probe(None, {"exec": {"command": ["x"]}}, at=target(result)) == verdict


def test_an_action_this_agent_does_not_know_fails_with_a_word() -> None:
    assert "this agent knows" in probe(None, {}).why


def watch(container: dict[str, Any], **known: bool) -> list[tuple[bool, bool, str]]:
    """What probes of a container say, from their beginning until they no longer change for a moment."""

    async def play() -> list[tuple[bool, bool, str]]:
        changed = asyncio.Event()
        probes = ContainerProbes(target(ExecResult(1, "no", False), **container), changed.set, lambda *_: None)
        probes.begin(0.0, **known)
        said = [(probes.up, probes.ready, probes.sick)]
        try:
            while not probes.sick:
                changed.clear()
                async with asyncio.timeout(0.2):
                    await changed.wait()
                said.append((probes.up, probes.ready, probes.sick))
        except TimeoutError:
            pass
        await probes.end()
        return said

    return asyncio.run(play())


FAILING = {"exec": {"command": ["x"]}, "failureThreshold": 1}


def test_without_probes_a_container_is_ready_at_once() -> None:
    assert watch({}) == [(True, True, "")]


def test_a_failing_readiness_probe_only_says_not_ready() -> None:
    assert watch({"readinessProbe": FAILING}) == [(True, False, "")]


def test_a_failing_liveness_probe_gives_the_container_up() -> None:
    assert watch({"livenessProbe": FAILING})[-1] == (True, True, Purpose.LIVENESS)


def test_nothing_is_known_before_the_startup_probe_passes() -> None:
    assert watch({"startupProbe": FAILING, "livenessProbe": FAILING}) == [(False, False, "")]


def test_what_an_earlier_agent_found_out_holds_until_proved_otherwise() -> None:
    slow = {**FAILING, "failureThreshold": 3}
    assert watch({"startupProbe": slow, "readinessProbe": slow}, up=True, ready=True) == [(True, True, "")]


@pytest.mark.parametrize(
    ("service", "passes"), [("", True), ("good", True), ("g" * 200, True), ("ill", False), ("other", False)]
)
def test_grpc_asks_for_the_health_of_a_service(service: str, passes: bool) -> None:
    grpc = pytest.importorskip("grpc")
    asked = {b"": 1, b"\x0a\x04good": 1, b"\x0a\xc8\x01" + b"g" * 200: 1, b"\x0a\x03ill": 2}

    async def check(request: bytes, context: Any) -> bytes:
        if request not in asked:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return bytes([8, asked[request]])

    async def play() -> Verdict:
        server = grpc.aio.server()
        method = grpc.unary_unary_rpc_method_handler(check)
        handler = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            action = {"grpc": {"port": port, "service": service}}
            return await perform(msgspec.convert(action, Probe), target(), 2.0)
        finally:
            await server.stop(None)

    verdict = asyncio.run(play())
    assert verdict.passed is passes, verdict
    if service == "other":
        assert verdict.why == "gRPC health check failed: NOT_FOUND: unknown service"


def test_grpc_without_its_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.setitem(sys.modules, "grpc.aio", None)
    verdict = probe(None, {"grpc": {"port": 1}})
    assert not verdict.passed
    assert "need the Python package grpcio" in verdict.why
