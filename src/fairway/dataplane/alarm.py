"""Hears at once when somebody else is at the tables that hold our rules (EDGE: a socket in the event loop).

Periodic looks find everything in the end; this makes it a moment, and says who it was. Listening makes large
transactions slow (see `kernel.base.Notices`), so nobody listens during one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from fairway.kernel.base import KernelError, Notice, Notices
from fairway.ruleset.nft import TableName

REST_SECONDS = 1.0
"""The alarm rings no more often: others may have much to do in tables that they share with us."""

_log = logging.getLogger(__name__)


class Alarm:
    """Rings, with the name of the program, when `tables` are changed.

    `own_programs`: our rules are written by programs that we start, whose transactions cannot be told from others';
    what is heard while they run is passed over.
    """

    def __init__(self, open_: Callable[[], Notices], tables: Collection[TableName], own_programs: bool = False) -> None:
        self.own_programs = own_programs
        self._open = open_
        self._tables = tables
        self._notices: Notices | None = None
        self._ring: Callable[[str], None] = _log.debug
        self._timer: asyncio.TimerHandle | None = None
        self._rung = 0.0
        self._deaf = False

    def listen(self, ring: Callable[[str], None]) -> None:
        """Ring from now on. A kernel that tells nothing leaves it to the periodic looks."""
        self._ring = ring
        if self._notices is not None or self._deaf:
            return
        try:
            self._notices = self._open()
        except KernelError as error:
            self._deaf = True
            _log.info("changes by others are found by looking now and then alone: %s", error)
            return
        asyncio.get_running_loop().add_reader(self._notices.fileno(), self._heard)

    def rest(self) -> None:
        """Do not listen for a while."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._notices is not None:
            asyncio.get_running_loop().remove_reader(self._notices.fileno())
            self._notices.close()
            self._notices = None

    def forget(self) -> None:
        """Pass over what has been heard up to now."""
        self._take()

    def _heard(self) -> None:
        concerning = [notice for notice in self._take() if notice.lost or not notice.tables.isdisjoint(self._tables)]
        if not concerning or self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        wait = max(self._rung + REST_SECONDS - loop.time(), 0.0)
        self._timer = loop.call_later(wait, self._go, _who(concerning[0]))

    def _go(self, who: str) -> None:
        self._timer = None
        self._rung = asyncio.get_running_loop().time()
        self._ring(who)

    def _take(self) -> Collection[Notice]:
        try:
            return self._notices.wait(0) if self._notices is not None else ()
        except KernelError as error:
            _log.info("notices of nftables: %s", error)
            self.rest()
            return ()


def _who(notice: Notice) -> str:
    return f"{notice.program} (process {notice.process})" if notice.program else "somebody"
