"""iptables rules in memory, with the transaction semantics of `iptables-restore --noflush` (1.8, nf_tables).

What can be refused is refused with the reason iptables gives: missing chains, chains still in use, rules that are
not there, text without its COMMIT. What a rule's matches mean is not looked at; its jump is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from fairway.kernel.base import KernelError, Notice, Refused
from fairway.packet import Family
from fairway.ruleset.iptables import BUILTIN, Chain, Ruleset, Table, dump, split

_VERDICTS = {"ACCEPT", "DROP", "RETURN", "QUEUE", "REJECT", "LOG", "NFLOG", "TRACE", "AUDIT"}
_TRANSLATIONS = {"DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP", "TPROXY"}
_CHANGES = {"MARK", "CONNMARK", "CT", "NOTRACK", "TCPMSS", "DSCP", "TOS", "TTL", "HL", "CLASSIFY", "CHECKSUM", "SET"}
_TARGETS = _VERDICTS | _TRANSLATIONS | _CHANGES
_MISSING = "No chain/target/match by that name."
_NO_RULE = "Bad rule (does a matching rule exist in that chain?)."
_JUMP = re.compile(r"(?:^| )-[jg] (\S+)")
_BUSY = "CHAIN_DEL failed (Device or resource busy): chain "


class _Refusal(Exception):
    """The reason why one line cannot be done."""


class FakeNetfilter:
    """`Netfilter` in memory. `accounting` says whether this kernel has nfacct objects.

    `accounts` are the objects made, `restored` the texts that were applied, in order.
    """

    def __init__(self, accounting: bool = True) -> None:
        self.accounts: set[str] = set()
        self.restored: list[tuple[Family, str]] = []
        self._accounting = accounting
        self._rules = {family: Ruleset() for family in Family}

    def save(self, family: Family, table: str = "") -> str:
        """`iptables-save` text of the tables that were ever used."""
        rules = self._rules[family]
        return dump(Ruleset({name: kept for name, kept in rules.tables.items() if table in ("", name)}))

    def restore(self, family: Family, text: str) -> None:
        """Apply `text` table by table, each whole or not at all. Raises Refused."""
        lines = text.splitlines()
        start = 0
        while start < len(lines):
            line = lines[start].strip()
            if not line or line.startswith("#"):
                start += 1
                continue
            start = self._transaction(family, text, lines, start)
        self.restored.append((family, text))

    def ensure_account(self, name: str) -> bool:
        """Make the nfacct object `name` exist. Raises KernelError for a name that cannot be one."""
        if not 0 < len(name.encode()) <= 31:
            raise KernelError(f"{name!r} cannot name an accounting object: 1 to 31 bytes")
        if self._accounting:
            self.accounts.add(name)
        return self._accounting

    def made(self, notice: Notice) -> bool:
        """Never: in memory, iptables makes no transactions of nf_tables that a notice could tell of."""
        return False

    def in_nf_tables(self) -> bool:
        """Never."""
        return False

    def _transaction(self, family: Family, text: str, lines: Sequence[str], start: int) -> int:
        """Perform the table that begins at `start`; the number of the line behind its COMMIT."""
        if not lines[start].startswith("*"):
            raise Refused(f"expected a table, not {lines[start]!r}", text, start + 1)
        name = lines[start].strip()[1:]
        if name not in BUILTIN:
            raise Refused(f"table name '{name}' invalid", text, start + 1)
        draft = _Draft(self._rules[family].tables.get(name) or Table(name))
        for number in range(start + 1, len(lines)):
            line = lines[number].strip()
            if line == "COMMIT":
                draft.check_jumps(text, lines, start)
                self._rules[family].tables[name] = draft.table
                return number + 1
            try:
                draft.perform(line)
            except _Refusal as refusal:
                raise Refused(str(refusal), text, number + 1) from None
        raise Refused("COMMIT expected", text, len(lines))


class _Draft:
    """One table while a transaction works on it; the table it began with stays as it was."""

    def __init__(self, before: Table) -> None:
        self.table = Table(before.name)
        for builtin in BUILTIN[before.name]:  # a table that is used for the first time is set up with these
            self.table.chain(builtin)
        for chain in before.chains.values():
            self.table.chains[chain.name] = Chain(chain.name, list(chain.rules), chain.policy)
        self._uses = Counter(_target(rule) for chain in before.chains.values() for rule in chain.rules)
        self._commands: dict[str, Callable[[str, str], None]] = {
            "-A": self._append,
            "-I": self._insert,
            "-D": self._delete,
            "-C": self._check,
            "-N": self._new,
            "-F": self._flush,
            "-X": self._remove,
        }

    def perform(self, line: str) -> None:
        """Do one line between `*table` and COMMIT. Raises _Refusal."""
        if not line or line.startswith("#"):
            return
        if line.startswith(":"):
            self._declare(line[1:].split())
            return
        words = line.split(None, 2)
        if len(words) < 2 or words[0] not in self._commands:
            raise _Refusal(f"unknown command {line!r}")
        self._commands[words[0]](words[1], words[2] if len(words) == 3 else "")

    def check_jumps(self, text: str, lines: Sequence[str], start: int) -> None:
        """Targets are looked up when the table is complete: a chain may be declared after the rule that jumps."""
        for target, uses in self._uses.items():
            if uses and target and target not in _TARGETS and target not in self.table.chains:
                line = next((n for n in range(start, len(lines)) if _jumps(lines[n], target)), start)
                raise Refused(f"Chain '{target}' does not exist", text, line + 1)

    def _declare(self, words: Sequence[str]) -> None:
        """`:CHAIN POLICY` makes or empties a chain of ours; a built-in one keeps its rules under --noflush."""
        if len(words) < 2:
            raise _Refusal("a chain line needs a name and a policy")
        chain = self.table.chain(words[0])
        if chain.policy is None:
            self._flush(chain.name)
        elif words[1] != "-":
            chain.policy = words[1]

    def _rules_of(self, chain: str) -> list[str]:
        if chain not in self.table.chains:
            raise _Refusal(_MISSING)
        return self.table.chains[chain].rules

    def _append(self, chain: str, spec: str) -> None:
        self._rules_of(chain).append(spec)
        self._count(spec)

    def _count(self, spec: str) -> None:
        target = _target(spec)
        if target == "DROP" and self.table.name == "nat":
            raise _Refusal('The "nat" table is not intended for filtering, the use of DROP is therefore inhibited.')
        self._uses[target] += 1

    def _insert(self, chain: str, spec: str) -> None:
        rules = self._rules_of(chain)
        first, _, rest = spec.partition(" ")
        position, spec = (int(first), rest) if first.isdigit() else (1, spec)
        if not 1 <= position <= len(rules) + 1:
            raise _Refusal("Index of insertion too big.")
        rules.insert(position - 1, spec)
        self._count(spec)

    def _delete(self, chain: str, spec: str) -> None:
        self._check(chain, spec)
        self._rules_of(chain).remove(spec)
        self._uses[_target(spec)] -= 1

    def _check(self, chain: str, spec: str) -> None:
        if spec not in self._rules_of(chain):
            raise _Refusal(_NO_RULE)

    def _new(self, chain: str, _: str) -> None:
        if chain in self.table.chains:
            raise _Refusal("Chain already exists.")
        self.table.chain(chain)

    def _flush(self, chain: str, _: str = "") -> None:
        rules = self._rules_of(chain)
        self._uses.subtract(_target(rule) for rule in rules)
        rules.clear()

    def _remove(self, chain: str, _: str) -> None:
        found = self.table.chains.get(chain)
        if found is None:
            raise _Refusal(_MISSING)
        if found.policy is not None or found.rules or self._uses[chain]:
            raise _Refusal(_BUSY + chain)
        del self.table.chains[chain]


def _target(rule: str) -> str:
    """What a rule jumps or goes to, "" for a rule that only counts."""
    found = _JUMP.findall(rule)
    return found[-1] if found else ""


def _jumps(line: str, target: str) -> bool:
    words = split(line)
    return any(words[i] in ("-j", "-g") and words[i + 1] == target for i in range(len(words) - 1))
