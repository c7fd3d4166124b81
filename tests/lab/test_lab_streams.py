"""Into pods with real kubectl: exec, cp, attach, and every way to read logs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fairway.client.kubeconfig import load
from tests.contract.served import OLD_KUBECTL
from tests.lab.cluster import Lab, until

pytestmark = pytest.mark.lab
websocket = pytest.mark.kubectl_since(31)  # older ones ask for SPDY, which the server refuses in words

TALKER = """
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  initContainers:
  - {name: prep, image: busybox, command: [sh, -c, "echo prepared"]}
  containers:
  - name: steady
    image: busybox
    command: [sh, -c, 'i=0; while true; do i=$((i+1)); echo "line $i"; echo "complaint $i" >&2; sleep 0.1; done']
  - {name: failing, image: busybox, command: [sh, -c, "echo my attempt; exit 4"]}
"""


@pytest.fixture(scope="module", autouse=True)
def pods(lab: Lab) -> Iterator[None]:
    lab.kubectl("run", "web", "--image=httpd")
    lab.kubectl("apply", "-f", "-", text=TALKER)
    lab.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
    lab.kubectl("wait", "--for=condition=Initialized", "pod/talker", "--timeout=30s")
    yield


def kubectl(lab: Lab, *words: str, text: str = "", seconds: float = 30) -> subprocess.CompletedProcess[str]:
    """kubectl with its streams kept apart. On a busy machine one up to 1.33 may complain that the greeting came before
    its own streams were made (kubernetes/kubernetes#131189); that line is kubectl's own and loses nothing."""
    words = ("kubectl", *words)
    done = subprocess.run(words, input=text, capture_output=True, text=True, env=lab.environment, timeout=seconds)
    done.stderr = re.sub(r"^E\d{4} .*Unknown stream id \d+, discarding message\n", "", done.stderr, flags=re.M)
    return done


@websocket
def test_a_program_has_its_streams_and_its_exit_code(lab: Lab) -> None:
    done = kubectl(lab, "exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert done.stderr == "err\ncommand terminated with exit code 3\n"
    assert kubectl(lab, "exec", "web", "--", "hostname").stdout == "web\n"
    killed = kubectl(lab, "exec", "web", "--", "sh", "-c", "kill -9 $$")
    assert killed.returncode == 137


@websocket
def test_input_goes_in_and_its_end_is_seen(lab: Lab) -> None:
    text = "".join(f"{number} potatoes\n" for number in range(100_000))
    done = kubectl(lab, "exec", "-i", "web", "--", "cat", text=text)
    assert done.returncode == 0 and done.stdout == text
    closed = kubectl(lab, "exec", "-i", "web", "--", "head", "-n1", text=text)
    assert closed.stdout == "0 potatoes\n"


@websocket
def test_output_that_is_left_when_the_program_ends_still_comes(lab: Lab) -> None:
    done = kubectl(lab, "exec", "web", "--", "head", "-c", "3000000", "/dev/zero")
    assert len(done.stdout) == 3_000_000
    # What a program leaves running holds its output open; nobody waits for that.
    left = kubectl(lab, "exec", "web", "--", "sh", "-c", "sleep 60 & echo started", seconds=10)
    assert left.stdout == "started\n"


@websocket
def test_what_cannot_run_is_told(lab: Lab) -> None:
    for words, why in (
        (("web", "--", "no-such-program"), "no-such-program: not found in PATH"),
        (("nobody", "--", "ls"), 'pods "nobody" not found'),
        (("web", "-c", "other", "--", "ls"), "container other is not valid for pod web"),
        (("talker", "-c", "prep", "--", "ls"), "container prep does not run (now)"),
    ):
        done = kubectl(lab, "exec", *words)
        assert done.returncode == 1 and why in done.stderr, done.stderr


def test_port_forward_says_that_it_is_not_served(lab: Lab) -> None:
    done = kubectl(lab, "port-forward", "pod/web", ":80")
    assert done.returncode == 1 and "port-forward is not served" in done.stderr


@pytest.mark.old_kubectl
def test_a_client_that_speaks_only_spdy_is_told(lab: Lab) -> None:
    words = [OLD_KUBECTL, "exec", "web", "--", "ls"]
    done = subprocess.run(words, capture_output=True, text=True, env=lab.environment, timeout=30)
    assert done.returncode == 1 and "served to WebSocket clients" in done.stderr


@websocket
def test_a_terminal_is_one(lab: Lab) -> None:
    """Under a terminal of our own: kubectl passes on its size."""
    master, slave = os.openpty()
    words = ["kubectl", "exec", "-it", "web", "--", "sh"]
    with subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, env=lab.environment) as shell:
        os.close(slave)
        seen = b""

        def wait_for(pattern: bytes) -> None:
            nonlocal seen
            while not re.search(pattern, seen):
                seen += os.read(master, 4096)

        wait_for(rb"# $")
        os.write(master, b"tty; ps -o tty= -p $$; echo $TERM-$((6*7))\n")
        wait_for(rb"/dev/pts/\d+\r\n(?s:.*)pts/\d+\s+xterm-42\r\n")
        os.write(master, b"sleep 100\n")
        until(lambda: "sleep 100" in lab.inside("web", "ps", "ax"), "the program in front")
        os.write(master, b"\x03")  # interrupts what is in front of the terminal, and not the shell
        os.write(master, b"exit 7\n")
        assert shell.wait(10) == 7
    os.close(master)


@websocket
def test_a_program_ends_with_its_client(lab: Lab) -> None:
    words = ["kubectl", "exec", "web", "--", "sh", "-c", "echo here; exec sleep 4242"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=lab.environment) as client:
        assert client.stdout
        assert client.stdout.readline() == b"here\n"
        client.kill()
    until(lambda: "sleep 4242" not in lab.inside("web", "ps", "ax"), "the program's end")


@websocket
def test_files_are_copied_in_and_out(lab: Lab, tmp_path: Path) -> None:
    content = os.urandom(5_000_000)
    (tmp_path / "there").write_bytes(content)
    goal = f"{tmp_path}/copied"
    lab.kubectl("cp", f"{tmp_path}/there", f"web:{goal}")
    assert Path(goal).read_bytes() == content, "a pod sees the host's files"
    lab.kubectl("cp", f"web:{goal}", f"{tmp_path}/back")
    assert (tmp_path / "back").read_bytes() == content


@websocket
def test_attach_shows_what_is_written_from_now_on(lab: Lab) -> None:
    words = ["kubectl", "attach", "talker", "-c", "steady"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=lab.environment) as client:
        assert client.stdout and client.stderr
        first = int(client.stdout.readline().split()[1])
        assert client.stdout.readline() == f"line {first + 1}\n".encode()
        complaints = [client.stderr.readline() for _ in range(3)]
        assert any(line.startswith(b"complaint") for line in complaints)
        client.kill()


def test_logs_in_every_way(lab: Lab) -> None:
    assert lab.kubectl("logs", "talker", "-c", "prep") == "prepared\n"
    assert len(lab.kubectl("logs", "talker", "-c", "steady", "--tail=3").splitlines()) == 3
    stamped = lab.kubectl("logs", "talker", "-c", "steady", "--tail=1", "--timestamps")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (line|complaint) \d+\n", stamped)
    both = lab.kubectl("logs", "talker", "--all-containers", "--prefix")
    assert {line.split("]")[0] for line in both.splitlines()} >= {"[pod/talker/prep", "[pod/talker/steady"}
    until(lambda: "my attempt" in lab.kubectl("logs", "talker", "-c", "failing", "--previous", allow=True), "a restart")
    until(lambda: "line 20\n" in lab.kubectl("logs", "talker", "-c", "steady"), "two seconds of lines")
    assert "line 1\n" not in lab.kubectl("logs", "talker", "-c", "steady", "--since=1s")
    assert len(lab.kubectl("logs", "talker", "-c", "steady", "--limit-bytes=10")) == 10
    missing = lab.kubectl("logs", "talker", "-c", "steady", "--previous", allow=True)
    assert 'previous terminated container "steady" in pod "talker" not found' in missing


def test_logs_of_a_deployment_and_followed(lab: Lab) -> None:
    lab.kubectl("create", "deployment", "shop", "--image=httpd")
    lab.kubectl("rollout", "status", "deployment/shop", "--timeout=30s")
    assert "listening on 80/TCP" in lab.kubectl("logs", "deployment/shop")
    words = ["kubectl", "logs", "talker", "-c", "steady", "-f", "--tail=1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=lab.environment) as following:
        assert following.stdout
        lines = [following.stdout.readline() for _ in range(6)]
        following.kill()
    assert len({line for line in lines if line}) == 6


async def remote(lab: Lab, protocol: str, query: str, *sent: bytes) -> list[bytes]:
    """The messages of a program over WebSocket, spoken by hand."""
    info = load(str(lab.path / "kubeconfig"))
    context = ssl.create_default_context(cadata=info.ca_data)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
        pair.write(info.cert_data + info.key_data)
        pair.flush()
        context.load_cert_chain(pair.name)
    path = f"{info.server}/api/v1/namespaces/default/pods/web/exec?{query}"
    received = []
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(path, protocols=[protocol], ssl=context) as channel,
    ):
        assert channel.protocol == protocol
        for message in sent:
            await channel.send_bytes(message)
        async for message in channel:
            received.append(message.data)
        assert channel.close_code == 1000
    return received


def told(messages: list[bytes]) -> tuple[bytes, dict[str, Any]]:
    """What came out of the program, and how it ended."""
    *output, last = messages
    assert last[:1] == b"\x03" and output[0] == b"\x01", "a greeting first, the end last"
    assert {message[:1] for message in output} == {b"\x01"}
    return b"".join(message[1:] for message in output), json.loads(last[1:])


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v5.channel.k8s.io"])
def test_the_channels_as_they_are_on_the_wire(lab: Lab, protocol: str) -> None:
    said, end = told(asyncio.run(remote(lab, protocol, "command=echo&command=hi&stdout=1&stderr=1")))
    assert said == b"hi\n" and end == {"metadata": {}, "status": "Success"}
    query = "command=sh&command=-c&command=read+x;+echo+$x;+exit+3&stdin=1&stdout=1&stderr=1"
    said, end = told(asyncio.run(remote(lab, protocol, query, b"\x00ty", b"\x00ped\n")))
    assert said == b"typed\n"
    assert (end["status"], end["reason"]) == ("Failure", "NonZeroExitCode")
    assert end["details"] == {"causes": [{"reason": "ExitCode", "message": "3"}]}


def test_v5_ends_input_and_resizes(lab: Lab) -> None:
    said, _ = told(
        asyncio.run(remote(lab, "v5.channel.k8s.io", "command=wc&command=-c&stdin=1&stdout=1", b"\x00abc", b"\xff\x00"))
    )
    assert said.strip() == b"3"
    size = b'\x04{"Width":132,"Height":43}'
    query = "command=sh&command=-c&command=read+x;+stty+size&stdin=1&stdout=1&tty=1"
    said, _ = told(asyncio.run(remote(lab, "v5.channel.k8s.io", query, size, b"\x00\n")))
    assert b"43 132" in said
