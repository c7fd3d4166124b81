"""Into pods with real kubectl: exec, cp, attach, port-forward, and every way to read logs."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fairway.client.kubeconfig import load
from tests.contract.served import OLD_KUBECTL
from tests.lab.cluster import Lab, until
from tests.lab.websocket import WebSocket

DOORS = ("REMOTE_COMMAND", "PORT_FORWARD")
pytestmark = pytest.mark.lab
WEBSOCKET, SPDY = pytest.mark.kubectl_since(31), {f"KUBECTL_{door}_WEBSOCKETS": "false" for door in DOORS}

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
---
apiVersion: v1
kind: Pod
metadata: {name: listener}
spec:
  containers:
  - {name: open, image: busybox, stdin: true, command: [sh, -c, "while read x; do echo heard $x; done; echo over"]}
  - {name: deaf, image: busybox, command: [sh, -c, "read x || echo nothing to read; sleep 1000"]}
"""


@pytest.fixture(scope="module", autouse=True)
def pods(lab: Lab) -> Iterator[None]:
    lab.kubectl("run", "web", "--image=httpd")
    lab.kubectl("apply", "-f", "-", text=TALKER)
    lab.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
    lab.kubectl("wait", "--for=condition=Initialized", "pod/talker", "--timeout=30s")
    lab.kubectl("create", "deployment", "site", "--image=httpd")
    lab.kubectl("expose", "pod/web", "--port=8080", "--target-port=80")
    lab.kubectl("rollout", "status", "deployment/site", "--timeout=30s")
    yield


@dataclass(frozen=True)
class Way:
    """A kubectl and what it speaks."""

    lab: Lab
    program: str
    environment: Mapping[str, str]

    def begin(self, *words: str, **streams: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([self.program, *words], env=self.environment, **streams)

    def kubectl(self, *words: str, text: str = "", seconds: float = 30) -> subprocess.CompletedProcess[str]:
        """kubectl with its streams kept apart. On a busy machine one up to 1.33 may complain that the greeting came
        before its own streams were made (kubernetes/kubernetes#131189); that line is kubectl's own and loses
        nothing."""
        words = (self.program, *words)
        done = subprocess.run(words, input=text, capture_output=True, text=True, env=self.environment, timeout=seconds)
        done.stderr = re.sub(r"^E\d{4} .*Unknown stream id \d+, discarding message\n", "", done.stderr, flags=re.M)
        return done


@pytest.fixture(
    params=[
        pytest.param(("kubectl", {}), id="websocket", marks=WEBSOCKET),
        pytest.param(("kubectl", SPDY), id="spdy"),
        pytest.param((OLD_KUBECTL, {}), id="old", marks=pytest.mark.old_kubectl),
    ]
)
def way(request: pytest.FixtureRequest, lab: Lab) -> Way:
    program, extra = request.param
    return Way(lab, program, {**lab.environment, **extra})


def test_a_program_has_its_streams_and_its_exit_code(way: Way) -> None:
    done = way.kubectl("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert done.stderr == "err\ncommand terminated with exit code 3\n"
    assert way.kubectl("exec", "web", "--", "hostname").stdout == "web\n"
    killed = way.kubectl("exec", "web", "--", "sh", "-c", "kill -9 $$")
    assert killed.returncode == 137


def test_input_goes_in_and_its_end_is_seen(way: Way) -> None:
    text = "".join(f"{number} potatoes\n" for number in range(100_000))
    done = way.kubectl("exec", "-i", "web", "--", "cat", text=text)
    assert done.returncode == 0 and done.stdout == text
    closed = way.kubectl("exec", "-i", "web", "--", "head", "-n1", text=text)
    assert closed.stdout == "0 potatoes\n"


def test_output_that_is_left_when_the_program_ends_still_comes(way: Way) -> None:
    done = way.kubectl("exec", "web", "--", "head", "-c", "3000000", "/dev/zero")
    assert len(done.stdout) == 3_000_000
    # What a program leaves running holds its output open; nobody waits for that.
    left = way.kubectl("exec", "web", "--", "sh", "-c", "sleep 60 & echo started", seconds=10)
    assert left.stdout == "started\n"


def test_what_cannot_run_is_told(way: Way) -> None:
    for words, why in (
        (("web", "--", "no-such-program"), "no-such-program: not found in PATH"),
        (("nobody", "--", "ls"), 'pods "nobody" not found'),
        (("web", "-c", "other", "--", "ls"), "container other is not valid for pod web"),
        (("talker", "-c", "prep", "--", "ls"), "container prep does not run (now)"),
    ):
        done = way.kubectl("exec", *words)
        assert done.returncode == 1 and why in done.stderr, done.stderr


class Screen:
    """A terminal of our own, and the program in it."""

    def __init__(self, master: int, program: subprocess.Popen[bytes]) -> None:
        self._master = master
        self.program = program
        self._seen = b""

    def see(self, pattern: bytes) -> None:
        while not re.search(pattern, self._seen):
            self._seen += os.read(self._master, 4096)

    def type(self, text: bytes) -> None:
        os.write(self._master, text)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        self.program.send_signal(signal.SIGWINCH)  # the terminal is not its controlling one


@contextmanager
def terminal(way: Way, *words: str) -> Iterator[Screen]:
    master, slave = os.openpty()
    with way.begin(*words, stdin=slave, stdout=slave, stderr=slave) as program:
        os.close(slave)
        try:
            yield Screen(master, program)
        finally:
            program.kill()
    os.close(master)


def test_a_terminal_is_one(way: Way) -> None:
    with terminal(way, "exec", "-it", "web", "--", "sh") as screen:
        screen.see(rb"# $")
        screen.type(b"tty; ps -o tty= -p $$; echo $TERM-$((6*7))\n")
        screen.see(rb"/dev/pts/\d+\r\n(?s:.*)pts/\d+\s+xterm-42\r\n")
        screen.resize(44, 133)
        screen.type(b"until stty size | grep 133; do sleep 0.1; done\n")
        screen.see(rb"44 133\r\n")
        screen.type(b"sleep 100\n")
        until(lambda: "sleep 100" in way.lab.inside("web", "ps", "ax"), "the program in front")
        screen.type(b"\x03")  # interrupts what is in front of the terminal, and not the shell
        screen.type(b"exit 7\n")
        assert screen.program.wait(10) == 7


def test_a_program_ends_with_its_client(way: Way) -> None:
    with way.begin("exec", "web", "--", "sh", "-c", "echo here; exec sleep 4242", stdout=subprocess.PIPE) as client:
        assert client.stdout
        assert client.stdout.readline() == b"here\n"
        client.kill()
    until(lambda: "sleep 4242" not in way.lab.inside("web", "ps", "ax"), "the program's end")


def test_files_are_copied_in_and_out(way: Way, tmp_path: Path) -> None:
    content = os.urandom(5_000_000)
    (tmp_path / "there").write_bytes(content)
    goal = f"{tmp_path}/copied"
    assert way.kubectl("cp", f"{tmp_path}/there", f"web:{goal}").returncode == 0
    assert not Path(goal).exists(), "what a pod is given is the pod's alone"
    assert way.kubectl("cp", f"web:{goal}", f"{tmp_path}/back").returncode == 0
    assert (tmp_path / "back").read_bytes() == content


def test_attach_shows_what_is_written_from_now_on(way: Way) -> None:
    with way.begin("attach", "talker", "-c", "steady", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout and client.stderr
        first = int(client.stdout.readline().split()[1])
        assert client.stdout.readline() == f"line {first + 1}\n".encode()
        complaints = [client.stderr.readline() for _ in range(3)]
        assert any(line.startswith(b"complaint") for line in complaints)
        client.kill()


def test_attach_gives_input_to_a_container_that_has_any(way: Way) -> None:
    for word in ("one", "two"):  # the input stays open for the next who attaches
        with way.begin(
            "attach", "-i", "listener", "-c", "open", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client:
            assert client.stdin and client.stdout
            client.stdin.write(f"{word}\n".encode())
            client.stdin.flush()
            assert client.stdout.readline() == f"heard {word}\n".encode()
            client.kill()
    assert "over" not in way.kubectl("logs", "listener", "-c", "open").stdout
    assert way.kubectl("logs", "listener", "-c", "deaf").stdout == "nothing to read\n"


def test_a_pod_of_ones_own_has_input_until_that_ends(way: Way) -> None:
    text = "".join(f"{number} potatoes\n" for number in range(50_000))
    run = ("run", "-i", "--rm", "--restart=Never", "--image=busybox", "--quiet", "mine", "--", "md5sum")
    done = way.kubectl(*run, text=text)
    assert hashlib.md5(text.encode()).hexdigest() in done.stdout, done.stderr
    assert way.kubectl("get", "pod", "mine").returncode == 1


def test_a_pod_of_ones_own_has_a_terminal(way: Way) -> None:
    with terminal(way, "run", "-it", "--rm", "--restart=Never", "--image=busybox", "shell", "--", "sh") as screen:
        screen.see(rb"try pressing enter")  # the shell said its prompt before anybody was attached
        screen.type(b"\n")
        screen.see(rb"# ")
        screen.resize(43, 132)
        screen.type(b"until stty size | grep 132; do sleep 0.1; done; tty; echo $TERM-$((6*7))\n")
        screen.see(rb"43 132\r\n(?s:.*)/dev/pts/\d+\r\nxterm-42\r\n")
        screen.type(b"exit 7\n")
        assert screen.program.wait(20) == 7


def test_a_container_waits_for_a_client_that_reads_slowly_and_not_for_one_that_left(way: Way) -> None:
    words = ("run", "-i", "--rm", "--restart=Never", "--image=busybox", "--quiet", "teller", "--", "sh", "-c")
    with way.begin(
        *words, "read go; seq 1 300000; echo that is all; read on", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as client:
        assert client.stdin and client.stdout
        client.stdin.write(b"go\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"1\n"
        seen = [client.stdout.readline() for _ in range(299_999)]
        assert seen[-1] == b"300000\n" and client.stdout.readline() == b"that is all\n"
    with way.begin("attach", "talker", "-c", "steady", stdout=subprocess.PIPE) as client:
        assert client.stdout and client.stdout.readline().startswith(b"line")
        client.kill()
    before = way.kubectl("logs", "talker", "-c", "steady", "--tail=1").stdout
    until(lambda: way.kubectl("logs", "talker", "-c", "steady", "--tail=1").stdout != before, "another line")


@contextmanager
def forwarded(way: Way, target: str, port: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A free port of the host that leads to a port of the target."""
    with way.begin("port-forward", target, f":{port}", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as forwarding:
        assert forwarding.stdout
        line = forwarding.stdout.readline().decode()
        try:
            yield int(line.split()[2].rpartition(":")[2]), forwarding
        finally:
            forwarding.kill()


def said_by(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as handle:
        handle.sendall(request)
        return b"".join(iter(lambda: handle.recv(65536), b""))


@pytest.mark.parametrize("target", ["pod/web", "service/web", "deployment/site"])
def test_a_port_is_forwarded(way: Way, target: str) -> None:
    ask = b"GET /hostname HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with forwarded(way, target, 8080 if target.startswith("service") else 80) as (port, _):
        for _ in range(3):
            assert said_by(port, ask).partition(b"\r\n\r\n")[2].startswith((b"web", b"site"))
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda _: said_by(port, ask), range(16)))
        assert len(answers) == 16 and all(b" 200 " in answer for answer in answers)


def test_much_is_forwarded_both_ways_to_what_listens_on_loopback_only(way: Way) -> None:
    echo = "import socket\ns=socket.create_server(('::1',7),family=socket.AF_INET6)\nwhile 1:\n c,_=s.accept()\n"
    echo += " while d:=c.recv(65536): c.sendall(d)\n c.close()"
    with way.begin("exec", "web", "--", sys.executable, "-c", echo):
        until(lambda: way.lab.inside("web", "ss", "-tlnH", "sport = :7") != "", "the echo server")
        sent = os.urandom(3_000_000)
        with (
            forwarded(way, "pod/web", 7) as (port, _),
            socket.create_connection(("127.0.0.1", port)) as handle,
            ThreadPoolExecutor(1) as sender,
        ):
            sender.submit(lambda: (handle.sendall(sent), handle.shutdown(socket.SHUT_WR)))
            received = b"".join(iter(lambda: handle.recv(65536), b""))
        assert received == sent
        way.lab.inside("web", "pkill", "-f", "create_server.*'::1',7")


def test_a_port_without_a_listener_is_told(way: Way) -> None:
    with forwarded(way, "pod/web", 81) as (port, forwarding):
        assert said_by(port, b"hello") == b""
        assert forwarding.stderr
        assert "nothing accepts connections there" in forwarding.stderr.readline().decode()
    refused = way.kubectl("port-forward", "pod/nobody", ":80")
    assert refused.returncode == 1 and 'pods "nobody" not found' in refused.stderr


def connections(way: Way) -> str:
    """What is connected with the pod's web server."""
    return way.lab.inside("web", "ss", "-tnH", "state", "connected", "exclude", "time-wait", "sport = :80")


def test_a_killed_port_forward_leaves_no_connection(way: Way) -> None:
    with forwarded(way, "pod/web", 80) as (port, forwarding), socket.create_connection(("127.0.0.1", port)):
        until(lambda: connections(way) != "", "the connection")
        forwarding.kill()
        until(lambda: connections(way) == "", "its end")


def test_a_client_that_leaves_is_noticed_behind_input_that_nobody_reads(way: Way) -> None:
    with way.begin("exec", "-i", "web", "--", "sleep", "4243", stdin=subprocess.PIPE) as client:
        assert client.stdin
        until(lambda: "sleep 4243" in way.lab.inside("web", "ps", "ax"), "the program")
        client.stdin.write(bytes(800_000))  # more than the pod's pipe and the agent hold
        client.kill()
    until(lambda: "sleep 4243" not in way.lab.inside("web", "ps", "ax"), "the program's end")


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


def channel(lab: Lab, protocol: str, path: str) -> WebSocket:
    """A WebSocket to something of the web pod."""
    info = load(str(lab.path / "kubeconfig"))
    context = ssl.create_default_context(cadata=info.ca_data)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
        pair.write(info.cert_data + info.key_data)
        pair.flush()
        context.load_cert_chain(pair.name)
    return WebSocket(f"{info.server}/api/v1/namespaces/default/pods/web/{path}", protocol, context)


def remote(lab: Lab, protocol: str, query: str, *sent: bytes) -> list[bytes]:
    """The messages of a program over WebSocket, spoken by hand."""
    with channel(lab, protocol, f"exec?{query}") as opened:
        for message in sent:
            opened.send(message)
        received = list(opened)
        assert opened.close_code == 1000
    return received


def test_ports_are_forwarded_in_the_channels_of_a_plain_websocket(lab: Lab) -> None:
    said = dict.fromkeys(range(4), b"")
    with channel(lab, "v4.channel.k8s.io", "portforward?ports=80,81") as opened:
        opened.send(b"\0GET /hostname HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for message in opened:
            said[message[0]] += message[1:]
    assert said[0].startswith(b"\x50\0HTTP/1.1 200 ") and said[0].endswith(b"web\n")
    assert (said[1], said[2]) == (b"\x50\0", b"\x51\0")
    assert said[3].startswith(b"\x51\0error forwarding port 81 to the pod: nothing accepts connections there")


def told(messages: list[bytes]) -> tuple[bytes, dict[str, Any]]:
    """What came out of the program, and how it ended."""
    *output, last = messages
    assert last[:1] == b"\x03" and output[0] == b"\x01", "a greeting first, the end last"
    assert {message[:1] for message in output} == {b"\x01"}
    return b"".join(message[1:] for message in output), json.loads(last[1:])


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v5.channel.k8s.io"])
def test_the_channels_as_they_are_on_the_wire(lab: Lab, protocol: str) -> None:
    said, end = told(remote(lab, protocol, "command=echo&command=hi&stdout=1&stderr=1"))
    assert said == b"hi\n" and end == {"metadata": {}, "status": "Success"}
    query = "command=sh&command=-c&command=read+x;+echo+$x;+exit+3&stdin=1&stdout=1&stderr=1"
    said, end = told(remote(lab, protocol, query, b"\x00ty", b"\x00ped\n"))
    assert said == b"typed\n"
    assert (end["status"], end["reason"]) == ("Failure", "NonZeroExitCode")
    assert end["details"] == {"causes": [{"reason": "ExitCode", "message": "3"}]}


def test_v5_ends_input_and_resizes(lab: Lab) -> None:
    said, _ = told(remote(lab, "v5.channel.k8s.io", "command=wc&command=-c&stdin=1&stdout=1", b"\x00abc", b"\xff\x00"))
    assert said.strip() == b"3"
    size = b'\x04{"Width":132,"Height":43}'
    query = "command=sh&command=-c&command=read+x;+stty+size&stdin=1&stdout=1&tty=1"
    said, _ = told(remote(lab, "v5.channel.k8s.io", query, size, b"\x00\n"))
    assert b"43 132" in said
