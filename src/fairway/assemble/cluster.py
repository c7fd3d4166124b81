"""A lab's life: up (from nothing or over a crashed one), faults, down."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, NoReturn

from fairway.assemble import processes
from fairway.client.base import ApiError, Client, Unreachable
from fairway.client.follow import follow
from fairway.client.informer import Cache, as_dict
from fairway.client.kubeconfig import connect, load
from fairway.kernel.linux import netns
from fairway.lab import build, credentials, relay, supervise, system
from fairway.lab.state import StateDir
from fairway.lab.supervise import Supervisor, Unit
from fairway.lab.topology import Topology
from fairway.objects import kinds

READY_TIMEOUT = 60.0
DOWN_TIMEOUT = 30.0
DNS_PATIENCE = 0.05  # seconds between two questions while the DNS rules are on their way

Tell = Callable[[str, float], None]


class LabError(Exception):
    """The lab cannot do what was asked; the message says what to do."""


def up(topology: Topology, state: StateDir, tell: Tell) -> float:
    """Bring a lab up; returns the seconds it took. `tell` hears each step with the seconds since the beginning.
    Raises LabError; then nothing of the lab is left, unless it started and did not become ready: then it is there to
    be looked at, as the message says."""
    begun = time.monotonic()

    def step(text: str) -> None:
        tell(text, time.monotonic() - begun)

    if topology.etcd and (why := relay.unreachable(topology.etcd)):
        raise LabError(f"no member of the etcd cluster can be reached: {why}")
    _make_room(topology, state, step)
    state.create(topology)
    _start_daemon(topology, state, step)
    try:
        asyncio.run(asyncio.wait_for(_settle(topology, state, step), READY_TIMEOUT))
    except (TimeoutError, Unreachable, ApiError) as error:
        logs = state.logs
        detail = f": {error}" if str(error) else ""
        raise LabError(
            f"the lab did not become ready in {READY_TIMEOUT:.0f} s{detail}; see {logs}/*.log, then `fairway down`"
        ) from error
    return time.monotonic() - begun


def down(state: StateDir) -> None:
    """End the lab and remove what it made. Raises StateError when there is no lab."""
    topology = state.topology()
    if state.supervisor():
        with suppress(OSError, ValueError):
            supervise.request(state, "stop", timeout=DOWN_TIMEOUT)
    if state.exists():  # it had crashed, or did not finish
        build.teardown(state, topology)


def _make_room(topology: Topology, state: StateDir, step: Callable[[str], None]) -> None:
    if state.exists():
        supervisor = state.supervisor()
        if supervisor:
            raise LabError(
                f"lab {topology.name!r} is up already (supervisor pid {supervisor.pid}); `fairway down` ends it"
            )
        build.teardown(state, state.topology())
        step("removed what a crashed lab had left")
    strangers = build.leftovers(topology)
    if strangers:
        raise LabError(
            f"namespace {strangers[0]} exists and no record says that a lab made it; "
            f"remove it (`ip netns delete {strangers[0]}`) or choose another --lab name"
        )


def _start_daemon(topology: Topology, state: StateDir, step: Callable[[str], None]) -> None:
    """Fork the process that will be the supervisor and hear from it until its units are started."""
    reading, writing = os.pipe()
    supervise.freeze()
    if os.fork() == 0:
        os.close(reading)
        _daemon(topology, state, writing)
    os.close(writing)
    with os.fdopen(reading) as reader:
        for line in reader:
            said = json.loads(line)
            if "error" in said:
                raise LabError(said["error"])
            step(said["step"])
            if said.get("last"):
                return
    raise LabError("the supervisor ended without a word")


def _daemon(topology: Topology, state: StateDir, report: int) -> NoReturn:
    """The supervisor's process: detaches, builds, supervises; never returns."""
    os.setsid()
    if os.fork() > 0:
        os._exit(0)
    status = 1
    try:
        supervise.detach(state, "supervisor")
        supervisor = _assemble(topology, state, report)
    except BaseException as error:
        traceback.print_exc()
        with suppress(OSError):
            _say(report, error=f"{type(error).__name__}: {error}")
        build.teardown(state, topology)
        os._exit(status)
    os.close(report)
    try:
        supervisor.run()
        status = 0
    except BaseException:
        traceback.print_exc()
        build.teardown(state, topology)
    finally:
        sys.stdout.flush()
        os._exit(status)


def _assemble(topology: Topology, state: StateDir, report: int) -> Supervisor:
    build.build_network(topology)
    _say(report, step=f"network: segment, {len(topology.nodes)} nodes, control plane, outside client")
    sockets = build.api_sockets(topology)
    credentials.issue(state, topology, sockets[0].getsockname()[1], datetime.datetime.now(datetime.UTC))
    _say(report, step="certificates and kubeconfig")
    supervisor = Supervisor(
        units=units(topology, state, sockets),
        state=state,
        control=build.control_socket(state),
        orders={"kill-node": _kill_node, "start-node": _start_node},
        finish=lambda: build.teardown(state, topology),
    )
    supervise.freeze()
    _say(report, step="processes", last=True)
    return supervisor


def _say(report: int, **words: Any) -> None:
    os.write(report, json.dumps(words).encode() + b"\n")


def units(topology: Topology, state: StateDir, sockets: list[socket.socket]) -> list[Unit]:
    """Every process of the lab but the pods'."""
    control = netns.path(topology.namespace("control"))
    found = [Unit("etcd-relay", lambda: processes.etcd_relay(state, topology))] if topology.etcd else []
    found += [
        Unit(
            "api", lambda: processes.api(state, topology, sockets), control, modules=processes.modules_of_api(topology)
        ),
        Unit("control", lambda: processes.control(state, topology), control),
    ]
    for node in topology.nodes:
        namespace = netns.path(topology.namespace(node.name))
        agent = Unit(f"agent-{node.name}", _bound(processes.agent, state, topology, node.name), namespace, node.name)
        proxy = Unit(f"proxy-{node.name}", _bound(processes.proxy, state, topology, node.name), namespace, node.name)
        found += [agent, replace(proxy, modules=processes.MODULES_OF_PROXIES)]
    return found


def _bound(
    run: Callable[[StateDir, Topology, str], None], state: StateDir, topology: Topology, node: str
) -> Callable[[], None]:
    return lambda: run(state, topology, node)


def _kill_node(supervisor: Supervisor, request: dict[str, Any]) -> dict[str, Any]:
    topology, node = _node_of(supervisor, request)
    build.cut_power(topology, node)
    supervisor.hold([unit.name for unit in supervisor.units if unit.node == node], signal.SIGKILL)
    build.kill_pods(supervisor.state, node)
    return {"node": node, "power": "off"}


def _start_node(supervisor: Supervisor, request: dict[str, Any]) -> dict[str, Any]:
    topology, node = _node_of(supervisor, request)
    build.restore_power(topology, node)
    supervisor.release([unit.name for unit in supervisor.units if unit.node == node])
    return {"node": node, "power": "on"}


def _node_of(supervisor: Supervisor, request: dict[str, Any]) -> tuple[Topology, str]:
    topology = supervisor.state.topology()
    return topology, topology.node(str(request.get("node", ""))).name


async def _settle(topology: Topology, state: StateDir, step: Callable[[str], None]) -> None:
    """Add what a cluster holds of itself and wait until nodes are ready and the DNS Service answers."""
    client = connect(load(str(state.kubeconfig)))
    try:
        for obj in (system.dns_service(topology), *system.dns_account(), system.load_balancer_settings(topology)):
            await _ensure(client, obj)
        step("API server")
        await _ensure(client, system.dns_deployment(topology))
        await _nodes_ready(client, {node.name for node in topology.nodes})
        step("nodes ready")
        await asyncio.to_thread(_dns_answers, topology)
        step(f"cluster DNS answers at {topology.dns_address}")
    finally:
        await client.close()


async def _ensure(client: Client, obj: dict[str, Any]) -> None:
    kind = kinds.by_kind(obj["apiVersion"], obj["kind"])
    if kind is None:
        raise LabError(f"no such kind: {obj['apiVersion']} {obj['kind']}")
    while True:
        try:
            await client.create(kind, obj, obj["metadata"].get("namespace", ""))
            return
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return
            if error.code != 503 and error.reason != "NotFound":  # the namespace is made at the server's start
                raise
        except Unreachable:
            pass
        await asyncio.sleep(0.02)


async def _nodes_ready(client: Client, names: set[str]) -> None:
    cache: Cache[dict[str, Any]] = Cache(as_dict)
    ready = asyncio.Event()

    def look(_: object = None) -> None:
        if names <= {name for (_, name), node in cache.items.items() if _is_ready(node)}:
            ready.set()

    following = asyncio.ensure_future(follow(client, kinds.NODE, cache, on_change=look, on_synced=look))
    try:
        await ready.wait()
    finally:
        following.cancel()


def _is_ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _dns_answers(topology: Topology) -> None:
    """Ask from every node until each has answered: by then rules, endpoints and names stand."""
    import dns.message

    question = dns.message.make_query(f"kubernetes.default.svc.{topology.domain}", "A").to_wire()
    deadline = time.monotonic() + READY_TIMEOUT
    for node in topology.nodes:
        with netns.entered(netns.path(topology.namespace(node.name))):
            while time.monotonic() < deadline and not _asks(topology.dns_address, question):
                time.sleep(DNS_PATIENCE)


def _asks(address: str, question: bytes) -> bool:
    """One question from a fresh socket (a fresh flow: an earlier one may have been tracked before the rules stood)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(0.25)
        try:
            asker.connect((address, 53))
            asker.send(question)
            reply = asker.recv(4096)
        except OSError:
            return False
    return len(reply) > 12 and reply[3] & 0x0F == 0 and reply[6:8] != b"\0\0"


__all__ = ["LabError", "down", "units", "up"]
