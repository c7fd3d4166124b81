"""`fairway trace` and `fairway collect` on a machine: a network namespace with rules of iptables and of nftables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairway.kernel.linux import netns

pytestmark = pytest.mark.kernel

FAIRWAY = (sys.executable, "-m", "fairway")
NFT = """
table ip mine {
  chain pre {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr 10.96.0.9 tcp dport 80 dnat to 10.244.2.7:8080
  }
}
"""
IPTABLES = """*nat
-A PREROUTING -d 10.96.0.8/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.1.7:8080
-A POSTROUTING -s 198.51.100.0/24 -o pods -j MASQUERADE
COMMIT
"""
SETUP = (
    "ip link add uplink type veth peer name far",
    "ip link set uplink up",
    "ip addr add 10.0.0.11/24 dev uplink",
    "ip link add pods type bridge",
    "ip link set pods up",
    "ip addr add 10.244.1.1/24 dev pods",
    "ip route add default via 10.0.0.1 dev uplink",
    "ip route add 10.244.2.0/24 via 10.0.0.12 dev uplink table 77",
    "ip rule add to 10.244.2.0/24 lookup 77",
    "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0",
)


def inside(name: str, *command: str, given: str = "") -> subprocess.CompletedProcess[bytes]:
    whole = ["ip", "netns", "exec", name, *command]
    return subprocess.run(whole, input=given.encode(), capture_output=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def machine() -> Iterator[str]:
    name = f"fwt-{os.getpid()}-trace"
    netns.create(name)
    try:
        for line in SETUP:
            done = inside(name, *line.split())
            assert done.returncode == 0, (line, done.stderr)
        assert inside(name, "iptables-restore", given=IPTABLES).returncode == 0
        assert inside(name, "nft", "-f", "-", given=NFT).returncode == 0
        yield name
    finally:
        netns.delete(name)


def ask(name: str, *words: str) -> dict[str, Any]:
    done = inside(name, *FAIRWAY, "trace", "--node", "here", "--output", "json", *words)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize(
    ("destination", "endpoint", "egress", "masqueraded"),
    [
        ("10.96.0.8:80", "10.244.1.7:8080", {"device": "pods", "via": ""}, True),
        ("10.96.0.9:80", "10.244.2.7:8080", {"device": "uplink", "via": "10.0.0.12"}, False),
    ],
)
def test_rules_of_both_languages_and_policy_routes_are_followed(
    machine: str, destination: str, endpoint: str, egress: dict[str, str], masqueraded: bool
) -> None:
    told = ask(machine, "--from", "198.51.100.9", "--to", destination)
    (branch,) = told["branches"]
    assert branch["outcome"] == {"verdict": "endpoint", "endpoint": endpoint, "masqueraded": masqueraded}
    assert branch["egress"] == egress
    assert told["packet"]["inInterface"] == "uplink"
    assert told["notes"] == []


def test_a_bundle_tells_the_same_elsewhere(machine: str, tmp_path: Path) -> None:
    file = tmp_path / "bundle.tar.gz"
    done = inside(machine, *FAIRWAY, "collect", "--node", "here", "--file", str(file))
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    for destination in ("10.96.0.8:80", "10.96.0.9:80"):
        words = ("--from", "198.51.100.9", "--to", destination)
        command = [*FAIRWAY, "trace", "--bundle", str(file), "--output", "json", *words]
        elsewhere = subprocess.run(command, capture_output=True, timeout=60, check=True)
        assert json.loads(elsewhere.stdout) == ask(machine, *words)


def test_collecting_changes_nothing(machine: str) -> None:
    def state() -> list[bytes]:
        commands = ("iptables-save -t nat", "nft -s list ruleset", "ip addr", "ip route show table all", "ip rule")
        said = [inside(machine, *command.split()).stdout for command in commands]
        return [line for text in said for line in text.splitlines() if not line.startswith(b"#")]

    before = state()
    assert inside(machine, *FAIRWAY, "collect", "--file", "-").returncode == 0
    assert state() == before
