"""The tracer of nftables against the kernel, for made-up tables in both families, alone and beside iptables' rules."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from fairway.packet import Family
from fairway.ruleset import nft
from fairway.ruleset.iptables import dump
from fairway.ruleset.iptables import parse as parse_iptables
from fairway.ruleset.nft_parse import parse
from fairway.trace.evidence.gathered import Gathered
from fairway.trace.walk import Rules, trace
from tests.kernel import nft_made_up, rule_styles
from tests.kernel.agreement import Counts, Follow, Scene, Tally, disagreements, random_packets
from tests.kernel.test_trace import PROGRAMS
from tests.kernel.test_trace import counted as counted_by_iptables
from tests.kernel.wires import Wires, inside

pytestmark = pytest.mark.kernel

SEEDS = range(16)
PACKETS = 50


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


def scene(world: Wires, seen: Gathered, tables: str, beside: str, family: Family) -> Scene:
    """`beside` are iptables' own rules, "" when there are none."""
    about, program = seen.scene(family), PROGRAMS[family]

    def listed() -> nft.Ruleset:
        return parse(inside(world, "nft", "list", "ruleset"))

    def load() -> Follow:
        inside(world, "nft", "-f", "-", given="flush ruleset\n")
        if beside:
            inside(world, f"{program}-restore", given=beside)
        inside(world, "nft", "-f", "-", given=tables)
        kept = parse_iptables(inside(world, f"{program}-save")) if beside else None
        rules = Rules(kept, listed(), whole=True)
        return lambda packet, known: trace(rules, about.node, packet, settings=about.settings, connections=known)

    def all_counted() -> Counts:
        own = Counter({place: n for place, n in counted(listed()).items() if place[0] not in OF_IPTABLES})
        return own + (counted_by_iptables(inside(world, f"{program}-save", "-c")) if beside else Counter())

    exact = not any(word in tables + beside for word in ("affinity", "-m recent"))
    return Scene(load, all_counted, exact)


OF_IPTABLES = [f"{family} {table}" for family in ("ip", "ip6") for table in rule_styles.HOOKS]


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("seed", SEEDS)
def test_packets_fare_and_rules_count_as_told(
    world: Wires, seen: Gathered, ports: Iterator[int], family: Family, seed: int
) -> None:
    chance = random.Random(seed)
    tables = nft_made_up.made_up(chance, family)
    beside = dump(rule_styles.made_up(chance, family)) if chance.random() < 0.3 else ""
    sent = random_packets(chance, family, PACKETS, ports)
    asked = scene(world, seen, tables, beside, family)
    assert disagreements(world, asked, sent, Tally()) == [], f"{tables}\n{beside}"
