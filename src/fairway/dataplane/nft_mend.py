"""From a table as somebody left it to the table as it was applied: what is missing is written, what is too much goes.

Pure. Where the frame of things is another (a set of another kind, a chain at another hook) the table is laid anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from fairway.ruleset import nft
from fairway.ruleset.nft import Element, Set, Table, TableName


def mending(found: Table | None, wanted: Table, free: Collection[str] = ()) -> list[nft.Change]:
    """One transaction; none when nothing differs. The sets `free` are filled by packets: what is in them is kept."""
    if found is None:
        return nft.creation(wanted)
    if not _framed_alike(found, wanted):
        return [nft.DeleteTable(TableName(wanted.family, wanted.name)), *nft.creation(_inheriting(found, wanted, free))]
    return [*_mended(found, wanted, free)]


def _mended(found: Table, wanted: Table, free: Collection[str]) -> Iterator[nft.Change]:
    table = TableName(wanted.family, wanted.name)
    for name, kept in wanted.sets.items():
        if name not in found.sets:
            yield nft.AddSet(table, kept)
        elif name not in free:
            yield from _refilled(table, found.sets[name], kept)
    yield from (nft.AddChain(table, chain) for name, chain in wanted.chains.items() if name not in found.chains)
    before, after = _listed(found), _listed(wanted)
    for name, chain in wanted.chains.items():
        if before.get(name, []) != after[name]:
            if name in found.chains:
                yield nft.FlushChain(table, name)
            yield from (nft.AddRule(table, name, rule) for rule in chain.rules)
    strange = [name for name in found.chains if name not in wanted.chains]
    yield from (nft.FlushChain(table, name) for name in strange)
    yield from (nft.DeleteChain(table, name) for name in strange)
    yield from (nft.DeleteSet(table, name) for name in found.sets if name not in wanted.sets)


def _refilled(table: TableName, found: Set, wanted: Set) -> Iterator[nft.Change]:
    """Delete what should not be there, then add what should."""
    there, right = found.elements, wanted.elements
    if strange := [(k, e) for k, e in there.items() if k not in right or _said(right[k]) != _said(e)]:
        yield nft.DeleteElements(table, wanted, strange)
    if missing := [(k, e) for k, e in right.items() if k not in there or _said(there[k]) != _said(e)]:
        yield nft.AddElements(table, wanted, missing)


def _said(element: Element) -> object:
    """An element without what the kernel counts."""
    return element.data, element.end


def _framed_alike(found: Table, wanted: Table) -> bool:
    if found.flags != wanted.flags or found.others:
        return False
    chains = ((found.chains[name], chain) for name, chain in wanted.chains.items() if name in found.chains)
    sets = ((found.sets[name], kept) for name, kept in wanted.sets.items() if name in found.sets)
    return all(one.hook == other.hook for one, other in chains) and all(a.form == b.form for a, b in sets)


def _inheriting(found: Table, wanted: Table, free: Collection[str]) -> Table:
    """The wanted table with what packets have written into the old one."""
    for name in free:
        if name in found.sets and name in wanted.sets and found.sets[name].form == wanted.sets[name].form:
            wanted.sets[name].elements = found.sets[name].elements
    return wanted


def _listed(table: Table) -> dict[str, list[list[nft.Statement]]]:
    """The chains in the form in which they can be compared: nft lists no match of a protocol where the rule goes on to
    speak of that protocol's ports."""
    return {
        name: [[s for s in rule.statements if not _tells_protocol(s)] for rule in chain.rules]
        for name, chain in table.chains.items()
    }


def _tells_protocol(statement: nft.Statement) -> bool:
    return isinstance(statement, nft.Match) and statement.left == nft.Meta("l4proto") and statement.operator == "=="
