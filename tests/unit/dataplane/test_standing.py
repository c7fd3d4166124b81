"""A few ports change among many: the same rules as from the whole, by few lines, and right at every moment."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairway.dataplane.base import Update
from fairway.dataplane.sync import RuleSync
from fairway.desired.model import Desired
from fairway.kernel.base import Netfilter
from fairway.kernel.fake.conntrack import FakeConntrack
from fairway.kernel.fake.netfilter import FakeNetfilter
from fairway.packet import Family
from fairway.ruleset.iptables import parse
from tests.unit.dataplane.test_apply import FOREIGN, endpoints_of, foreign, specs, state

# enough Services that stay for shared chains to be changed by single rules
STAYING = [(name, 1, specs(name)[n % 8]) for n, name in enumerate("fghijklmnopqrstuvw")]
UNSERVED = [(name, 0, specs(name)[5]) for name in "xyz"]


def told(before: Desired, after: Desired) -> Update:
    """The update from one state to the next, naming what differs."""
    old, new = ({port.key: port for port in desired.ports} for desired in (before, after))
    return Update(after.settings, new, frozenset(k for k in {*old, *new} if old.get(k) != new.get(k)))


states = st.builds(
    lambda chosen: state(
        *((name, count, specs(name)[kind]) for name, (count, kind) in chosen.items()), *STAYING, *UNSERVED
    ),
    st.dictionaries(
        st.sampled_from(["a", "b", "c", "d2", "e"]), st.tuples(st.integers(0, 4), st.integers(0, 8)), max_size=5
    ),
)


def chains(netfilter: Netfilter) -> dict[str, dict[str, list[str]]]:
    """Every chain with its rules in order; the order of chains means nothing."""
    found = parse(netfilter.save(Family.IPV4)).tables
    return {name: {chain.name: chain.rules for chain in table.chains.values()} for name, table in found.items()}


@settings(max_examples=100, deadline=None)
@given(st.lists(states, min_size=2, max_size=4))
def test_step_by_step_leads_where_all_at_once_does(history: list[Desired]) -> None:
    netfilter, whole = FakeNetfilter(), FakeNetfilter()
    netfilter.restore(Family.IPV4, FOREIGN)
    whole.restore(Family.IPV4, FOREIGN)
    others = foreign(netfilter)
    sync = RuleSync(netfilter, FakeConntrack())
    sync.sync(Update.of(history[0]))
    for before, after in itertools.pairwise(history):
        sync.sync(told(before, after))

    RuleSync(whole, FakeConntrack()).sync(Update.of(history[-1]))
    assert chains(netfilter) == chains(whole)
    assert foreign(netfilter) == others
    assert sync.unchanged()
    assert sync.intact()


@settings(max_examples=100, deadline=None)
@given(states, states)
@example(  # its cluster IP goes to local endpoints only, while those that its node port shares become more
    state(("a", 2, specs("a")[3]), *STAYING, *UNSERVED), state(("a", 3, specs("a")[8]), *STAYING, *UNSERVED)
)
def test_a_service_that_stays_changes_in_one_transaction(before: Desired, after: Desired) -> None:
    """After every transaction, the destinations of a Service that are served before and after lead all to the
    endpoints of the one state, or all to those of the other."""
    netfilter, goal = FakeNetfilter(), FakeNetfilter()
    RuleSync(goal, FakeConntrack()).sync(Update.of(after))
    sync = RuleSync(netfilter, FakeConntrack())
    sync.sync(Update.of(before))
    old, new = endpoints_of(netfilter), endpoints_of(goal)
    update = told(before, after)

    for text in sync._standing[Family.IPV4].change(update.changed or (), update.ports, piece=1):
        netfilter.restore(Family.IPV4, text)
        now = endpoints_of(netfilter)
        for served in by_service(where for where in old.keys() & new.keys() if old[where] and new[where]):
            found = [now.get(where) for where in served]
            assert found in ([old[where] for where in served], [new[where] for where in served])


def by_service(destinations: Iterable[str]) -> Iterable[list[str]]:
    """Put those together that the same Service has: its number ends its addresses and its node port."""
    found: dict[str, list[str]] = {}
    for where in destinations:
        number = re.search(r"\.(\d+)/32| 30(\d+)$", where)
        assert number, where
        found.setdefault(str(int(number[1] or number[2])), []).append(where)
    return found.values()


def texts_of(before: Desired, after: Desired) -> list[str]:
    netfilter = FakeNetfilter()
    sync = RuleSync(netfilter, FakeConntrack())
    sync.sync(Update.of(before))
    done = len(netfilter.restored)
    sync.sync(told(before, after))
    return [text for _, text in netfilter.restored[done:]]


def test_refusals_stand_before_the_translation_goes_and_go_after_it_has_come() -> None:
    many = [*STAYING, *UNSERVED, *((name, 0, {}) for name in "ABCDEFGH")]
    before = state(*many, ("a", 0, {}), ("b", 1, {}))

    texts = texts_of(before, state(*many, ("a", 1, {}), ("b", 0, {})))

    assert [text.split("\n", 1)[0] for text in texts] == ["*filter", "*nat", "*filter"]
    refused = [[line[:16] for line in text.splitlines() if "has no endpoints" in line] for text in texts]
    assert refused == [["-I KUBE-SERVICES"], [], ["-D KUBE-SERVICES"]]


def test_a_new_service_is_dispatched_by_one_inserted_rule() -> None:
    """After the eight rules of the Services whose names come before it."""
    before = state(*((name, 1, {}) for name in "abcdefghijklmnop"))
    after = state(*((name, 1, {}) for name in "abcdefghijklmnop"), ("h2", 1, {}))

    (text,) = texts_of(before, after)

    assert [line[:18] for line in text.splitlines() if "KUBE-SERVICES" in line] == ["-I KUBE-SERVICES 9"]


def test_a_key_told_again_after_a_failure_costs_nothing() -> None:
    netfilter = FakeNetfilter()
    sync = RuleSync(netfilter, FakeConntrack())
    before, after = state(("a", 1, {})), state(("a", 2, {}))
    sync.sync(Update.of(before))
    sync.sync(told(before, after))

    assert sync.sync(told(before, after)).transactions == 0
    assert sync.unchanged()


def test_cleaning_leaves_what_others_made() -> None:
    netfilter = FakeNetfilter()
    netfilter.restore(Family.IPV4, FOREIGN)
    untouched = chains(netfilter)
    sync = RuleSync(netfilter, FakeConntrack())
    sync.sync(Update.of(state(*STAYING)))

    sync.clean()

    assert {table: chains(netfilter)[table] for table in untouched} == untouched
    assert chains(netfilter)["mangle"].get("KUBE-PROXY-CANARY") is None


def test_cleaning_spares_the_kubelet_s_chain_and_what_foreign_rules_jump_to() -> None:
    netfilter = FakeNetfilter()
    kubelet = "-s 192.0.2.1/32 -j DROP"
    sync = RuleSync(netfilter, FakeConntrack())
    sync.sync(Update.of(state(("a", 1, {}))))
    chain = next(name for name in chains(netfilter)["nat"] if name.startswith("KUBE-SVC-"))
    netfilter.restore(Family.IPV4, f"*filter\n-A KUBE-FIREWALL {kubelet}\nCOMMIT\n")
    netfilter.restore(Family.IPV4, f"*nat\n:MINE - [0:0]\n-A MINE -j {chain}\nCOMMIT\n")

    sync.clean()

    ours = {t: {c: r for c, r in found.items() if c.startswith("KUBE-")} for t, found in chains(netfilter).items()}
    assert ours == {"mangle": {}, "nat": {chain: []}, "filter": {"KUBE-FIREWALL": [kubelet]}}
    assert chains(netfilter)["filter"]["OUTPUT"] == ["-j KUBE-FIREWALL"]
