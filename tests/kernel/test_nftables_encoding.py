"""What netlink makes is what nft makes of the same values in text: instruction for instruction, and as nft lists it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from fairway.kernel.linux import netns
from fairway.kernel.linux.netlink import NETFILTER, Netlink, Request, attribute_list, attributes
from fairway.kernel.linux.nft_messages import header, kind
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.ruleset import nft_parse, nft_print
from fairway.ruleset.nft import (
    Chain,
    Concat,
    Ct,
    Match,
    Meta,
    Payload,
    Rule,
    Set,
    SetUpdate,
    Table,
    TableName,
    Type,
    creation,
)
from fairway.ruleset.nft_values import literal
from tests.contract.nft_scene import DPORT, NAME, PLACE, fields, table
from tests.golden.test_nft_text import NAMES, reference

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not shutil.which("nft"), reason="needs the nft program"),
]

GET_RULE, GET_SET = 7, 10
SET_NAME, SET_HANDLE, SET_COUNT = 2, 16, 20
RULE_CHAIN, RULE_EXPRESSIONS, RULE_USERDATA = 2, 4, 7
EXPRESSION_NAME, EXPRESSION_DATA, BYTEORDER_LENGTH = 1, 2, 4


@pytest.fixture
def two() -> Iterator[tuple[str, str]]:
    """A namespace for netlink and one for nft."""
    names = [f"fwt-{os.getpid()}-{side}" for side in ("netlink", "nft")]
    try:
        yield netns.create(names[0]), netns.create(names[1])
    finally:
        for name in names:
            netns.delete(name)


@pytest.fixture
def made(two: tuple[str, str]) -> tuple[str, str]:
    """The scene's table in both, made by netlink and from text."""
    by_netlink, by_text = two
    handle = LinuxNftables(by_netlink)
    handle.apply(creation(table()))
    handle.close()
    nft(by_text, "-f", "-", text=nft_print.text([table()]))
    return two


def nft(path: str, *arguments: str, text: str = "") -> str:
    with netns.entered(path):
        done = subprocess.run(["nft", *arguments], input=text, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout


def dump(path: str, number: int, family: str = NAME.family) -> list[dict[int, bytes]]:
    with Netlink(NETFILTER, path) as kernel:
        request = Request(kind(number), 0, header(family), "dump")
        return [attributes(reply.body, 4) for reply in kernel.dump(request)]


def listed(path: str) -> Table:
    found = nft_parse.parse(nft(path, "list", "table", *NAME)).tables[NAME]
    for kept in found.sets.values():
        for key, element in kept.elements.items():
            kept.elements[key] = element._replace(expires_ms=0)
    return found


def test_rules_are_the_same_instructions(made: tuple[str, str]) -> None:
    ours, theirs = ([said(rule) for rule in dump(path, GET_RULE)] for path in made)
    assert len(ours) == sum(len(chain.rules) for chain in table().chains.values())
    assert ours == theirs


def said(rule: dict[int, bytes]) -> tuple[bytes, list[bytes], bytes]:
    """Chain, instructions, and what nft keeps beside them."""
    instructions = [one for _, one in attribute_list(rule[RULE_EXPRESSIONS]) if not turns_one_byte(one)]
    return rule[RULE_CHAIN], instructions, rule.get(RULE_USERDATA, b"")


def turns_one_byte(instruction: bytes) -> bool:
    """What nft writes before it looks into ranges of a protocol number, and what changes nothing."""
    parts = attributes(instruction)
    return parts[EXPRESSION_NAME] == b"byteorder\0" and attributes(parts[EXPRESSION_DATA])[BYTEORDER_LENGTH][3] == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_s_rules_are_the_same_instructions(two: tuple[str, str], name: str) -> None:
    by_netlink, by_text = two
    tables = nft_parse.parse(reference(name)).tables.values()
    handle = LinuxNftables(by_netlink)
    handle.apply([change for made in tables for change in creation(made)])
    handle.close()
    nft(by_text, "-f", "-", text=reference(name))

    for family in {made.family for made in tables}:
        ours, theirs = ([said(rule) for rule in dump(path, GET_RULE, family)] for path in two)
        assert len(ours) == sum(
            len(chain.rules) for made in tables if made.family == family for chain in made.chains.values()
        )
        assert ours == theirs


def test_a_client_s_ipv6_endpoint_is_remembered(two: tuple[str, str]) -> None:
    """Client, place and endpoint fill all registers but one; nft 1.0.6 cannot write this rule, and lists it."""
    source, destination, original = (Payload("ip6", "saddr"), Payload("ip6", "daddr"), Ct("ip6 daddr", "original"))
    tail = (Meta("l4proto"), Ct("proto-dst", "original"))
    kept = Set(
        "affinity", fields(source, destination, *PLACE.parts[1:]), fields(destination, DPORT), frozenset({"dynamic"})
    )
    endpoint = Concat((Ct("ip6 saddr", "reply"), Ct("proto-src", "reply")))
    update = SetUpdate("update", "affinity", Concat((source, original, *tail)), 0, endpoint)
    rule = Rule((Match(Meta("l4proto"), literal(Type.PROTOCOL, "tcp")), update))
    name = TableName("ip6", "fairway")
    wanted = Table(*name, {kept.name: kept}, {"remember": Chain("remember", [rule])})

    handle = LinuxNftables(two[0])
    handle.apply(creation(wanted))
    found = handle.read(name)
    handle.close()
    assert found is not None and found.chains["remember"].rules == [rule]


def test_named_sets_are_declared_alike(made: tuple[str, str]) -> None:
    """Types, lengths, flags, and what nft keeps beside them to show `typeof`."""
    ours, theirs = ({kept[SET_NAME]: kept for kept in dump(path, GET_SET)} for path in made)
    named = [name for name in ours if not name.startswith(b"__")]
    assert len(named) == len(table().sets)
    for name in named:
        assert form(ours[name]) == form(theirs[name])


def form(kept: dict[int, bytes]) -> dict[int, bytes]:
    """The declaration; nft also puts an end before the first interval, which the kernel counts."""
    return {number: value for number, value in kept.items() if number not in (SET_HANDLE, SET_COUNT)}


def test_nft_lists_both_alike(made: tuple[str, str]) -> None:
    ours, theirs = (listed(path) for path in made)
    assert ours == theirs


def test_nft_loads_what_it_lists_of_ours(made: tuple[str, str]) -> None:
    """A ruleset may be saved and restored, sets and maps and comments included."""
    by_netlink, by_text = made
    nft(by_text, "-f", "-", text=f"delete table {NAME.family} {NAME.name}\n{nft(by_netlink, 'list', 'ruleset')}")
    assert listed(by_text) == listed(by_netlink)
