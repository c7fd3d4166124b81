"""The chains that a packet was led through, as people list them: the rules around those that applied. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from fairway.ruleset import iptables, nft, nft_print
from fairway.trace.names import chain_purpose
from fairway.trace.steps import Step
from fairway.trace.walk import Rules

Row: TypeAlias = dict[str, Any]
Place: TypeAlias = tuple[str, str]
"""Table and chain, as a step names them."""

AROUND = 3
"""Rules shown before and after one that applied, where a chain is longer than WHOLE."""
WHOLE = 40


@dataclass(frozen=True, slots=True)
class Listed:
    """A chain: its rules' texts, asked for one by one since there may be thousands; `head` is what stands above."""

    length: int
    text: Callable[[int], str]
    head: str


def listings(rules: Rules, steps: Iterable[Step]) -> dict[str, Row]:
    """The chains of the steps by "TABLE CHAIN", each with its number of rules, its purpose, and the rules worth
    showing as [number, text]."""
    wanted: dict[Place, dict[int, str]] = {}
    for step in steps:
        if step.chain:
            wanted.setdefault((step.table, step.chain), {})[step.number] = step.rule
    return {f"{table} {chain}": _listing(rules, table, chain, applied) for (table, chain), applied in wanted.items()}


def _listing(rules: Rules, table: str, chain: str, applied: Mapping[int, str]) -> Row:
    """One chain. Rules that were only assumed to be there stand at its end, as the walk had them."""
    listed = _chain(rules, table, chain)
    shown = [[number, listed.text(number)] for number in _shown(listed.length, applied)]
    assumed = [[number, f"-A {chain} {rule}"] for number, rule in sorted(applied.items()) if number > listed.length]
    return {
        "table": table,
        "chain": chain,
        "head": listed.head,
        "purpose": chain_purpose(chain),
        "total": listed.length,
        "rules": shown + assumed,
    }


def _shown(length: int, numbers: Iterable[int]) -> Sequence[int]:
    """The numbers of the rules worth showing, from 1."""
    if length <= WHOLE:
        return range(1, length + 1)
    near = {other for number in numbers if number for other in range(number - AROUND, number + AROUND + 1)}
    return sorted(number for number in near | {1} if 1 <= number <= length)


def _chain(rules: Rules, table: str, chain: str) -> Listed:
    family, space, name = table.partition(" ")
    if space:
        return _nft(rules.nft, family, name, chain)
    found = rules.iptables.tables.get(table) if rules.iptables else None
    held = found.chains.get(chain) if found else None
    return _iptables(held or iptables.Chain(chain))


def _iptables(chain: iptables.Chain) -> Listed:
    head = f":{chain.name} {chain.policy or '-'}"
    return Listed(len(chain.rules), lambda number: f"-A {chain.name} {chain.rules[number - 1]}", head)


def _nft(ruleset: nft.Ruleset | None, family: str, name: str, chain: str) -> Listed:
    tables: Mapping[Any, nft.Table] = ruleset.tables if ruleset else {}
    among = next((t.chains for t in tables.values() if (t.family, t.name) == (family, name)), {})
    held = among.get(chain) or nft.Chain(chain)
    hook = held.hook
    head = f"chain {chain}" + (f" {{ type {hook.type} hook {hook.hook} priority {hook.priority}; }}" if hook else "")
    return Listed(len(held.rules), lambda number: nft_print.rule(held.rules[number - 1], family), head)
