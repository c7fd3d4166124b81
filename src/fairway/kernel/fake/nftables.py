"""nf_tables in memory, with the transaction semantics of the kernel (6.x).

What the kernel refuses because of what is there is refused here with the same error: missing tables, sets, chains and
elements, what is still in use, an element that is there with other data. Loops of jumps and overlapping intervals are
not looked for, and no time passes: elements do not expire.
"""

from __future__ import annotations

import dataclasses
import errno
import itertools
import os
import select
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from fairway.kernel.base import Notice, Refused
from fairway.ruleset import nft_print
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
    Rule,
    Set,
    SetName,
    SetUpdate,
    Table,
    TableName,
    Verdict,
)
from fairway.ruleset.nft_values import size

K = TypeVar("K")
V = TypeVar("V")

_PROCESS = 1


class _Refusal(Exception):
    """Why a change cannot be done: an errno, and of what."""

    def __init__(self, number: int, what: str) -> None:
        super().__init__(f"cannot {what}: {os.strerror(number)} ({errno.errorcode[number]})")


@dataclass(slots=True)
class _Kernel:
    """What the handles on one pretended namespace share."""

    tables: dict[TableName, Table] = field(default_factory=dict)
    generation: int = 1
    handles: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    identities: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    listeners: list[FakeNotices] = field(default_factory=list)


class FakeNftables:
    """`Nftables` in memory. `beside` is another handle on the same pretended namespace, as another program has it;
    `program` is the name that notices give. `applied` lists the transactions that were done, in order."""

    def __init__(self, beside: FakeNftables | None = None, program: str = "fairway") -> None:
        self.applied: list[tuple[Change, ...]] = []
        self._kernel: _Kernel = beside._kernel if beside else _Kernel()
        self._identity = next(self._kernel.identities)
        self._program = program

    def identity(self) -> int:
        """See `kernel.base.Nftables.identity`."""
        return self._identity

    def generation(self) -> int:
        """See `kernel.base.Nftables.generation`."""
        return self._kernel.generation

    def apply(self, changes: Sequence[Change]) -> None:
        """See `kernel.base.Nftables.apply`."""
        if not changes:
            return
        draft = _Draft(self._kernel)
        try:
            for position, change in enumerate(changes):
                try:
                    draft.perform(change)
                except _Refusal as refusal:
                    raise Refused(str(refusal), nft_print.changes(changes), position + 1) from None
        except BaseException:
            draft.undo()
            raise
        self._kernel.generation += 1
        self.applied.append(tuple(changes))
        tables = frozenset(change.table for change in changes)
        names = frozenset((change.table, name) for change in changes for name in _named(change))
        notice = Notice(self._kernel.generation, tables, names, _PROCESS, self._program, self._identity)
        for listener in self._kernel.listeners:
            listener.tell(notice, self._identity)

    def read(self, table: TableName) -> Table | None:
        """See `kernel.base.Nftables.read`. What is returned is the caller's own."""
        found = self._kernel.tables.get(table)
        if found is None:
            return None
        sets = {name: replace(kept, elements=dict(kept.elements)) for name, kept in found.sets.items()}
        chains = {name: replace(kept, rules=list(kept.rules)) for name, kept in found.chains.items()}
        return replace(found, sets=sets, chains=chains)

    def elements(self, table: TableName, kept: Set) -> Sequence[tuple[bytes, Element]]:
        """See `kernel.base.Nftables.elements`."""
        found = self._kernel.tables.get(table)
        there = found.sets.get(kept.name) if found else None
        return list(there.elements.items()) if there else []

    def chains(self, table: TableName) -> Mapping[str, int] | None:
        """See `kernel.base.Nftables.chains`."""
        found = self._kernel.tables.get(table)
        return {name: len(chain.rules) for name, chain in found.chains.items()} if found else None

    def sets(self, table: TableName) -> Collection[str]:
        """See `kernel.base.Nftables.sets`."""
        found = self._kernel.tables.get(table)
        return frozenset(found.sets) if found else frozenset()


class FakeNotices:
    """`Notices` of the pretended namespace that `kernel` is a handle on; those of `own` are left out."""

    def __init__(self, kernel: FakeNftables, own: int = 0) -> None:
        self._own = own
        self._heard: list[Notice] = []
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._listeners = kernel._kernel.listeners
        self._listeners.append(self)

    def fileno(self) -> int:
        """See `kernel.base.Notices.fileno`."""
        return self._event

    def wait(self, seconds: float) -> Sequence[Notice]:
        """See `kernel.base.Notices.wait`."""
        ready = select.poll()
        ready.register(self._event, select.POLLIN)
        if not ready.poll(seconds * 1000):
            return []
        os.eventfd_read(self._event)
        heard, self._heard = self._heard, []
        return heard

    def close(self) -> None:
        """See `kernel.base.Notices.close`."""
        self._listeners.remove(self)
        os.close(self._event)

    def tell(self, notice: Notice, sender: int) -> None:
        """A transaction of `sender`, or a notice a test makes up (sender 0)."""
        if sender != self._own or not sender:
            self._heard.append(notice)
            os.eventfd_write(self._event, 1)


class _Draft:
    """A transaction at work: changes are made in place, and each notes how it is undone."""

    def __init__(self, kernel: _Kernel) -> None:
        self._kernel = kernel
        self._undo: list[Callable[[], object]] = []

    def undo(self) -> None:
        """Make everything as it was."""
        for step in reversed(self._undo):
            step()

    def perform(self, change: Change) -> None:
        """Do one change. Raises _Refusal."""
        match change:
            case AddTable(name, comment):
                if name not in self._kernel.tables:
                    self._put(self._kernel.tables, name, Table(name.family, name.name, comment=comment))
            case DeleteTable(name, missing_ok):
                if name in self._kernel.tables:
                    self._take(self._kernel.tables, name)
                elif not missing_ok:
                    raise _Refusal(errno.ENOENT, f"delete the table {name.family} {name.name}")
            case AddSet(name, kept):
                self._add_set(self._table(name), kept)
            case DeleteSet(name, wanted):
                self._delete_set(self._table(name), wanted)
            case FlushSet(name, kept):
                there = self._set(self._table(name), kept.name, f"empty the set {kept.name}")
                for key in list(there.elements):
                    self._take(there.elements, key)
            case AddChain(name, chain):
                self._add_chain(self._table(name), chain)
            case DeleteChain(name, wanted):
                self._delete_chain(self._table(name), wanted)
            case FlushChain(name, wanted):
                chain = self._chain(self._table(name), wanted, f"empty the chain {wanted}")
                self._set_rules(chain, [])
            case AddRule():
                self._add_rule(self._table(change.table), change)
            case AddElements(name, kept, elements):
                self._add_elements(self._table(name), kept, elements)
            case DeleteElements(name, kept, elements):
                self._delete_elements(self._table(name), kept, elements)

    # Small steps that can be undone.

    def _put(self, where: dict[K, V], key: K, value: V) -> None:
        if key in where:
            before = where[key]
            self._undo.append(lambda: where.__setitem__(key, before))
        else:
            self._undo.append(lambda: where.pop(key))
        where[key] = value

    def _take(self, where: dict[K, V], key: K) -> None:
        before = where.pop(key)
        self._undo.append(lambda: where.__setitem__(key, before))

    def _set_rules(self, chain: Chain, rules: list[Rule]) -> None:
        before = chain.rules
        self._undo.append(lambda: setattr(chain, "rules", before))
        chain.rules = rules

    # Finding.

    def _table(self, name: TableName) -> Table:
        if name not in self._kernel.tables:
            raise _Refusal(errno.ENOENT, f"find the table {name.family} {name.name}")
        return self._kernel.tables[name]

    def _chain(self, table: Table, name: str, what: str) -> Chain:
        if name not in table.chains:
            raise _Refusal(errno.ENOENT, what)
        return table.chains[name]

    def _set(self, table: Table, name: str, what: str) -> Set:
        if name not in table.sets:
            raise _Refusal(errno.ENOENT, what)
        return table.sets[name]

    # Chains and rules.

    def _add_chain(self, table: Table, chain: Chain) -> None:
        there = table.chains.get(chain.name)
        if there is None:
            self._put(table.chains, chain.name, Chain(chain.name, [], chain.hook, chain.comment))
        elif chain.hook is not None and replace(chain.hook, policy="") != (
            there.hook and replace(there.hook, policy="")
        ):
            raise _Refusal(errno.EEXIST, f"make the chain {chain.name}")
        elif chain.hook is not None:
            self._put(table.chains, chain.name, replace(there, hook=chain.hook))

    def _delete_chain(self, table: Table, name: str) -> None:
        self._chain(table, name, f"delete the chain {name}")
        others = (rule for chain in table.chains.values() if chain.name != name for rule in chain.rules)
        if any(Verdict in _kinds(name, rule) for rule in others) or name in _chains_of_maps(table):
            raise _Refusal(errno.EBUSY, f"delete the chain {name}")
        self._take(table.chains, name)

    def _add_rule(self, table: Table, change: AddRule) -> None:
        what = f"add a rule to the chain {change.chain}"
        chain = self._chain(table, change.chain, what)
        for kind, name in _references(change.rule):
            if kind is Verdict and self._chain(table, name, what).hook is not None:
                raise _Refusal(errno.EOPNOTSUPP, what)
            if kind is Set:
                self._set(table, name, what)
        rule = replace(change.rule, handle=next(self._kernel.handles))
        self._set_rules(chain, [rule, *chain.rules] if change.first else [*chain.rules, rule])

    # Sets and elements.

    def _add_set(self, table: Table, kept: Set) -> None:
        there = table.sets.get(kept.name)
        if there is None:
            self._put(table.sets, kept.name, replace(kept, elements={}))
        elif there.form != kept.form:
            raise _Refusal(errno.EEXIST, f"make the set {kept.name}")
        self._add_elements(table, kept, list(kept.elements.items()))

    def _delete_set(self, table: Table, name: str) -> None:
        self._set(table, name, f"delete the set {name}")
        rules = (rule for chain in table.chains.values() for rule in chain.rules)
        if any(Set in _kinds(name, rule) for rule in rules):
            raise _Refusal(errno.EBUSY, f"delete the set {name}")
        self._take(table.sets, name)

    def _add_elements(self, table: Table, kept: Set, elements: Sequence[tuple[bytes, Element]]) -> None:
        what = f"add elements to {kept.name}"
        there = self._set(table, kept.name, what)
        for key, element in elements:
            _check_lengths(there, key, element)
            if isinstance(element.data, Verdict) and element.data.chain:
                self._chain(table, element.data.chain, what)
            before = there.elements.get(key)
            if before is not None and (before.data, before.end) != (element.data, element.end):
                raise _Refusal(errno.EEXIST, what)
            if before is None:
                if there.size and len(there.elements) >= there.size:
                    raise _Refusal(errno.ENFILE, what)
                timeout = element.timeout_ms or there.timeout_ms
                self._put(there.elements, key, element._replace(timeout_ms=timeout, expires_ms=timeout))

    def _delete_elements(self, table: Table, kept: Set, elements: Sequence[tuple[bytes, Element]]) -> None:
        what = f"delete elements of {kept.name}"
        there = self._set(table, kept.name, what)
        for key, element in elements:
            if key not in there.elements or there.elements[key].end != element.end:
                raise _Refusal(errno.ENOENT, what)
            self._take(there.elements, key)


def _named(change: Change) -> Iterator[str]:
    """The chain or set that a change is about."""
    match change:
        case AddSet(_, Set(name)) | AddChain(_, Chain(name)) | AddElements(_, Set(name)) | DeleteElements(_, Set(name)):
            yield name
        case FlushSet(_, Set(name)):
            yield name
        case DeleteSet(_, name) | DeleteChain(_, name) | FlushChain(_, name) | AddRule(_, name):
            yield name


def _check_lengths(kept: Set, key: bytes, element: Element) -> None:
    """Bytes of another length than the fields' are a mistake of the caller's: ValueError."""
    wanted = sum(size(one.type) for one in kept.key)
    if key and len(key) != wanted:
        raise ValueError(f"a key of {len(key)} bytes in a set whose keys have {wanted}")
    room = 0 if isinstance(kept.data, str) else sum(size(one.type) for one in kept.data)
    if not isinstance(kept.data, str) and (isinstance(element.data, Verdict) or len(element.data) != room):
        raise ValueError(f"data that is not of {room} bytes in this set")


def _chains_of_maps(table: Table) -> set[str]:
    """Where the elements of verdict maps lead."""
    maps = (kept for kept in table.sets.values() if isinstance(kept.data, str))
    data = (element.data for kept in maps for element in kept.elements.values())
    return {verdict.chain for verdict in data if isinstance(verdict, Verdict)}


def _kinds(name: str, rule: Rule) -> set[type]:
    """As what a rule refers to `name`: Verdict (a chain), Set."""
    return {kind for kind, found in _references(rule) if found == name}


def _references(value: object) -> Iterator[tuple[type, str]]:
    """The chains and sets that a rule, or a part of one, names."""
    if isinstance(value, Verdict):
        if value.chain:
            yield Verdict, value.chain
    elif isinstance(value, SetName):
        yield Set, value.name
    elif isinstance(value, tuple):
        for part in value:
            yield from _references(part)
    elif dataclasses.is_dataclass(value):
        if isinstance(value, SetUpdate):
            yield Set, value.set
        for one in dataclasses.fields(value):
            yield from _references(getattr(value, one.name))
