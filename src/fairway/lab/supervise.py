"""The lab's supervisor: forks its processes from one warm image, starts them again when they die, takes orders.

Everything is imported once, before the first fork: a component starts in milliseconds and its pages are shared. The
supervisor is supervised too: a standby process waits for its end and takes its place, finding the units by pid and
start time, so that no single `kill -9` ends the lab.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from fairway.kernel.linux import netns
from fairway.lab.state import Process, StateDir

SETTLED = 1.0  # seconds a unit must live to be started again at once
FIRST_DELAY, LAST_DELAY = 0.1, 5.0
STOP_GRACE = 3.0  # seconds between SIGTERM and SIGKILL
REQUEST_TIMEOUT = 2.0
MAX_REQUEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Unit:
    """A process of the lab: `run` is called in a fresh fork inside the network namespace at path `namespace` ("": the
    host's). `node` names the node that dies with it ("": none). `modules` are imported before the fork, so that
    its like share them."""

    name: str
    run: Callable[[], None]
    namespace: str = ""
    node: str = ""
    modules: tuple[str, ...] = ()


@dataclass(slots=True)
class _Running:
    process: Process
    handle: int  # pidfd
    since: float


Orders = Mapping[str, Callable[["Supervisor", dict[str, Any]], dict[str, Any]]]


@dataclass(slots=True)
class Supervisor:
    """Keeps `units` running. `orders` are what the control socket accepts beyond `status` and `stop`; `finish` is
    called once everything has stopped."""

    units: Sequence[Unit]
    state: StateDir
    control: socket.socket
    orders: Orders
    finish: Callable[[], None]
    running: dict[str, _Running] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)  # unit -> when it is started again
    delays: dict[str, float] = field(default_factory=dict)  # unit -> its last delay
    restarts: dict[str, int] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)  # units that are off by order
    _stopping: socket.socket | None = None
    _stop: bool = False

    def run(self) -> None:
        """Supervise until told to stop (order `stop` or SIGTERM), then end every unit and `finish`."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_terminate)
        self._adopt()
        for unit in self.units:
            if unit.name not in self.running and unit.name not in self.held:
                self._start(unit)
        self._start_standby()
        while not self._stop:
            self._turn()
        self._end()

    def hold(self, names: Sequence[str], number: int = signal.SIGKILL) -> None:
        """End these units and keep them off until `release`."""
        self.held.update(names)
        for name in names:
            self.due.pop(name, None)
            if name in self.running:
                self.running[name].process.signal(number)
        self._record()

    def release(self, names: Sequence[str]) -> None:
        """Start units that were held."""
        self.held.difference_update(names)
        for unit in self.units:
            if unit.name in names and unit.name not in self.running:
                self._start(unit)
        self._record()

    def status(self) -> dict[str, Any]:
        """Units with pid, state and restarts."""
        units = {}
        for unit in self.units:
            found = self.running.get(unit.name)
            state = "running" if found else "held" if unit.name in self.held else "waiting"
            units[unit.name] = {
                "pid": found.process.pid if found else None,
                "state": state,
                "restarts": self.restarts.get(unit.name, 0),
                "node": unit.node,
            }
        return {"supervisor": os.getpid(), "units": units}

    def _on_terminate(self, *_: object) -> None:
        self._stop = True

    def _adopt(self) -> None:
        """Take over the units of a supervisor that died."""
        self.held.update(self.state.read("held.json") or [])
        recorded = self.state.processes()
        for unit in self.units:
            process = recorded.get(unit.name)
            if process and process.alive():
                self._watch(unit.name, process)

    def _watch(self, name: str, process: Process) -> None:
        try:
            handle = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return
        self.running[name] = _Running(process, handle, time.monotonic())

    def _start(self, unit: Unit) -> None:
        if any(name not in sys.modules for name in unit.modules):
            for name in unit.modules:
                import_module(name)
            gc.freeze()
        self._fork(unit.name, unit.run, unit.namespace)
        self._record()

    def _start_standby(self) -> None:
        supervisor = os.getpid()
        self._fork("standby", lambda: self._stand_by(supervisor), "")
        self._record()

    def _fork(self, name: str, run: Callable[[], None], namespace: str) -> None:
        pid = os.fork()
        if pid == 0:
            self._become(name, run, namespace)
        process = Process.of(pid)
        if process is not None:
            self._watch(name, process)

    def _become(self, name: str, run: Callable[[], None], namespace: str) -> None:
        """The child's side of a fork: never returns."""
        status = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.setsid()
            for other in self.running.values():
                os.close(other.handle)
            self.running = {}
            _redirect(str(self.state.logs / f"{name}.log"))
            _set_name(name)
            if namespace:
                netns.join(namespace)
            run()
            status = 0
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _stand_by(self, supervisor: int) -> None:
        """Wait for the supervisor's end, then be the supervisor."""
        try:
            handle = os.pidfd_open(supervisor)
        except ProcessLookupError:
            handle = -1
        if handle >= 0:
            select.select([handle], [], [])
            os.close(handle)
        if not self.state.exists():
            return  # an orderly end, not a crash
        print("the supervisor died; taking its place", flush=True)
        _set_name("supervisor")
        self.due, self.held = {}, set()
        self.run()

    def _turn(self) -> None:
        poll = select.poll()
        names = {running.handle: name for name, running in self.running.items()}
        for handle in names:
            poll.register(handle, select.POLLIN)
        poll.register(self.control.fileno(), select.POLLIN)
        now = time.monotonic()
        due = min(self.due.values(), default=now + 3600)
        for descriptor, _ in poll.poll(max(0.0, (due - now) * 1000)):
            if descriptor in names:
                self._ended(names[descriptor])
            elif descriptor == self.control.fileno():
                self._serve()
        self._start_due()

    def _start_due(self) -> None:
        now = time.monotonic()
        for name in [name for name, due in self.due.items() if due <= now]:
            del self.due[name]
            unit = next(unit for unit in self.units if unit.name == name)
            self.restarts[name] = self.restarts.get(name, 0) + 1
            self._start(unit)

    def _ended(self, name: str) -> None:
        """A unit is gone: reap it and have it started again, at once if it had lived a while."""
        gone = self.running.pop(name)
        os.close(gone.handle)
        _reap(gone.process.pid)
        if self._stop:
            return
        if name == "standby":
            self._start_standby()
        elif name not in self.held:
            lived = time.monotonic() - gone.since
            print(f"{name} (pid {gone.process.pid}) ended after {lived:.1f} s; starting it again", flush=True)
            longer = min(max(2 * self.delays.get(name, 0.0), FIRST_DELAY), LAST_DELAY)
            self.delays[name] = 0.0 if lived > SETTLED else longer
            self.due[name] = time.monotonic() + self.delays[name]

    def _serve(self) -> None:
        """One request on the control socket: a line of JSON, answered by a line of JSON."""
        connection, _ = self.control.accept()
        connection.settimeout(REQUEST_TIMEOUT)
        try:
            with connection.makefile("rb") as reader:
                request = json.loads(reader.readline(MAX_REQUEST))
            if request.get("order") == "stop":
                self._stop, self._stopping = True, connection
                return
            answer = self._obey(request)
        except (OSError, ValueError) as error:
            answer = {"error": f"bad request: {error}"}
        _answer(connection, answer)

    def _obey(self, request: dict[str, Any]) -> dict[str, Any]:
        order = request.get("order", "")
        if order == "status":
            return self.status()
        handler = self.orders.get(order)
        if handler is None:
            return {"error": f"unknown order {order!r}"}
        try:
            return handler(self, request)
        except Exception as error:  # an order that fails must not take the lab down
            traceback.print_exc()
            return {"error": str(error)}

    def _record(self) -> None:
        processes = {name: (r.process.pid, r.process.started) for name, r in self.running.items()}
        me = Process.of(os.getpid())
        if me is not None:
            processes["supervisor"] = (me.pid, me.started)
        self.state.write("processes.json", processes)
        self.state.write("held.json", sorted(self.held))

    def _end(self) -> None:
        """SIGTERM to all (the standby first: it must not take over), SIGKILL to what is left after the grace."""
        standby = self.running.pop("standby", None)
        if standby:
            standby.process.signal(signal.SIGKILL)
            _reap(standby.process.pid)
        for running in self.running.values():
            running.process.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_GRACE
        while self.running and time.monotonic() < deadline:
            handles = {r.handle: name for name, r in self.running.items()}
            ready, _, _ = select.select(list(handles), [], [], max(0.0, deadline - time.monotonic()))
            for handle in ready:
                self._ended(handles[handle])
        for running in self.running.values():
            running.process.signal(signal.SIGKILL)
        self.finish()
        if self._stopping:
            _answer(self._stopping, {"stopped": True})


def detach(state: StateDir, name: str) -> None:
    """Make this process a daemon's: no terminal, its output in the lab's log, its name for `ps`."""
    _redirect(str(state.logs / f"{name}.log"))
    _set_name(name)


def freeze() -> None:
    """Prepare this process for forking: what lives now is left alone by the children's collectors, so their pages stay
    shared."""
    gc.collect()
    gc.freeze()


def request(state: StateDir, order: str, timeout: float = 60.0, **arguments: Any) -> dict[str, Any]:
    """Send an order to a lab's supervisor and return its answer. Raises OSError when nobody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(str(state.control_socket))
        connection.sendall(json.dumps({"order": order, **arguments}).encode() + b"\n")
        with connection.makefile("rb") as reader:
            answer: dict[str, Any] = json.loads(reader.readline() or b'{"error": "the supervisor hung up"}')
    return answer


def _answer(connection: socket.socket, answer: dict[str, Any]) -> None:
    try:
        connection.sendall(json.dumps(answer).encode() + b"\n")
    except OSError:
        pass  # the asker has gone
    finally:
        connection.close()


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # a former supervisor's child: init reaps it


def _redirect(path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(null)
    os.close(descriptor)


def _set_name(name: str) -> None:
    """What `ps -o comm` shows (15 bytes, prctl PR_SET_NAME by way of proc(5))."""
    with open("/proc/self/comm", "w") as comm:  # noqa: PTH123 - a kernel file, not a path to manage
        comm.write(f"fw:{name}"[:15])
