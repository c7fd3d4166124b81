"""Listings of nft: read, printed, and read again; what is not understood, and what is no listing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.ruleset import nft
from fairway.ruleset.nft import Element, Field, Literal, Other, Rule, Ruleset, Set, Table, Type, Verdict
from fairway.ruleset.nft_parse import ParseError, parse
from fairway.ruleset.nft_parse_json import parse_json
from fairway.ruleset.nft_print import change, text
from fairway.ruleset.nft_values import SIZES, pack
from tests.unit.ruleset.nft_strategies import tables

SAMPLE = (Path(__file__).parent / "sample.nft").read_text()
SAMPLE_JSON = (Path(__file__).parent / "sample.json").read_text()


def one_line(listing: str) -> str:
    return re.sub(r",\s+", ", ", listing)


def rule(written: str, family: str = "ip", sets: str = "") -> Rule:
    (table,) = parse(f"table {family} t {{ {sets}\nchain c {{\n{written}\n}}\n}}").tables.values()
    (found,) = table.chains["c"].rules
    return found


def test_a_listing_prints_back() -> None:
    assert one_line(text(parse(SAMPLE).tables.values())) == one_line(SAMPLE)


@given(st.lists(tables(), min_size=1, max_size=2, unique_by=lambda table: (table.family, table.name)))
def test_what_is_printed_is_read_back(given_: list[Table]) -> None:
    wanted = Ruleset({nft.TableName(table.family, table.name): table for table in given_})
    assert parse(text(given_)) == wanted


def test_json_says_what_the_text_says() -> None:
    said, read = parse_json(SAMPLE_JSON), parse(SAMPLE)

    for name, table in said.tables.items():
        chains = read.tables[name].chains
        for chain in table.chains.values():
            assert understood(chain.rules) == understood(without_maps_updates(chains[chain.name].rules))
        for kept in table.sets.values():
            assert kept.elements == read.tables[name].sets[kept.name].elements
            assert types(kept.key) == types(read.tables[name].sets[kept.name].key)
    assert said.tables.keys() == read.tables.keys()


def types(fields: tuple[Field, ...]) -> list[Type]:
    return [field.type for field in fields]


def understood(rules: list[Rule]) -> list[Rule]:
    """The rules without those parts that are only text, which nft's JSON words otherwise."""
    return [replace(r, statements=tuple(s for s in r.statements if not isinstance(s, Other))) for r in rules]


def without_maps_updates(rules: list[Rule]) -> list[Rule]:
    """nft 1.0.6 has no JSON for the update of a map."""
    return [
        replace(r, statements=tuple(s for s in r.statements if not (isinstance(s, nft.SetUpdate) and s.data)))
        for r in rules
    ]


def test_handles_are_read_and_count_for_nothing() -> None:
    listing = "table ip t { # handle 1\n\tchain c { # handle 7\n\t\taccept # handle 9\n\t}\n}\n"
    (table,) = parse(listing).tables.values()

    assert table.chains["c"].rules == [Rule((Verdict("accept"),))]
    assert table.chains["c"].rules[0].handle == 9


@pytest.mark.parametrize(
    ("written", "statement"),
    [
        ("ip saddr 10.0.0.0/8", nft.Match(nft.Payload("ip", "saddr"), Literal(Type.IPV4, b"\x0a\0\0\0", 8))),
        (
            "ct state established,related",
            nft.Match(nft.Ct("state"), Literal(Type.CT_STATE, pack((Type.CT_STATE,), (6,))), "any"),
        ),
        ("ct state == new", nft.Match(nft.Ct("state"), Literal(Type.CT_STATE, pack((Type.CT_STATE,), (8,))), "==")),
        ('iifname "eth*"', nft.Match(nft.Meta("iifname"), Literal(Type.INTERFACE_NAME, b"eth", 24))),
        ("mark set 1", nft.Assign(nft.Meta("mark"), Literal(Type.MARK, pack((Type.MARK,), (1,))))),
        ("ct original saddr @x", nft.Match(nft.Ct("ip saddr", "original"), nft.SetName("x"))),
        ("reject with icmp type port-unreachable", nft.Reject("icmp port-unreachable")),
        ("ip dscp cs1", nft.Match(nft.Payload("ip", "dscp"), Literal(Type.UNKNOWN, b"cs1"))),
    ],
)
def test_spellings(written: str, statement: nft.Statement) -> None:
    assert rule(written).statements == (statement,)


def test_a_map_of_places_yields_address_and_port() -> None:
    sets = "map lb { typeof ip daddr : ip daddr . th dport; }\nmap one { type ipv4_addr : ipv4_addr; }"
    spellings = {
        "dnat ip to ip daddr map @lb": True,
        "dnat ip addr . port to ip daddr map @lb": True,  # until nft 1.0.2
        "dnat to ip daddr map @one": False,
    }
    for written, both in spellings.items():
        (statement,) = rule(written, sets=sets).statements
        assert isinstance(statement, nft.Nat)
        assert statement.address_and_port is both


@pytest.mark.parametrize(
    ("written", "kinds"),
    [
        ("osf name Linux accept", [Other("osf name Linux", maybe=True), Verdict("accept")]),
        ("ct count over 10 drop", [Other("ct count over 10", maybe=True), Verdict("drop")]),
        ("@th,16,16 0x50 accept", [Other("@th,16,16 0x50"), Verdict("accept")]),
        ("tproxy to :8080 accept", [Other("tproxy to :8080"), Verdict("accept")]),
        ('xt target "TPROXY"', [Other('xt target "TPROXY"')]),
        ("flow add @fast counter", [Other("flow add @fast", harmless=True), nft.Counter()]),
        ("frobnicate { 1, 2 } accept", [Other("frobnicate { 1, 2 }"), Verdict("accept")]),
        (
            'log prefix "a, b" flags tcp sequence,options drop',
            [Other('log prefix "a, b" flags tcp sequence,options', harmless=True), Verdict("drop")],
        ),
    ],
)
def test_what_is_not_understood_stays_as_text(written: str, kinds: list[nft.Statement]) -> None:
    assert list(rule(written).statements) == kinds


def test_elements_that_are_none_of_the_type_are_kept_as_text() -> None:
    (table,) = parse("table ip t { set s { type inet_service; elements = { http, 80 } } }").tables.values()

    assert [one.type for one in table.sets["s"].key] == [Type.UNKNOWN]
    assert len(table.sets["s"].elements) == 2


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("table ip t {\n chain c {\n  accept\n", 4),
        ("table ip t {\n chain c {\n  ip saddr { 10.0.0.1\n }\n}\n", 6),
        ("table ip t {\n\n chain c {\n  } } }\n", 4),
        ("*filter\n:INPUT ACCEPT [0:0]\n", 1),
        ("table ip t {\n set s {\n  type ipv4_addr\n  elements = { 10.0.0.1 . }\n }\n}", 4),
        ("table ip t {\n chain c {\n  type filter hook input priority high\n }\n}", 3),
    ],
)
def test_what_is_no_listing_is_refused_with_its_line(written: str, line: int) -> None:
    with pytest.raises(ParseError) as refused:
        parse(written)
    assert refused.value.line == line


@given(st.text(alphabet='table ip t{}chain"#;\n @,.:&|()=!<>-0123456789abcdef/*', max_size=200))
def test_rubbish_ends_in_an_answer_or_a_refusal(rubbish: str) -> None:
    for written in (rubbish, f"table ip t {{ chain c {{ {rubbish} }} }}", f"table ip t {{ set s {{ {rubbish} }} }}"):
        try:
            parse(written)
        except ParseError:
            continue


@pytest.mark.parametrize(
    "written", ["", "{}", "[]", '{"nftables": 3}', '{"nftables": [{"rule": {}}]}', "\xff", "[" * 9999]
)
def test_other_json_is_refused(written: str) -> None:
    with pytest.raises(ParseError):
        parse_json(written)


PLACE = Set("s", (Field(Type.IPV4), Field(Type.SERVICE)), data=(Field(Type.MARK),))
KEY = pack((Type.IPV4, Type.SERVICE), ("10.0.0.1", 80))
NAME = nft.TableName("ip", "t")


@pytest.mark.parametrize(
    ("done", "line"),
    [
        (nft.AddTable(NAME, "mine"), 'add table ip t { comment "mine"; }'),
        (nft.DeleteTable(NAME), "add table ip t; delete table ip t"),
        (nft.AddSet(NAME, PLACE), "add map ip t s { type ipv4_addr . inet_service : mark; }"),
        (
            nft.AddElements(NAME, PLACE, [(KEY, Element(pack((Type.MARK,), (1,)), comment='say "a"'))]),
            "add element ip t s { 10.0.0.1 . 80 comment \"say 'a'\" : 0x00000001 }",
        ),
        (nft.DeleteElements(NAME, PLACE, [(KEY, Element(timeout_ms=5))]), "delete element ip t s { 10.0.0.1 . 80 }"),
        (
            nft.AddChain(NAME, nft.Chain("c", hook=nft.Hook("nat", "output", -100))),
            "add chain ip t c { type nat hook output priority -100; policy accept; }",
        ),
        (nft.AddRule(NAME, "c", Rule((Verdict("jump", "d"),)), first=True), "insert rule ip t c jump d"),
        (nft.FlushChain(NAME, "c"), "flush chain ip t c"),
        (nft.DeleteChain(NAME, "c"), "delete chain ip t c"),
        (nft.DeleteSet(NAME, "s"), "delete set ip t s"),
    ],
)
def test_changes_are_commands(done: nft.Change, line: str) -> None:
    assert change(done) == line


def test_types_have_sizes() -> None:
    assert SIZES.keys() == set(Type)
