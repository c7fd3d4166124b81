"""Pods of the test image agnhost: its servers answer, and they ask each other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kernel.pods_bench import Node

pytestmark = pytest.mark.kernel


def agnhost(*args: str, port: int, **more: Any) -> list[dict[str, Any]]:
    probe = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    image = "registry.k8s.io/e2e-test-images/agnhost:2.53"
    return [{"name": "agnhost", "image": image, "args": list(args), "readinessProbe": probe, **more}]


def curl(node: Node, pod: str, url: str, *more: str) -> str:
    code, said = node.run(pod, "curl", "-sSk", "-m", "5", *more, url)
    assert code == 0, said
    return said


def test_netexec_serves_and_dials(node: Node) -> None:
    node.create("a", containers=agnhost("netexec", "--http-port=8083", "--udp-port=8081", port=8083))
    node.create("b", containers=agnhost("netexec", port=8080))
    node.until(lambda: node.ready("a", "b"))
    a, b = node.address("a"), node.address("b")
    assert curl(node, "b", f"http://{a}:8083/hostname") == "a"
    assert curl(node, "b", f"http://{a}:8083/clientip").startswith(f"{b}:")
    for target, port, protocol in ((a, 8083, "http"), (a, 8081, "udp"), (b, 8080, "http")):  # of b itself, too
        dial = f"http://{b}:8080/dial?request=hostname&protocol={protocol}&host={target}&port={port}&tries=2"
        name = "a" if target == a else "b"
        assert json.loads(curl(node, "a", dial)) == {"responses": [name, name]}
    assert node.run("b", "/agnhost", "connect", f"{a}:8083", "--timeout=1s") == (0, "")
    assert node.run("b", "/agnhost", "connect", f"{a}:8081", "--timeout=1s", "--protocol=udp") == (0, "")
    assert node.run("b", "/agnhost", "connect", f"{a}:1", "--timeout=1s") == (1, "REFUSED\n")
    assert node.run("b", "sh", "-c", f"echo hostname | nc -u -w 1 {a} 8081") == (0, "a")
    assert node.run("b", "/agnhost", "dns-server-list") == (0, "10.96.0.10")
    assert node.run("b", "/agnhost", "dns-suffix")[1].startswith("default.svc.cluster.local,svc.cluster.local,")


def test_serve_hostname_test_webserver_and_porter(node: Node) -> None:
    ports = [{"name": "SERVE_PORT_9376", "value": "foo"}, {"name": "SERVE_TLS_PORT_443", "value": "secret"}]
    node.create("h", containers=agnhost("serve-hostname", port=9376))
    node.create("w", containers=agnhost("test-webserver", port=80))
    node.create("p", containers=agnhost("porter", "--json-response", port=9376, env=ports))
    node.create("q", containers=agnhost("pause", port=80), dnsPolicy="Default")
    node.until(lambda: node.ready("h", "w", "p"))
    assert curl(node, "p", f"http://{node.address('h')}:9376/") == "h"
    assert "etc\n" in curl(node, "p", f"http://{node.address('w')}/")
    for method in ("GET", "POST", "PATCH", "OPTIONS"):
        answer = curl(node, "h", f"http://{node.address('p')}:9376/x", "-X", method)
        assert json.loads(answer) == {"Method": method, "Body": "foo"}
    assert json.loads(curl(node, "h", f"https://{node.address('p')}/"))["Body"] == "secret"
    node.until(lambda: "running" in node.container("q")["state"])
