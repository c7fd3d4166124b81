"""The tracer against the kernel where rules ask sets of ipset, in both families."""

from __future__ import annotations

import itertools
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairway.assemble.tracing import live
from fairway.packet import Family
from fairway.ruleset.iptables import Ruleset, dump, parse
from fairway.trace.evidence.gathered import Gathered
from fairway.trace.walk import Rules, trace
from tests.kernel.agreement import Follow, Scene, Tally, described, disagreements, random_packets
from tests.kernel.rule_styles import ASIDE, HOOKS, as_ipv6
from tests.kernel.test_trace import PROGRAMS, counted
from tests.kernel.wires import Wires, inside, wires

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not Path("/sys/module/ip_set").exists(), reason="this kernel has no sets (ip_set)"),
    pytest.mark.skipif(shutil.which("ipset") is None, reason="ipset is not installed"),
]

SEEDS = range(6)
PACKETS = 60

OF_A_FAMILY = """
create a-hosts hash:ip family inet
add a-hosts 10.244.1.5
add a-hosts 10.0.0.100
create a-nets hash:net family inet timeout 600
add a-nets 10.0.0.0/8
add a-nets 10.244.0.0/16 nomatch
add a-nets 10.244.1.5
create a-doors hash:ip,port family inet counters
add a-doors 10.244.1.5,udp:53
add a-doors 10.0.0.11,tcp:80
add a-doors 10.0.0.11,udp:80
create a-gates hash:net,port family inet
add a-gates 10.0.0.0/8,udp:80
add a-gates 10.244.0.0/16,udp:80 nomatch
create a-trios hash:ip,port,ip family inet
add a-trios 10.0.0.11,udp:80,10.244.1.5
add a-trios 10.244.1.5,udp:53,10.0.0.100
create a-bands hash:ip,port,net family inet
add a-bands 10.0.0.11,udp:80,10.0.0.0/8
add a-bands 10.0.0.11,udp:80,10.244.0.0/16 nomatch
create a-ways hash:net,iface family inet
add a-ways 10.0.0.0/8,eth0
add a-ways 10.244.0.0/16,cni wildcard
add a-ways 10.244.0.0/16,veth+
add a-ways 10.244.0.0/16,physdev:veth12345
create a-all list:set size 8
add a-all a-hosts
add a-all a-doors
add a-all a-nets
"""
OF_ALL = """
create range bitmap:ip range 10.0.0.0-10.0.255.255 netmask 24
add range 10.0.0.0
create ports bitmap:port range 0-9000
add ports 80
add ports 8080
"""
ENDS = ("src", "dst")
DIMENSIONS = {"hosts": 1, "nets": 1, "doors": 2, "gates": 2, "trios": 3, "bands": 3, "ways": 2, "all": 2}
OTHERS = {
    Family.IPV4: ("--match-set range {}", "--match-set ports {}", "--match-set b-all {}"),
    Family.IPV6: ("--match-set ports {}", "--match-set a-all {}"),
}
"""Sets of no family, or of the other one; the programs refuse to ask for the other family's own sets."""
PHYSICAL = ("--physdev-is-in", "! --physdev-is-bridged", "! --physdev-in veth+", "--physdev-in cni0")


def of_ipv6(text: str) -> str:
    """The same sets of the other family."""
    return re.sub(r"\ba-", "b-", as_ipv6(text).replace("family inet", "family inet6"))


@pytest.fixture(scope="module")
def world() -> Iterator[Wires]:
    with wires() as built:
        built.settle(described())
        inside(built, "ipset", "restore", given=OF_ALL + OF_A_FAMILY + of_ipv6(OF_A_FAMILY))
        yield built


@pytest.fixture(scope="module")
def seen(world: Wires) -> Gathered:
    """The node as the tracer sees any, sets included."""
    return live(world.path, "node-a", connections=False)


@pytest.fixture(scope="module")
def ports() -> Iterator[int]:
    return itertools.cycle(range(20000, 60000))


def asked(chance: random.Random, chain: str, family: Family) -> str:
    """A condition about a set, or about a bridge's port where there is none."""
    if chain != "OUTPUT" and chance.random() < 0.1:
        return f"-m physdev {chance.choice(PHYSICAL)}"
    kind = chance.choice([*DIMENSIONS, "other"])
    dimensions = DIMENSIONS.get(kind, 1) - (chance.random() < 0.1)
    flags = ",".join(chance.choice(ENDS) for _ in range(max(dimensions, 1)))
    name = f"{'a' if family is Family.IPV4 else 'b'}-{kind}"
    spec = chance.choice(OTHERS[family]).format(flags) if kind == "other" else f"--match-set {name} {flags}"
    exceptions = " --return-nomatch" if chance.random() < 0.2 else ""
    return f"-m set {'! ' if chance.random() < 0.3 else ''}{spec}{exceptions}"


def made_up(chance: random.Random, family: Family) -> Ruleset:
    """Rules at every hook, most of which only count, so that what each of them says is seen."""
    found = Ruleset()
    heads = [as_ipv6(rule) if family is Family.IPV6 else rule for rule in ASIDE]
    for table in ("mangle", "filter"):
        for chain in HOOKS[table]:
            rules = [f"{asked(chance, chain, family)}" for _ in range(8)]
            rules += [f"{asked(chance, chain, family)} -j {chance.choice(('ACCEPT', 'DROP'))}"] * (table == "filter")
            found.table(table).chain(chain).rules += [*heads, *rules]
    return found


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("seed", SEEDS)
def test_sets_hold_whom_they_are_told_to_hold(
    world: Wires, seen: Gathered, ports: Iterator[int], family: Family, seed: int
) -> None:
    chance = random.Random(seed)
    text, about = dump(made_up(chance, family)), seen.scene(family)

    def load() -> Follow:
        inside(world, f"{PROGRAMS[family]}-restore", given=text)
        rules = Rules(parse(inside(world, f"{PROGRAMS[family]}-save")), sets=about.rules.sets)
        return lambda packet, known: trace(rules, about.node, packet, settings=about.settings, connections=known)

    scene = Scene(load, lambda: counted(inside(world, f"{PROGRAMS[family]}-save", "-c")))
    sent = random_packets(chance, family, PACKETS, ports)
    tally = Tally()
    wrong = disagreements(world, scene, sent, tally)
    assert wrong == [], "\n".join([*wrong, text])
    assert tally.open == 0, "every set is known here"
