"""Mounting: the calls of mount(2) and their flags."""

from __future__ import annotations

import ctypes

from fairway.pods.inside.libc import checked, libc

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE = 0x20, 0x1000, 0x4000, 0x40000, 0x80000
MNT_DETACH = 2


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """As mount(2). Raises OSError that names what and where."""
    checked(
        libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()),
        f"mount {source or kind} on {target}",
    )


def bind(source: str, target: str, read_only: bool = False, flags: int = MS_REC) -> None:
    """Show a file or folder at a second place, with what is mounted below it. Raises OSError."""
    mount(source, target, "", MS_BIND | flags)
    if read_only:  # a bind mount takes flags only in a second step (mount(2))
        mount("none", target, "", MS_BIND | MS_REMOUNT | MS_RDONLY)
