"""A process's life: what happens around a bulk load."""

from __future__ import annotations

import asyncio
import gc

from fairway.assemble.life import loading


def test_no_garbage_is_looked_for_while_a_bulk_load_lasts_nor_in_it_ever_after() -> None:
    async def scenario() -> None:
        loaded = asyncio.Event()
        load = asyncio.create_task(loading(loaded))
        await asyncio.sleep(0)
        assert not gc.isenabled()
        loaded.set()
        await load
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0

    try:
        asyncio.run(scenario())
    finally:
        gc.unfreeze()


def test_a_process_that_ends_before_it_has_loaded_collects_again() -> None:
    async def scenario() -> None:
        load = asyncio.create_task(loading(asyncio.Event()))
        await asyncio.sleep(0)
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        assert gc.isenabled()

    asyncio.run(scenario())
