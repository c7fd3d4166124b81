"""Paths inside a volume, followed without ever leaving it, whatever links its writers left there (CVE-2021-25741)."""

from __future__ import annotations

import ctypes
import os
import struct

from fairway.pods.inside.libc import checked, libc

SYS_OPENAT2 = 437  # the same number on all architectures; Linux 5.6
RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH = 0x02, 0x08  # linux/openat2.h


def open_beneath(folder: int, path: str) -> int:
    """An O_PATH descriptor of what is at `path` in a folder; folders that are missing are made. Raises OSError, EXDEV
    when the path leads out."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    current = os.dup(folder)
    for depth in range(1, len(parts) + 1):
        try:
            found = _open(folder, "/".join(parts[:depth]))
        except FileNotFoundError:
            os.mkdir(parts[depth - 1], 0o755, dir_fd=current)
            found = _open(folder, "/".join(parts[:depth]))
        os.close(current)
        current = found
    return current


def _open(folder: int, path: str) -> int:
    how = struct.pack("QQQ", os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
    number = ctypes.c_long(SYS_OPENAT2)
    return checked(libc.syscall(number, folder, os.fsencode(path), how, ctypes.c_size_t(len(how))), path)
