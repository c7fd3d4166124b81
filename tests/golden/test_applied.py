"""What stands in a kernel after our rules were applied to it, compared with the reference's: fresh, and taken over."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fairway.dataplane.apply import plan
from fairway.dataplane.base import Update
from fairway.dataplane.sync import RuleSync
from fairway.kernel.base import Netfilter
from fairway.kernel.fake.conntrack import FakeConntrack
from fairway.kernel.fake.netfilter import FakeNetfilter
from fairway.kernel.linux import netns
from fairway.kernel.linux.netfilter import LinuxNetfilter
from fairway.packet import Family
from fairway.ruleset.iptables import parse
from tests.golden import cases


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.kernel)])
def netfilter(request: pytest.FixtureRequest) -> Iterator[Netfilter]:
    if request.param == "fake":
        yield FakeNetfilter()
        return
    name = f"fwt-{os.getpid()}-gold"
    path = netns.create(name)
    try:
        yield LinuxNetfilter(path)
    finally:
        netns.delete(name)


def dumped(netfilter: Netfilter, family: Family) -> cases.Rules:
    tables = parse(netfilter.save(family)).tables
    return {name: {c.name: c.rules for c in table.chains.values()} for name, table in tables.items()}


def reference_text(case: cases.Case, family: Family) -> str:
    """The reference's rules as input for `iptables-restore`."""
    lines: list[str] = []
    for table, chains in case.expected[family].items():
        lines += [f"*{table}", *(f":{chain} - [0:0]" for chain in chains if chain.startswith("KUBE-"))]
        lines += [f"-A {chain} {rule}" for chain, rules in chains.items() for rule in rules]
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", cases.NAMES)
def test_applied_to_a_fresh_kernel(name: str, netfilter: Netfilter) -> None:
    case = cases.load(name)
    sync = RuleSync(netfilter, FakeConntrack())

    sync.sync(Update.of(case.desired))

    for family in Family:
        assert cases.comparable(dumped(netfilter, family)) == cases.comparable(case.expected[family])
    assert sync.intact()
    assert sync.unchanged()
    assert sync.sync(Update.of(case.desired)).transactions == 0


@pytest.mark.parametrize("name", cases.NAMES)
def test_taken_over_from_the_reference(name: str, netfilter: Netfilter) -> None:
    """Its order in the dispatch chains may differ from ours; the rules are the same and none is lost."""
    case = cases.load(name)
    sync = RuleSync(netfilter, FakeConntrack())
    for account in ("ct_state_invalid_dropped_pkts", "localhost_nps_accepted_pkts"):
        netfilter.ensure_account(account)
    for family in Family:
        netfilter.restore(family, reference_text(case, family))

    sync.sync(Update.of(case.desired))

    for family in Family:
        assert cases.comparable(dumped(netfilter, family)) == cases.comparable(case.expected[family])
    assert sync.sync(Update.of(case.desired)).transactions == 0


def test_a_restart_over_our_own_rules_writes_nothing(netfilter: Netfilter) -> None:
    case = cases.load("48-mixed-bag")
    RuleSync(netfilter, FakeConntrack()).sync(Update.of(case.desired))

    assert RuleSync(netfilter, FakeConntrack()).sync(Update.of(case.desired)).transactions == 0


def test_from_each_case_to_the_next(netfilter: Netfilter) -> None:
    """One kernel lives through all cases; nothing of a case is left in the next."""
    sync = RuleSync(netfilter, FakeConntrack())
    for name in cases.NAMES:
        case = cases.load(name)
        sync.sync(Update.of(case.desired))
        for family in Family:
            found, expected = (cases.comparable(rules) for rules in (dumped(netfilter, family), case.expected[family]))
            # the kubelet's chain too: what once stood in it stays (cases 40 to 42 do without the guard)
            found["filter"].pop("KUBE-FIREWALL")
            expected["filter"].pop("KUBE-FIREWALL")
            assert found == expected, name
        assert sync.unchanged(), name


def test_nothing_is_planned_between_equal_states() -> None:
    sync = RuleSync(FakeNetfilter(), FakeConntrack())
    sync.sync(Update.of(cases.load("12-loadbalancer-cluster").desired))

    for standing in sync._standing.values():
        held = standing.held()
        assert plan(held, held.tables) == []
