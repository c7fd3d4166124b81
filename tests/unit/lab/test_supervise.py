"""The supervisor: what dies is started again, the supervisor itself included; what is held stays off."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fairway.lab import build, supervise
from fairway.lab.state import Process, StateDir
from fairway.lab.topology import plan

PROGRAM = """
import sys, time
from pathlib import Path
from fairway.lab import build, supervise
from fairway.lab.state import StateDir
state = StateDir(Path(sys.argv[1]))
def worker():
    print("working", flush=True)
    time.sleep(60)
def hold(supervisor, request):
    supervisor.hold(["worker"])
    return {}
def release(supervisor, request):
    supervisor.release(["worker"])
    return {}
supervise.Supervisor(
    units=[supervise.Unit("worker", worker), supervise.Unit("other", worker)],
    state=state, control=build.control_socket(state), orders={"hold": hold, "release": release},
    finish=state.remove,
).run()
"""


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDir]:
    state = StateDir.named("lab", tmp_path)
    state.create(plan())
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, str(state.path)])
    until(lambda: {"supervisor", "standby", "worker", "other"} <= set(state.processes()), "the supervisor starts")
    yield state
    build.end_processes(state)
    program.kill()
    program.wait()


def unit(state: StateDir, name: str) -> Process:
    found = state.processes()[name]
    assert found.alive()
    return found


def test_a_killed_unit_is_started_again_and_counted(state: StateDir) -> None:
    before, other = unit(state, "worker"), unit(state, "other")
    before.signal(signal.SIGKILL)
    until(lambda: state.processes()["worker"] != before, "the worker comes back")
    answer = supervise.request(state, "status")
    assert answer["units"]["worker"]["restarts"] == 1
    assert answer["units"]["other"] == {"pid": other.pid, "state": "running", "restarts": 0, "node": ""}


def test_a_killed_supervisor_is_replaced_and_its_units_live_on(state: StateDir) -> None:
    worker, supervisor = unit(state, "worker"), unit(state, "supervisor")
    supervisor.signal(signal.SIGKILL)
    until(lambda: state.processes()["supervisor"] != supervisor, "the standby takes over")
    until(lambda: "standby" in state.processes() and state.processes()["standby"].alive(), "a new one stands by")
    assert unit(state, "worker") == worker
    worker.signal(signal.SIGKILL)
    until(lambda: state.processes()["worker"] != worker, "the new supervisor restarts units it did not fork")
    assert supervise.request(state, "status")["supervisor"] == state.processes()["supervisor"].pid


def test_a_killed_standby_is_replaced(state: StateDir) -> None:
    standby = unit(state, "standby")
    standby.signal(signal.SIGKILL)
    until(lambda: state.processes().get("standby", standby) != standby, "a new one stands by")


def test_a_held_unit_stays_off_until_released_even_over_a_take_over(state: StateDir) -> None:
    worker = unit(state, "worker")
    assert supervise.request(state, "hold") == {}
    until(lambda: not worker.alive(), "the worker is ended")
    unit(state, "supervisor").signal(signal.SIGKILL)
    until(lambda: bool(state.supervisor()), "the standby takes over")
    assert supervise.request(state, "status")["units"]["worker"]["state"] == "held"
    assert supervise.request(state, "release") == {}
    unit(state, "worker")


def test_stop_ends_everything_and_finishes(state: StateDir) -> None:
    processes = state.processes()
    assert supervise.request(state, "stop") == {"stopped": True}
    until(lambda: not any(process.alive() for process in processes.values()), "all processes end")
    assert not state.path.exists()


def test_a_lab_that_is_ended_from_outside_starts_nothing_again(state: StateDir) -> None:
    processes = state.processes()
    build.end_processes(state)
    until(lambda: not any(process.alive() for process in processes.values()), "all processes end")
    assert not [line for line in command_lines() if str(state.path) in line]


def command_lines() -> list[str]:
    """Of every process but this one and those that have ended."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_an_unknown_order_and_rubbish_are_answered_not_obeyed(state: StateDir) -> None:
    assert supervise.request(state, "dance") == {"error": "unknown order 'dance'"}
    with socket.socket(socket.AF_UNIX) as rubbish:
        rubbish.connect(str(state.control_socket))
        rubbish.sendall(b"\x00\xff not json\n")
        assert "bad request" in json.loads(rubbish.makefile().readline())["error"]
    assert "units" in supervise.request(state, "status")
    assert state.control_socket.exists()
