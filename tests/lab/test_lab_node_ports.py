"""Node ports in both modes: from outside, at localhost, and against other programs of the node."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.lab.cluster import FAIRWAY, Lab, until
from tests.lab.test_lab_doctor import found, proxy_stopped

pytestmark = pytest.mark.lab

SERVER = """
import http.server, socket, threading
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); datagrams.bind(("", 8080))
def echo():
    while True:
        data, client = datagrams.recvfrom(2048); datagrams.sendto(data + b" from " + client[0].encode(), client)
threading.Thread(target=echo, daemon=True).start()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])) + b" from " + self.client_address[0].encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
ASK = """
import socket, sys
host, port = sys.argv[1:]
s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5); s.connect((host, int(port)))
for word in (b"one", b"two"):
    s.send(word); print(s.recv(2048).decode())
"""
LISTEN = """
import socket, sys, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], int(sys.argv[2]))); s.listen(); print("listening", flush=True); time.sleep(60)
"""
PORT, TAKEN = 31234, 31235


@pytest.fixture(scope="module", params=["iptables", "nftables"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    made = Lab(f"t{os.getpid()}{request.param[:4]}"[:16])
    made.up(2, "--proxy-mode", request.param)
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    container = {"name": "c", "image": "x", "command": ["python3", "-c", SERVER], "readinessProbe": probe}
    spec = {"containers": [container], "nodeName": "node-b", "terminationGracePeriodSeconds": 0}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "echo", "labels": {"app": "echo"}}, "spec": spec}
    made.kubectl("apply", "-f", "-", text=json.dumps(pod))
    expose(made, "echo", PORT)
    until(lambda: len(made.endpoints("echo")) == 1, "the pod is ready")
    until(lambda: "x from" in ask(made, "client", "10.0.0.11"), "the node port is served")
    yield made
    made.down()


def expose(lab: Lab, name: str, node_port: int) -> None:
    ports = [
        {"name": protocol.lower(), "protocol": protocol, "port": 80, "targetPort": 8080, "nodePort": node_port}
        for protocol in ("TCP", "UDP")
    ]
    spec = {"type": "NodePort", "selector": {"app": "echo"}, "ports": ports}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
    lab.kubectl("apply", "-f", "-", text=json.dumps(service))


def ask(lab: Lab, target: str, host: str) -> str:
    return lab.inside(target, "curl", "-sS", "-g", "-m", "5", "-d", "x", f"http://{host}:{PORT}/", allow=True)


def test_localhost_leads_to_the_endpoints(lab: Lab) -> None:
    """Nobody has asked the kernel to route loopback addresses for that."""
    for host in ("127.0.0.1", "[::1]", "localhost", "10.0.0.11"):
        until(lambda host=host: ask(lab, "node-a", host).startswith("x from 10."), host)  # type: ignore[misc]
    assert lab.inside("node-a", "sysctl", "-n", "net.ipv4.conf.all.route_localnet").strip() == "0"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "10.0.0.11"])
def test_udp(lab: Lab, host: str) -> None:
    said = lab.inside("node-a", "python3", "-c", ASK, host, str(PORT)).splitlines()

    assert [line.partition(" from 10.")[0] for line in said] == ["one", "two"]


def test_the_port_is_held_against_other_programs(lab: Lab) -> None:
    for host in ("0.0.0.0", "127.0.0.1", "10.0.0.11"):
        said = lab.inside("node-a", "python3", "-c", LISTEN, host, str(PORT), allow=True)
        assert "Address already in use" in said


def test_another_program_that_was_first_is_told(lab: Lab) -> None:
    words = [*FAIRWAY, "exec", "--lab", lab.name, "node-a", "--", "python3", "-c", LISTEN, "0.0.0.0", str(TAKEN)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=lab.environment) as other:
        assert other.stdout is not None and other.stdout.readline() == "listening\n"
        expose(lab, "late", TAKEN)

        until(lambda: "NodePortClash" in lab.kubectl("describe", "service", "late"), "the event")

        said = lab.kubectl("describe", "service", "late")
        assert f"node-a: node port {TAKEN}/TCP: another program listens at" in said
        assert "node-b" not in said
        other.kill()
    lab.kubectl("delete", "service", "late")


def test_a_port_that_nobody_serves_is_refused_at_localhost(lab: Lab) -> None:
    lab.kubectl("patch", "service", "echo", "-p", '{"spec":{"selector":{"app":"nobody"}}}')
    until(lambda: not lab.endpoints("echo"), "no endpoints")

    for host in ("127.0.0.1", "[::1]"):
        until(lambda host=host: "Failed to connect" in ask(lab, "node-a", host), host)  # type: ignore[misc]

    lab.kubectl("patch", "service", "echo", "-p", '{"spec":{"selector":{"app":"echo"}}}')
    until(lambda: ask(lab, "node-a", "127.0.0.1").startswith("x from 10."), "served again")


def test_the_doctor_finds_what_is_gone_and_too_much_in_nftables(lab: Lab) -> None:
    if "table ip fairway" not in lab.inside("node-a", "nft", "list", "tables"):
        pytest.skip("the other mode has tests of its own")
    until(lambda: found(lab) == {}, "nothing is found")
    with proxy_stopped(lab, "node-a"), proxy_stopped(lab, "node-b"):
        lab.inside("node-a", "nft", "delete", "table", "ip", "fairway")
        lab.kubectl("delete", "service", "echo")
        expose(lab, "late", TAKEN)
        until(lambda: lab.endpoints("late") != [], "it has endpoints")
        said = found(lab)
        assert {"missing node-a", "missing node-b", "extra node-b"} <= said.keys()
        assert "extra node-a" not in said
        assert "default/late" in said["missing node-b"] and "which no Service has" in said["extra node-b"]
    until(lambda: found(lab) == {}, "the proxies have mended it")
