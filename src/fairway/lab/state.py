"""A lab's directory: what it made, by name and id, written down before it is made.

`up` after a crash and `down` remove exactly what stands here. A process is known by its pid and its start time, since
pids are used again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.lab.topology import Behind, NodePlan, SecondFamily, Topology

DEFAULT_ROOT = Path("/run/fairway")


class StateError(Exception):
    """The lab's directory is missing or does not say what it should."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process by pid and start time (clock ticks since boot, field 22 of /proc/PID/stat, proc(5))."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now; None when there is none or it is a zombie."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] == "Z" else cls(pid, int(fields[19]))

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Process.of(self.pid) == self

    def signal(self, number: int) -> bool:
        """Send a signal to this very process, never to a later owner of its pid; False when it is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive():
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True


@dataclass(frozen=True, slots=True)
class StateDir:
    """The directory of one lab, private to its owner."""

    path: Path

    @classmethod
    def named(cls, name: str, root: Path = DEFAULT_ROOT) -> StateDir:
        return cls(root / name)

    @property
    def kubeconfig(self) -> Path:
        return self.path / "kubeconfig"

    @property
    def control_socket(self) -> Path:
        return self.path / "control.sock"

    @property
    def database(self) -> Path:
        return self.path / "store.db"

    @property
    def credentials(self) -> Path:
        return self.path / "pki"

    @property
    def logs(self) -> Path:
        return self.path / "log"

    def node(self, name: str) -> Path:
        """Where a node agent keeps what it must find again after a restart."""
        return self.path / "nodes" / name

    def exists(self) -> bool:
        """Whether a lab's record stands here."""
        return (self.path / "lab.json").exists()

    def usable(self) -> bool:
        """Whether a lab is up here that this process may speak to; for others than its owner there is none."""
        return os.access(self.kubeconfig, os.R_OK)

    def create(self, topology: Topology) -> None:
        """Make the directory and write the record: the first thing a lab does."""
        for path in (self.path, self.credentials, self.logs, *(self.node(node.name) for node in topology.nodes)):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.write("lab.json", dataclasses.asdict(topology))

    def topology(self) -> Topology:
        """The lab's topology as recorded. Raises StateError when there is no lab here."""
        record = self.read("lab.json")
        if record is None:
            raise StateError(f"there is no lab {self.path.name!r} (run `fairway up` first)")
        record["nodes"] = tuple(NodePlan(**node) for node in record["nodes"])
        record["node_ports"] = tuple(record["node_ports"])
        for name in ("etcd", "dns_forward", "load_balancer_pool"):
            if name in record:  # a lab that an earlier version brought up says nothing of them
                record[name] = tuple(record[name])
        record["ipv6"] = SecondFamily(**record["ipv6"]) if record.get("ipv6") else None
        record["behind"] = tuple(Behind(**each) for each in record.get("behind", ()))
        return Topology(**record)

    def write(self, name: str, content: Any) -> None:
        """Replace a JSON file; a reader or a crash sees the old or the new content, never a piece."""
        temporary = self.path / f".{name}.{os.getpid()}"
        temporary.write_text(json.dumps(content))
        temporary.replace(self.path / name)

    def read(self, name: str) -> Any:
        """A JSON file's content, None when it does not exist."""
        try:
            return json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StateError(f"{self.path / name}: {error}") from error

    def processes(self) -> dict[str, Process]:
        """The recorded processes of the lab by unit name, the supervisor's among them, dead or alive."""
        return {name: Process(*where) for name, where in (self.read("processes.json") or {}).items()}

    def supervisor(self) -> Process | None:
        """The supervisor if it lives."""
        found = self.processes().get("supervisor")
        return found if found and found.alive() else None

    def remove(self) -> None:
        """Remove the directory, and the directory of all labs when this was the last one."""
        shutil.rmtree(self.path, ignore_errors=True)
        try:
            self.path.parent.rmdir()
        except OSError:
            pass  # other labs live there, or it was never made


def labs(root: Path = DEFAULT_ROOT) -> Iterator[StateDir]:
    """Every lab that has a record under `root`."""
    if root.is_dir():
        for path in sorted(root.iterdir()):
            state = StateDir(path)
            if state.exists():
                yield state
