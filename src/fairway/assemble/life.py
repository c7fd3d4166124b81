"""A process's life: an event loop, and an orderly end when it is told to stop."""

from __future__ import annotations

import asyncio
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
