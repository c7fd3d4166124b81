"""Process 1 of a pod: its event loop, the state of its containers, and what it does on request."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import os
import select
import sys
import time
from collections.abc import Callable

from fairway.pods.inside import jsontext, roots
from fairway.pods.inside.attach import Attachment, Stdio
from fairway.pods.inside.connection import Connection
from fairway.pods.inside.libc import checked, libc
from fairway.pods.inside.logs import Log, Output
from fairway.pods.inside.mounting import MS_NODEV, MS_NOSUID, mount
from fairway.pods.inside.programs import Record, Trouble, read_all, signal_group, spawn

CONTROL, STATE = "control", "state.json"
CAPTURE = 10 * 1024  # of a probe's output
IN_DELETE = 0x200  # linux/inotify.h


class Container:
    """A container's record (what state.json holds) and, while it runs, its process and streams."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.request: Record = {}
        self.process = 0
        self.mounts: int | None = None  # a descriptor of its mount namespace, while it runs
        self.deadline: float | None = None
        self.outputs: list[Output] = []
        self.input: int | None = None
        self.attachments: list[Attachment] = []

    @property
    def held(self) -> bool:
        """Whether somebody attached must take what was written before more is read."""
        return any(attachment.behind for attachment in self.attachments)

    def end_input(self) -> None:
        """The container reads an end."""
        if self.input is not None:
            os.close(self.input)
            self.input = None


class Exec:
    """A program run beside a container for whoever is at the other end of `connection`."""

    def __init__(self, connection: Connection, request: Record, process: int, pipe: int | None) -> None:
        self.connection, self.request, self.process, self.pipe = connection, request, process, pipe
        self.deadline = time.monotonic() + request["timeout"] if request.get("timeout") else None
        self.output = b""
        self.expired = False

    def feed(self, data: bytes) -> None:
        self.output = (self.output + data)[:CAPTURE]


class Init:
    """The event loop and the state of the pod."""

    def __init__(self) -> None:
        if os.getpid() != 1:  # at its end it kills everybody it can see
            raise RuntimeError("a sandbox must be process 1 of a process namespace of its own")
        self.poll = select.epoll()
        self.handlers: dict[int, Callable[[], None]] = {}
        self.connections: dict[int, Connection] = {}
        self.containers: dict[str, Container] = {}
        self.execs: dict[int, Exec] = {}
        self.in_memory: set[str] = set()
        self.null = os.open(os.devnull, os.O_RDWR)
        self.ending = False
        self._recall()
        self._watch_signals()
        self._watch_socket_file()
        self.listener = self._listen()

    def _recall(self) -> None:
        """Take over the records of an earlier sandbox of this pod: what ran then was killed with it."""
        if os.path.exists(STATE):
            with open(STATE, encoding="utf-8") as file:
                records = jsontext.loads(file.read())["containers"]
            for name, record in records.items():
                if record["exited"] is None:
                    record.update(exited=time.time(), code=137, signal=9, note="the pod's sandbox was lost")
                self.containers[name] = Container(record)
        self._remember()

    def _remember(self) -> None:
        records = {name: container.record for name, container in self.containers.items()}
        with open(STATE + ".new", "w", encoding="utf-8") as file:
            file.write(jsontext.dumps({"containers": records}))
        os.replace(STATE + ".new", STATE)

    def _watch(self, descriptor: int, handler: Callable[[], None], events: int = select.EPOLLIN) -> None:
        if descriptor not in self.handlers:
            self.handlers[descriptor] = handler
            self.poll.register(descriptor, events)

    def _unwatch(self, descriptor: int) -> None:
        if self.handlers.pop(descriptor, None) is not None:
            self.poll.unregister(descriptor)

    def _watch_signals(self) -> None:
        listening, telling = os.pipe()
        os.set_blocking(listening, False)
        os.set_blocking(telling, False)
        _signal.set_wakeup_fd(telling, warn_on_full_buffer=False)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)
        _signal.signal(_signal.SIGTERM, lambda *_: setattr(self, "ending", True))
        self._watch(listening, lambda: self._reap() if read_all(listening, len) else None)

    def _watch_socket_file(self) -> None:
        descriptor = checked(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify")
        checked(libc.inotify_add_watch(descriptor, b".", IN_DELETE), "inotify watch")

        def changed() -> None:
            read_all(descriptor, len)
            if not os.path.exists(CONTROL):
                self.ending = True

        self._watch(descriptor, changed)

    def _listen(self) -> _socket.socket:
        if os.path.exists(CONTROL):
            os.unlink(CONTROL)
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK)
        listener.bind(CONTROL)
        listener.listen(16)
        self._watch(listener.fileno(), self._accept)
        return listener

    def run(self) -> None:
        """Serve until the end. A fault in one handler is written down and hurts nobody else."""
        while not self.ending:
            for descriptor, _ in self.poll.poll(self._patience()):
                handler = self.handlers.get(descriptor)
                try:
                    if handler is not None:
                        handler()
                except Exception as error:
                    sys.stderr.write(f"sandbox: {type(error).__name__}: {error}\n")
            self._enforce_deadlines()
        self._finish()

    def _patience(self) -> float | None:
        deadlines = [c.deadline for c in self.containers.values()] + [e.deadline for e in self.execs.values()]
        waits = [d - time.monotonic() for d in deadlines if d is not None]
        return max(0.0, min(waits)) + 0.001 if waits else None

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        for container in self.containers.values():
            if container.deadline is not None and container.deadline <= now:
                container.deadline = None
                signal_group(container.process, _signal.SIGKILL)
        for run in self.execs.values():
            if run.deadline is not None and run.deadline <= now:
                run.deadline, run.expired = None, True
                signal_group(run.process, _signal.SIGKILL)

    def _finish(self) -> None:
        """Kill everything, wait until it is gone, and only then let go of the clients' connections."""
        try:
            os.kill(-1, _signal.SIGKILL)
            while True:
                os.waitpid(-1, 0)
        except (ProcessLookupError, ChildProcessError):
            pass

    # - clients

    def _accept(self) -> None:
        descriptor, _ = self.listener._accept()  # type: ignore[attr-defined]
        handle = _socket.socket(fileno=descriptor)
        handle.setblocking(False)
        connection = Connection(handle)
        self.connections[handle.fileno()] = connection
        descriptor = handle.fileno()
        self._watch(descriptor, lambda: self._serve(descriptor, connection))
        records = {name: container.record for name, container in self.containers.items()}
        connection.send({"event": "state", "containers": records})

    def _serve(self, descriptor: int, connection: Connection) -> None:
        requests = connection.receive()
        if requests is None:
            self._hang_up(descriptor, connection)
            return
        for request in requests:
            try:
                answer = self._obey(connection, request)
            except (Trouble, OSError, KeyError, TypeError, ValueError) as error:
                answer = {"error": str(error) if isinstance(error, Trouble) else f"{type(error).__name__}: {error}"}
            if answer is not None:
                connection.send({"id": request.get("id"), **answer})

    def _hang_up(self, descriptor: int, connection: Connection) -> None:
        self._unwatch(descriptor)
        del self.connections[descriptor]
        connection.handle.close()
        for leftover in connection.descriptors:
            os.close(leftover)
        for run in self.execs.values():
            if run.connection is connection:
                signal_group(run.process, _signal.SIGKILL)
        for container in self.containers.values():
            for attachment in list(container.attachments):
                if attachment.connection is connection:
                    self._detach(container, attachment)

    def _obey(self, connection: Connection, request: Record) -> Record | None:
        verb = request["do"]
        if verb == "start":
            return self._start(request)
        if verb == "stop":
            return self._stop(request)
        if verb == "exec":
            self._exec(connection, request)
            return None
        if verb == "attach":
            self._attach(connection, request)
            return None
        if verb == "end_input":
            return self._end_input(request)
        if verb == "signal":
            return self._signal(connection, request)
        if verb == "end":
            self.ending = True
            return None
        raise Trouble(f"unknown request {verb!r}")

    # - containers

    def _start(self, request: Record) -> Record:
        """Start an attempt of a container. One that was started before (the asker forgot) is answered as it is."""
        name, attempt = request["container"], request["attempt"]
        known = self.containers.get(name)
        if known is not None and known.record["attempt"] >= attempt:
            return {"record": known.record}
        if known is not None and known.process:
            raise Trouble(f"container {name} still runs")
        if known is not None:
            self._close_outputs(known)
        record: Record = {"attempt": attempt, "crashes": request.get("crashes", 0), "started": time.time()}
        record |= {"exited": None, "code": 0, "signal": 0, "note": request.get("note", ""), "previous": None}
        if known is not None:
            record["previous"] = {**known.record, "previous": None}
        container = self.containers[name] = Container(record)
        container.request = request
        try:
            self._launch(name, container, request)
        except Trouble as error:
            record.update(exited=time.time(), code=128, note=str(error), failed=True)
        self._remember()
        return {"record": record}

    def _launch(self, name: str, container: Container, request: Record) -> None:
        log = Log(name, request["attempt"])
        stdio = Stdio(request, self.null)
        container.input = stdio.input
        try:
            self._mount_memory(request)
            container.process = spawn(request, stdio.theirs, lambda: roots.build(f"containers/{name}", request))
            container.mounts = _mounts_of(container.process)
        except Trouble as error:
            log.write("stderr", [("F", str(error).encode())])
            container.end_input()
            raise
        finally:
            stdio.let_go()
            container.outputs = [Output(log, stream, reading) for stream, reading in stdio.outputs.items()]
            self._watch_outputs(container)

    def _watch_outputs(self, container: Container) -> None:
        for output in container.outputs:
            self._watch(output.descriptor, lambda o=output: self._drain(container, o))  # type: ignore[misc]

    def _mount_memory(self, request: Record) -> None:
        """Volumes that live in memory are mounted once, here, so that all of the pod's containers see the same."""
        for entry in request.get("mounts", ()):
            if entry.get("memory") is not None and entry["source"] not in self.in_memory:
                try:
                    _mount_memory(entry["source"], entry["memory"])
                except OSError as error:
                    raise Trouble(str(error)) from None
                self.in_memory.add(entry["source"])

    def _drain(self, container: Container, output: Output) -> None:
        def consume(data: bytes) -> None:
            output.feed(data)
            for attachment in container.attachments:
                attachment.feed(output.stream, data)

        if output in container.outputs and not read_all(output.descriptor, consume):
            self._close_output(container, output)
        if container.held:
            self._hold(container)

    def _close_output(self, container: Container, output: Output) -> None:
        output.flush()
        self._unwatch(output.descriptor)
        os.close(output.descriptor)
        container.outputs.remove(output)
        if not container.outputs:
            output.log.close()

    def _close_outputs(self, container: Container) -> None:
        """A process that left the container's session may hold its streams open: the next attempt does not wait."""
        for output in list(container.outputs):
            self._close_output(container, output)

    def _stop(self, request: Record) -> Record:
        container = self.containers.get(request["container"])
        if container is None or not container.process:
            return {}
        grace = request["grace"]
        deadline = time.monotonic() + grace
        if grace > 0 and container.deadline is None:
            os.kill(container.process, _signal.SIGTERM)
        if container.deadline is None or deadline < container.deadline:
            container.deadline = deadline
        return {}

    def _exited(self, name: str, container: Container, status: int) -> None:
        signal_group(container.process, _signal.SIGKILL)
        container.process, container.deadline = 0, None
        container.end_input()
        if container.mounts is not None:
            os.close(container.mounts)
            container.mounts = None
        for output in list(container.outputs):
            self._drain(container, output)
        for output in container.outputs:
            output.flush()
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = 128 + number if number else os.WEXITSTATUS(status)
        container.record.update(exited=time.time(), code=code, signal=number)
        self._remember()
        for attachment in list(container.attachments):
            attachment.code = code
            self._catch_up(container, attachment)
        for connection in list(self.connections.values()):
            connection.send({"event": "exited", "container": name, "record": container.record})

    def _reap(self) -> None:
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                return
            for name, container in self.containers.items():
                if container.process == process:
                    self._exited(name, container, status)
            if process in self.execs:
                self._answer_exec(self.execs.pop(process), status)

    # - clients attached to a container

    def _attach(self, connection: Connection, request: Record) -> None:
        """Give a client what the container writes; the answer says whether it has a terminal, and has the way to its
        input (or terminal) with it. A second answer tells the end."""
        streams = connection.take(request["fds"])
        container = self.containers.get(request["container"])
        if container is None or not container.process:
            for descriptor in streams:
                os.close(descriptor)
            raise Trouble(f"container {request['container']} does not run (now)")
        os.close(streams[0])
        attachment = Attachment(connection, request, {"stdout": streams[1], "stderr": streams[2]})
        container.attachments.append(attachment)
        answer = {"id": request.get("id"), "tty": bool(container.request.get("tty"))}
        connection.send(answer, (container.input,) if container.input is not None else ())

    def _hold(self, container: Container) -> None:
        """Read no more of the container until those attached have taken what was."""
        for output in container.outputs:
            self._unwatch(output.descriptor)
        for attachment in container.attachments:
            for name, descriptor in attachment.outputs.items():
                if attachment.pending[name]:
                    self._watch(descriptor, lambda a=attachment: self._catch_up(container, a), select.EPOLLOUT)  # type: ignore[misc]

    def _catch_up(self, container: Container, attachment: Attachment) -> None:
        attachment.push()
        for name, descriptor in attachment.outputs.items():
            if not attachment.pending[name]:
                self._unwatch(descriptor)
        if attachment.code is not None and not attachment.behind:
            self._detach(container, attachment)
        elif container.held:
            self._hold(container)
        else:
            self._watch_outputs(container)

    def _detach(self, container: Container, attachment: Attachment) -> None:
        """Who detaches had the input of a container with `once`: it gets no other."""
        for descriptor in attachment.outputs.values():
            self._unwatch(descriptor)
        container.attachments.remove(attachment)
        attachment.end()
        if attachment.request.get("stdin") and container.request.get("once"):
            container.end_input()
        if not container.held:
            self._watch_outputs(container)

    def _end_input(self, request: Record) -> Record:
        """An attached client has no more input; only with `once` that is the end for the container, too."""
        container = self.containers.get(request["container"])
        if container is not None and container.request.get("once") and not container.request.get("tty"):
            container.end_input()
        return {}

    # - programs beside a container

    def _exec(self, connection: Connection, request: Record) -> None:
        container = self.containers.get(request["container"])
        mounts = container.mounts if container is not None else None
        if container is None or mounts is None:
            raise Trouble(f"container {request['container']} does not run")
        base = {**container.request, "tty": False}
        request = {**base, **{k: v for k, v in request.items() if v is not None}}
        request["env"] = {**base["env"], **(request.get("env") or {})}
        pipe = None
        if request.get("fds"):
            streams = connection.take(request["fds"])
        else:
            pipe, writing = os.pipe()
            streams = (os.dup(self.null), writing, os.dup(writing))
        try:
            process = spawn(request, streams, lambda: roots.enter(mounts, container.process, request))
        except Trouble:
            if pipe is not None:
                os.close(pipe)
            raise
        finally:
            for descriptor in streams:
                os.close(descriptor)
        run = self.execs[process] = Exec(connection, request, process, pipe)
        if pipe is not None:
            os.set_blocking(pipe, False)
            self._watch(pipe, lambda: self._capture(run))

    def _capture(self, run: Exec) -> None:
        if run.pipe is not None and not read_all(run.pipe, run.feed):
            self._unwatch(run.pipe)
            os.close(run.pipe)
            run.pipe = None

    def _answer_exec(self, run: Exec, status: int) -> None:
        if run.pipe is not None:
            signal_group(run.process, _signal.SIGKILL)  # a probe leaves nothing running
            self._capture(run)
        if run.pipe is not None:
            self._unwatch(run.pipe)
            os.close(run.pipe)
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        answer = {"code": code, "output": run.output.decode(errors="replace"), "expired": run.expired}
        run.connection.send({"id": run.request.get("id"), **answer})

    def _signal(self, connection: Connection, request: Record) -> Record:
        for run in self.execs.values():
            if run.connection is connection and run.request.get("id") == request["request"]:
                signal_group(run.process, request["signal"])
        return {}


def _mounts_of(process: int) -> int | None:
    """A descriptor of a process's mount namespace, good for as long as it is open; None when it has ended already."""
    try:
        return os.open(f"/proc/{process}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _mount_memory(folder: str, size: str) -> None:
    status = os.stat(folder)
    options = f"mode={status.st_mode & 0o7777:o},gid={status.st_gid}" + (f",size={size}" if size else "")
    mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, options)
