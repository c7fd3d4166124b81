"""A lab as its user has it: the command `fairway`, kubectl, and programs run inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAIRWAY = [sys.executable, "-m", "fairway"]
PROBE = Path(__file__).resolve().parents[2] / "examples" / "probe.py"
EXAMPLES = PROBE.parent


class Lab:
    """One lab. Commands fail the test with what they printed, unless told to `allow` failure."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/fairway") / name
        self.environment = {**os.environ, "KUBECONFIG": str(self.path / "kubeconfig")}

    def run(self, *words: str, allow: bool = False, text: str | None = None, seconds: float = 60) -> str:
        done = subprocess.run(
            words,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=seconds,
        )
        assert allow or done.returncode == 0, f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def fairway(self, command: str, *words: str, allow: bool = False, seconds: float = 60) -> str:
        return self.run(*FAIRWAY, command, "--lab", self.name, *words, allow=allow, seconds=seconds)

    def up(self, nodes: int = 3, *words: str) -> str:
        """Bring it up. Its own patience ends after 60 s; then its logs are worth more than the lab."""
        said = self.fairway("up", "--nodes", str(nodes), *words, allow=True, seconds=90)
        assert "is up (" in said, f"{said}\n{self.logs()}"
        return said

    def logs(self) -> str:
        """The ends of all logs."""
        files = sorted((self.path / "log").glob("*.log"))
        return "\n".join(f"== {file.name}\n" + "\n".join(file.read_text().splitlines()[-20:]) for file in files)

    def down(self) -> str:
        return self.fairway("down", allow=True)

    def kubectl(self, *words: str, allow: bool = False, text: str | None = None) -> str:
        return self.run("kubectl", *words, allow=allow, text=text)

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def inside(self, target: str, *command: str, allow: bool = False) -> str:
        return self.fairway("exec", target, "--", *command, allow=allow)

    def curl(self, target: str, url: str, *, allow: bool = False) -> str:
        return self.inside(target, "curl", "-sS", "-m", "5", url, allow=allow)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.fairway("status", "-o", "json"))
        return found

    def pods(self, selector: str) -> list[dict[str, Any]]:
        found = self.get("pods", "-l", selector)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def pod(self, selector: str) -> str:
        return str(self.pods(selector)[0]["metadata"]["name"])

    def cluster_ip(self, service: str) -> str:
        return str(self.get("service", service)["spec"]["clusterIP"])

    def endpoints(self, service: str) -> list[str]:
        """The ready addresses in the Service's slices."""
        slices = self.get("endpointslices", "-l", f"kubernetes.io/service-name={service}")["items"]
        found = [endpoint for piece in slices for endpoint in piece.get("endpoints") or []]
        return sorted(endpoint["addresses"][0] for endpoint in found if endpoint["conditions"].get("ready"))

    def apply(self, *files: str) -> str:
        return self.kubectl("apply", *(word for file in files for word in ("-f", str(EXAMPLES / file))))

    def settled(self, service: str, count: int) -> list[str]:
        """Wait until the Service has `count` ready endpoints and every node's rules name just these."""
        until(lambda: len(self.endpoints(service)) == count, f"{service} has {count} endpoints")
        wanted = set(self.endpoints(service))
        for node in self.get("nodes")["items"]:
            name = node["metadata"]["name"]
            if self.status()["units"][f"proxy-{name}"]["state"] == "running":
                until(lambda name=name: self.rule_endpoints(name, service) == wanted, f"rules of {name}")  # type: ignore[misc]
        return sorted(wanted)

    def rule_endpoints(self, node: str, service: str) -> set[str]:
        """The addresses that the node's rules translate the Service to."""
        rules = self.inside(node, "iptables-save", "-t", "nat")
        lines = [line for line in rules.splitlines() if f'"default/{service}"' in line and "--to-destination" in line]
        return {line.rpartition(" ")[2].rpartition(":")[0] for line in lines}

    def probe(self, target: str, url: str, seconds: float) -> subprocess.Popen[str]:
        """Requests every 20 ms from `target`, in the background."""
        words = [*FAIRWAY, "exec", "--lab", self.name, target, "--", sys.executable, str(PROBE), url, str(seconds)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=self.environment)


def until(holds: Callable[[], bool], what: str, seconds: float = 30) -> float:
    """Wait until it holds; returns how long that took."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - begun


def result(probe: subprocess.Popen[str]) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(probe.communicate(timeout=60)[0])
    return said


def host_state(*labs: str) -> str:
    """What the labs of these names must leave as it was: the host's namespaces, links, addresses, routes, rules and
    mounts. What belongs to other labs and tests, which come and go beside this one, is left out."""
    commands = (
        "ip netns list",
        "ip -o link",
        "ip -o addr",
        "ip route show table all",
        "iptables-save -t nat",
        "iptables-save -t filter",
        "sysctl -a --pattern ^net.*(forward|bridge-nf|rp_filter|route_localnet)",
        "cat /proc/self/mounts",
        "find /run/fairway -mindepth 1 -maxdepth 1",
    )

    def counts(line: str) -> bool:
        if any(mark in line for mark in ("fw-", "fwt-", "/run/fairway/")):
            return any(lab in line for lab in labs)
        return not line.startswith("#") and "valid_lft" not in line

    outputs = []
    for command in commands:
        done = subprocess.run(command.split(), capture_output=True, text=True)
        lines = filter(counts, done.stdout.splitlines())
        outputs.append("\n".join([command, *lines]))
    return "\n".join(outputs)
