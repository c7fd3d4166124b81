"""A lab leaves nothing behind, comes up again, finds what a crashed one left, and refuses what it cannot do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.cluster import FAIRWAY, Lab, host_state, until

pytestmark = pytest.mark.lab


@pytest.fixture
def own() -> Iterator[Lab]:
    """A lab that the test itself brings up."""
    made = Lab(f"t{os.getpid()}life"[:16])
    yield made
    made.down()


def processes_of(lab: Lab) -> list[str]:
    """Command lines of everything that belongs to the lab: by its directory, and by its units' recorded pids."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(lab.path) + "/" in line:
            found.append(line)
    return found


def recorded_pids(lab: Lab) -> list[int]:
    return [pid for pid, _ in json.loads((lab.path / "processes.json").read_text()).values()]


def running(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(pid)
        except OSError:
            continue
    return found


def test_down_leaves_the_host_as_it_was_and_up_works_again_at_once(own: Lab) -> None:
    before = host_state(own.name)
    own.up()
    own.apply("httpd.yaml", "httpd-svc.yaml")
    own.settled("httpd-svc", 3)
    pids = recorded_pids(own)
    assert len(running(pids)) == len(pids)
    own.fairway("down")
    assert host_state(own.name) == before
    assert running(pids) == []
    assert processes_of(own) == []
    own.up(nodes=1)
    assert "node-a" in own.kubectl("get", "nodes")
    own.fairway("down")
    assert host_state(own.name) == before


def test_up_after_a_crash_removes_only_what_belongs_to_it(own: Lab) -> None:
    other = Lab(f"t{os.getpid()}other"[:16])
    before = host_state(own.name, other.name)
    other.up(nodes=1)
    try:
        own.up(nodes=2)
        own.apply("httpd.yaml")
        until(lambda: len(own.pods("run=httpd")) == 3, "pods")
        crash(own)
        assert "removed what a crashed lab had left" in own.up(nodes=1)
        assert own.kubectl("get", "pods").strip() == "No resources found in default namespace."
        assert "node-b" not in own.kubectl("get", "nodes")
        assert "node-a" in other.kubectl("get", "nodes"), "the other lab lives on"
        assert all(unit["restarts"] == 0 for unit in other.status()["units"].values())
    finally:
        other.down()
        own.down()
    assert host_state(own.name, other.name) == before


def test_down_after_a_crash_leaves_nothing(own: Lab) -> None:
    before = host_state(own.name)
    own.up(nodes=1)
    crash(own)
    own.fairway("down")
    assert host_state(own.name) == before
    assert processes_of(own) == []


def crash(lab: Lab) -> None:
    """Kill all processes of the lab at once, so that none can start another again. Its pods live on."""
    pids = recorded_pids(lab)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: running(pids) == [], "the lab's processes are gone")


def test_a_second_up_is_refused_and_the_first_goes_on(own: Lab) -> None:
    own.up(nodes=1)
    assert "is up already (supervisor pid" in own.fairway("up", allow=True)
    assert "node-a" in own.kubectl("get", "nodes")


def test_a_strangers_namespace_is_not_taken_over(own: Lab) -> None:
    name = f"fw-{own.name}-client"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        assert f"namespace {name} exists and no record says" in own.fairway("up", allow=True)
        assert name in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
        assert not own.path.exists()
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_a_taken_port_is_an_error_and_leaves_nothing(own: Lab) -> None:
    import socket

    before = host_state(own.name)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = own.fairway("up", "--api-port", str(port), allow=True)
    assert f"127.0.0.1:{port} is taken by another program" in said
    until(lambda: host_state(own.name) == before, "nothing is left")


def test_without_root_the_lab_refuses_in_one_sentence() -> None:
    # Imported as root: another user may be unable to read the folder that the tests run in.
    script = "import os, fairway.cli; os.setgroups([]); os.setuid(65534); fairway.cli.main(['up'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "needs root" in done.stderr


def test_orders_to_a_lab_that_is_not_there_are_refused() -> None:
    for words in (["down"], ["status"], ["kill-node", "node-a"], ["exec", "node-a", "true"]):
        done = subprocess.run([*FAIRWAY, words[0], "--lab", "nowhere", *words[1:]], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, "")
        assert "there is no lab 'nowhere'" in done.stderr
