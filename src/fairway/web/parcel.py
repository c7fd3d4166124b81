"""Several files in one request's body: a line of JSON that names them with their sizes, then their bytes. Pure."""

from __future__ import annotations

import msgspec

MAX_BYTES = 96 * 1024 * 1024
"""All files of one parcel: rules of 30,000 Services."""
MAX_FILES = 32
_LINE = 16384


class ParcelError(ValueError):
    """The body is no parcel, or holds too much."""


class _Entry(msgspec.Struct, frozen=True):
    name: str
    size: int


_DECODER = msgspec.json.Decoder(list[_Entry])


def unpack(body: bytes) -> dict[str, bytes]:
    """The files by name; of two of one name the second is numbered. Raises ParcelError."""
    line = body[:_LINE].partition(b"\n")[0]
    try:
        entries = _DECODER.decode(line)
    except msgspec.DecodeError as error:
        raise ParcelError(f"the first line does not list files: {error}") from None
    if not 0 < len(entries) <= MAX_FILES:
        raise ParcelError(f"{len(entries)} files; 1 to {MAX_FILES} are read at once")
    if any(entry.size < 0 for entry in entries) or sum(entry.size for entry in entries) != len(body) - len(line) - 1:
        raise ParcelError("the sizes are not those of the files")
    found: dict[str, bytes] = {}
    at = len(line) + 1
    for number, entry in enumerate(entries, 1):
        name = " ".join("".join(c if c.isprintable() else " " for c in entry.name).split())[:120] or "file"
        found[name if name not in found else f"{name} ({number})"] = body[at : at + entry.size]
        at += entry.size
    return found
