"""Host ports on the real kernel: by which of the node's addresses a pod is reached, and by which no more."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

import pytest

from fairway.kernel.linux import netns
from fairway.pods.records import sandbox_pids
from tests.kernel.pods_bench import Node

pytestmark = pytest.mark.kernel
HERE = "10.0.0.11"


def web(**port: Any) -> list[dict[str, Any]]:
    probe = {"httpGet": {"port": 80, "path": "/healthz"}}
    return [{"name": "web", "image": "nginx", "ports": [{"containerPort": 80, **port}], "readinessProbe": probe}]


def rules(node: Node) -> str:
    with netns.entered(netns.path(node.name)):
        return subprocess.run(["iptables-save", "-t", "nat"], check=True, capture_output=True, text=True).stdout


def test_pods_share_a_host_port_at_different_addresses(node: Node) -> None:
    node.create("a", containers=web(hostPort=8080, hostIP="127.0.0.1"))
    node.create("b", containers=web(hostPort=8080, hostIP=HERE))
    node.create("c", containers=web(hostPort=8081))
    node.until(lambda: node.ready("a", "b", "c"))
    # from the node's address to its loopback, as a client that binds to a device does
    assert node.get("127.0.0.1", "/hostname", port=8080, source=HERE) == "a"
    assert node.get(HERE, "/hostname", port=8080) == "b"
    assert node.get(HERE, "/hostname", port=8081) == "c"
    assert "c\n" in node.run("c", "curl", "-sS", "-m", "5", f"http://{HERE}:8081/hostname")[1], "a pod reaches itself"
    assert "c\n" in node.run("a", "curl", "-sS", "-m", "5", f"http://{HERE}:8081/hostname")[1]


def test_a_host_port_outlives_the_agent_and_goes_with_its_pod(node: Node) -> None:
    node.create("a", containers=web(hostPort=8080))
    node.until(lambda: node.ready("a"))
    node.kill()
    assert node.get(HERE, "/hostname", port=8080) == "a"
    node.start()
    node.create("b", containers=web(hostPort=8081))
    node.until(lambda: node.ready("b"))
    assert node.get(HERE, "/hostname", port=8080) == "a"
    node.delete("a")
    node.until(lambda: "a" not in node.pods)
    assert "8080" not in rules(node)
    assert node.get(HERE, "/hostname", port=8081) == "b"


def test_rules_of_pods_that_ended_unseen_are_removed(node: Node) -> None:
    node.create("a", containers=web(hostPort=8080))
    node.create("b", containers=web(hostPort=8081))
    node.until(lambda: node.ready("a", "b"))
    node.kill()
    gone = node.pods.pop("a")["metadata"]["uid"]
    for pid in sandbox_pids(node.state_dir):
        os.kill(pid, signal.SIGKILL)
    node.start()
    node.until(lambda: node.ready("b") and node.container("b")["restartCount"] == 1)
    assert node.get(HERE, "/hostname", port=8081) == "b"
    assert gone not in rules(node)
    assert rules(node).count("DNAT --to") == 1
