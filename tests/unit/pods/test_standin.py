"""The stand-in server: its HTTP, and the program itself on loopback."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.pods import standin
from fairway.pods.images import STAND_IN
from fairway.pods.standin import Rejected, read_request

GET = b"GET /hostname?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_request_is_read_once_it_is_whole() -> None:
    for cut in range(len(GET)):
        assert read_request(GET[:cut]) is None
    request = read_request(GET + b"GET /")
    assert request is not None
    assert (request.method, request.path, request.keep, request.size) == ("GET", "/hostname", True, len(GET))


def test_a_body_belongs_to_its_request() -> None:
    post = b"POST / HTTP/1.1\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    assert read_request(post[:-1]) is None
    request = read_request(post)
    assert request is not None
    assert (request.size, request.keep) == (len(post), False)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01 hello\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20000, 413),
    ],
)
def test_what_is_no_request_is_rejected(data: bytes, status: int) -> None:
    with pytest.raises(Rejected) as refused:
        read_request(data)
    assert refused.value.status == status


@given(st.binary(max_size=300))
def test_rubbish_never_does_worse_than_being_rejected(data: bytes) -> None:
    try:
        request = read_request(data + b"\r\n\r\n")
    except Rejected:
        return
    assert request is None or request.size > 0


def test_ipv4_clients_of_a_dual_stack_socket_look_like_ipv4() -> None:
    assert standin.address_text(("::ffff:10.0.0.1", 7)) == ("10.0.0.1", "10.0.0.1:7")
    assert standin.address_text(("fd00::1", 7)) == ("fd00::1", "[fd00::1]:7")


def free_port() -> int:
    with socket.socket(socket.AF_INET6) as handle:
        handle.bind(("::", 0))
        return int(handle.getsockname()[1])


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[str], int]]:
    port = free_port()
    command = [sys.executable, "-I", "-S", str(STAND_IN), "--pod", "web-1", "--node", "node-a"]
    process = subprocess.Popen([*command, f"TCP:{port}", f"UDP:{port}"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for awaited in ("stand-in server of pod web-1", f"listening on {port}/TCP", f"listening on {port}/UDP"):
            assert awaited in process.stdout.readline()
        yield process, port
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def exchange(port: int, request: bytes, address: str = "127.0.0.1") -> str:
    with socket.create_connection((address, port), timeout=5) as handle:
        handle.sendall(request)
        return b"".join(iter(lambda: handle.recv(65536), b"")).decode()


def test_it_works(server: tuple[subprocess.Popen[str], int]) -> None:
    _, port = server
    answer = exchange(port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
    first, second = answer.split("HTTP/1.1 200 OK\r\n")[1:]
    assert "<html><body><h1>It works!</h1></body></html>" in first
    for header in ("X-Fairway-Pod: web-1", "X-Fairway-Node: node-a", "X-Fairway-Client: 127.0.0.1"):
        assert header in first
    assert second.endswith("ok\n")


def test_pages(server: tuple[subprocess.Popen[str], int]) -> None:
    process, port = server

    def get(path: str, method: str = "GET", address: str = "127.0.0.1") -> str:
        return exchange(port, f"{method} {path} HTTP/1.1\r\nConnection: close\r\n\r\n".encode(), address)

    assert get("/hostname").endswith("\r\n\r\nweb-1\n")
    assert get("/clientip", address="::1").partition("\r\n\r\n")[2].startswith("[::1]:")
    assert isinstance(json.loads(get("/env").partition("\r\n\r\n")[2]), dict)
    assert get("/none").startswith("HTTP/1.1 404 ")
    assert get("/", "DELETE").startswith("HTTP/1.1 405 ")
    assert get("/hostname", "HEAD").endswith("\r\n\r\n")
    assert process.stdout is not None
    assert '"GET /hostname" 200' in process.stdout.readline()


def test_udp(server: tuple[subprocess.Popen[str], int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        handle.settimeout(5)
        handle.sendto(b"hostname\n", ("127.0.0.1", server[1]))
        assert handle.recv(100) == b"web-1\n"


def test_it_serves_on_for_a_moment_when_told_to_end(server: tuple[subprocess.Popen[str], int]) -> None:
    process, port = server
    process.send_signal(signal.SIGTERM)
    assert exchange(port, b"GET /healthz HTTP/1.0\r\n\r\n").endswith("ok\n")
    assert process.wait(5) == 0


def test_a_port_that_is_taken_ends_it_unless_nobody_asked_for_it(server: tuple[subprocess.Popen[str], int]) -> None:
    command = [sys.executable, "-I", "-S", str(STAND_IN), "--pod", "p", "--node", "n"]
    refused = subprocess.run([*command, f"TCP:{server[1]}"], stdout=subprocess.PIPE, text=True, timeout=10, check=False)
    assert refused.returncode == 1
    assert f"cannot listen on {server[1]}/TCP: Address already in use" in refused.stdout
