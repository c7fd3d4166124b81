"""What every `Netfilter` promises: the one in memory, and the kernel with either iptables backend."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fairway.kernel.base import KernelError, Netfilter, Refused
from fairway.kernel.fake.netfilter import FakeNetfilter
from fairway.kernel.linux import netns
from fairway.kernel.linux.netfilter import Backend, LinuxNetfilter
from fairway.packet import Family
from fairway.ruleset.iptables import parse

KINDS = [
    "fake",
    pytest.param("nft", marks=pytest.mark.kernel),
    pytest.param("legacy", marks=pytest.mark.kernel),
]


@pytest.fixture(params=KINDS)
def netfilter(request: pytest.FixtureRequest) -> Iterator[Netfilter]:
    if request.param == "fake":
        yield FakeNetfilter()
        return
    name = f"fwt-{os.getpid()}-nf"
    path = netns.create(name)
    try:
        yield LinuxNetfilter(path, Backend.NFT if request.param == "nft" else Backend.LEGACY)
    finally:
        netns.delete(name)


@pytest.fixture(params=list(Family))
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


def text(*lines: str, table: str = "nat") -> str:
    return "\n".join([f"*{table}", *lines, "COMMIT", ""])


def rules(netfilter: Netfilter, family: Family, chain: str, table: str = "nat") -> list[str] | None:
    found = parse(netfilter.save(family)).tables.get(table)
    return found.chains[chain].rules if found and chain in found.chains else None


A_TO_B = text(":A - [0:0]", ":B - [0:0]", "-A A -j B", "-A B -j ACCEPT", "-I PREROUTING 1 -j A")


def test_chains_are_made_and_filled(netfilter: Netfilter, family: Family) -> None:
    netfilter.restore(family, A_TO_B)

    assert rules(netfilter, family, "A") == ["-j B"]
    assert rules(netfilter, family, "PREROUTING") == ["-j A"]


def test_families_do_not_mix(netfilter: Netfilter) -> None:
    netfilter.restore(Family.IPV4, A_TO_B)

    assert rules(netfilter, Family.IPV6, "A") is None


def test_one_table_can_be_read_alone(netfilter: Netfilter, family: Family) -> None:
    netfilter.restore(family, A_TO_B)
    netfilter.restore(family, text(":C - [0:0]", table="filter"))

    assert set(parse(netfilter.save(family, "nat")).tables) == {"nat"}


def test_a_declared_chain_is_emptied_others_stay(netfilter: Netfilter, family: Family) -> None:
    netfilter.restore(family, A_TO_B)
    netfilter.restore(family, text(":B - [0:0]", "-A B -j RETURN"))

    assert rules(netfilter, family, "B") == ["-j RETURN"]
    assert rules(netfilter, family, "A") == ["-j B"]


def test_a_built_in_chain_keeps_its_rules_when_declared(netfilter: Netfilter, family: Family) -> None:
    netfilter.restore(family, A_TO_B)
    netfilter.restore(family, text(":PREROUTING ACCEPT [0:0]"))

    assert rules(netfilter, family, "PREROUTING") == ["-j A"]


def test_rules_are_inserted_at_a_position_and_deleted_by_what_they_say(netfilter: Netfilter, family: Family) -> None:
    netfilter.restore(family, text(":A - [0:0]", "-A A -j ACCEPT", "-A A -p udp -j ACCEPT"))
    netfilter.restore(
        family, text("-I A 2 -j RETURN", "-D A -p udp -j ACCEPT", "-I A -p tcp -m tcp --dport 80 -j RETURN")
    )

    assert rules(netfilter, family, "A") == ["-p tcp -m tcp --dport 80 -j RETURN", "-j ACCEPT", "-j RETURN"]


def test_a_rule_can_be_asked_for(netfilter: Netfilter, family: Family) -> None:
    netfilter.restore(family, A_TO_B)
    netfilter.restore(family, text("-C A -j B"))

    with pytest.raises(Refused):
        netfilter.restore(family, text("-C A -j ACCEPT"))


def test_emptied_chains_are_removed_in_the_same_transaction(netfilter: Netfilter, family: Family) -> None:
    netfilter.restore(family, A_TO_B)
    netfilter.restore(family, text(":A - [0:0]", ":B - [0:0]", "-X B"))

    assert rules(netfilter, family, "A") == []
    assert rules(netfilter, family, "B") is None


@pytest.mark.parametrize(
    ("lines", "offending"),
    [
        pytest.param([":C - [0:0]", "-A C -j B", "-X NOWHERE"], 4, id="remove what is not there"),
        pytest.param([":C - [0:0]", "-A C -j B", "-D A -p udp -j ACCEPT"], 4, id="delete a rule that is not there"),
        pytest.param([":C - [0:0]", "-A NOWHERE -j ACCEPT"], 3, id="append to a chain that is not there"),
        pytest.param([":C - [0:0]", "-A C -j NOWHERE", "-A C -j RETURN"], 3, id="jump to a chain that is not there"),
        pytest.param([":C - [0:0]", "-I C 3 -j ACCEPT"], 3, id="insert behind the end"),
        pytest.param([":C - [0:0]", "-A C -j DROP"], 3, id="filter in nat"),
        pytest.param([":C - [0:0]", "-N B"], 3, id="make a chain that exists"),
        pytest.param([":C - [0:0]", "--frobnicate"], 3, id="no command of the language"),
    ],
)
def test_a_refused_text_changes_nothing_and_names_its_line(
    netfilter: Netfilter, family: Family, lines: list[str], offending: int
) -> None:
    netfilter.restore(family, A_TO_B)
    before = parse(netfilter.save(family))

    with pytest.raises(Refused) as refused:
        netfilter.restore(family, text(*lines))

    assert parse(netfilter.save(family)) == before
    assert refused.value.line == offending
    assert refused.value.offending == lines[offending - 2]
    assert refused.value.reason


def test_a_chain_in_use_is_not_removed(netfilter: Netfilter, family: Family) -> None:
    netfilter.restore(family, A_TO_B)

    with pytest.raises(Refused):
        netfilter.restore(family, text(":B - [0:0]", "-X B"))

    assert rules(netfilter, family, "B") == ["-j ACCEPT"]


def test_text_without_commit_is_refused(netfilter: Netfilter, family: Family) -> None:
    with pytest.raises(Refused):
        netfilter.restore(family, "*nat\n:A - [0:0]\n")

    assert rules(netfilter, family, "A") is None


def test_an_unknown_table_is_refused(netfilter: Netfilter, family: Family) -> None:
    with pytest.raises(Refused):
        netfilter.restore(family, text(table="bad"))


def test_a_refusal_leaves_the_tables_before_it(netfilter: Netfilter, family: Family) -> None:
    with pytest.raises(Refused):
        netfilter.restore(family, A_TO_B + text("-X NOWHERE", table="filter"))

    assert rules(netfilter, family, "A") == ["-j B"]


def test_accounting_objects_are_made_once_and_may_be_asked_for_again(netfilter: Netfilter) -> None:
    assert netfilter.ensure_account("fwt_account") == netfilter.ensure_account("fwt_account")

    with pytest.raises(KernelError, match="31 bytes"):
        netfilter.ensure_account("x" * 32)
