"""The record of a lab: written before anything is made, read back whole, removed whole."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from fairway.lab.state import Process, StateDir, StateError, labs
from fairway.lab.topology import plan


@pytest.mark.parametrize("extra", [{}, {"dual": True}, {"dual": True, "router": True}])
def test_the_record_gives_the_topology_back(tmp_path: Path, extra: dict[str, bool]) -> None:
    state = StateDir.named("lab", tmp_path)
    topology = plan("lab", 2, api_port=7000, **extra)
    state.create(topology)
    assert state.exists()
    assert state.topology() == topology
    assert [found.path for found in labs(tmp_path)] == [state.path]
    assert state.path.stat().st_mode & 0o077 == 0


def test_no_lab_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"no lab 'lab'.*fairway up"):
        StateDir.named("lab", tmp_path).topology()


def test_a_broken_record_names_its_file(tmp_path: Path) -> None:
    state = StateDir.named("lab", tmp_path)
    state.create(plan())
    (state.path / "lab.json").write_text("{")
    with pytest.raises(StateError, match=r"lab\.json"):
        state.topology()


def test_a_lab_from_before_there_was_etcd_can_still_be_ended(tmp_path: Path) -> None:
    state = StateDir.named("lab", tmp_path)
    state.create(plan())
    record = state.read("lab.json")
    del record["etcd"]
    state.write("lab.json", record)
    assert state.topology() == plan()


def test_removal_takes_the_directory_of_all_labs_with_the_last_one(tmp_path: Path) -> None:
    root = tmp_path / "fairway"
    one, two = StateDir.named("one", root), StateDir.named("two", root)
    one.create(plan("one"))
    two.create(plan("two"))
    one.remove()
    assert root.exists()
    assert not one.path.exists()
    two.remove()
    assert not root.exists()


def test_a_process_is_its_pid_and_its_start() -> None:
    child = subprocess.Popen(["sleep", "30"])
    process = Process.of(child.pid)
    assert process is not None
    assert process.alive()
    impostor = Process(child.pid, process.started - 1)
    assert not impostor.alive()
    assert not impostor.signal(signal.SIGKILL), "a later owner of the pid is never hit"
    assert child.poll() is None
    assert process.signal(signal.SIGKILL)
    child.wait()
    assert not process.alive()
    assert not process.signal(signal.SIGKILL)


def test_this_process_is_alive() -> None:
    me = Process.of(os.getpid())
    assert me is not None
    assert me.alive()
