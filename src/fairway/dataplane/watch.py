"""What others do to the kernel's rules, heard while the proxy works or rests, and kept until it is looked into."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from fairway.kernel.base import KernelError, Notice, Notices

_KEPT = 1000
"""So many notices are kept; of more, only that there were more."""

_log = logging.getLogger(__name__)


class Watch:
    """Listens from `begin` on, with the running event loop, and calls `wake` when it has heard what `concerns` us. A
    kernel that tells nothing is a warning: rules are looked after at intervals anyway."""

    def __init__(
        self, listen: Callable[[], Notices], concerns: Callable[[Notice], object], wake: Callable[[], None]
    ) -> None:
        self._listen = listen
        self._concerns = concerns
        self._wake = wake
        self._notices: Notices | None = None
        self._heard: list[Notice] = []
        self._deaf = False

    def begin(self) -> bool:
        """Listen from now on, if nobody does; whether that is new."""
        if self._notices is not None or self._deaf:
            return False
        try:
            self._notices = self._listen()
        except KernelError as error:
            self._give_up(error)
            return False
        asyncio.get_running_loop().add_reader(self._notices.fileno(), self.hear)
        return True

    def hear(self) -> None:
        """Read what has come."""
        if self._notices is None:
            return
        try:
            heard = [notice for notice in self._notices.wait(0) if self._concerns(notice)]
        except KernelError as error:
            self._give_up(error)
            return
        if heard:
            self._heard += heard
            if len(self._heard) > _KEPT:
                self._heard = [Notice(lost=True), *self._heard[-_KEPT + 1 :]]
            self._wake()

    @property
    def disturbed(self) -> bool:
        """Whether something was heard that was not taken yet."""
        return bool(self._heard)

    def overheard(self) -> Sequence[Notice]:
        """What was said until this moment and not taken yet; it stays to be taken."""
        self.hear()
        return tuple(self._heard)

    def take(self) -> Sequence[Notice]:
        """What concerns us and was heard since the last time."""
        heard, self._heard = self._heard, []
        return heard

    def _give_up(self, error: KernelError) -> None:
        self._deaf = True
        self.close()
        _log.warning("what others do to the rules is found by looking now and then alone: %s", error)

    def close(self) -> None:
        """Hear no more, until `begin`."""
        if self._notices is not None:
            asyncio.get_running_loop().remove_reader(self._notices.fileno())
            self._notices.close()
            self._notices = None
