"""The iptables language as values: rules, chains, tables, and the text of `iptables-save` / `iptables-restore`.

A rule is kept as its specification, the text after `-A CHAIN `, in the form `iptables-save` prints: renderers produce
that text once, dumps hold it, and comparing two rule sets is comparing strings. What a specification *means* is read
by `ruleset.iptables_match`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

BUILTIN: Mapping[str, tuple[str, ...]] = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}


class ParseError(ValueError):
    """A line that is not of the language. `line` counts from 1."""

    def __init__(self, line: int, text: str, reason: str) -> None:
        super().__init__(f"line {line}: {reason}: {text[:200]!r}")
        self.line = line
        self.text = text
        self.reason = reason


@dataclass(slots=True)
class Chain:
    """A chain and its rules in order. `policy` is set for built-in chains only ("ACCEPT", "DROP"). `declared` is
    False when rules were seen for a chain that the text never declared (pieces of a dump)."""

    name: str
    rules: list[str] = field(default_factory=list)
    policy: str | None = None
    declared: bool = True


@dataclass(slots=True)
class Table:
    """Chains by name, in the order they were declared."""

    name: str
    chains: dict[str, Chain] = field(default_factory=dict)

    def chain(self, name: str) -> Chain:
        """The chain of that name, made when it is missing."""
        found = self.chains.get(name)
        if found is None:
            policy = "ACCEPT" if name in BUILTIN.get(self.name, ()) else None
            found = self.chains[name] = Chain(name, policy=policy)
        return found


@dataclass(slots=True)
class Ruleset:
    """Tables by name: what one family's `iptables-save` says."""

    tables: dict[str, Table] = field(default_factory=dict)

    def table(self, name: str) -> Table:
        """The table of that name, made when it is missing."""
        found = self.tables.get(name)
        if found is None:
            found = self.tables[name] = Table(name)
        return found


def dump(ruleset: Ruleset) -> str:
    """The text `iptables-restore` takes: chains declared first, then rules, table by table."""
    return "".join(line + "\n" for line in _lines(ruleset.tables.values()))


def _lines(tables: Iterable[Table]) -> Iterator[str]:
    for table in tables:
        yield f"*{table.name}"
        for chain in table.chains.values():
            yield f":{chain.name} {chain.policy or '-'} [0:0]"
        for chain in table.chains.values():
            for rule in chain.rules:
                yield f"-A {chain.name} {rule}"
        yield "COMMIT"


def parse(text: str, default_table: str = "nat") -> Ruleset:
    """Read `iptables-save` output. Comments and counters are skipped; rules before any `*table` line (pieces pasted
    from a dump) belong to `default_table`. Raises ParseError with the line's number."""
    ruleset = Ruleset()
    table: Table | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("*"):
            table = ruleset.table(line[1:].strip())
        elif line == "COMMIT":
            table = None
        else:
            if table is None:
                table = ruleset.table(default_table)
            _parse_line(table, number, line)
    return ruleset


def _parse_line(table: Table, number: int, line: str) -> None:
    if line.startswith(":"):
        words = line[1:].split()
        if len(words) < 2:
            raise ParseError(number, line, "a chain line needs a name and a policy")
        chain = table.chain(words[0])
        chain.declared = True
        chain.policy = None if words[1] == "-" else words[1]
        return
    if line.startswith("["):  # counters of `iptables-save -c`
        line = line.partition("]")[2].strip()
    words = line.split(None, 2)
    if len(words) < 2 or words[0] not in ("-A", "-N", "-P"):
        raise ParseError(number, line, "expected *table, :chain, -A rule or COMMIT")
    known = words[1] in table.chains
    chain = table.chain(words[1])
    if words[0] == "-P":
        chain.policy = words[2] if len(words) == 3 else None
    elif words[0] == "-A":
        if not known:
            chain.declared = False
        chain.rules.append(words[2] if len(words) == 3 else "")


def quote(comment: str) -> str:
    """A comment as iptables-save prints it: in quotes, inner quotes and backslashes escaped."""
    if comment and not any(c in comment for c in " \"\\'"):
        return comment
    return '"' + comment.replace("\\", "\\\\").replace('"', '\\"') + '"'


def split(spec: str) -> Sequence[str]:
    """The words of a rule specification; quoted comments are one word, without their quotes."""
    words: list[str] = []
    word: list[str] = []
    inside = quoted = False
    characters = iter(spec)
    for c in characters:
        if c == "\\" and inside:
            word.append(next(characters, ""))
        elif c == '"':
            inside, quoted = not inside, True
        elif c.isspace() and not inside:
            if word or quoted:
                words.append("".join(word))
            word, quoted = [], False
        else:
            word.append(c)
    if word or quoted:
        words.append("".join(word))
    return words
