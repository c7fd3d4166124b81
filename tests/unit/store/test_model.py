"""Any run of writes against the simplest model there is: a dict and a list."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.store.base import Check, Compacted, Conflict, Delete, Put, Store
from fairway.store.etcd import EtcdStore
from fairway.store.memory import MemoryStore
from fairway.store.sqlite import SqliteStore
from tests import etcd

KEYS = st.sampled_from(["/a/1", "/a/2", "/a/10", "/b/1"])
CHANGES = st.lists(
    st.one_of(st.builds(Put, KEYS, st.binary(max_size=4)), st.builds(Delete, KEYS)),
    max_size=3,
    unique_by=lambda change: change.key,
)
STEPS = st.one_of(
    st.tuples(st.just("commit"), CHANGES),
    st.tuples(st.just("checked"), st.tuples(KEYS, st.booleans(), CHANGES)),
    st.tuples(st.just("compact"), st.integers(0, 5)),
    st.tuples(st.just("reopen"), st.none()),
)


@dataclass
class Model:
    """Every state there ever was, by revision."""

    states: dict[int, dict[str, tuple[bytes, int, int]]] = field(default_factory=lambda: {1: {}})
    revision: int = 1
    compacted: int = 1
    changed: int = 1

    @property
    def now(self) -> dict[str, tuple[bytes, int, int]]:
        return self.states[self.revision]

    def write(self, changes: list[Put | Delete]) -> None:
        state = dict(self.now)
        revision = self.revision + 1
        for change in changes:
            if isinstance(change, Delete):
                state.pop(change.key, None)
            else:
                created = state[change.key][1] if change.key in state else revision
                state[change.key] = (change.value, created, revision)
        if any(isinstance(change, Put) or change.key in self.now for change in changes):
            self.revision = revision
            self.states[revision] = state
            self.changed = revision

    def pass_to(self, revision: int) -> None:
        """Nothing happened up to `revision`, but others or housekeeping moved the counter."""
        for idle in range(self.revision + 1, revision + 1):
            self.states[idle] = self.now
        self.revision = revision


async def play(
    store: Store, reopen: Callable[[], Store], steps: list[tuple[str, object]], shared: Model | None = None
) -> None:
    """Play on a fresh store, or on one that is at the state `shared` and whose counter others may move."""
    model = shared or Model()
    for word, argument in steps:
        if word == "commit":
            assert isinstance(argument, list)
            model.write(argument)
            assert await store.commit([], argument) == model.revision
        elif word == "checked":
            assert isinstance(argument, tuple)
            key, right, changes = argument
            modified = model.now[key][2] if key in model.now else 0
            try:
                await store.commit([Check(key, modified if right else modified + 1)], changes)
            except Conflict:
                assert not right
            else:
                assert right
                model.write(changes)
        elif word == "compact":
            assert isinstance(argument, int)
            at = max(model.compacted, model.revision - argument)
            await store.compact(at)
            model.compacted = at
        else:
            await store.close()
            store = reopen()
        if shared:
            model.pass_to(await store.revision())
        await agree(store, model)
    await store.close()


async def agree(store: Store, model: Model) -> None:
    assert await store.revision() == model.revision
    for revision, state in model.states.items():
        if revision < model.compacted:
            with pytest.raises(Compacted):
                await store.range("", revision=revision)
            continue
        page = await store.range("", revision=revision)
        assert [(e.key, (e.value, e.created, e.modified)) for e in page.entries] == sorted(state.items())
    rebuilt = dict(model.states[model.compacted])
    async with aclosing(store.watch("", model.compacted)) as watch:
        seen = model.compacted
        while seen < model.changed:
            batch = await asyncio.wait_for(anext(watch), 5)
            seen = batch[0].revision
            for event in batch:
                known = rebuilt.pop(event.key, None)
                assert (known and known[0]) == (event.previous and event.previous.value)
                if event.entry:
                    rebuilt[event.key] = (event.entry.value, event.entry.created, event.entry.modified)
            assert rebuilt == model.states[seen]


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS.filter(lambda step: step[0] != "reopen"), max_size=12))
def test_the_memory_store_is_the_model(steps: list[tuple[str, object]]) -> None:
    asyncio.run(play(MemoryStore(), MemoryStore, steps))


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_the_sqlite_store_is_the_model_also_when_it_is_reopened(steps: list[tuple[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        asyncio.run(play(SqliteStore(path), lambda: SqliteStore(path), steps))


def test_the_etcd_store_is_the_model_also_when_it_is_reopened(tmp_path: Path) -> None:
    with etcd.cluster(tmp_path) as members:
        endpoints = [members[0].endpoint]

        @settings(max_examples=25, deadline=None)
        @given(st.lists(STEPS, max_size=12))
        def run(steps: list[tuple[str, object]]) -> None:
            # One cluster for all examples: each begins, empty, where the one before it ended.
            asyncio.run(_afresh(endpoints, steps))

        run()


async def _afresh(endpoints: list[str], steps: list[tuple[str, object]]) -> None:
    """Play on an emptied cluster, beginning at the revision it has."""
    store = EtcdStore(endpoints)
    page = await store.range("")
    await store.commit([], [Delete(entry.key) for entry in page.entries])
    await store.commit([], [Put("/origin", b"")])
    start = await store.commit([], [Delete("/origin")])
    await store.compact(start)
    model = Model(states={start: {}}, revision=start, compacted=start)
    await play(store, lambda: EtcdStore(endpoints), steps, model)
