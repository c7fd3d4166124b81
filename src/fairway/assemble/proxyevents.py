"""What users are told of what keeps a node proxy from serving as it should: a line in the log and an Event.

The Event is on the Service it is about, or on the Node where others changed the proxy's rules.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, NoReturn

from fairway.client.base import ApiError, Client, Object, Unreachable
from fairway.client.informer import as_dict
from fairway.control.events import Recorder
from fairway.control.writes import Note
from fairway.dataplane.base import Report, Update
from fairway.dataplane.proxy import Observer, culprits
from fairway.desired.model import HealthCheck, PortName
from fairway.kernel.base import KernelError, Notice, Refused
from fairway.objects import kinds

CLASH, REFUSED, REPAIRED = "NodePortClash", "NotProgrammed", "ProxyRulesRepaired"
UNANSWERED = "FailedToStartServiceHealthcheck"
"""kube-proxy's reason."""
COMPONENT = "fairway-proxy"
REST_SECONDS = 10.0
"""A Service hears the same reason no sooner again."""
MOST_SUSPECTS = 3
"""Services named for a transaction that the kernel refused without saying whose fault it is."""
_WAITING = 100
_NAMED = re.compile(r'--comment "([a-z0-9.-]+)/([a-z0-9.-]+)')

_log = logging.getLogger("fairway.proxy")


class _About(NamedTuple):
    """What is spoken of, and why."""

    kind: kinds.Kind
    namespace: str
    name: str
    reason: str


class Complaints(Observer):
    """Written one after the other while `run` runs; what cannot be written is in the log all the same."""

    def __init__(self, client: Client, node: str, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._node = node
        self._clock = clock
        self._recorder = Recorder(lambda _: client, clock)
        self._waiting: asyncio.Queue[tuple[_About, str]] = asyncio.Queue(_WAITING)
        self._told: dict[_About, float] = {}
        self._withheld: frozenset[tuple[str, str]] = frozenset()

    def clash(self, port: PortName, message: str) -> None:
        """Another program has a node port."""
        _log.warning("%s: %s", port, message)
        self._tell(_About(kinds.SERVICE, port.namespace, port.service, CLASH), message)

    def refused(self, update: Update, error: KernelError) -> None:
        """See `Observer`."""
        for namespace, service in suspects(update, error):
            self._tell(_About(kinds.SERVICE, namespace, service, REFUSED), str(error))

    async def applied(self, update: Update, report: Report, seconds: float) -> None:
        """See `Observer`. A Service is spoken of when it begins to be withheld."""
        withheld = {(key[0].namespace, key[0].service): error for key, error in report.refused.items()}
        for (namespace, service), error in withheld.items():
            if (namespace, service) not in self._withheld:
                self._tell(_About(kinds.SERVICE, namespace, service, REFUSED), str(error))
        self._withheld = frozenset(withheld)

    def unanswered(self, check: HealthCheck, reason: str) -> None:
        """See `Observer`."""
        self._tell(_About(kinds.SERVICE, check.namespace, check.service, UNANSWERED), reason)

    def repaired(self, by: Sequence[Notice], report: Report) -> None:
        """See `Observer`."""
        who = " and ".join(culprits(by)) or "Somebody"
        message = f"{who} changed the proxy's rules; {report.lines} lines were written again"
        self._tell(_About(kinds.NODE, "", self._node, REPAIRED), message)

    async def run(self) -> NoReturn:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._recorder.run())
            while True:
                about, message = await self._waiting.get()
                try:
                    regarding = await self._look_up(about)
                except (ApiError, Unreachable) as error:
                    _log.info("an event of %s %s/%s is lost: %s", about.kind.name, about.namespace, about.name, error)
                    continue
                if regarding is not None:
                    note = Note(about.kind, regarding, "Warning", about.reason, f"{self._node}: {message}")
                    self._recorder.tell(note, COMPONENT)

    async def _look_up(self, about: _About) -> Object | None:
        """The object as it is now, by a list: the role of node proxies lets them list Services and not get one."""
        found = await self._client.list(about.kind, about.namespace, field_selector=f"metadata.name={about.name}")
        return as_dict(found.items[0]) if found.items else None

    def _tell(self, about: _About, message: str) -> None:
        now = self._clock()
        self._told = {each: told for each, told in self._told.items() if now - told < REST_SECONDS}
        if about not in self._told and not self._waiting.full():
            self._told[about] = now
            self._waiting.put_nowait((about, message))


def suspects(update: Update, error: KernelError) -> Iterator[tuple[str, str]]:
    """The Services that may be why the kernel refused an update: that of the line it named, or the few that changed."""
    changed = {(key[0].namespace, key[0].service) for key in update.changed or ()}
    named = _NAMED.search(error.offending) if isinstance(error, Refused) else None
    if named:
        yield named[1], named[2]
    elif len(changed) <= MOST_SUSPECTS:
        yield from sorted(changed)
