"""Keeps a kernel's nftables and connections in step with what is wanted: one transaction per family and change.

What the kernel holds is known without asking: it is what was applied. After a refusal, and whenever somebody else was
at the table, it is laid again as a whole, in one transaction that no packet sees half of. All calls block.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from fairway.dataplane import nft_affinity as affinity
from fairway.dataplane import predecessors
from fairway.dataplane.base import Concern, Pending, Ports, Report, Update, Work, raise_first
from fairway.dataplane.conntrack import Sweeper
from fairway.dataplane.nft import Elements, filled
from fairway.dataplane.nft_book import Book, Delta
from fairway.dataplane.nft_chains import layout
from fairway.dataplane.nft_layout import COUNTED_ENDPOINTS, Shape, table_name
from fairway.dataplane.nft_mend import mending
from fairway.desired.model import Settings
from fairway.kernel.base import Conntrack, KernelError, Netfilter, Nftables, Notice, Refused
from fairway.packet import Family
from fairway.ruleset import nft

_log = logging.getLogger(__name__)

_ATTEMPTS = 5
"""How often clients are struck off the list while packets go on writing to it."""

_UNSUPPORTED = ("EAFNOSUPPORT", "EOPNOTSUPP", "EPROTONOSUPPORT")
"""What a kernel says of a family that it does not know; any other refusal may pass."""


@dataclass(slots=True)
class _Standing:
    """What one family's table holds: its elements by the book, its form without them."""

    book: Book
    form: nft.Table
    shape: Shape


class NftSync:
    """The nftables of one network namespace: a `Programmer`.

    `netfilter` is there to take away the iptables rules of a proxy that was here before; None: there are none.
    """

    def __init__(self, nftables: Nftables, conntrack: Conntrack, netfilter: Netfilter | None = None) -> None:
        self.unavailable: dict[Family, str] = {}
        self._nftables = nftables
        self._netfilter = netfilter
        self._sweeper = Sweeper(conntrack)
        self._standing: dict[Family, _Standing] = {}
        self._unclean: set[Family] = set()  # where an earlier proxy's iptables rules may be left
        self._uncleaned: Counter[Family] = Counter()  # how often they could not be removed, since the last report
        self._told: set[Family] = set()  # of which of these it was said
        self._pending = Pending()
        self._generation = 0  # the kernel's count if nobody but us has changed anything since all was known to be right
        self._seen = 0  # the same since it was last looked at

    def sync(self, update: Update) -> Report:
        """Make the kernel do what is wanted. Both families are tried; then the first error is raised (KernelError,
        Refused), and what could be applied stays applied."""
        self._pending.take(update)
        if not self._standing:
            self._generation = self._seen = self._nftables.generation()
        applied: list[Sequence[nft.Change]] = []
        works: dict[Family, Work] = {}
        failures: dict[Family, KernelError] = {}
        for family in self._families():
            begun, before = time.monotonic(), len(applied)
            try:
                for changes in self._apply(family, update):
                    applied.append(changes)
            except KernelError as error:
                self._standing.pop(family, None)
                if not self._missing(family, error):
                    failures[family] = error
            else:
                if self._pending.concerns(family) or len(applied) > before:
                    works[family] = Work(time.monotonic() - begun)
        self._clear_away(self._unclean - self._told)
        raise_first(failures)
        swept = self._sweeper.sweep(update, self._pending, self._families())
        self._pending.done()
        uncleaned, self._uncleaned = self._uncleaned, Counter()
        return Report(len(applied), sum(map(_lines, applied)), works, swept, uncleaned=uncleaned)

    def intact(self) -> bool:
        """Whether our tables seem untouched: nobody has changed anything, or at least their chains have all their
        rules. Cheap, whatever the number of Services. Raises KernelError."""
        self._clear_away(self._unclean)
        generation = self._nftables.generation()
        if generation in (self._generation, self._seen):
            return True
        for family, standing in self._standing.items():
            wanted = {name: len(chain.rules) for name, chain in standing.form.chains.items()}
            if self._nftables.chains(table_name(family)) != wanted:
                return False
        self._seen = generation
        return True

    def unchanged(self) -> bool:
        """Whether the kernel holds exactly what was applied. Reads all of it, if anybody has changed anything. Raises
        KernelError."""
        generation = self._nftables.generation()
        if generation == self._generation:
            return True
        for family, standing in self._standing.items():
            if _mending(self._nftables.read(table_name(family)), standing):
                return False
        self._generation = self._seen = generation
        return True

    def concern(self, notice: Notice) -> Concern:
        """See `Programmer`: nobody else has any business in our tables."""
        ours = any(table_name(family) in notice.tables for family in Family)
        return Concern.COMPARE if ours or notice.lost else Concern.NONE

    def mend(self) -> Report:
        """Compare everything, if anybody has changed anything, and write what is not as it was applied: one
        transaction a family. Raises KernelError."""
        generation = self._nftables.generation()
        if generation == self._generation:
            return Report()
        written: list[Sequence[nft.Change]] = []
        for family, standing in self._standing.items():
            if changes := _mending(self._nftables.read(table_name(family)), standing):
                self._nftables.apply(changes)
                written.append(changes)
        self._generation = self._seen = generation + len(written)
        return Report(len(written), sum(map(_lines, written)))

    def forget(self) -> None:
        """Lay everything anew at the next sync."""
        self._standing.clear()
        self._pending = Pending()

    def clean(self) -> None:
        """Remove our tables and kube-proxy's. Raises KernelError."""
        self.forget()
        for family in self._families():
            predecessors.remove_tables(self._nftables, family)

    def _families(self) -> Sequence[Family]:
        return [family for family in Family if family not in self.unavailable]

    def _missing(self, family: Family, error: KernelError) -> bool:
        """Whether the kernel cannot do the family at all; remembered, as it will not learn."""
        if family is not Family.IPV6 or not any(code in str(error) for code in _UNSUPPORTED):
            return False
        try:
            self._nftables.apply([nft.AddTable(table_name(family))])
        except KernelError:
            self.unavailable[family] = str(error)
            return True
        return False

    def _apply(self, family: Family, update: Update) -> Iterator[Sequence[nft.Change]]:
        """The transactions of one family, each after it was applied."""
        standing = self._standing.get(family)
        settings = _of_family(update.settings, family)
        if standing is None:
            standing = yield from self._take_over(Book(family, settings), update.ports)
        elif standing.book.settings == settings:
            keys = {*update.ports, *standing.book.keys} if self._pending.everything else self._pending.keys
            delta = standing.book.change({key: update.ports.get(key) for key in keys if key[2] is family})
            yield from self._change(standing, standing.book, delta)
        else:
            book = Book(family, settings)
            ports = {key: port for key, port in update.ports.items() if key[2] is family}
            places = book.change(ports).places
            yield from self._change(standing, book, difference(standing.book.content(), book.content(), places))
        self._standing[family] = standing

    def _change(self, standing: _Standing, book: Book, delta: Delta) -> Iterator[Sequence[nft.Change]]:
        """New maps and the rules that ask them come first and by themselves: a packet that is under way goes by the
        rules as they were when it came, and by the elements as they are."""
        family = book.family
        if not book.shape <= standing.shape:
            shape = book.shape | standing.shape
            grown = layout(family, standing.book.settings, shape)
            yield self._transact([*remodelled(standing.form, grown)])
            standing.form, standing.shape = grown, shape
        changes = [*deletions(standing.form, delta), *additions(standing.form, delta)]
        wanted = standing.form
        if book is not standing.book or book.shape != standing.shape:
            wanted = layout(family, book.settings, book.shape)
            changes += remodelled(standing.form, wanted)
        if changes:
            yield self._transact(changes)
        places = affinity.doubtful(book, delta) if affinity.same_insiders(standing.book, book) else None
        standing.book, standing.form, standing.shape = book, wanted, book.shape
        if places is None or places:
            yield from self._forget_clients(standing, places)

    def _forget_clients(
        self, standing: _Standing, places: Collection[bytes] | None = None
    ) -> Iterator[Sequence[nft.Change]]:
        """Strike clients off that are remembered at an endpoint they must not reach, in some places or in
        all. Those that time out or are written anew meanwhile make the kernel refuse; then it is asked again who there
        is."""
        book, form = standing.book, standing.form
        for _ in range(_ATTEMPTS):
            changes: list[nft.Change] = []
            for name in affinity.MAPS:
                if name in form.sets:
                    remembered = self._nftables.elements(table_name(book.family), form.sets[name])
                    gone = [*affinity.stale(book, remembered, places)]
                    if gone:
                        changes.append(nft.DeleteElements(table_name(book.family), form.sets[name], gone))
            if not changes:
                return
            try:
                yield self._transact(changes)
            except Refused:
                continue

    def _take_over(self, book: Book, ports: Ports) -> Generator[Sequence[nft.Change], None, _Standing]:
        """Lay the whole table over whatever stands, clients remembered; what another proxy laid in iptables is to be
        taken away then.

        A table of ours keeps its sets and chains, and only what is in them is replaced: a packet that is under way
        goes by the rules as they were when it came, and those of a deleted table ask sets that are empty by then. One
        that an older version laid out in another way has to go as a whole.
        """
        family = book.family
        self._sweeper.inherit(predecessors.table_claims(self._nftables, family))
        elements = book.load({key: port for key, port in ports.items() if key[2] is family})
        standing = _Standing(book, layout(family, book.settings, book.shape), book.shape)
        table = filled(standing.form, elements)
        reference = nft.DeleteTable(predecessors.reference_table(family))
        chains, sets = self._nftables.chains(table_name(family)), self._nftables.sets(table_name(family))
        try:
            yield self._transact([reference, *relaid(table, chains or (), sets)])
            yield from self._forget_clients(standing)
        except Refused:
            table = filled(table, dict(self._clients(table, book)))
            yield self._transact([reference, nft.DeleteTable(table_name(family)), *nft.creation(table)])
        self._unclean.add(family)
        return standing

    def _clear_away(self, families: Collection[Family]) -> None:
        """Take away what another proxy laid in iptables, now that our tables stand. Where that cannot be done (no
        program, no such family), Services are served all the same; it is tried again with every look, which no change
        waits for."""
        for family in [*families]:
            try:
                if self._netfilter is not None:
                    self._sweeper.inherit(predecessors.remove_rules(self._netfilter, family))
            except KernelError as error:
                self._uncleaned[family] += 1
                if family not in self._told:
                    _log.warning("what another proxy may have left in iptables for %s stays: %s", family, error)
                self._told.add(family)
            else:
                self._unclean.discard(family)
                self._told.discard(family)

    def _clients(self, table: nft.Table, book: Book) -> Iterator[tuple[str, dict[bytes, nft.Element]]]:
        """The clients remembered in the table that stands, those who may go on as they did, for the one to come."""
        for name in affinity.MAPS:
            if name in table.sets:
                remembered = self._nftables.elements(table_name(book.family), table.sets[name])
                gone = dict(affinity.stale(book, remembered))
                yield name, {key: element for key, element in remembered if key not in gone}

    def _transact(self, changes: Sequence[nft.Change]) -> Sequence[nft.Change]:
        self._nftables.apply(changes)
        self._generation += 1
        self._seen += 1
        return changes


def _of_family(settings: Settings, family: Family) -> Settings:
    """The settings that concern one family."""
    return replace(settings, facts={family: settings.node(family)})


def difference(before: Elements, after: Elements, places: Collection[bytes]) -> Delta:
    """From one content to another."""
    delta = Delta(places=places)
    for name in {**before, **after}:
        old, new = before.get(name, {}), after.get(name, {})
        if removed := {key: element for key, element in old.items() if new.get(key) != element}:
            delta.removed[name] = removed
        if added := {key: element for key, element in new.items() if old.get(key) != element}:
            delta.added[name] = added
    return delta


def deletions(form: nft.Table, delta: Delta) -> Iterator[nft.Change]:
    """The elements that go."""
    table = nft.TableName(form.family, form.name)
    yield from (nft.DeleteElements(table, form.sets[name], [*kept.items()]) for name, kept in delta.removed.items())


def additions(form: nft.Table, delta: Delta) -> Iterator[nft.Change]:
    """The elements that come."""
    table = nft.TableName(form.family, form.name)
    yield from (nft.AddElements(table, form.sets[name], [*kept.items()]) for name, kept in delta.added.items())


def remodelled(before: nft.Table, after: nft.Table) -> Iterator[nft.Change]:
    """From one form to another: new sets and chains, then the rules of chains that differ, then what nothing refers to
    any more."""
    table = nft.TableName(after.family, after.name)
    gone = [chain for chain in before.chains.values() if chain.name not in after.chains]
    yield from (nft.AddSet(table, kept) for name, kept in after.sets.items() if name not in before.sets)
    yield from (nft.AddChain(table, chain) for name, chain in after.chains.items() if name not in before.chains)
    for name, chain in after.chains.items():
        old = before.chains[name].rules if name in before.chains else []
        if old != chain.rules:
            if old:
                yield nft.FlushChain(table, name)
            yield from (nft.AddRule(table, name, rule) for rule in chain.rules)
    yield from (nft.FlushChain(table, chain.name) for chain in gone)
    yield from (nft.DeleteChain(table, chain.name) for chain in gone)
    yield from (nft.DeleteSet(table, name) for name in before.sets if name not in after.sets)


def relaid(table: nft.Table, chains: Collection[str], sets: Collection[str]) -> Iterator[nft.Change]:
    """The whole table over one that has these chains and sets: what packets write is kept, everything else becomes
    what `table` says. Refused by the kernel where a set or chain of that name is of another kind."""
    name = nft.TableName(table.family, table.name)
    yield nft.AddTable(name, table.comment)
    yield from (nft.AddChain(name, chain) for chain in table.chains.values())
    for kept in table.sets.values():
        if kept.name in sets and kept.name not in affinity.MAPS:
            yield nft.FlushSet(name, kept)
        yield nft.AddSet(name, kept)
    yield from (nft.FlushChain(name, chain) for chain in chains)
    yield from (nft.AddRule(name, chain.name, rule) for chain in table.chains.values() for rule in chain.rules)
    yield from (nft.DeleteChain(name, chain) for chain in chains if chain not in table.chains)
    yield from (nft.DeleteSet(name, kept) for kept in sets if kept not in table.sets)


def _lines(changes: Sequence[nft.Change]) -> int:
    """Elements and rules."""
    return sum(
        len(change.elements)
        if isinstance(change, nft.AddElements | nft.DeleteElements)
        else len(change.set.elements)
        if isinstance(change, nft.AddSet)
        else isinstance(change, nft.AddRule)
        for change in changes
    )


def _mending(found: nft.Table | None, standing: _Standing) -> list[nft.Change]:
    """From a table as it was read to what was applied, apart from what packets wrote."""
    wanted = filled(layout(standing.book.family, standing.book.settings, standing.shape), standing.book.content())
    return mending(found, wanted, (*affinity.MAPS, COUNTED_ENDPOINTS))
