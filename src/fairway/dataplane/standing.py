"""What stands in the kernel in one family, Service port by Service port, and what a change of some ports takes.

`dataplane.apply` compares whole rule sets; here only the ports that changed are rendered and compared, so the work
does not grow with the number of Services. The order of things, and what holds after each transaction, are the same.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fairway.dataplane.adopt import Held
from fairway.dataplane.apply import PIECE_LINES, Step, level, merged, pack, settled, single_rules
from fairway.dataplane.base import Ports
from fairway.dataplane.iptables import NO_RULES, Chains, PortRules, Rules, Tables, assemble, render_port
from fairway.dataplane.iptables_base import CANARY, JUMPS, SHARED_CHAINS, node_port_dispatch
from fairway.desired.model import NodeFacts, PortKey, ServicePort, Settings
from fairway.packet import Family

NOTHING = PortRules()


@dataclass(frozen=True, slots=True)
class Frame:
    """What the rules of every port depend on. `accounts` are the nfacct objects that exist."""

    family: Family
    facts: NodeFacts
    masquerade_all: bool
    mark: int
    accounts: tuple[str, ...]

    @classmethod
    def of(cls, settings: Settings, family: Family, accounts: tuple[str, ...]) -> Frame:
        return cls(family, settings.node(family), settings.masquerade_all, settings.masquerade_mark, accounts)

    def render(self, port: ServicePort) -> PortRules:
        """One port's rules."""
        return render_port(port, self.facts, self.masquerade_all, self.accounts)


class Listing:
    """A chain that many ports write to: their rules in the order of their keys, then `tail`.

    Changes are made to the listing and kept as lines until they are taken. Rules differ from port to port, since each
    names its own in a comment, so a rule can be deleted by its text.
    """

    def __init__(self, chain: str, tail: Rules = NO_RULES) -> None:
        self._chain = chain
        self._tail = tail
        self._keys: list[PortKey] = []  # of each rule
        self._rules: list[str] = []
        self._lines: list[str] = []
        self._anew = False

    @property
    def last(self) -> Rules:
        """The last rule, if there is one."""
        return self._tail[-1:] or tuple(self._rules[-1:])

    def append(self, key: PortKey, rules: Rules) -> None:
        """Rules that stand already; keys must come in order."""
        self._keys += [key] * len(rules)
        self._rules += rules

    def put(self, key: PortKey, rules: Rules) -> None:
        """Let the port's rules be exactly these."""
        start, end = bisect_left(self._keys, key), bisect_right(self._keys, key)
        old = tuple(self._rules[start:end])
        if old == rules:
            return
        lines = single_rules(self._chain, old, rules, start)
        if lines is None:
            self._anew = True
        else:
            self._lines += lines
        self._rules[start:end] = rules
        self._keys[start:end] = [key] * len(rules)

    def add(self, key: PortKey, rules: Rules) -> None:
        """Let the port have these rules too."""
        start, end = bisect_left(self._keys, key), bisect_right(self._keys, key)
        self.put(key, merged(tuple(self._rules[start:end]), rules))

    def take(self, step: Step) -> None:
        """Move what has changed into a step: single rules where few differ, else the chain written anew."""
        if self._anew or len(self._lines) * 4 > len(self._rules):
            step.write(self._chain, (*self._rules, *self._tail))
        else:
            step.rules += self._lines
        self._lines = []
        self._anew = False


class Standing:
    """The rules of one family as they are in the kernel once the texts that were given out are applied; after one of
    these was refused this is of no use any more.

    Ports are kept, not their rules: rendering a port again costs less than holding the rules of all.
    """

    def __init__(self, frame: Frame, ports: Ports, held: Held) -> None:
        """All of `ports` that are of the frame's family. `held` is what the kernel held before."""
        self.frame = frame
        self._ports = {key: ports[key] for key in ports if key[2] is frame.family}
        self._beside = Held()
        self.beside(held)
        self._services = Listing("KUBE-SERVICES", tuple(node_port_dispatch(frame.family, frame.facts)))
        self._node_ports = Listing("KUBE-NODEPORTS")
        self._refused = Listing("KUBE-SERVICES")
        self._refused_external = Listing("KUBE-EXTERNAL-SERVICES")
        self._firewall = Listing("KUBE-PROXY-FIREWALL")
        self._health_checks = Listing("KUBE-NODEPORTS")
        self._owned: Counter[str] = Counter()

    def load(self) -> Tables:
        """Render everything and list it; all rules of ours. To be called once, before any change."""
        tables = self._assembled(self._listed)
        for table, chains in tables.items():
            if number := sum(len(rules) for chain, rules in chains.items() if chain.startswith("KUBE-")):
                self._owned[table] = number
        return tables

    def owned(self) -> Mapping[str, int]:
        """How many rules stand in chains of ours, by table."""
        return dict(self._owned)

    def beside(self, held: Held) -> None:
        """Learn what others have in shared chains, and which chains their rules jump to."""
        tables = {t: {c: r for c, r in chains.items() if c in SHARED_CHAINS} for t, chains in held.tables.items()}
        self._beside = Held(tables, held.pinned)

    def tables(self) -> Tables:
        """All rules of ours."""
        return self._assembled(lambda _, part: part)

    def held(self) -> Held:
        """All rules of ours as the kernel holds them, with what stays of others in shared chains."""
        return settled(self._beside, self.tables())

    def change(self, keys: Iterable[PortKey], ports: Ports, piece: int = PIECE_LINES) -> list[str]:
        """The texts that bring the ports of `keys` to what `ports` says (a key it lacks is gone), in order."""
        family = self.frame.family
        keys = sorted(key for key in keys if key[2] is family and self._ports.get(key) != ports.get(key))
        edits = [self._edit(key, ports.get(key)) for key in keys]
        return [
            *pack("filter", [self._refuse(edits)], piece),
            *pack("nat", self._translate(edits), piece),
            *pack("filter", [self._relent(edits)], piece),
        ]

    def probes(self) -> list[str]:
        """Texts that `iptables-restore` refuses when our rules were flushed: one per table, changing nothing."""
        frame = self.frame
        tables = assemble((), frame.family, frame.facts, frame.mark, frame.accounts)
        last = {("filter", "KUBE-SERVICES"): self._refused.last}
        return [
            _probe(table, {c: last.get((table, c), r) for c, r in chains.items()}) for table, chains in tables.items()
        ]

    def _assembled(self, each: Callable[[PortKey, PortRules], PortRules]) -> Tables:
        frame = self.frame
        parts = (each(key, frame.render(self._ports[key])) for key in sorted(self._ports))
        return assemble(parts, frame.family, frame.facts, frame.mark, frame.accounts)

    def _listed(self, key: PortKey, part: PortRules) -> PortRules:
        self._services.append(key, part.services)
        self._node_ports.append(key, part.node_ports)
        self._refused.append(key, part.refused_services)
        self._refused_external.append(key, part.refused_external)
        self._firewall.append(key, part.firewall)
        self._health_checks.append(key, part.health_checks)
        return part

    def _edit(self, key: PortKey, new: ServicePort | None) -> _Edit:
        old = self._ports.pop(key, None)
        if new is not None:
            self._ports[key] = new
        render = self.frame.render
        edit = _Edit(key, render(old) if old else NOTHING, render(new) if new else NOTHING)
        self._owned.update(edit.new.counts())
        self._owned.subtract(edit.old.counts())
        return edit

    def _refuse(self, edits: Sequence[_Edit]) -> Step:
        """What is refused from now on is refused before its translation goes."""
        step = Step()
        for edit in edits:
            self._refused.add(edit.key, edit.new.refused_services)
            self._refused_external.add(edit.key, edit.new.refused_external)
            self._firewall.add(edit.key, edit.new.firewall)
            self._health_checks.put(edit.key, edit.new.health_checks)
        for listing in (self._refused, self._refused_external, self._firewall, self._health_checks):
            listing.take(step)
        return step

    def _relent(self, edits: Sequence[_Edit]) -> Step:
        """What is not refused any more has its translation by now."""
        step = Step()
        for edit in edits:
            self._refused.put(edit.key, edit.new.refused_services)
            self._refused_external.put(edit.key, edit.new.refused_external)
            self._firewall.put(edit.key, edit.new.firewall)
        for listing in (self._refused, self._refused_external, self._firewall):
            listing.take(step)
        return step

    def _translate(self, edits: Sequence[_Edit]) -> Iterator[Step]:
        """New chains; then changed ports one by one; then the dispatch chains with the ports whose dispatch changes;
        then what is left over."""
        for edit in edits:
            for chain in edit.fresh:
                yield _written(edit, [chain])
        last = Step()
        for edit in edits:
            step = _written(edit, edit.changed)
            if edit.redirected:
                last.take(step)
            else:
                yield step
            self._node_ports.put(edit.key, edit.new.node_ports)
            self._services.put(edit.key, edit.new.services)
        self._node_ports.take(last)
        self._services.take(last)
        yield last
        yield from self._removals(edits)

    def _removals(self, edits: Sequence[_Edit]) -> Iterator[Step]:
        for chain in sorted((chain for edit in edits for chain in edit.gone), key=level):
            step = Step()
            step.drop(chain, ("nat", chain) in self._beside.pinned)
            yield step


@dataclass(frozen=True, slots=True)
class _Edit:
    """One port's rules before and after."""

    key: PortKey
    old: PortRules
    new: PortRules

    @property
    def fresh(self) -> list[str]:
        """Chains to be made."""
        return [chain for chain in self.new.chains if chain not in self.old.chains]

    @property
    def changed(self) -> list[str]:
        """Chains that stay and hold other rules."""
        before = self.old.chains
        return [chain for chain, rules in self.new.chains.items() if chain in before and before[chain] != rules]

    @property
    def gone(self) -> list[str]:
        return [chain for chain in self.old.chains if chain not in self.new.chains]

    @property
    def redirected(self) -> bool:
        """Whether the port's rules in the dispatch chains change."""
        return (self.old.services, self.old.node_ports) != (self.new.services, self.new.node_ports)


def _written(edit: _Edit, chains: Iterable[str]) -> Step:
    step = Step()
    for chain in chains:
        step.write(chain, edit.new.chains[chain])
    return step


def _probe(table: str, chains: Chains) -> str:
    lines = [f"-F {CANARY}"]  # it is empty; what counts is that it exists
    for chain in JUMPS.get(table, ()):
        lines += [f"-C {chain} {rule}" for rule in chains[chain]]
    for chain in ("KUBE-MARK-MASQ", "KUBE-POSTROUTING", "KUBE-FORWARD", "KUBE-SERVICES"):
        lines += [f"-C {chain} {rule}" for rule in chains.get(chain, ())[-1:]]
    return "\n".join([f"*{table}", *lines, "COMMIT", ""])
