"""Notice that a configuration file says something else than what was read from it.

By looking now and then, which serves every kind of file: written in place, renamed over, or the links of a ConfigMap
volume, which change far above the file. A file that cannot be read for a moment has not changed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

EACH = 1.0
"""Seconds between looks."""


@dataclass(frozen=True, slots=True)
class Configured:
    """A file and what was read from it."""

    file: str
    content: bytes

    async def changed(self, each: float = EACH) -> None:
        """Wait until another content stands in the file, which is read only when its inode or times are others."""
        before: tuple[int, ...] | None = None
        while True:
            seen = self._signature()
            if seen is not None and seen != before:
                before = seen
                if self._differs():
                    return
            await asyncio.sleep(each)

    def _signature(self) -> tuple[int, ...] | None:
        try:
            found = Path(self.file).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _differs(self) -> bool:
        try:
            return Path(self.file).read_bytes() != self.content
        except OSError:
            return False
