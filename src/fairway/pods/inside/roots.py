"""A container's own root: the host's files as they are, and everything written kept apart from them.

Each attempt of a container has a mount namespace, made in the forked child that becomes its program. Its root is an
overlay whose lower layer is the host's root and whose upper one belongs to the container alone, so that folders to
mount on and files written anywhere exist in it only and are gone with it. /proc, /sys and /dev are its own;
/run and the other pods' directories are hidden.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from fairway.pods.inside import rights
from fairway.pods.inside.libc import checked, libc
from fairway.pods.inside.mounting import (
    MNT_DETACH,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    bind,
    mount,
)
from fairway.pods.inside.paths import open_beneath
from fairway.pods.inside.programs import Record, Trouble

CLONE_NEWNS = 0x00020000
ETC = "etc"
OWN = ("/proc", "/sys", "/dev", "/run")  # never the host's
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
LAYERED = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "zfs"})  # can be an overlay's lower layer


def build(folder: str, request: Record) -> None:
    """In the forked child: a new root as `request` (see pods/init.py) says, with `folder` for what is written. The
    pod's directory must be the working directory. Raises Trouble or OSError."""
    _remove(folder)
    checked(libc.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    sources = [(entry, _open_source(entry)) for entry in request.get("mounts", ())]
    etc = {name: os.open(f"{ETC}/{name}", os.O_PATH) for name in sorted(os.listdir(ETC))}
    root = _lay(folder)
    _furnish(root, bool(request.get("privileged")))
    _enter(root)
    for name, descriptor in etc.items():
        _show(descriptor, f"/etc/{name}", False)
    for entry, descriptor in sources:
        _show(descriptor, entry["path"], bool(entry.get("read_only")))
    _leave_old_root()
    if request.get("read_only_root"):
        mount("none", "/", "", MS_BIND | MS_REMOUNT | MS_RDONLY)
    rights.limit(request)


def enter(namespace: int, process: int, request: Record) -> None:
    """In a forked child: go where the container is that has this mount namespace and this process. Raises OSError."""
    root = os.open(f"/proc/{process}/root", os.O_PATH | os.O_DIRECTORY)
    checked(libc.setns(namespace, CLONE_NEWNS), "enter the container's mounts")
    os.fchdir(root)  # the namespace's own root is above the container's where the node runs in a chroot
    os.chroot(".")
    os.close(root)
    rights.limit(request)


def _remove(folder: str) -> None:
    """What an earlier attempt wrote: a container starts afresh."""
    for path, folders, files in os.walk(folder, topdown=False):
        for name in (*files, *folders):
            place = f"{path}/{name}"
            if os.path.isdir(place) and not os.path.islink(place):
                os.rmdir(place)
            else:
                os.unlink(place)


def _open_source(entry: Record) -> int:
    descriptor = os.open(entry["source"], os.O_PATH)
    if not entry.get("sub"):
        return descriptor
    try:
        return open_beneath(descriptor, entry["sub"])
    except OSError as error:
        raise Trouble(
            f"subPath {entry['sub']!r} of the volume at {entry['path']}: {os.strerror(error.errno or 0)}"
        ) from None


def _lay(folder: str) -> str:
    """Mount the layers; the folder they appear at."""
    root = f"{folder}/root"
    os.makedirs(root, exist_ok=True)
    hidden = os.path.dirname(os.getcwd())  # the directories of this node's pods
    try:
        _overlay("/", root, f"{folder}/layer")
    except OSError:  # an overlay cannot keep its upper layer on each file system: on another overlay for one
        mount("tmpfs", folder, "tmpfs", MS_NODEV, "mode=0755")
        os.mkdir(root)
        _overlay("/", root, f"{folder}/layer")
    for number, (place, kind) in enumerate(_other_mounts(hidden)):
        target = root + place
        if os.path.isdir(place) and kind in LAYERED:
            _overlay(place, target, f"{folder}/layer-{number}")
        else:
            bind(place, target, read_only=True)
    if os.path.isdir(root + hidden):
        mount("tmpfs", root + hidden, "tmpfs", MS_RDONLY, "size=4k,mode=0755")
    return root


def _overlay(lower: str, target: str, layer: str) -> None:
    upper = f"{layer}/upper"
    os.makedirs(upper, exist_ok=True)
    os.makedirs(f"{layer}/work", exist_ok=True)
    status = os.stat(lower)
    os.chown(upper, status.st_uid, status.st_gid)
    os.chmod(upper, status.st_mode & 0o7777)
    if lower == "/":
        os.makedirs(upper + "/run", exist_ok=True)
        os.setxattr(upper + "/run", "trusted.overlay.opaque", b"y")  # nothing of the lower layer's shows through
    data = f"lowerdir={_escaped(lower)},upperdir={upper},workdir={layer}/work"
    mount("overlay", target, "overlay", 0, data)


def _escaped(path: str) -> str:
    """A path as overlayfs reads it in its options."""
    for special in "\\:,":
        path = path.replace(special, "\\" + special)
    return path


def _other_mounts(hidden: str) -> Iterator[tuple[str, str]]:
    """(place, type) of the host's other file systems, those above before those below them."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.split(" ") for line in file]
    found = {_unescaped(words[4]): words[words.index("-") + 1] for words in lines}
    for place in sorted(found):
        within = (place == top or place.startswith(top + "/") for top in (*OWN, hidden))
        if place != "/" and not any(within):
            yield place, found[place]


def _unescaped(word: str) -> str:
    """A path in mountinfo has blanks and such as octal escapes (proc(5))."""
    head, *rest = word.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def _furnish(root: str, privileged: bool) -> None:
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    guard = MS_NOSUID | MS_NODEV | MS_NOEXEC | (0 if privileged else MS_RDONLY)
    mount("sysfs", f"{root}/sys", "sysfs", guard)
    if privileged:
        bind("/dev", f"{root}/dev")
        return
    mount("tmpfs", f"{root}/dev", "tmpfs", MS_NOSUID, "size=64k,mode=0755")
    for name in DEVICES:
        os.close(os.open(f"{root}/dev/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
        bind(f"/dev/{name}", f"{root}/dev/{name}")
    for name in ("pts", "shm"):
        os.mkdir(f"{root}/dev/{name}")
        bind(f"/dev/{name}", f"{root}/dev/{name}")
    for name, target in DEVICE_LINKS.items():
        os.symlink(target, f"{root}/dev/{name}")


def _enter(root: str) -> None:
    """Make `root` the root, with the old one stacked upon it (pivot_root(2)): descriptors into the old one stay good
    to mount from."""
    os.chdir(root)
    checked(libc.pivot_root(b".", b"."), "pivot_root")


def _leave_old_root() -> None:
    checked(libc.umount2(b".", MNT_DETACH), "umount the host's root")
    os.chdir("/")


def _show(descriptor: int, path: str, read_only: bool) -> None:
    """Mount what `descriptor` is at a path of the new root, in which whatever is missing to mount on is made."""
    source = f"/proc/self/fd/{descriptor}"
    target = os.path.normpath("/" + path.lstrip("/"))
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.islink(target) and not os.path.exists(target):  # as /etc/resolv.conf is where /run has a resolver's
            os.unlink(target)
        if not os.path.exists(target):
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    bind(source, target, read_only)
    os.close(descriptor)
