"""The tracer of nftables against the kernel: which rules count a packet, for random rules and packets.

Rules that must count do so behind everything they ask. Where the rules leave something to chance, what the kernel
counted must be what one of the trace's branches tells.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from fairway.packet import Packet
from fairway.ruleset import nft
from fairway.ruleset.nft_parse import parse
from fairway.ruleset.nft_print import text
from fairway.trace.walk import trace
from tests.kernel.trace_scene import DESCRIBED, inside, namespaces, random_packet, send

pytestmark = pytest.mark.kernel

BASES = (
    *(("filter", hook, -300) for hook in ("prerouting", "output")),
    *(("filter", hook, -150) for hook in ("prerouting", "input", "forward", "postrouting")),
    ("route", "output", -150),
    ("nat", "prerouting", -100),
    ("nat", "output", -100),
    ("nat", "output", -90),
    ("filter", "output", -95),
    *(("filter", hook, 0) for hook in ("input", "forward", "output")),
    *(("filter", hook, 0) for hook in ("input", "forward")),
    ("nat", "postrouting", 100),
    ("nat", "input", 100),
)
USERS = ("ONE", "TWO")

SETS = """
    set hosts { type ipv4_addr; elements = { 10.8.0.2, 10.96.0.1, 10.9.0.2 }; }
    set networks { type ipv4_addr; flags interval; elements = { 10.8.0.0/16, 10.9.0.2-10.9.7.0 }; }
    set places { typeof ip daddr . meta l4proto . th dport; elements = { 10.96.0.1 . udp . 80, 10.8.0.2 . udp . 53 }; }
    set ranges { typeof ip saddr . th dport; flags interval; elements = { 10.9.0.0/24 . 50-60, 10.8.0.1 . 80 }; }
    map marks { type ipv4_addr : mark; elements = { 10.96.0.1 : 0x00000010, 10.8.0.2 : 0x00000003 }; }
    map ways { typeof ip daddr . th dport : verdict; elements = { 10.96.0.1 . 80 : goto TWO, 10.8.0.2 . 53 : return }; }
    map backends { typeof ip daddr . meta l4proto . th dport : ip daddr . th dport;
        elements = { 10.96.0.1 . udp . 80 : 10.8.0.2 . 53, 10.9.0.1 . udp . 53 : 10.9.7.1 . 80 }; }
    map draws { typeof ip daddr . numgen random mod 2 : ip daddr . th dport;
        elements = { 10.96.0.1 . 0 : 10.8.0.2 . 53, 10.96.0.1 . 1 : 10.9.7.1 . 80, 10.8.0.1 . 1 : 10.8.0.2 . 80 }; }
    set seen { type ipv4_addr . inet_service; flags dynamic,timeout; size 128; timeout 1h; }
    map clients { type ipv4_addr : ipv4_addr . inet_service; flags dynamic,timeout; size 128; timeout 1h; }
"""
CONDITIONS = (
    *("", "", "ip saddr 10.9.0.0/24", "ip saddr != 10.9.0.2", "ip daddr 10.8.0.2", "ip daddr != 10.9.0.1-10.9.0.9"),
    *("ip daddr @hosts", "ip daddr != @networks", "ip saddr @networks", "ip saddr . th dport @ranges"),
    *("ip daddr . meta l4proto . th dport @places", "udp dport 53", "th dport { 53, 90-100 }", "tcp dport 53"),
    *("udp dport < 80", "udp dport >= 80", "meta mark & 0x00000001 == 0x00000001", "meta mark & 0x00000006 != 0x0"),
    *("meta mark { 0x00000000-0x00000007, 0x00000014 }", "meta l4proto { tcp, udp }"),
    *("meta l4proto . th dport { udp . 80 }", "meta l4proto . th dport != { udp . 80-90, tcp . 1 }"),
    *("ct mark 0x00000002", "ct mark & 0x2 != 0x0", "ct state new", "ct state invalid", "ct state != new"),
    *("ct state { new, established }", "ct state established,related", "ct state new,untracked"),
    *("ct status dnat", "ct status snat", "ct direction original", "numgen inc mod 1 0"),
    *("ct original ip daddr 10.96.0.1", "meta l4proto udp ct original proto-dst { 53, 54 }"),
    "meta l4proto udp ct original ip daddr . meta l4proto . ct original proto-dst @places",
    *("ip saddr { 10.9.0.2, 10.8.0.0/24 }", "meta mark > 0x00000001", "meta mark != { 0x00000004, 0x00000005 }"),
    *("update @seen { ip saddr . th dport }", "add @seen { ip daddr . th dport }"),
    *("ip saddr @clients", "icmp type echo-request", "ip protocol udp", "numgen random mod 2 1"),
)
MARKS = (
    *("meta mark set 0x00000001", "meta mark set meta mark | 0x00000004", "meta mark set meta mark ^ 0x00000005"),
    *("meta mark set ip daddr map @marks", "ct mark set 0x00000002", "ct mark set meta mark", "meta mark set ct mark"),
    *("meta mark set meta mark & 0xfffffffe", "meta mark set numgen inc mod 1 offset 4"),
)
COUNT = "counter packets 0 bytes 0"
OF_A_PROTOCOL = re.compile(r"(?:tcp|udp) dport|l4proto (?:udp|\{)|icmp type|ip protocol")
NO_ANSWERS = "meta l4proto != udp accept"
PROTOCOL = "meta l4proto { tcp, udp }"
UDP = f"{PROTOCOL} {COUNT}"


def condition(chance: random.Random, hook: str) -> str:
    here = list(CONDITIONS)
    if hook in ("prerouting", "input", "forward", "output"):
        here += ["fib daddr type local", "fib saddr type != local", "fib daddr type { unicast, broadcast }"]
    if hook in ("prerouting", "input", "forward"):
        here += ['iifname "eth0"', 'iifname != "cni*"', 'iifname { "eth0", "lo" }']
    if hook in ("forward", "output", "postrouting"):
        here += ['oifname "cni0"', 'oifname != "eth*"', 'oifname . th dport { "lo" . 53, "cni0" . 80 }']
    if hook == "prerouting":
        here += ["fib saddr . iif type unicast", "fib daddr . iif type local"]
    return chance.choice(here)


def verdicts(type_: str, hook: str, name: str) -> list[str]:
    """What a rule may end in; the last of a jump chain leads nowhere."""
    if name == "TWO":
        return [COUNT, f"{COUNT} return", f"{COUNT} accept"]
    if name == "ONE":
        return [COUNT, f"{COUNT} return", f"{COUNT} jump TWO", f"{COUNT} goto TWO"]
    found = [COUNT, f"{COUNT} accept", f"{COUNT} return", f"{COUNT} jump ONE", f"{COUNT} goto ONE", f"{COUNT} jump TWO"]
    found += ["ip daddr . th dport vmap @ways", "th dport vmap { 53 : jump ONE, 54-99 : accept }", f"{COUNT} continue"]
    if type_ == "filter":
        found += [f"{COUNT} drop"]
        if hook in ("input", "forward", "output"):
            found += [f"{COUNT} reject", f"{COUNT} reject with icmp port-unreachable"]
    if type_ == "nat" and hook in ("prerouting", "output"):
        found += [f"{UDP} dnat ip to 10.8.0.2:80", f"{COUNT} dnat ip to 10.9.0.1", f"{UDP} redirect to :53"]
        found += [f"{PROTOCOL} dnat ip to ip daddr . meta l4proto . th dport map @backends"] * 2
        found += [f"{PROTOCOL} dnat ip to ip daddr . numgen random mod 2 map @draws"] * 2
        found += [f"{UDP} dnat ip to numgen random mod 2 map {{ 0 : 10.8.0.2 . 53, 1 : 10.9.0.2 . 80 }}"]
        found += [f"{PROTOCOL} dnat ip to ip saddr map @clients"]
    if type_ == "nat" and hook == "postrouting":
        found += [f"{COUNT} masquerade", f"{COUNT} snat ip to 10.9.7.1"]
    return found


def random_rule(chance: random.Random, type_: str, hook: str, name: str) -> str:
    if hook == "prerouting" and type_ == "filter" and chance.random() < 0.05:
        return f"{condition(chance, hook)} notrack".strip()
    while True:
        parts = [condition(chance, hook)]
        if chance.random() < 0.3:
            parts.append(chance.choice(MARKS))
        if chance.random() < 0.3:
            parts.append(condition(chance, hook))
        parts.append(chance.choice(verdicts(type_, hook, name)))
        if sum(len(OF_A_PROTOCOL.findall(part)) for part in parts) <= 1:  # nft refuses to ask for two at once
            return " ".join(part for part in parts if part)


def random_table(chance: random.Random, family: str, name: str) -> str:
    """A table with some of the base chains and two chains for jumps, which lead from the first to the second only."""
    chains = [("TWO", "", "", 0), ("ONE", "", "", 0)]
    chains += [(f"{type_}{place}", type_, hook, priority) for place, (type_, hook, priority) in enumerate(BASES)]
    body = SETS
    for chain, type_, hook, priority in chains:
        rules = [random_rule(chance, type_, hook, chain) for _ in range(chance.randint(0, 4))]
        policy = "drop" if type_ == "filter" and chance.random() < 0.03 else "accept"
        head = f"type {type_} hook {hook} priority {priority}; policy {policy};\n{NO_ANSWERS}\n" if hook else ""
        body += f"chain {chain} {{\n{head}" + "".join(f"{rule}\n" for rule in rules) + "}\n"
    # without any rule that needs connections the kernel keeps none, and nat sees nothing
    body += "chain tracks {\n type filter hook forward priority 200\n ct state established\n}\n"
    return f"table {family} {name} {{\n{body}\n}}\n"


Counts = Counter[tuple[str, str, int]]


def counted(rules: nft.Ruleset) -> Counts:
    """(table, chain, rule number) -> packets, of the rules that count and have counted."""
    return Counter(
        {
            (f"{table.family} {table.name}", chain.name, number): statement.packets
            for table in rules.tables.values()
            for chain in table.chains.values()
            for number, rule in enumerate(chain.rules, 1)
            for statement in rule.statements
            if isinstance(statement, nft.Counter) and statement.packets
        }
    )


def told(rules: nft.Ruleset, packet: Packet) -> list[Counts]:
    """What each branch of the trace would have the rules count."""
    found = trace(rules, DESCRIBED, packet)
    assert sum(found.outcomes().values()) == 1
    return [
        Counter((step.table, step.chain, step.number) for step in path.steps if " counter " in f" {step.rule}")
        for path in found.branches
    ]


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    with namespaces() as name:
        yield name


@pytest.mark.parametrize("seed", range(60))
def test_the_kernel_counts_what_the_trace_tells(node: str, seed: int) -> None:
    chance = random.Random(seed)
    written = random_table(chance, "ip", "t")
    if seed % 3 == 0:
        written += random_table(chance, "inet", "u")
    for turn in range(4):
        packet = random_packet(chance, 20000 + 10 * seed + turn)
        inside(node, "nft", "-f", "-", stdin=f"flush ruleset\n{written}")
        rules = parse(inside(node, "nft", "list", "ruleset"))
        expected = told(rules, packet)

        send(packet)

        deadline = time.monotonic() + 2  # the packet is through long before, unless another one's turn came first
        while (got := counted(parse(inside(node, "nft", "list", "ruleset")))) not in expected:
            if time.monotonic() > deadline:
                break
            os.sched_yield()
        assert got in expected, (
            f"{packet}\n{text(rules.tables.values())}\n{sorted(got)}\n{[sorted(e) for e in expected]}"
        )
