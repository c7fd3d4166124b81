"""Keeps a kernel's iptables rules and connections in step with what is wanted: render, compare, apply, remember.

What the kernel holds is remembered after it was applied, never before. After a refusal, and whenever somebody else
was at the rules, it is read back from the kernel instead. All calls block.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from fairway.dataplane.adopt import Held, adopt, is_ours
from fairway.dataplane.apply import plan, removal, rules_written
from fairway.dataplane.base import Concern, Pending, Report, Update, Work, raise_first
from fairway.dataplane.claims import claimed
from fairway.dataplane.conntrack import Sweeper
from fairway.dataplane.iptables import ACCOUNTS
from fairway.dataplane.iptables_base import BASE_CHAINS
from fairway.dataplane.predecessors import remove_tables
from fairway.dataplane.standing import Frame, Standing
from fairway.kernel.base import Conntrack, KernelError, Netfilter, Nftables, Notice, Refused
from fairway.packet import Family
from fairway.ruleset.iptables import parse
from fairway.ruleset.nft import TableName


class RuleSync:
    """The iptables rules of one network namespace: a `Programmer`.

    `nftables` is there to take away the tables of a proxy that was here before; None: there are none. `unavailable`
    says why a family is left out; only IPv6 may be.
    """

    def __init__(self, netfilter: Netfilter, conntrack: Conntrack, nftables: Nftables | None = None) -> None:
        self.unavailable: dict[Family, str] = {}
        self._netfilter = netfilter
        self._nftables = nftables
        self._sweeper = Sweeper(conntrack)
        self._standing: dict[Family, Standing] = {}
        self._pending = Pending()
        self._accounts: tuple[str, ...] | None = None
        self._seen: int | None = None  # the kernel's count of changes when our rules were last seen in their places

    def sync(self, update: Update) -> Report:
        """Make the kernel do what is wanted. Both families are tried; then the first error is raised (KernelError,
        Refused), and what could be applied stays applied."""
        self._pending.take(update)
        transactions = lines = 0
        works: dict[Family, Work] = {}
        failures: dict[Family, KernelError] = {}
        for family in self._families():
            begun, written = time.monotonic(), Counter[str]()
            try:
                for text in self._apply(family, update):
                    transactions += 1
                    lines += text.count("\n")
                    written.update(rules_written(text))
            except KernelError as error:
                self._standing.pop(family, None)
                failures[family] = error
            else:
                standing = self._standing.get(family)
                if standing is not None and (written or self._pending.concerns(family)):
                    works[family] = Work(time.monotonic() - begun, standing.owned(), written)
        raise_first(failures)
        swept = self._sweeper.sweep(update, self._pending, self._families())
        self._pending.done()
        return Report(transactions, lines, works, swept)

    def intact(self) -> bool:
        """Whether our rules seem untouched: the jumps and the canaries are in their places. Raises KernelError when
        the kernel cannot be asked.

        For that iptables reads whole chains (0.2 s with 10,000 Services), unless nothing at all has changed in
        nf_tables since they were seen there.
        """
        generation = self._generation()
        if generation is not None and generation == self._seen:
            return True
        try:
            for family, standing in self._standing.items():
                for text in standing.probes():
                    self._netfilter.restore(family, text)
        except Refused:
            return False
        self._seen = generation
        return True

    def _generation(self) -> int | None:
        """The kernel's count of changes; None where iptables' are not among them."""
        if self._nftables is None or not self._netfilter.in_nf_tables():
            return None
        return self._nftables.generation()

    def unchanged(self) -> bool:
        """Whether the kernel holds exactly the rules we applied. Reads all of them. Raises KernelError."""
        return all(_same(self._read(family), standing.held()) for family, standing in self._standing.items())

    def concern(self, notice: Notice) -> Concern:
        """See `Programmer`. Only iptables in its nf_tables form is told of. Whoever works in our tables may have come
        to our jumps; only what we have in chains of our own has to be compared."""
        if notice.lost:
            return Concern.LOOK
        if self._netfilter.made(notice):
            return Concern.NONE
        if any(_shared(table) and is_ours(table.name, chain) for table, chain in notice.names):
            return Concern.COMPARE
        return Concern.LOOK if any(map(_shared, notice.tables)) else Concern.NONE

    def mend(self) -> Report:
        """Compare everything, and write what is not as it was applied. Raises KernelError."""
        written = []
        for family, standing in self._standing.items():
            found = self._read(family)
            for text in plan(found, standing.tables()):
                self._netfilter.restore(family, text)
                written.append(text)
            standing.beside(found)
        return Report(len(written), sum(text.count("\n") for text in written))

    def forget(self) -> None:
        """Read the kernel's rules anew before the next sync."""
        self._standing.clear()
        self._pending = Pending()
        self._seen = None

    def clean(self) -> None:
        """Remove all rules of ours or of another proxy's; what others made stays. Raises KernelError."""
        self.forget()
        for family in self._families():
            held = self._adopt(family)
            for text in removal(held) if held is not None else ():
                self._netfilter.restore(family, text)

    def _families(self) -> Sequence[Family]:
        return [family for family in Family if family not in self.unavailable]

    def _apply(self, family: Family, update: Update) -> Iterable[str]:
        """The texts of one family, each after it was applied."""
        frame = Frame.of(update.settings, family, self._ensure_accounts())
        standing = self._standing.get(family)
        taking_over = standing is None
        if standing is not None and not self._pending.everything and standing.frame == frame:
            texts = standing.change(self._pending.keys, update.ports)
        else:
            held = standing.held() if standing is not None else self._adopt(family)
            if held is None:
                return
            standing = Standing(frame, update.ports, held)
            texts = plan(held, standing.load())
        for text in texts:
            self._netfilter.restore(family, text)
            yield text
        if taking_over and self._nftables is not None:
            self._sweeper.inherit(remove_tables(self._nftables, family))
        self._standing[family] = standing

    def _adopt(self, family: Family) -> Held | None:
        try:
            held = self._read(family)
        except Refused:
            raise
        except KernelError as error:
            if family is not Family.IPV6:
                raise
            self.unavailable[family] = str(error)
            return None
        self._sweeper.inherit(claimed(held, family))
        return held

    def _read(self, family: Family) -> Held:
        try:
            return adopt(parse(self._netfilter.save(family)))
        except ValueError as error:
            raise KernelError(f"cannot read the kernel's {family} rules: {error}") from error

    def _ensure_accounts(self) -> tuple[str, ...]:
        if self._accounts is None:
            self._accounts = tuple(name for name in ACCOUNTS if self._netfilter.ensure_account(name))
        return self._accounts


def _shared(table: TableName) -> bool:
    """Whether it is one of the tables in which we have chains among others'."""
    return table.family in ("ip", "ip6") and table.name in BASE_CHAINS


def _same(found: Held, applied: Held) -> bool:
    tables = {*found.tables, *applied.tables}
    return all(_filled(found, table) == _filled(applied, table) for table in tables)


def _filled(held: Held, table: str) -> dict[str, tuple[str, ...]]:
    """A table without its built-in chains that hold nothing of ours."""
    return {chain: rules for chain, rules in held.chains(table).items() if rules or chain.startswith("KUBE-")}
