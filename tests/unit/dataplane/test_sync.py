"""Rules applied step by step: what happens when a step fails."""

from __future__ import annotations

import pytest

from fairway.dataplane.base import Update
from fairway.dataplane.iptables import probability
from fairway.dataplane.sync import RuleSync
from fairway.kernel.base import KernelError, Refused
from fairway.kernel.fake.conntrack import FakeConntrack
from fairway.kernel.fake.netfilter import FakeNetfilter
from fairway.packet import Family
from tests.unit.dataplane.test_apply import state

# enough Services that stay for changes in the dispatch chains to be made by single rules, which cannot be made twice
SERVED = [(name, 1, {}) for name in "abcdefghijkl"]
UNSERVED = [(name, 0, {}) for name in "mnopqrstuvw"]
BEFORE = state(*SERVED, *UNSERVED, ("x", 0, {}), ("y", 1, {}), ("z", 1, {}))
AFTER = state(*SERVED[:-1], ("l", 2, {}), *UNSERVED, ("x", 1, {}), ("y", 0, {}))


class Failing(FakeNetfilter):
    """Refuses one transaction: the `fail`-th from now (None: none)."""

    def __init__(self) -> None:
        super().__init__()
        self.fail: int | None = None

    def restore(self, family: Family, text: str) -> None:
        if self.fail is not None:
            self.fail -= 1
            if self.fail < 0:
                self.fail = None
                raise Refused("line 2 failed", text, 2)
        super().restore(family, text)


def synced(netfilter: FakeNetfilter) -> RuleSync:
    sync = RuleSync(netfilter, FakeConntrack())
    sync.sync(Update.of(BEFORE))
    return sync


@pytest.mark.parametrize("step", range(synced(FakeNetfilter()).sync(Update.of(AFTER)).transactions))
def test_after_a_refusal_at_any_step_the_next_sync_completes_the_work(step: int) -> None:
    netfilter, whole = Failing(), FakeNetfilter()
    synced(whole).sync(Update.of(AFTER))
    sync = synced(netfilter)
    netfilter.fail = step

    with pytest.raises(Refused):
        sync.sync(Update.of(AFTER))
    sync.sync(Update.of(AFTER))

    assert sync.unchanged()
    assert sorted(netfilter.save(Family.IPV4).splitlines()) == sorted(whole.save(Family.IPV4).splitlines())


def rules(netfilter: FakeNetfilter) -> dict[str, int]:
    """How many stand in chains of ours, by table."""
    found = {}
    for piece in netfilter.save(Family.IPV4).split("\n*"):
        if number := piece.count("\n-A KUBE-"):
            found[piece.partition("\n")[0].removeprefix("*")] = number
    return found


def test_reports_know_how_many_rules_there_are_and_in_which_family_there_was_work() -> None:
    netfilter = FakeNetfilter()
    sync = synced(netfilter)
    for wanted in (AFTER, BEFORE):
        before = rules(netfilter)
        keys = frozenset(port.key for desired in (BEFORE, AFTER) for port in desired.of(Family.IPV4))
        report = sync.sync(Update(wanted.settings, Update.of(wanted).ports, keys))

        assert report.families.keys() == {Family.IPV4}
        assert report.families[Family.IPV4].owned == rules(netfilter) != before
        assert 0 < sum(report.families[Family.IPV4].written.values()) < sum(before.values())

    assert sync.sync(Update(wanted.settings, Update.of(wanted).ports, frozenset())).families == {}


def test_trouble_in_one_family_does_not_keep_the_other_from_its_rules() -> None:
    class NoFour(FakeNetfilter):
        def restore(self, family: Family, text: str) -> None:
            if family is Family.IPV4:
                raise Refused("not today", text)
            super().restore(family, text)

    netfilter = NoFour()

    with pytest.raises(Refused, match="not today"):
        RuleSync(netfilter, FakeConntrack()).sync(Update.of(AFTER))

    assert "KUBE-SERVICES" in netfilter.save(Family.IPV6)


def test_a_kernel_without_ipv6_serves_ipv4_and_says_so() -> None:
    class OnlyFour(FakeNetfilter):
        def save(self, family: Family, table: str = "") -> str:
            if family is Family.IPV6:
                raise KernelError("cannot read IPv6 rules: no such protocol")
            return super().save(family, table)

    netfilter = OnlyFour()
    sync = RuleSync(netfilter, FakeConntrack())

    sync.sync(Update.of(AFTER))

    assert sync.unavailable == {Family.IPV6: "cannot read IPv6 rules: no such protocol"}
    assert sync.intact()


def test_without_accounting_objects_nothing_is_counted_and_invalid_packets_are_dropped_all_the_same() -> None:
    netfilter = FakeNetfilter(accounting=False)

    RuleSync(netfilter, FakeConntrack()).sync(Update.of(AFTER))

    assert "nfacct" not in netfilter.save(Family.IPV4)
    assert "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP" in netfilter.save(Family.IPV4)


@pytest.mark.parametrize(
    "damage",
    [
        "*mangle\n-F KUBE-PROXY-CANARY\n-X KUBE-PROXY-CANARY\nCOMMIT\n",
        "*nat\n-F PREROUTING\nCOMMIT\n",
        "*nat\n-F KUBE-POSTROUTING\nCOMMIT\n",
        "*nat\n-F KUBE-SERVICES\nCOMMIT\n",
        "*filter\n-F FORWARD\nCOMMIT\n",
    ],
)
def test_flushed_rules_are_noticed_cheaply(damage: str) -> None:
    netfilter = FakeNetfilter()
    sync = synced(netfilter)
    assert sync.intact()

    netfilter.restore(Family.IPV4, damage)

    assert not sync.intact()
    sync.forget()
    sync.sync(Update.of(BEFORE))
    assert sync.intact()
    assert sync.unchanged()


@pytest.mark.parametrize(
    ("n", "text"), [(2, "0.50000000000"), (3, "0.33333333349"), (44, "0.02272727247"), (48, "0.02083333349")]
)
def test_probabilities_as_the_kernel_gives_them_back(n: int, text: str) -> None:
    assert probability(n) == text
