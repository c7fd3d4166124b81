"""The tracer against the kernel: which rules count a packet, for random rules and packets.

A namespace plays the node, with a client on one side and a server on the other. Each round loads random rules into it,
sends one UDP packet (from the client, or from the node itself), and compares every rule's packet counter with the
steps of the trace. The rules choose nothing by chance, so each trace is one path.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from fairway.packet import Packet
from fairway.ruleset.iptables import Ruleset, dump, parse
from fairway.trace.walk import trace
from tests.kernel.trace_scene import DESCRIBED, inside, namespaces, random_packet, send

pytestmark = pytest.mark.kernel

HOOKS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
ARRIVING, LEAVING = ("PREROUTING", "INPUT", "FORWARD"), ("FORWARD", "OUTPUT", "POSTROUTING")


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    with namespaces() as name:
        yield name


def random_rules(chance: random.Random) -> Ruleset:
    """Every built-in chain with a few rules, and two user chains per table; jumps lead from first to second only."""
    found = Ruleset()
    for table, hooks in HOOKS.items():
        for chain in (*hooks, "ONE", "TWO"):
            found.table(table).chain(chain).rules = [
                f"-p udp {_condition(chance, chain)} {_target(chance, table, chain)}".strip()
                for _ in range(chance.randint(0, 4))
            ]
    # without any rule that needs connections the kernel keeps none, and nat sees nothing
    found.table("filter").chain("FORWARD").rules.append("-p tcp -m conntrack --ctstate NEW")
    return parse(dump(found))


def _condition(chance: random.Random, chain: str) -> str:
    conditions = [
        *("", "", "-s 10.9.0.0/24", "! -s 10.9.0.2/32", "-d 10.8.0.2/32", "! -d 10.9.0.1/32", "-d 10.96.0.0/12"),
        *("-m udp --dport 53", "-m udp ! --dport 1:99", "-m multiport --dports 53,80", "-m multiport --ports 80"),
        *("-m mark --mark 0x1/0x1", "-m mark ! --mark 0x6/0x6", "-m addrtype --dst-type LOCAL"),
        *("-m connmark --mark 0x2/0x2", "-m connmark ! --mark 0x4/0x4"),
        *("-m addrtype ! --src-type LOCAL", "-m addrtype --dst-type UNICAST,BROADCAST", '-m comment --comment "a b"'),
        *("-m statistic --mode nth --every 1 --packet 0", "-m iprange --src-range 10.9.0.2-10.9.0.9"),
    ]
    if chain not in ("ONE", "TWO"):
        conditions += [
            "-m conntrack --ctstate NEW",
            "-m conntrack ! --ctstate DNAT",
            "-m conntrack --ctstate SNAT,DNAT",
        ]
    if chain in ARRIVING:
        conditions += ["-i eth0", "! -i cni+", "-i lo"]
    if chain in LEAVING:
        conditions += ["-o cni0", "! -o eth+", "-o lo"]
    return chance.choice(conditions)


def _target(chance: random.Random, table: str, chain: str) -> str:
    targets = ["", "", "-j RETURN", "-j ACCEPT", "-j MARK --set-xmark 0x4/0x4", "-j MARK --set-xmark 0x1/0x0"]
    targets += {"ONE": ["-j TWO", "-g TWO"], "TWO": []}.get(chain, ["-j ONE", "-g ONE", "-j TWO"])
    if table == "raw":
        targets += ["-j NOTRACK"]
    if table == "mangle":
        targets += ["-j MARK --set-xmark 0x2/0x2", "-j CONNMARK --save-mark", "-j CONNMARK --restore-mark"]
    if table == "filter":
        targets += ["-j REJECT --reject-with icmp-port-unreachable", "-j DROP"]
    if table == "nat" and chain in ("PREROUTING", "OUTPUT"):
        targets += [
            f"-j DNAT --to-destination {to}" for to in ("10.8.0.2:80", "10.9.0.1", "10.9.0.2:53", "10.9.7.1:80")
        ]
        targets += ["-j REDIRECT --to-ports 53"]
    if table == "nat" and chain == "POSTROUTING":
        targets += ["-j MASQUERADE", "-j SNAT --to-source 10.9.7.1"]
    return chance.choice(targets)


def counted(text: str) -> Counter[tuple[str, str, int]]:
    """(table, chain, rule number) -> packets, from `iptables-save -c`."""
    found: Counter[tuple[str, str, int]] = Counter()
    numbers: Counter[tuple[str, str]] = Counter()
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("["):
            chain = line.split()[2]
            numbers[table, chain] += 1
            if packets := int(line[1 : line.index(":")]):
                found[table, chain, numbers[table, chain]] = packets
    return found


def told(rules: Ruleset, packet: Packet) -> Counter[tuple[str, str, int]]:
    (path,) = trace(rules, DESCRIBED, packet).branches
    return Counter((step.table, step.chain, step.number) for step in path.steps if step.number)


@pytest.mark.parametrize("seed", range(40))
def test_the_kernel_counts_what_the_trace_tells(node: str, seed: int) -> None:
    chance = random.Random(seed)
    rules = random_rules(chance)
    for turn in range(4):
        packet = random_packet(chance, 20000 + 10 * seed + turn)
        expected = told(rules, packet)

        inside(node, "iptables-restore", stdin=dump(rules))
        send(packet)

        deadline = time.monotonic() + 2  # the packet is through long before, unless another one's turn came first
        while (got := counted(inside(node, "iptables-save", "-c"))) != expected and time.monotonic() < deadline:
            os.sched_yield()
        assert got == expected, f"{packet}\n{dump(rules)}"
