"""Keeps a kernel's iptables rules and connections in step with Desired: render, compare, apply, remember.

What the kernel holds is remembered after it was applied, never before. After a refusal, and whenever somebody else
was at the rules, it is read back from the kernel instead. All calls block.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairway.dataplane.adopt import Held, adopt
from fairway.dataplane.apply import plan, settled
from fairway.dataplane.base import Pending, Report, Update
from fairway.dataplane.claims import claimed
from fairway.dataplane.conntrack import PROTOCOLS, Sweeper
from fairway.dataplane.iptables import ACCOUNTS, PortRules, Tables, assemble, render_port
from fairway.dataplane.iptables_base import CANARY, JUMPS
from fairway.desired.model import Desired, NodeFacts, PortName, ServicePort
from fairway.kernel.base import Conntrack, KernelError, Netfilter, Refused
from fairway.packet import Family, Protocol
from fairway.ruleset.iptables import parse


class RuleSync:
    """The iptables rules of one network namespace. For one thread at a time.

    `unavailable` says why a family is left out; only IPv6 may be.
    """

    def __init__(self, netfilter: Netfilter, conntrack: Conntrack) -> None:
        self.unavailable: dict[Family, str] = {}
        self._netfilter = netfilter
        self._sweeper = Sweeper(conntrack)
        self._renderers = {family: _Renderer(family) for family in Family}
        self._held: dict[Family, Held] = {}
        self._accounts: tuple[str, ...] | None = None
        self._swept: tuple[object, ...] | None = None

    def sync(self, desired: Desired) -> Report:
        """Make the kernel do what `desired` says. Both families are tried; then the first error is raised
        (KernelError, Refused), and what could be applied stays applied."""
        texts: list[str] = []
        failures: list[KernelError] = []
        for family in self._families():
            try:
                texts += self._apply(family, desired)
            except KernelError as error:
                self._held.pop(family, None)
                failures.append(error)
        if failures:
            raise failures[0]
        deleted = self._sweep(desired)
        return Report(len(texts), sum(text.count("\n") for text in texts), deleted)

    def intact(self) -> bool:
        """Whether our rules seem untouched: the jumps and the canaries are in their places. Cheap, whatever the
        number of Services. Raises KernelError when the kernel cannot be asked."""
        try:
            for family in self._held:
                for text in probes(self._held[family].tables):
                    self._netfilter.restore(family, text)
        except Refused:
            return False
        return True

    def unchanged(self) -> bool:
        """Whether the kernel holds exactly the rules we applied. Reads all of them. Raises KernelError."""
        return all(_same(self._read(family), held) for family, held in self._held.items())

    def forget(self) -> None:
        """Read the kernel's rules anew before the next sync."""
        self._held.clear()
        self._swept = None

    def _families(self) -> Sequence[Family]:
        return [family for family in Family if family not in self.unavailable]

    def _apply(self, family: Family, desired: Desired) -> list[str]:
        held = self._held.get(family) or self._adopt(family)
        if held is None:
            return []
        wanted = self._renderers[family].render(desired, self._ensure_accounts())
        texts = plan(held, wanted)
        for text in texts:
            self._netfilter.restore(family, text)
        self._held[family] = settled(held, wanted)
        return texts

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

    def _sweep(self, desired: Desired) -> int:
        """Delete the connections that the change left behind; nothing is read when no lasting flow can be touched."""
        lasting = (*(port for port in desired.ports if port.protocol in PROTOCOLS), *desired.facts.values())
        if lasting == self._swept:
            return 0
        deleted = self._sweeper.sweep(Update.of(desired), Pending(), self._families())
        self._swept = lasting
        return deleted


class _Renderer:
    """Renders one family, keeping each port's rules as long as the port stays the same."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._settings: tuple[NodeFacts, bool, tuple[str, ...]] | None = None
        self._parts: dict[tuple[PortName, Protocol, Family], tuple[ServicePort, PortRules]] = {}

    def render(self, desired: Desired, accounts: tuple[str, ...]) -> Tables:
        facts = desired.node(self._family)
        settings = (facts, desired.masquerade_all, accounts)
        before = self._parts if settings == self._settings else {}
        parts: dict[tuple[PortName, Protocol, Family], tuple[ServicePort, PortRules]] = {}
        for port in desired.of(self._family):
            known = before.get(port.key)
            if known is None or known[0] != port:
                known = (port, render_port(port, facts, desired.masquerade_all, accounts))
            parts[port.key] = known
        self._parts, self._settings = parts, settings
        rules = (part for _, part in parts.values())
        return assemble(rules, self._family, facts, desired.masquerade_mark, accounts)


def probes(tables: Tables) -> list[str]:
    """Texts that `iptables-restore` refuses when our rules were flushed: one per table, changing nothing."""
    texts: list[str] = []
    for table, chains in tables.items():
        lines = [f"-F {CANARY}"]  # it is empty; what counts is that it exists
        for chain in JUMPS.get(table, ()):
            lines += [f"-C {chain} {rule}" for rule in chains.get(chain, ())]
        for chain in ("KUBE-MARK-MASQ", "KUBE-POSTROUTING", "KUBE-FORWARD", "KUBE-SERVICES"):
            lines += [f"-C {chain} {rule}" for rule in chains.get(chain, ())[-1:]]
        texts.append("\n".join([f"*{table}", *lines, "COMMIT", ""]))
    return texts


def _same(found: Held, applied: Held) -> bool:
    tables = {*found.tables, *applied.tables}
    return all(_filled(found, table) == _filled(applied, table) for table in tables)


def _filled(held: Held, table: str) -> dict[str, tuple[str, ...]]:
    """A table without its built-in chains that hold nothing of ours."""
    return {chain: rules for chain, rules in held.chains(table).items() if rules or chain.startswith("KUBE-")}
