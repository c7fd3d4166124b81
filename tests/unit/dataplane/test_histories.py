"""Whatever happens to a proxy, what stands in the end is what a fresh proxy would lay: histories of objects with
refusals, flushes by others and restarts in between, on kernels in memory, in both dialects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.client.informer import Change
from fairway.dataplane.base import Concern, Programmer, Report, Update
from fairway.dataplane.isolate import Isolating
from fairway.dataplane.nft_affinity import MAPS
from fairway.dataplane.nft_layout import table_name
from fairway.dataplane.nft_sync import NftSync
from fairway.dataplane.sync import RuleSync
from fairway.dataplane.tracker import Tracker
from fairway.desired.model import PortKey
from fairway.desired.view import ServiceView, SliceView
from fairway.kernel.base import KernelError, Refused
from fairway.kernel.fake.conntrack import FakeConntrack
from fairway.kernel.fake.netfilter import FakeNetfilter
from fairway.kernel.fake.nftables import FakeNftables, FakeNotices
from fairway.packet import Family
from fairway.ruleset import nft
from fairway.ruleset.iptables import parse
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, node, service

SERVICES = [f"s{n}" for n in range(4)]
PODS = [f"10.244.0.{n}" for n in range(5, 9)]
BAD = PODS[-1]
KINDS: list[dict[str, Any]] = [
    {},
    {"sessionAffinity": "ClientIP"},
    {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]},
    {"externalIPs": ["198.51.100.7"], "externalTrafficPolicy": "Local"},
    {"internalTrafficPolicy": "Local"},
]
OURS = [table_name(family) for family in Family]


class Tables(FakeNftables):
    """Refuses the next `refuse` transactions, and while it is `picky` all that speak of the endpoint BAD."""

    refuse = 0
    picky = False

    def apply(self, changes: Sequence[nft.Change]) -> None:
        refuses(self, "10.244.0.8" if any(_speaks(change) for change in changes) else "")
        super().apply(changes)

    def damage(self, how: int) -> None:
        """What somebody else does to our rules."""
        stranger = FakeNftables(self, "stranger")
        for name in OURS:
            table = self.read(name)
            if table is None:
                continue
            full = [kept for kept in table.sets.values() if kept.elements and kept.name not in MAPS]
            chains = [chain for chain in table.chains.values() if chain.rules]
            if how == 0:
                stranger.apply([nft.DeleteTable(name)])
            elif how == 1 and full:
                stranger.apply([nft.DeleteElements(name, full[0], [*full[0].elements.items()])])
            elif how == 2:
                stranger.apply([nft.FlushChain(name, chains[-1].name)])
            elif how == 3:
                stranger.apply([nft.AddChain(name, nft.Chain("strange")), nft.AddRule(name, "strange", nft.Rule(()))])

    def state(self, like: Tables | None = None) -> object:
        """Elements and rules; without the sets that `like` does not have, which must be empty, and what speaks of
        these: a map that was in use stays for a while."""
        return [
            _shown(table, (like.read(name) if like else None) or table) for name in OURS if (table := self.read(name))
        ]


class Chains(FakeNetfilter):
    """The same for iptables."""

    refuse = 0
    picky = False

    def restore(self, family: Family, text: str) -> None:
        refuses(self, BAD if f"--to-destination {BAD}:" in text else "")
        super().restore(family, text)

    def damage(self, how: int) -> None:
        wanted = {0: "KUBE-SERVICES", 1: "KUBE-MARK-MASQ", 2: "PREROUTING", 3: "KUBE-SVC-"}[how]
        for family in Family:
            found = parse(self.save(family)).tables.get("nat")
            names = [name for name in found.chains if name.startswith(wanted)] if found else []
            if names:
                FakeNetfilter.restore(self, family, f"*nat\n-F {names[0]}\nCOMMIT\n")

    def state(self, like: Chains | None = None) -> object:
        return [
            (table.name, {chain.name: chain.rules for chain in table.chains.values()})
            for family in Family
            for table in parse(self.save(family)).tables.values()
        ]


Kernel = Tables | Chains


def refuses(kernel: Kernel, bad: str) -> None:
    if kernel.refuse:
        kernel.refuse -= 1
        raise Refused("Cannot allocate memory")
    if kernel.picky and bad:
        raise Refused(f"cannot be: {bad}")


def _speaks(change: nft.Change) -> bool:
    if not isinstance(change, nft.AddSet | nft.AddElements):
        return False
    found = change.elements if isinstance(change, nft.AddElements) else change.set.elements.items()
    packed = bytes(int(part) for part in BAD.split("."))
    return any(isinstance(e.data, bytes) and e.data.startswith(packed) for _, e in found)


def _shown(table: nft.Table, like: nft.Table) -> object:
    spare = [name for name in table.sets if name not in like.sets]
    assert all(not table.sets[name].elements for name in spare)
    aside = [f"'{name}'" for name in (*spare, *(name for name in table.chains if name not in like.chains))]
    rules = {
        chain.name: [r.statements for r in chain.rules if not any(name in repr(r.statements) for name in aside)]
        for chain in table.chains.values()
        if chain.name in like.chains
    }
    return {name: kept.elements for name, kept in table.sets.items() if kept.elements}, rules


def programmer(kernel: Kernel) -> Programmer:
    made = NftSync(kernel, FakeConntrack()) if isinstance(kernel, Tables) else RuleSync(kernel, FakeConntrack())
    return Isolating(made)


class Machine:
    """A node, its objects, and its proxy, which does what `dataplane.proxy` does."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.objects: dict[str, tuple[ServiceView, SliceView | None]] = {}
        self._notices = FakeNotices(kernel) if isinstance(kernel, Tables) else None
        self._damaged = False
        self._withheld: frozenset[PortKey] = frozenset()
        self.restart()

    def restart(self) -> None:
        """A new process, which knows nothing."""
        self._rules = programmer(self.kernel)
        self._tracker = Tracker(OPTIONS)
        for name, (one, piece) in self.objects.items():
            self._tell(name, None, None, one, piece)
        self._ready = False

    def close(self) -> None:
        if self._notices is not None:
            self._notices.close()

    def put(self, name: str, kind: int, pods: Sequence[str] | None) -> None:
        """Let the object be this; no pods: it has no slice."""
        old = self.objects.get(name, (None, None))
        new = service(name, f"10.96.0.{SERVICES.index(name) + 1}", **KINDS[kind])
        piece = endpoint_slice(name, *(endpoint(pod) for pod in pods)) if pods is not None else None
        self.objects[name] = new, piece
        self._tell(name, *old, new, piece)

    def delete(self, name: str) -> None:
        if name in self.objects:
            self._tell(name, *self.objects.pop(name), None, None)

    def sync(self) -> bool:
        """One turn of the loop; whether all is as it should be."""
        update = self._tracker.update(node())
        update = replace(update, changed=(update.changed or frozenset()) | self._withheld)
        try:
            report: Report = self._rules.sync(update)
        except KernelError:
            return False
        self._withheld = frozenset(report.refused)
        if not self._ready:
            self._ready = True
            self.hear()
        return not report.refused

    def damage(self, how: int) -> None:
        self.kernel.damage(how)
        self._damaged = True

    def hear(self) -> None:
        """Look into what others did, if anything. Nobody listens before the first apply; then it is looked at once."""
        if not self._ready:
            return
        told = self._notices.wait(0) if self._notices is not None else ()
        concern = max(map(self._rules.concern, told), default=Concern.NONE)
        if concern or (self._notices is None and self._damaged):
            try:
                self._rules.mend()
            except KernelError:
                self._rules.forget()
        self._damaged = False

    def update(self) -> Update:
        """All that is wanted, for a fresh proxy."""
        tracker = Tracker(OPTIONS)
        self._tracker, kept = tracker, self._tracker
        for name, (one, piece) in self.objects.items():
            self._tell(name, None, None, one, piece)
        self._tracker = kept
        return tracker.update(node())

    def _tell(
        self,
        name: str,
        old: ServiceView | None,
        old_piece: SliceView | None,
        new: ServiceView | None,
        piece: SliceView | None,
    ) -> None:
        key = ("default", name)
        self._tracker.services_changed([Change("modified", key, old, new)])
        if old_piece is not None or piece is not None:
            self._tracker.slices_changed([Change("modified", key, old_piece, piece)])


names = st.sampled_from(SERVICES)
pods = st.none() | st.lists(st.sampled_from(PODS), unique=True, max_size=4)
steps = st.one_of(
    st.tuples(st.just("put"), names, st.integers(0, len(KINDS) - 1), pods),
    st.tuples(st.just("delete"), names),
    st.just(("sync",)),
    st.just(("sync",)),
    st.tuples(st.just("damage"), st.integers(0, 3)),
    st.just(("hear",)),
    st.just(("restart",)),
    st.tuples(st.just("refuse"), st.integers(1, 3)),
    st.tuples(st.just("picky"), st.booleans()),
)


@contextmanager
def lived(make: type[Kernel], history: Sequence[tuple[Any, ...]]) -> Iterator[Machine]:
    """A machine that has seen all of this."""
    machine = Machine(make())
    try:
        for what, *how in history:
            if what in ("refuse", "picky"):
                setattr(machine.kernel, what, how[0])
            else:
                getattr(machine, what)(*how)
        machine.kernel.refuse = 0
        yield machine
    finally:
        machine.close()


@pytest.mark.parametrize("make", [Tables, Chains])
@settings(max_examples=300)
@given(history=st.lists(steps, max_size=25))
def test_every_history_ends_as_a_fresh_proxy_would(make: type[Kernel], history: list[tuple[Any, ...]]) -> None:
    with lived(make, history) as machine:
        machine.kernel.picky = False
        machine.hear()
        turns = 0
        while not machine.sync():
            turns += 1
            assert turns < 5
        fresh: Any = make()
        programmer(fresh).sync(machine.update())

        assert machine.kernel.state(fresh) == fresh.state()


@pytest.mark.parametrize("make", [Tables, Chains])
@settings(max_examples=100)
@given(history=st.lists(steps, max_size=25))
def test_while_one_endpoint_is_refused_all_services_without_it_are_right(
    make: type[Kernel], history: list[tuple[Any, ...]]
) -> None:
    with lived(make, history) as machine:
        for name in SERVICES[:2]:
            machine.put(name, 0, [PODS[0]])
        machine.kernel.picky = True
        machine.hear()
        for _ in range(3):
            machine.sync()

        shown = repr(machine.kernel.state())
        for number, _ in enumerate(SERVICES[:2], 1):
            place = repr(bytes((10, 96, 0, number)))[2:-1] if make is Tables else f"-d 10.96.0.{number}/32"
            assert place in shown
