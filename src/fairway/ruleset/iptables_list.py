"""Read the listing of `iptables -t nat -L [-n] [-v] [--line-numbers]` into the same values as `iptables-save`.

A listing is meant for people: it drops what is usual and words conditions in its own way. Each rule becomes the
specification that `iptables-save` would print; words that are not known stay in it as they are, and so end up as
`Unknown` when the rule is understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fairway.ruleset.iptables import ParseError, Ruleset, Table, quote

MAX_LINE = 4096
"""Characters of one rule; with a comment of 256 and two lists of 15 ports it has about 600."""

_COLUMNS = 10  # num pkts bytes target prot opt in out source destination
_CHAIN = re.compile(r"Chain (?P<name>\S+) \((policy (?P<policy>[A-Z]+)|\d+ references?)")
_HEADER = re.compile(r"(num\s+)?(?P<counted>pkts\s+bytes\s+)?target\s+prot\s+opt\s+(in\s+out\s+)?source\s+destination")
_ANYWHERE = ("0.0.0.0/0", "::/0", "anywhere")
_PROTOCOLS: Mapping[str, str] = {"0": "all", "6": "tcp", "17": "udp", "132": "sctp", "1": "icmp", "58": "ipv6-icmp"}
"""Protocols that some versions list by number."""

_WORDED: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), spec)
    for pattern, spec in (
        (r"(tcp|udp|sctp) dpts?:(!?)(\S+)", r"-m \1 \2 --dport \3"),
        (r"(tcp|udp|sctp) spts?:(!?)(\S+)", r"-m \1 \2 --sport \3"),
        (r"dpts?:(!?)(\S+)", r"\1 --dport \2"),
        (r"multiport (d|s)ports( !)? (\S+)", r"-m multiport \2 --\1ports \3"),
        (r"ADDRTYPE match (src|dst)-type (!)?(\S+)", r"-m addrtype \2 --\1-type \3"),
        (r"statistic mode random (! )?probability (\S+)", r"-m statistic --mode random \1 --probability \2"),
        (r"statistic mode nth every (\d+)( packet (\d+))?", r"-m statistic --mode nth --every \1 --packet 0\3"),
        (r"mark match (! ?)?(0x\S+)", r"-m mark \1 --mark \2"),
        (r"(! )?ctstate ([A-Z,]+)", r"-m conntrack \1 --ctstate \2"),
        (r"(! )?state ([A-Z,]+)", r"-m state \1 --state \2"),
        (r"nfacct-name\s+(\S+)", r"-m nfacct --nfacct-name \1"),
        (r"recent: (SET|CHECK|UPDATE|REMOVE)", r"-m recent --\1"),
        (r"seconds: (\d+)", r"--seconds \1"),
        (r"hit_count: (\d+)", r"--hitcount \1"),
        (r"name: (\S+)", r"--name \1"),
        (r"side: (source|dest)", r"--side \1"),
        (r"mask: (\S+)", r"--mask \1"),
        (r"reap\b", "--reap"),
        (r"\[goto\]", ""),
        (r"(tcp|udp|sctp)(?= |$)", r"-m \1"),
    )
)
"""How conditions are worded in listings, and how rules spell them. Tried in this order at each place."""

_DEEDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), spec)
    for pattern, spec in (
        (r"to:(\S+)", r"--to \1"),
        (r"MARK (or|and|xor|set) (0x\S+)", r"--\1-mark \2"),
        (r"MARK xset (0x\S+)", r"--set-xmark \1"),
        (r"reject-with (\S+)", r"--reject-with \1"),
        (r"masq ports: (\S+)", r"--to-ports \1"),
        (r"redir ports (\S+)", r"--to-ports \1"),
        (r"random-fully|random", "--random-fully"),
    )
)
"""The same for what targets print behind the conditions."""

_SPELLED: Mapping[str, str] = {
    "--SET": "--set",
    "--CHECK": "--rcheck",
    "--UPDATE": "--update",
    "--REMOVE": "--remove",
    "--side source": "--rsource",
    "--side dest": "--rdest",
}


def table_of(text: str) -> str:
    """The table that a listing is of, by its built-in chains: a listing names it nowhere. `nat` when several fit, as it
    is the one people list to look at Services."""
    names = {chain["name"] for line in text.splitlines() if (chain := _CHAIN.match(line.strip()))}
    if "FORWARD" in names:
        return "mangle" if names & {"PREROUTING", "POSTROUTING"} else "filter"
    if {"INPUT", "OUTPUT"} <= names and not names & {"PREROUTING", "POSTROUTING"}:
        return "filter"
    raw = names & {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"} == {"PREROUTING", "OUTPUT"}
    return "raw" if raw and not any(name.startswith(("KUBE-", "DOCKER")) for name in names) else "nat"


def parse_listing(text: str, table: str = "nat") -> Ruleset:
    """Read a listing of one table. Raises ParseError with the line's number for a line that is none of a listing."""
    ruleset = Ruleset()
    reader = _Reader(ruleset.table(table))
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            reader.line(number, line)
    return ruleset


@dataclass(slots=True)
class _Reader:
    table: Table
    chain: str = ""
    counted: bool = False
    devices: bool = False

    def line(self, number: int, line: str) -> None:
        if chain := _CHAIN.match(line.strip()):
            self.chain = chain["name"]
            self.table.chain(self.chain).policy = chain["policy"]
        elif header := _HEADER.match(line.strip()):
            self.counted = header["counted"] is not None
            self.devices = " in " in line
        elif not self.chain:
            raise ParseError(number, line, "expected `Chain NAME (...)` before any rule")
        else:
            self.table.chain(self.chain).rules.append(self._rule(number, line))

    def _rule(self, number: int, line: str) -> str:
        if len(line) > MAX_LINE:
            raise ParseError(number, line, f"a rule of {len(line)} characters; no listing has such")
        row = _columns(line, self.counted, self.devices)
        if row is None:
            raise ParseError(number, line, "expected a rule with the columns of the header above it")
        return " ".join(part for part in _spec(row) if part)


@dataclass(frozen=True, slots=True)
class _Row:
    """A rule's columns; `target` is "" for a rule that only counts."""

    target: str
    protocol: str
    came_by: str
    leaves_by: str
    source: str
    destination: str
    rest: str


def _columns(line: str, counted: bool, devices: bool) -> _Row | None:
    """Take a line apart. The target may be missing, the option column may be blank (IPv6), a line number may lead."""
    words = line.split(None, _COLUMNS)  # what follows the columns stays as it is, its blanks included
    line = " ".join(words)
    front = r"^\s*(\d+\s+)?" + (r"[\d.]+[KMGT]?\s+[\d.]+[KMGT]?\s+" if counted else "")
    tail = r"(?P<opt>--|-f|!f)?\s*" + (r"(?P<i>\S+)\s+(?P<o>\S+)\s+" if devices else "") + r"(?P<s>\S+)\s+(?P<d>\S+)"
    prot = r"(?P<prot>!?(all|tcp|udp|sctp|dccp|icmp|icmpv6|ipv6-icmp|\d+))\s+"
    match = re.match(front + r"(?P<target>\S+\s+)??" + prot + tail + r"(?P<rest>.*)$", line)
    if match is None or len(words) < 4:
        return None
    found = match.groupdict()
    return _Row(
        target=(found["target"] or "").strip(),
        protocol=found["prot"],
        came_by=found.get("i") or "*",
        leaves_by=found.get("o") or "*",
        source=found["s"],
        destination=found["d"],
        rest=found["rest"].strip(),
    )


def _spec(row: _Row) -> Iterator[str]:
    """The rule in the words of iptables-save."""
    yield _unless("-s", row.source, _ANYWHERE)
    yield _unless("-d", row.destination, _ANYWHERE)
    yield _unless("-i", row.came_by, ("*", "any"))
    yield _unless("-o", row.leaves_by, ("*", "any"))
    bare = row.protocol.lstrip("!")
    yield _unless("-p", row.protocol.replace(bare, _PROTOCOLS.get(bare, bare)), ("all",))
    conditions, deeds = _rest(row.rest)
    yield from conditions
    if row.target:
        yield ("-g " if "[goto]" in row.rest else "-j ") + row.target
    translate = {"DNAT": "--to-destination ", "SNAT": "--to-source "}.get(row.target, "--to ")
    yield from (deed.replace("--to ", translate) for deed in deeds)


def _unless(option: str, value: str, usual: tuple[str, ...]) -> str:
    if value in usual:
        return ""
    return f"! {option} {value[1:]}" if value.startswith("!") else f"{option} {value}"


def _rest(rest: str) -> tuple[list[str], list[str]]:
    """What follows the columns: conditions, then what the target prints."""
    conditions: list[str] = []
    deeds: list[str] = []
    while rest := rest.strip():
        if rest.startswith("/* ") and " */" in rest:
            comment, _, rest = rest[3:].partition(" */")
            conditions.append(f"-m comment --comment {quote(comment)}")
            continue
        for table, into in ((_WORDED, conditions), (_DEEDS, deeds)):
            found = next(((m, spec) for pattern, spec in table if (m := pattern.match(rest))), None)
            if found is not None:
                into.append(_spelled(found[0].expand(found[1])))
                rest = rest[found[0].end() :]
                break
        else:
            word, _, rest = rest.partition(" ")
            conditions.append(word)
    return conditions, deeds


def _spelled(text: str) -> str:
    for listed, written in _SPELLED.items():
        text = text.replace(listed, written)
    return " ".join(text.replace("!", " ! ").split())
