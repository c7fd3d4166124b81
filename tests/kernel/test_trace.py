"""The tracer of iptables against the kernel, for rules in the styles that nodes have, in both families."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from fairway.packet import Family
from fairway.ruleset.iptables import Ruleset, dump, parse
from fairway.trace.evidence.gathered import Gathered
from fairway.trace.walk import trace
from tests.kernel.agreement import Counts, Follow, Scene, Tally, disagreements, random_packets
from tests.kernel.rule_styles import ASIDE, HOOKS, made_up
from tests.kernel.wires import Wires, inside

pytestmark = pytest.mark.kernel

SEEDS = range(16)
PACKETS = 50
PROGRAMS = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}


def counted(text: str) -> Counts:
    """(table, chain, rule number) -> packets, from `iptables-save -c`."""
    found: Counts = Counter()
    numbers: Counter[tuple[str, str]] = Counter()
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("["):
            chain = line.split()[2]
            numbers[table, chain] += 1
            aside = chain in HOOKS.get(table, ()) and numbers[table, chain] <= len(ASIDE)
            if (packets := int(line[1 : line.index(":")])) and not aside:
                found[table, chain, numbers[table, chain]] = packets
    return found


def scene(world: Wires, seen: Gathered, rules: Ruleset, family: Family) -> Scene:
    program, text, about = PROGRAMS[family], dump(rules), seen.scene(family)

    def load() -> Follow:
        inside(world, f"{program}-restore", given=text)
        kept = parse(inside(world, f"{program}-save"))
        return lambda packet, known: trace(kept, about.node, packet, settings=about.settings, connections=known)

    return Scene(load, lambda: counted(inside(world, f"{program}-save", "-c")), exact="-m recent" not in text)


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("seed", SEEDS)
def test_packets_fare_and_rules_count_as_told(
    world: Wires, seen: Gathered, ports: Iterator[int], family: Family, seed: int
) -> None:
    chance = random.Random(seed)
    rules = made_up(chance, family)
    sent = random_packets(chance, family, PACKETS, ports)
    assert disagreements(world, scene(world, seen, rules, family), sent, Tally()) == [], dump(rules)
