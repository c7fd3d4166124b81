"""Showing a pod's volumes where it wants them, without ever making a file or folder on the host."""

from __future__ import annotations

import ctypes
import json
import os

from fairway.pods.inside.libc import checked, libc

MOUNTS = "mounts.json"
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC = 0x1, 0x20, 0x1000, 0x4000
MS_NOSUID, MS_NODEV = 0x2, 0x4


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    checked(
        libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()),
        f"mount {source} on {target}",
    )


def lay_volumes() -> None:
    """Show what `mounts.json` lists as [folder, path] pairs, read-only. Raises OSError."""
    if not os.path.exists(MOUNTS):  # noqa: PTH110 - pathlib costs 10 ms to import
        return
    with open(MOUNTS, encoding="utf-8") as file:  # noqa: PTH123
        wanted = json.load(file)
    mask = os.umask(0o022)  # whatever user a container has, it may pass through
    try:
        for source, path in wanted:
            target = os.path.realpath(path)
            _make_point(target)
            _mount(source, target, "", MS_BIND)
            _mount("none", target, "", MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    finally:
        os.umask(mask)


def _make_point(target: str) -> None:
    """A folder to mount on. Where the host has none, the nearest folder above becomes one of the pod's own."""
    if os.path.isdir(target):  # noqa: PTH112
        return
    above = os.path.dirname(target)  # noqa: PTH120
    while not os.path.isdir(above):  # noqa: PTH112
        above = os.path.dirname(above)  # noqa: PTH120
    if above == "/":
        raise OSError(f"nothing can be shown at {target}: the host has no folder above it but its root")
    _cover(above)
    os.makedirs(target)  # noqa: PTH103


def _cover(folder: str) -> None:
    """A folder of the pod's own in the host's place, in which everything that is there now is shown as it is."""
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    _mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    for entry in entries:
        path, source = f"{folder}/{entry.name}", f"/proc/self/fd/{handle}/{entry.name}"
        if entry.is_symlink():
            os.symlink(os.readlink(source), path)  # noqa: PTH115, PTH211
        elif entry.is_dir():
            os.mkdir(path)  # noqa: PTH102
            _mount(source, path, "", MS_BIND | MS_REC)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            _mount(source, path, "", MS_BIND)
    os.close(handle)
