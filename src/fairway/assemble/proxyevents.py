"""What users are told of a Service that a node proxy cannot serve as it should: a line in the log and an Event."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from fairway.client.base import ApiError, Client, Unreachable
from fairway.control.events import Recorder
from fairway.control.writes import Note
from fairway.dataplane.base import Update
from fairway.dataplane.proxy import Observer
from fairway.desired.model import PortName
from fairway.kernel.base import KernelError, Refused
from fairway.objects import kinds

CLASH, REFUSED = "NodePortClash", "NotProgrammed"
COMPONENT = "fairway-proxy"
REST_SECONDS = 10.0
"""A Service hears the same reason no sooner again."""
MOST_SUSPECTS = 3
"""Services named for a transaction that the kernel refused without saying whose fault it is."""
_WAITING = 100
_NAMED = re.compile(r'--comment "([a-z0-9.-]+)/([a-z0-9.-]+)')

_log = logging.getLogger("fairway.proxy")


class Complaints(Observer):
    """Written one after the other while `run` runs; what cannot be written is in the log all the same."""

    def __init__(self, client: Client, node: str, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._node = node
        self._clock = clock
        self._recorder = Recorder(lambda _: client, clock)
        self._waiting: asyncio.Queue[tuple[str, str, str, str]] = asyncio.Queue(_WAITING)
        self._told: dict[tuple[str, str, str], float] = {}

    def clash(self, port: PortName, message: str) -> None:
        """Another program has a node port."""
        _log.warning("%s: %s", port, message)
        self._tell(port.namespace, port.service, CLASH, message)

    def refused(self, update: Update, error: KernelError) -> None:
        """See `Observer`."""
        for namespace, service in suspects(update, error):
            self._tell(namespace, service, REFUSED, str(error))

    async def run(self) -> NoReturn:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._recorder.run())
            while True:
                namespace, service, reason, message = await self._waiting.get()
                try:
                    regarding = await self._client.get(kinds.SERVICE, service, namespace)
                except (ApiError, Unreachable) as error:
                    _log.info("an event of %s/%s is lost: %s", namespace, service, error)
                    continue
                note = Note(kinds.SERVICE, regarding, "Warning", reason, f"{self._node}: {message}")
                self._recorder.tell(note, COMPONENT)

    def _tell(self, namespace: str, service: str, reason: str, message: str) -> None:
        about, now = (namespace, service, reason), self._clock()
        self._told = {each: told for each, told in self._told.items() if now - told < REST_SECONDS}
        if about not in self._told and not self._waiting.full():
            self._told[about] = now
            self._waiting.put_nowait((*about, message))


def suspects(update: Update, error: KernelError) -> Iterator[tuple[str, str]]:
    """The Services that may be why the kernel refused an update: that of the line it named, or the few that changed."""
    changed = {(key[0].namespace, key[0].service) for key in update.changed or ()}
    named = _NAMED.search(error.offending) if isinstance(error, Refused) else None
    if named:
        yield named[1], named[2]
    elif len(changed) <= MOST_SUSPECTS:
        yield from sorted(changed)
