"""EDGE. Probes and lifecycle hooks performed: connections from the node's namespace, programs in the pod's."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fairway.packet import host_port
from fairway.pods import probes
from fairway.pods.errors import PodError
from fairway.pods.probes import Purpose, Track
from fairway.pods.sandbox import ExecResult
from fairway.pods.view import Container, GrpcAction, Handler, HttpGet, Probe, TcpSocket

USER_AGENT = "kube-probe/1.36"  # servers that keep probes out of their logs look for this prefix

RunProgram = Callable[[Sequence[str], float], Awaitable[ExecResult]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an action went well, and if not, why."""

    passed: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What actions act on: a container, the address its ports are at, and a way to run programs beside it."""

    container: Container
    address: str
    run: RunProgram


async def perform(action: Handler, target: Target, timeout: float) -> Verdict:
    """Do a probe's or hook's action within `timeout` seconds."""
    try:
        if action.exec is not None:
            return _verdict_of(await target.run(action.exec.command, timeout), timeout)
        async with asyncio.timeout(timeout):
            if action.http_get is not None:
                return await _http_get(action.http_get, target)
            if action.tcp_socket is not None:
                return await _tcp_connect(action.tcp_socket, target)
            if action.grpc is not None:
                return await _grpc_health(action.grpc, target, timeout)
            if action.sleep is not None:
                await asyncio.sleep(action.sleep.seconds)
                return Verdict(True)
    except TimeoutError:
        return Verdict(False, f"no answer within {timeout:g}s")
    except (OSError, PodError) as error:
        return Verdict(False, str(error))
    return Verdict(False, "this agent knows exec, httpGet, tcpSocket, grpc and sleep actions only")


def _verdict_of(result: ExecResult, timeout: float) -> Verdict:
    if result.expired:
        return Verdict(False, f"command timed out after {timeout:g}s")
    return Verdict(result.code == 0, result.output.strip() or f"exit code {result.code}")


def _port(port: int | str, target: Target) -> int:
    number = target.container.port_number(port)
    if number is None:
        raise PodError(f"container {target.container.name} has no port named {port!r}")
    return number


async def _tcp_connect(action: TcpSocket, target: Target) -> Verdict:
    _, writer = await asyncio.open_connection(action.host or target.address, _port(action.port, target))
    writer.close()
    return Verdict(True)


async def _http_get(action: HttpGet, target: Target) -> Verdict:
    host, port = action.host or target.address, _port(action.port, target)
    secure = _unverified_tls() if action.scheme == "HTTPS" else None
    reader, writer = await asyncio.open_connection(host, port, ssl=secure, limit=65536)
    try:
        writer.write(_request(action, host_port(host, port)))
        words = (await reader.readline()).decode("latin-1").split(None, 2)
        if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
            return Verdict(False, "the answer is not HTTP")
        if 200 <= int(words[1]) < 400:
            return Verdict(True)
        return Verdict(False, f"HTTP probe failed with statuscode: {words[1]}")
    finally:
        writer.close()


def _request(action: HttpGet, authority: str) -> bytes:
    headers = {"Host": authority, "User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close"}
    given = {header.name.title(): header.value for header in action.http_headers}
    path = action.path if action.path.startswith("/") else "/" + action.path
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (headers | given).items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _grpc_health(action: GrpcAction, target: Target, timeout: float) -> Verdict:
    """Ask by the gRPC health checking protocol (grpc.health.v1.Health/Check), in plain text as the kubelet does."""
    try:
        import grpc.aio  # an extra of its own: hardly any pod is probed so
    except ImportError:
        return Verdict(False, "gRPC probes need the Python package grpcio, which is not installed on this node")
    question = _health_question(action.service)
    try:
        async with grpc.aio.insecure_channel(host_port(target.address, action.port)) as channel:
            answer: bytes = await channel.unary_unary("/grpc.health.v1.Health/Check")(question, timeout=timeout)
    except grpc.RpcError as error:
        return Verdict(False, f"gRPC health check failed: {error.code().name}: {error.details()}")
    serving = answer[:2] == b"\x08\x01"  # HealthCheckResponse{1: SERVING}
    return Verdict(serving, "" if serving else "service unhealthy (responded without SERVING)")


def _health_question(service: str) -> bytes:
    """HealthCheckRequest{1: service} as protobuf writes it; lengths from 128 on take a second byte."""
    text = service.encode()
    length = bytes([len(text)]) if len(text) < 128 else bytes([len(text) & 0x7F | 0x80, len(text) >> 7])
    return b"\x0a" + length + text if text else b""


def _unverified_tls() -> ssl.SSLContext:
    """As the kubelet probes: pods' certificates are their own affair."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class ContainerProbes:
    """The probes of one attempt of a container. `up` says that the startup probe is over, `ready` what readiness says,
    `sick` which probe gave the container up ("" none). `on_change` is called when one of these changed, `on_failure`
    for each failure that counts."""

    def __init__(
        self,
        target: Target,
        on_change: Callable[[], None],
        on_failure: Callable[[Purpose, str], None],
    ) -> None:
        self.up = False
        self.ready = False
        self.sick = ""
        self._target = target
        self._on_change = on_change
        self._on_failure = on_failure
        self._started = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, age: float, *, up: bool = False, ready: bool = False) -> None:
        """Start probing a container that has run for `age` seconds; `up` and `ready` are what an earlier agent had
        found out about this very attempt."""
        container = self._target.container
        started = asyncio.get_running_loop().time() - age
        if up or container.startup_probe is None:
            self._come_up()
        self.ready = ready or (self.up and container.readiness_probe is None)
        for purpose, probe, known in (
            (Purpose.STARTUP, container.startup_probe, self.up),
            (Purpose.READINESS, container.readiness_probe, ready),
            (Purpose.LIVENESS, container.liveness_probe, up),
        ):
            if probe is not None and not (purpose is Purpose.STARTUP and self.up):
                track = probes.begin(probe, purpose, started)
                self._watch(purpose, probe, probes.known_good(track) if known else track)

    def _watch(self, purpose: Purpose, probe: Probe, track: Track) -> None:
        name = f"{purpose} probe of {self._target.container.name}"
        self._tasks.append(asyncio.create_task(self._rounds(purpose, probe, track), name=name))

    async def _rounds(self, purpose: Purpose, probe: Probe, track: Track) -> None:
        loop = asyncio.get_running_loop()
        if purpose is not Purpose.STARTUP:
            await self._started.wait()
            track = probes.delayed(track, loop.time())
        while not (purpose is Purpose.STARTUP and track.result is True):
            await asyncio.sleep(max(0.0, track.next_at - loop.time()))
            verdict = await perform(probe, self._target, probe.timeout_seconds)
            before, track = track, probes.record(track, probe, verdict.passed, loop.time())
            if probes.counted(before, track):
                self._on_failure(purpose, verdict.why)
            if track.result is not None:
                self._conclude(purpose, track.result)

    def _conclude(self, purpose: Purpose, result: bool) -> None:
        before = (self.up, self.ready, self.sick)
        if purpose is Purpose.READINESS:
            self.ready = result
        elif not result:
            self.sick = purpose.value
        elif purpose is Purpose.STARTUP:
            self._come_up()
            self.ready = self.ready or self._target.container.readiness_probe is None
        if (self.up, self.ready, self.sick) != before:
            self._on_change()

    def _come_up(self) -> None:
        self.up = True
        self._started.set()

    async def end(self) -> None:
        """Stop probing."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()
