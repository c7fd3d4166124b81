"""A server that does not know yet what another one on its store wrote: it neither believes nor refuses by hearsay."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from fairway.store.base import Check, Delete, Put, View
from fairway.store.log import Log
from fairway.store.memory import MemoryStore
from tests.contract.session import CONFIG, Session, config_map, service, told

NAMESPACES = "/api/v1/namespaces"
MAPS = f"{NAMESPACES}/default/configmaps"
SERVICES = f"{NAMESPACES}/default/services"
ONE_FREE = dataclasses.replace(CONFIG, service_cidrs=("10.96.0.0/30",), node_ports=(30000, 30000))


class Behind(MemoryStore):
    """A store whose view stands still once told to, until somebody catches up."""

    def __init__(self) -> None:
        super().__init__()
        self._past: Log | None = None
        self.commits = self.caught_up = 0

    async def stand_still(self) -> None:
        page = await self.range("")
        self._past = Log(page.entries, compacted=page.revision)
        self.commits = self.caught_up = 0

    async def view(self) -> View:
        return self._past or await super().view()

    async def catch_up(self) -> bool:
        self._past = None
        self.caught_up += 1
        return True

    async def commit(self, checks: Sequence[Check], changes: Sequence[Put | Delete]) -> int:
        self.commits += 1
        return await super().commit(checks, changes)


def test_what_nobody_else_touched_is_written_by_what_is_known() -> None:
    async def story(me: Session) -> None:
        await store.stand_still()
        await me.ok("POST", MAPS, config_map("a"))
        await me.ok("POST", SERVICES, service())
        assert (store.commits, store.caught_up) == (2, 0)

    store = Behind()
    told(story, store=store)


def test_a_namespace_that_was_made_elsewhere_is_found() -> None:
    async def story(me: Session) -> None:
        await store.stand_still()
        await me.ok("POST", NAMESPACES, {"metadata": {"name": "new"}})
        await me.ok("POST", f"{NAMESPACES}/new/configmaps", {"metadata": {"name": "a"}})
        await store.stand_still()
        assert (await me.refused("POST", f"{NAMESPACES}/none/configmaps", {"metadata": {"name": "a"}}))[0] == 404

    store = Behind()
    told(story, store=store)


@pytest.mark.parametrize("dry", ["", "?dryRun=All"])
def test_a_name_that_was_taken_or_given_up_elsewhere(dry: str) -> None:
    async def story(me: Session) -> None:
        await store.stand_still()
        await me.ok("POST", MAPS, config_map("a"))
        store_then, store._past = store._past, None
        await me.ok("POST", MAPS, config_map("b"))
        store._past = store_then
        assert (await me.refused("POST", MAPS + dry, config_map("b")))[:2] == (409, "AlreadyExists")
        await store.stand_still()
        await me.ok("DELETE", f"{MAPS}/a")
        await me.ok("POST", MAPS + dry, config_map("a"))

    store = Behind()
    told(story, store=store)


def test_numbers_that_were_taken_or_given_up_elsewhere() -> None:
    async def story(me: Session) -> None:
        await store.stand_still()
        first = await me.ok("POST", SERVICES, service(type="NodePort"))
        then = Log((await store.range("")).entries)
        code, _, message = await me.refused("POST", SERVICES, service("late", type="NodePort"))
        assert code == 500 and "range is full" in message
        await me.ok("DELETE", f"{SERVICES}/web")
        store._past = then
        second = await me.ok("POST", SERVICES, service("late", type="NodePort"))
        assert second["spec"]["clusterIP"] == first["spec"]["clusterIP"]
        assert second["spec"]["ports"][0]["nodePort"] == first["spec"]["ports"][0]["nodePort"]

    store = Behind()
    told(story, config=ONE_FREE, store=store)
