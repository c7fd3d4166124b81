"""A process's life: an event loop, and an orderly end when it is told to stop."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import signal
from collections.abc import Awaitable, Callable


def run(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `main` on a fresh uvloop, logging to stderr; SIGTERM and SIGINT set the event it is given."""
    import uvloop

    logging.basicConfig(format="%(asctime)s %(levelname).1s %(name)s: %(message)s", level=logging.INFO)

    async def life() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await main(stop)

    uvloop.run(life())


async def loading(loaded: asyncio.Event) -> None:
    """Look for no garbage until `loaded` is set, and never again among what is there by then: a bulk load makes many
    objects that stay, and the collector would walk them all again and again (a third of the time it takes to start
    with 10,000 Services). Memory that the load needed for a moment goes back to the system."""
    gc.disable()
    try:
        await loaded.wait()
        gc.collect()
        gc.freeze()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)
    finally:
        gc.enable()
