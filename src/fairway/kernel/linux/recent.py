"""The lists of `-m recent` (xt_recent), in which iptables mode remembers clients (EDGE). Only reads."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from fairway.kernel.linux import netns

_ENTRY = re.compile(r"src=(?P<address>\S+) ttl: \d+ last_seen: (?P<seen>\d+) ")
_WRAP = 1 << 32
_MONOTONIC_COARSE = 6  # uapi/linux/time.h
_BEFORE_BOOT = 300
"""The kernel's count of ticks begins 300 seconds before it wraps at 32 bits (INITIAL_JIFFIES, linux/jiffies.h)."""


def lists(namespace: str | None = None) -> dict[str, Mapping[str, float]]:
    """For each list of the network namespace at a path (None: this thread's), the addresses in it and how many seconds
    ago each was seen; none where the kernel has no such lists."""
    inside: AbstractContextManager[object] = nullcontext() if namespace is None else netns.entered(namespace)
    with inside:
        try:
            files = sorted(Path("/proc/thread-self/net/xt_recent").iterdir())
            texts = {file.name: file.read_text() for file in files}
        except OSError:
            return {}
    rate, now = ticks()
    return {name: ages(text, rate, now) for name, text in texts.items()}


def ticks() -> tuple[int, int]:
    """The kernel's ticks per second, and how many it has counted. The coarse clock advances once per tick."""
    rate = round(1 / time.clock_getres(_MONOTONIC_COARSE))
    return rate, _WRAP + round((time.clock_gettime(time.CLOCK_MONOTONIC) - _BEFORE_BOOT) * rate)


def ages(text: str, rate: int, now: int) -> dict[str, float]:
    """Addresses of one list and the seconds since each was seen, by ticks; 32-bit kernels count modulo 2**32."""
    found = {}
    for entry in _ENTRY.finditer(text):
        seen = int(entry["seen"])
        passed = now - seen if seen >= _WRAP - _BEFORE_BOOT * rate else (now - seen) % _WRAP
        found[entry["address"]] = max(passed, 0) / rate
    return found
