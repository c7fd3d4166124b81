"""From the rules a kernel holds to the rules it should hold: the transactions in between.

Every text is one transaction of one table, and the state after each of them is a correct one: a chain is filled
before anything jumps to it and removed after the last jump is gone; a Service that is there before and after is
changed in one transaction; what refuses traffic stands before the translation goes and goes after it has come.

Only chains that differ are written. Transactions are bounded in size where the order allows it, because
`iptables-restore` 1.8.9 on nf_tables takes time that grows with the square of a transaction: chains to which nothing
jumps yet are laid in pieces, those of endpoints first, the dispatch chains after them, and the jumps come last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fairway.dataplane.adopt import Held, target
from fairway.dataplane.iptables import NO_RULES, Chains, Rules, Tables
from fairway.dataplane.iptables_base import BASE_CHAINS, LOCALNET_GUARD, SERVICE_CHAIN_PREFIXES, SHARED_CHAINS
from fairway.ruleset.iptables import BUILTIN

PIECE_LINES = 2000
"""Lines after which a transaction is ended, if it may be ended there."""

_LAID_RULES = 1000
"""Rules of one chain that go together while nothing jumps to it yet."""

_DISPATCH = ("KUBE-NODEPORTS", "KUBE-SERVICES")
_REFUSALS = ("KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-PROXY-FIREWALL")

# What jumps stands before what is jumped to: chains are removed in this order.
_LEVELS = (
    "KUBE-SERVICES",
    "KUBE-NODEPORTS",
    "KUBE-FW-",
    "KUBE-EXT-",
    "KUBE-XLB-",
    "KUBE-SVC-",
    "KUBE-SVL-",
    "KUBE-SEP-",
)


def plan(held: Held, wanted: Tables, piece: int = PIECE_LINES) -> list[str]:
    """The texts for `iptables-restore --noflush` that lead from `held` to `wanted`, in order. None when equal."""
    before_nat, after_nat = _filter(held, wanted["filter"])
    return [
        *pack("mangle", [_foundation(held, "mangle", wanted)], piece),
        *pack("filter", before_nat, piece),
        *pack("nat", _nat(held, wanted["nat"]), piece),
        *pack("filter", after_nat, piece),
    ]


def removal(held: Held, piece: int = PIECE_LINES) -> list[str]:
    """The texts that take everything of ours away, in order: the jumps first, then what they led to. A shared chain
    goes, with the jumps to it, when it holds nothing of anybody else's; what foreign rules jump to stays, empty."""
    return [text for table in held.tables for text in pack(table, _table_removal(held, table), piece)]


def rules_written(text: str) -> Mapping[str, int]:
    """How many rules one of these texts adds, by table."""
    return {text[1 : text.index("\n")]: text.count("\n-A ") + text.count("\n-I ")}


def _table_removal(held: Held, table: str) -> Iterator[Step]:
    chains = held.chains(table)
    kept = {chain for chain in SHARED_CHAINS & chains.keys() if any(rule != LOCALNET_GUARD for rule in chains[chain])}
    base = [chain for chain in BASE_CHAINS[table] if chain in chains and chain not in kept]
    first, last = Step(), Step()
    for builtin in BUILTIN[table]:
        first.rules += [f"-D {builtin} {rule}" for rule in chains.get(builtin, ()) if target(rule) not in kept]
    for chain in base:
        first.declare.append(chain)
        if (table, chain) not in held.pinned:
            last.remove.append(chain)
    yield first
    if table == "nat":
        yield from _removals(held, {})
    yield last


def settled(held: Held, wanted: Tables) -> Held:
    """What the kernel holds once the plan from `held` to `wanted` is done."""
    tables: dict[str, dict[str, Rules]] = {}
    for table in {*held.tables, *wanted}:
        old = held.chains(table)
        chains = dict(wanted.get(table, {}))
        for name in SHARED_CHAINS & {*old, *chains}:
            chains[name] = merged(old.get(name, NO_RULES), chains.get(name, NO_RULES))
        chains.update((name, NO_RULES) for t, name in held.pinned if t == table and name not in chains)
        tables[table] = chains
    return Held(tables, held.pinned)


@dataclass(slots=True)
class Step:
    """Lines that belong into one transaction: chains to declare (made or emptied), rules, chains to remove."""

    declare: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.declare) + len(self.rules) + len(self.remove)

    def write(self, chain: str, rules: Rules) -> None:
        """Make the chain hold exactly these."""
        self.declare.append(chain)
        self.rules += [f"-A {chain} {rule}" for rule in rules]

    def drop(self, chain: str, pinned: bool) -> None:
        """Empty the chain, and remove it unless a foreign rule jumps to it."""
        self.declare.append(chain)
        if not pinned:
            self.remove.append(chain)

    def take(self, other: Step) -> None:
        self.declare += other.declare
        self.rules += other.rules
        self.remove += other.remove

    def text(self, table: str) -> str:
        lines = [
            f"*{table}",
            *(f":{chain} - [0:0]" for chain in self.declare),
            *self.rules,
            *(f"-X {chain}" for chain in self.remove),
            "COMMIT",
        ]
        return "\n".join(lines) + "\n"


def pack(table: str, steps: Iterable[Step], piece: int) -> Iterator[str]:
    """As few transactions as the size allows, each step whole in one of them."""
    current = Step()
    for step in steps:
        if len(current) and len(current) + len(step) > piece:
            yield current.text(table)
            current = Step()
        current.take(step)
    if len(current):
        yield current.text(table)


def _foundation(held: Held, table: str, wanted: Tables) -> Step:
    """A table where nothing depends on anything."""
    step = Step()
    _update(step, held, table, wanted[table], wanted[table])
    return step


def _filter(held: Held, wanted: Chains) -> tuple[list[Step], list[Step]]:
    """What to do before the nat table is changed, and what after. First new refusals are added and old ones kept; a
    Service that loses its endpoints is refused before its translation goes, and one that gains some is translated
    before its refusal goes."""
    old = held.chains("filter")
    both = dict(wanted)
    for chain in _REFUSALS:
        both[chain] = merged(old.get(chain, NO_RULES), wanted[chain])
    first, last = Step(), Step()
    _update(first, held, "filter", both, both)
    _update(last, Held({"filter": both}), "filter", wanted, _REFUSALS)
    return [first], [last]


def _nat(held: Held, wanted: Chains) -> Iterator[Step]:
    """Foundations, new chains (to which nothing jumps yet), changed Services one by one, then dispatch with the
    Services whose dispatch changes, then what is left over."""
    old = held.chains("nat")
    own = [name for name in wanted if name.startswith(SERVICE_CHAIN_PREFIXES)]
    fresh = [name for name in own if name not in old]
    changed = [name for name in own if name in old and old[name] != wanted[name]]
    foundation = Step()
    _update(foundation, held, "nat", wanted, [name for name in BASE_CHAINS["nat"] if name not in _DISPATCH])
    yield foundation
    for name in (*fresh, *(name for name in _DISPATCH if name not in old)):
        yield from _laid(name, wanted[name])
    groups = _by_service(changed, wanted)
    last = Step()
    redirected = _redirected(old, wanted)
    for service, names in groups.items():
        step = last if service in redirected else Step()
        for name in names:
            step.write(name, wanted[name])
        if step is not last:
            yield step
    _update(last, held, "nat", wanted, [name for name in _DISPATCH if name in old])
    _update(last, held, "nat", wanted, BUILTIN["nat"])
    yield last
    yield from _removals(held, wanted)


def _laid(chain: str, rules: Rules) -> Iterator[Step]:
    """A chain that nothing jumps to yet."""
    step = Step()
    step.write(chain, rules[:_LAID_RULES])
    yield step
    for start in range(_LAID_RULES, len(rules), _LAID_RULES):
        yield Step(rules=[f"-A {chain} {rule}" for rule in rules[start : start + _LAID_RULES]])


def _by_service(chains: Sequence[str], wanted: Chains) -> Mapping[str, list[str]]:
    """Chains that must change together. All but KUBE-SEP bear their Service port's hash; a KUBE-SEP goes with the
    Service port that uses it."""
    owners: dict[str, str] = {}
    if any(name.startswith("KUBE-SEP-") for name in chains):
        owners = {
            target(rule): _hash(name)
            for name, rules in wanted.items()
            if name.startswith(("KUBE-SVC-", "KUBE-SVL-"))
            for rule in rules
        }
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in chains:
        groups[owners.get(name, _hash(name))].append(name)
    return groups


def _hash(chain: str) -> str:
    return chain.rpartition("-")[2]


def _redirected(old: Chains, wanted: Chains) -> set[str]:
    """The hashes of Service ports whose rules in the dispatch chains change."""
    found: set[str] = set()
    for chain in _DISPATCH:
        before, after = old.get(chain, NO_RULES), wanted.get(chain, NO_RULES)
        if before is not after and before != after:
            found.update(_hash(target(rule)) for rule in set(before) ^ set(after))
    return found


def _removals(held: Held, wanted: Chains) -> Iterator[Step]:
    """Service chains nobody wants any more, those that jump before those jumped to."""
    old = held.chains("nat")
    gone = [name for name in old if name not in wanted and name.startswith(SERVICE_CHAIN_PREFIXES)]
    for name in sorted(gone, key=level):
        pinned = ("nat", name) in held.pinned
        if old[name] or not pinned:
            step = Step()
            step.drop(name, pinned)
            yield step


def level(chain: str) -> int:
    """Where among chains to be removed this one comes: what jumps stands before what is jumped to."""
    return next((i for i, prefix in enumerate(_LEVELS) if chain.startswith(prefix)), len(_LEVELS))


def _update(step: Step, held: Held, table: str, wanted: Chains, names: Iterable[str]) -> None:
    """Bring these chains of a table, of which `wanted` may lack some, to what is wanted."""
    old = held.chains(table)
    for name in names:
        if name in BUILTIN[table]:
            _place_jumps(step, name, old.get(name, NO_RULES), wanted.get(name, NO_RULES))
        elif name not in wanted:
            continue
        elif name not in old:
            step.write(name, wanted[name])
        elif name in SHARED_CHAINS:
            step.rules += [f"-A {name} {rule}" for rule in wanted[name] if rule not in old[name]]
        elif old[name] is not wanted[name] and old[name] != wanted[name]:
            _edit(step, name, old[name], wanted[name])


def _place_jumps(step: Step, chain: str, old: Rules, wanted: Rules) -> None:
    """Our jumps stand in their order ahead of everything else, unless they are there in that order already: what
    others put before them since is theirs to answer for."""
    if old != wanted:
        step.rules += [f"-D {chain} {rule}" for rule in old]
        step.rules += [f"-I {chain} {position} {rule}" for position, rule in enumerate(wanted, 1)]


def _edit(step: Step, chain: str, old: Rules, wanted: Rules) -> None:
    """Change a chain by single rules where few differ, else write it anew."""
    lines = single_rules(chain, old, wanted)
    if lines is None or len(lines) * 4 > len(wanted):
        step.write(chain, wanted)
    else:
        step.rules += lines


def single_rules(chain: str, old: Rules, wanted: Rules, start: int = 0) -> list[str] | None:
    """Deletions and insertions that lead from `old` to `wanted`, of which `start` rules of the chain stand before;
    None when the rules that stay change their order."""
    before, after = set(old), set(wanted)
    if len(before) != len(old) or len(after) != len(wanted):
        return None
    if [rule for rule in old if rule in after] != [rule for rule in wanted if rule in before]:
        return None
    deletions = [f"-D {chain} {rule}" for rule in old if rule not in after]
    insertions = [f"-I {chain} {n} {rule}" for n, rule in enumerate(wanted, start + 1) if rule not in before]
    return deletions + insertions


def merged(old: Rules, wanted: Rules) -> Rules:
    """The rules of both, each once, in an order that agrees with either's as far as they agree."""
    if old == wanted:
        return wanted
    stay, waiting = set(wanted), iter(old)
    both: list[str] = []
    known = set(old)
    for rule in wanted:
        if rule in known:
            for earlier in waiting:
                if earlier == rule:
                    break
                if earlier not in stay:
                    both.append(earlier)
        both.append(rule)
    placed = set(both)
    return (*both, *(rule for rule in old if rule not in placed))
