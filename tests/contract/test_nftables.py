"""What every `Nftables` promises: the one in memory, and the kernel's by netlink."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest

from fairway.kernel.base import Nftables, Notices, Refused
from fairway.kernel.fake.nftables import FakeNftables, FakeNotices
from fairway.kernel.linux import netns
from fairway.kernel.linux.nft_notices import NftNotices
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.ruleset.nft import (
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
    FlushSet,
    Hook,
    Match,
    Reject,
    Rule,
    Set,
    SetName,
    TableName,
    Verdict,
    creation,
)
from tests.contract import nft_scene as scene
from tests.contract.nft_scene import DNS, NAME, PLACE, PRESENT, WEB, endpoint, one_endpoint, place, places

OTHER = TableName("ip6", "fairway")
NEW = place("10.96.0.12", "tcp", 443)
NOWHERE = place("10.96.0.13", "tcp", 443)


@dataclass
class Machine:
    """A namespace with our handle, somebody else's, and a way to listen to all but one."""

    ours: Nftables
    theirs: Nftables
    listen: Callable[[int], Notices]


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.kernel)])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    if request.param == "fake":
        fake = FakeNftables()
        yield Machine(fake, FakeNftables(fake, "other"), lambda own: FakeNotices(fake, own))
        return
    name = f"fwt-{os.getpid()}-nft"
    with ExitStack() as stack:
        path = netns.create(name)
        stack.callback(netns.delete, name)
        ours, theirs = LinuxNftables(path), LinuxNftables(path)
        stack.callback(ours.close)
        stack.callback(theirs.close)
        yield Machine(ours, theirs, lambda own: NftNotices(path, own))


@pytest.fixture
def nftables(machine: Machine) -> Nftables:
    return machine.ours


def lookup(chain: str = "services", name: str = "places") -> AddRule:
    return AddRule(NAME, chain, Rule((Match(PLACE, SetName(name)), Verdict("drop"))))


def jump(chain: str, to: str) -> AddRule:
    return AddRule(NAME, chain, Rule((Verdict("jump", to),)))


BASIC: list[Change] = [
    AddTable(NAME),
    AddSet(NAME, places()),
    AddSet(NAME, one_endpoint()),
    AddChain(NAME, Chain("services")),
    AddChain(NAME, Chain("end")),
    lookup(),
    jump("services", "end"),
]


@pytest.fixture
def basic(nftables: Nftables) -> Nftables:
    nftables.apply(BASIC)
    return nftables


def keys(nftables: Nftables, kept: Set) -> set[bytes]:
    return {key for key, _ in nftables.elements(NAME, kept)}


def test_there_is_nothing_at_first(nftables: Nftables) -> None:
    assert nftables.read(NAME) is None
    assert list(nftables.elements(NAME, places())) == []


def test_a_table_is_read_as_it_was_made(nftables: Nftables) -> None:
    wanted = scene.table()
    nftables.apply(creation(wanted))
    found = nftables.read(NAME)

    assert found is not None
    assert (found.family, found.name, found.comment) == ("ip", "fairway", "some of everything")
    assert found.sets == wanted.sets
    assert {name: chain.hook for name, chain in found.chains.items()} == {
        name: chain.hook for name, chain in wanted.chains.items()
    }


@pytest.mark.parametrize("name", ["lb", "remember", "matches", "services", "end"])
def test_rules_are_read_as_they_were_made(nftables: Nftables, name: str) -> None:
    wanted = scene.table()
    own = {"services": [lookup().rule], "end": [Rule((Reject(),), "why")]}
    rules = own.get(name) or wanted.chains[name].rules
    wanted.chains = {name: Chain(name, rules)}
    wanted.sets["verdicts"].elements.clear()
    nftables.apply(creation(wanted))
    found = nftables.read(NAME)

    assert found is not None
    assert found.chains[name].rules == rules
    assert all(rule.handle for rule in found.chains[name].rules)


def test_each_family_has_its_own_table(basic: Nftables) -> None:
    basic.apply([AddTable(OTHER), AddChain(OTHER, Chain("services"))])
    assert basic.read(OTHER) is not None
    basic.apply([DeleteTable(OTHER)])
    assert basic.read(OTHER) is None
    assert basic.read(NAME) is not None


@pytest.mark.parametrize("kept", [scene.ranges(), scene.sources(), scene.three_endpoints()], ids=lambda kept: kept.name)
def test_elements_come_and_go(nftables: Nftables, kept: Set) -> None:
    empty = replace(kept, elements={})
    nftables.apply([AddTable(NAME), AddSet(NAME, empty)])
    elements = list(kept.elements.items())

    nftables.apply([AddElements(NAME, empty, elements)])
    assert dict(nftables.elements(NAME, empty)) == kept.elements
    nftables.apply([DeleteElements(NAME, empty, elements[:1])])
    assert dict(nftables.elements(NAME, empty)) == dict(elements[1:])
    nftables.apply([DeleteElements(NAME, empty, elements[1:])])
    assert list(nftables.elements(NAME, empty)) == []


def test_an_element_with_a_timeout_says_what_remains(nftables: Nftables) -> None:
    kept = scene.affinity()
    key = scene.pack((scene.Type.IPV4, *scene.PLACE_TYPES), ("10.244.2.7", "10.96.0.10", "tcp", 80))
    element = endpoint("10.244.1.6", 8080)._replace(timeout_ms=300_000)
    nftables.apply([AddTable(NAME), AddSet(NAME, kept), AddElements(NAME, kept, [(key, element)])])

    ((found, told),) = nftables.elements(NAME, kept)
    assert (found, told.data, told.timeout_ms) == (key, element.data, 300_000)
    assert 200_000 < told.expires_ms <= 300_000


def test_what_is_there_with_the_same_data_may_be_added_again(basic: Nftables) -> None:
    basic.apply([*BASIC[:5], AddElements(NAME, one_endpoint(), [(DNS, endpoint("10.244.1.5", 53))])])
    assert dict(basic.elements(NAME, one_endpoint())) == one_endpoint().elements


def test_data_is_replaced_by_deleting_and_adding_in_one_transaction(basic: Nftables) -> None:
    moved = endpoint("10.244.2.9", 5353)
    kept = one_endpoint()
    basic.apply([DeleteElements(NAME, kept, [(DNS, Element())]), AddElements(NAME, kept, [(DNS, moved)])])
    assert dict(basic.elements(NAME, kept)) == {DNS: moved}


def test_a_chain_is_refilled(basic: Nftables) -> None:
    basic.apply([FlushChain(NAME, "services"), jump("services", "end"), replace(lookup(), first=True)])
    found = basic.read(NAME)
    assert found is not None
    assert found.chains["services"].rules == [lookup().rule, jump("services", "end").rule]


def test_a_table_is_deleted_whole_and_may_be_missing(basic: Nftables) -> None:
    basic.apply([DeleteTable(NAME)])
    assert basic.read(NAME) is None
    basic.apply([DeleteTable(NAME)])
    assert basic.read(NAME) is None


def test_a_table_is_replaced_in_one_transaction(basic: Nftables) -> None:
    basic.apply([DeleteTable(NAME), AddTable(NAME), AddSet(NAME, places("others"))])
    found = basic.read(NAME)
    assert found is not None
    assert (list(found.sets), list(found.chains)) == (["others"], [])


LONGER = AddElements(NAME, places(), [(NEW, PRESENT)])
BUSY, EXISTS, MISSING, UNSUPPORTED = "EBUSY", "EEXIST", "ENOENT", ("ENOTSUP", "EOPNOTSUPP")
NAT = Chain("base", hook=Hook("nat", "prerouting", -100))
REFUSALS: dict[str, tuple[Change, str | tuple[str, ...]]] = {
    "a set in a table that is not there": (AddSet(OTHER, places()), MISSING),
    "a table that is not there": (DeleteTable(OTHER, missing_ok=False), MISSING),
    "a set that is there with other types": (AddSet(NAME, Set("lb-1", scene.PLACE_FIELDS)), EXISTS),
    "a set that is not there": (DeleteSet(NAME, "nobody"), MISSING),
    "a set that a rule uses": (DeleteSet(NAME, "places"), BUSY),
    "a chain that is not there": (DeleteChain(NAME, "nobody"), MISSING),
    "a chain that a rule jumps to": (DeleteChain(NAME, "end"), BUSY),
    "emptying a chain that is not there": (FlushChain(NAME, "nobody"), MISSING),
    "a rule in a chain that is not there": (lookup("nobody"), MISSING),
    "a rule with a set that is not there": (lookup(name="nobody"), MISSING),
    "a jump to a chain that is not there": (jump("services", "nobody"), MISSING),
    "an element of a set that is not there": (AddElements(NAME, places("nobody"), [(WEB, PRESENT)]), MISSING),
    "an element that is not there": (DeleteElements(NAME, places(), [(WEB, PRESENT), (NOWHERE, PRESENT)]), MISSING),
    "an element with other data": (AddElements(NAME, one_endpoint(), [(DNS, endpoint("10.9.9.9", 53))]), EXISTS),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_transaction_is_refused_whole(basic: Nftables, name: str) -> None:
    change, code = REFUSALS[name]
    before, generation = basic.read(NAME), basic.generation()

    with pytest.raises(Refused) as refused:
        basic.apply([AddTable(NAME), LONGER, AddChain(NAME, Chain("new")), change, FlushChain(NAME, "services")])
    assert code in refused.value.reason
    assert refused.value.line == 4
    assert len(refused.value.text.splitlines()) == 5
    assert basic.read(NAME) == before
    assert basic.generation() == generation


def test_a_jump_to_a_base_chain_is_refused(basic: Nftables) -> None:
    with pytest.raises(Refused, match="supported"):
        basic.apply([AddChain(NAME, NAT), jump("services", "base")])


def test_a_verdict_in_a_map_keeps_its_chain(basic: Nftables) -> None:
    verdicts = Set("verdicts", scene.PLACE_FIELDS, "verdict", elements={WEB: Element(Verdict("goto", "target"))})
    basic.apply([AddChain(NAME, Chain("target")), AddSet(NAME, verdicts)])
    with pytest.raises(Refused, match=BUSY):
        basic.apply([DeleteChain(NAME, "target")])
    basic.apply([DeleteSet(NAME, "verdicts"), DeleteChain(NAME, "target")])


def test_a_set_holds_as_many_as_its_size(nftables: Nftables) -> None:
    small = Set("small", scene.PLACE_FIELDS, size=2)
    nftables.apply([AddTable(NAME), AddSet(NAME, small)])
    with pytest.raises(Refused, match="ENFILE"):
        nftables.apply([AddElements(NAME, small, [(WEB, PRESENT), (DNS, PRESENT), (NEW, PRESENT)])])


def test_bytes_of_the_wrong_length_are_the_callers_mistake(basic: Nftables) -> None:
    with pytest.raises(ValueError, match="a key of 4 bytes in a set whose keys have 12"):
        basic.apply([AddElements(NAME, places(), [(b"1234", PRESENT)])])
    with pytest.raises(ValueError, match="data that is not of 8 bytes"):
        basic.apply([AddElements(NAME, one_endpoint(), [(WEB, PRESENT)])])


def test_chains_are_counted_without_reading_elements(basic: Nftables) -> None:
    assert basic.chains(NAME) == {"services": 2, "end": 0}
    basic.apply([FlushChain(NAME, "services")])
    assert basic.chains(NAME) == {"services": 0, "end": 0}
    assert basic.chains(TableName("ip6", NAME.name)) is None


def test_sets_are_named_without_reading_elements(basic: Nftables) -> None:
    assert set(basic.sets(NAME)) == {kept.set.name for kept in BASIC if isinstance(kept, AddSet)}
    assert set(basic.sets(TableName("ip6", NAME.name))) == set()


def test_a_set_is_emptied_and_filled_in_one_transaction(basic: Nftables) -> None:
    assert keys(basic, places())
    basic.apply([FlushSet(NAME, places()), AddElements(NAME, places(), [(WEB, PRESENT), (NEW, PRESENT)])])
    assert keys(basic, places()) == {WEB, NEW}
    basic.apply([FlushSet(NAME, one_endpoint())])
    assert keys(basic, one_endpoint()) == set()
    with pytest.raises(Refused, match="empty the set nowhere"):
        basic.apply([FlushSet(NAME, replace(places(), name="nowhere"))])


def test_the_generation_counts_transactions(basic: Nftables) -> None:
    before = basic.generation()
    basic.apply([LONGER])
    assert basic.generation() == before + 1
    basic.apply([])
    assert basic.generation() == before + 1


def test_others_transactions_are_noticed_and_ours_are_not(machine: Machine) -> None:
    notices = machine.listen(machine.ours.identity())
    try:
        machine.ours.apply(BASIC)
        assert notices.wait(0) == []

        machine.theirs.apply([AddTable(OTHER), FlushChain(NAME, "services")])
        (notice,) = notices.wait(5)
        assert notice.tables == {NAME, OTHER}
        assert notice.names == {(NAME, "services")}
        assert notice.sender == machine.theirs.identity()
        assert notice.generation == machine.ours.generation()
        assert notice.process and notice.program
        assert not notice.lost
    finally:
        notices.close()


def test_who_names_nobody_as_himself_hears_all(machine: Machine) -> None:
    notices = machine.listen(0)
    try:
        machine.ours.apply(BASIC)
        machine.theirs.apply([LONGER])
        assert [notice.tables for notice in notices.wait(5)] == [{NAME}, {NAME}]
    finally:
        notices.close()


def test_notices_are_heard_in_a_process_of_many_files(machine: Machine) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    notices = machine.listen(0)
    try:
        assert notices.fileno() > 1023
        machine.theirs.apply(BASIC)
        assert [notice.tables for notice in notices.wait(5)] == [{NAME}]
    finally:
        notices.close()
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
