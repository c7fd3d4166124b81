"""The nftables in memory and those of the kernel, told the same: they agree on what is refused and on what is there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairway.kernel.base import Nftables, Refused
from fairway.kernel.fake.nftables import FakeNftables
from fairway.kernel.linux import netns
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.ruleset.nft import (
    PRESENT,
    AddChain,
    AddElements,
    AddRule,
    AddSet,
    AddTable,
    Chain,
    Change,
    DeleteChain,
    DeleteElements,
    DeleteSet,
    DeleteTable,
    Element,
    FlushChain,
    Hook,
    Match,
    Rule,
    Set,
    SetName,
    Table,
    Verdict,
    VerdictMap,
)
from tests.contract.nft_scene import ENDPOINT_FIELDS, NAME, PLACE, PLACE_FIELDS, endpoint, place

pytestmark = pytest.mark.kernel

HOOK = Hook("filter", "input", 0)
CHAINS = [Chain("a"), Chain("b"), Chain("c"), Chain("base", hook=HOOK)]
PLACES, ENDPOINTS = Set("s", PLACE_FIELDS), Set("m", PLACE_FIELDS, ENDPOINT_FIELDS)
VERDICTS, SMALL = Set("v", PLACE_FIELDS, "verdict"), Set("few", PLACE_FIELDS, size=2)
KEYS = [place("10.96.0.10", "tcp", port) for port in (80, 443, 8080)]
DATA = {
    "s": [PRESENT],
    "few": [PRESENT],
    "m": [endpoint("10.244.1.5", 80), endpoint("10.244.1.6", 80)],
    "v": [Element(Verdict("drop")), Element(Verdict("goto", "b")), Element(Verdict("goto", "c"))],
}

chains = st.sampled_from(CHAINS)
names = st.sampled_from([chain.name for chain in CHAINS])
SETS = [PLACES, ENDPOINTS, VERDICTS, SMALL]
sets = st.sampled_from(SETS)
RULES = [
    Rule((Match(PLACE, SetName("s")), Verdict("drop"))),
    Rule((VerdictMap(PLACE, SetName("v")),)),
    Rule((Verdict("accept"),)),
    Rule((Verdict("goto", "c"),)),
]


@st.composite
def elements(draw: st.DrawFn) -> Change:
    kept = draw(sets)
    pairs = draw(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(DATA[kept.name])), min_size=1, max_size=3))
    return draw(st.sampled_from([AddElements, DeleteElements]))(NAME, kept, pairs)


@st.composite
def rules(draw: st.DrawFn) -> Change:
    """From `a` and the base chain only, so that jumps make no loop, which memory does not look for."""
    return AddRule(NAME, draw(st.sampled_from(["a", "base"])), draw(st.sampled_from(RULES)), draw(st.booleans()))


changes = st.one_of(
    elements(),
    elements(),
    elements(),
    rules(),
    rules(),
    st.builds(AddChain, st.just(NAME), chains),
    st.builds(DeleteChain, st.just(NAME), names),
    st.builds(FlushChain, st.just(NAME), names),
    st.builds(AddSet, st.just(NAME), sets),
    st.builds(DeleteSet, st.just(NAME), sets.map(lambda kept: kept.name)),
    st.just(DeleteTable(NAME)),
    st.just(AddTable(NAME)),
)
BASIS: list[Change] = [
    DeleteTable(NAME),
    AddTable(NAME),
    *(AddChain(NAME, chain) for chain in CHAINS),
    *(AddSet(NAME, kept) for kept in SETS),
]


@pytest.fixture(scope="module")
def kernel() -> Iterator[LinuxNftables]:
    name = f"fwt-{os.getpid()}-both"
    try:
        handle = LinuxNftables(netns.create(name))
        yield handle
        handle.close()
    finally:
        netns.delete(name)


def refusal(nftables: Nftables, transaction: Sequence[Change]) -> tuple[int, str]:
    """The line and the error, (0, "") when it was done."""
    try:
        nftables.apply(transaction)
    except Refused as e:
        return e.line, e.reason.rpartition("(")[2].partition(")")[0]
    return 0, ""


def comparable(table: Table | None) -> object:
    if table is None:
        return None
    found = {name: (kept.size, dict(kept.elements)) for name, kept in table.sets.items()}
    return found, {name: (chain.hook, chain.rules) for name, chain in table.chains.items()}


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(changes, min_size=1, max_size=2), min_size=5, max_size=20))
def test_memory_and_kernel_agree(kernel: LinuxNftables, transactions: list[list[Change]]) -> None:
    fake = FakeNftables()
    for transaction in [BASIS, *transactions]:
        told = refusal(fake, transaction)
        assert told == refusal(kernel, transaction)
        assert [dict(fake.elements(NAME, kept)) for kept in SETS] == [
            dict(kernel.elements(NAME, kept)) for kept in SETS
        ]
    assert comparable(fake.read(NAME)) == comparable(kernel.read(NAME))
