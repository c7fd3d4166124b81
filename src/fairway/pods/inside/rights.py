"""What a container's root may do: a short list of capabilities (capabilities(7)), as container runtimes leave them."""

from __future__ import annotations

import ctypes

from fairway.pods.inside.libc import checked, libc
from fairway.pods.inside.programs import Record

PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 23, 24, 38


def limit(request: Record) -> None:
    """Drop all capabilities but those numbered in `capabilities` (None: keep all) from what a program can be executed
    with; with `no_new_privileges`, no set-user-id program gives more. Raises OSError."""
    keep = request.get("capabilities")
    number = 0
    while keep is not None and _prctl(PR_CAPBSET_READ, number) >= 0:
        if number not in keep:
            checked(_prctl(PR_CAPBSET_DROP, number), f"drop capability {number}")
        number += 1
    if request.get("no_new_privileges"):
        checked(_prctl(PR_SET_NO_NEW_PRIVS, 1), "no new privileges")


def _prctl(option: int, value: int) -> int:
    zero = ctypes.c_ulong(0)
    return int(libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero))
