"""`fairway anonymise`: files in, files out."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from fairway.assemble.saved import read_file
from fairway.trace.evidence import bundle, texts
from fairway.trace.evidence.anonymise import anonymise
from fairway.trace.evidence.pseudonyms import Pseudonyms
from fairway.trace.evidence.texts import EvidenceError

_GZIP = b"\x1f\x8b"
KEY_BYTES = 32


@dataclass(slots=True)
class Anonymous:
    """The files by the names they should have, and what was left out of them."""

    files: dict[str, bytes] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def replaced(names: Sequence[str], secret: str = "") -> Anonymous:
    """The files, texts and bundles, with the same things replaced by the same others in all of them. `secret` makes
    later runs replace alike; without one nobody can. Raises EvidenceError."""
    key = secret.encode() or secrets.token_bytes(KEY_BYTES)
    made = Anonymous()
    packed: dict[str, bundle.Bundle] = {}
    read: list[texts.Text] = []
    for name in names:
        raw = read_file(name)
        if raw.startswith(_GZIP):
            packed[name] = part = bundle.unpack(name, raw)
            read += [texts.read(f"{name}: {each}", part.files[each], kind) for each, kind in _parts(part)]
        else:
            read.append(texts.read(name, raw))
    written = dict(zip((text.name for text in read), anonymise(read, key), strict=True))
    for name in names:
        base = "stdin" if name == "-" else PurePath(name).name
        if base in made.files:
            raise EvidenceError(name, "another file has that name, too")
        made.files[base] = _packed(name, packed[name], written, key) if name in packed else written[name].encode()
        if name in packed and bundle.OBJECTS in packed[name].files:
            made.remarks.append(f"{name}: {bundle.OBJECTS} is left out: objects hold names everywhere")
    return made


def _parts(packed: bundle.Bundle) -> list[tuple[str, texts.Kind]]:
    return [(name, kind) for name, kind in bundle.CONTENTS.items() if name in packed.files]


def _packed(name: str, packed: bundle.Bundle, written: dict[str, str], key: bytes) -> bytes:
    files = {part: written[f"{name}: {part}"].encode() for part, _ in _parts(packed)}
    node = Pseudonyms(key).name("node", packed.node)
    return bundle.pack(bundle.Bundle(node, files, dict.fromkeys(packed.failures, "was not there")))
