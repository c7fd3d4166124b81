"""EDGE. Files of volumes, brought up to date so that a reader sees all of the old or all of the new.

The layout is the one programs in pods know to watch: the files lie in a folder of their own that the link `..data`
names, and each visible name is a link through it; an update is one rename of `..data`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA = "..data"


@dataclass(frozen=True, slots=True)
class File:
    """Content and mode of a file."""

    content: bytes
    mode: int


def fill(folder: Path, files: Mapping[str, File], group: int | None = None) -> bool:
    """Make a folder show just `files` (paths below it), readable by `group` if there is one; False when it did."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    if _holds(folder / DATA, files):
        return False
    before = (folder / DATA).readlink() if (folder / DATA).is_symlink() else None
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    fresh.chmod(0o755)
    for path, file in files.items():
        _write(fresh / path, file, group)
    _point(folder / DATA, fresh.name)
    _show_names(folder, {path.partition("/")[0] for path in files})
    if before is not None:
        shutil.rmtree(folder / before, ignore_errors=True)
    return True


def _holds(data: Path, files: Mapping[str, File]) -> bool:
    """Modes follow from the pod, which does not change them: content decides."""
    if not data.is_dir():
        return False
    present = {str(path.relative_to(data)) for path in data.rglob("*") if not path.is_dir()}
    return present == set(files) and all((data / path).read_bytes() == file.content for path, file in files.items())


def _write(place: Path, file: File, group: int | None) -> None:
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    place.write_bytes(file.content)
    if group is not None:
        os.chown(place, -1, group)
    place.chmod(file.mode | (0o440 if group is not None else 0))


def _point(link: Path, target: str) -> None:
    temporary = link.with_name(link.name + "_tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def _show_names(folder: Path, names: set[str]) -> None:
    for entry in folder.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
    for name in names:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"{DATA}/{name}")
