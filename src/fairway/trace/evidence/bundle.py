"""One file with everything `fairway collect` reads of a node: a tar.gz of text files with known names."""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from fairway.trace.evidence.texts import MAX_BYTES, EvidenceError, Kind

MAX_TOTAL = 2 * MAX_BYTES
"""Bytes of all files together, once unpacked."""

MAX_FILES = 64
ABOUT, OBJECTS = "about.json", "objects.json"
FOLDER = "fairway-node"

CONTENTS: Mapping[str, Kind] = {
    "iptables-save.txt": Kind.IPTABLES,
    "ip6tables-save.txt": Kind.IPTABLES,
    "nft.txt": Kind.NFT,
    "ip-addr.txt": Kind.ADDRESSES,
    "ip-route-4.txt": Kind.ROUTES,
    "ip-route-6.txt": Kind.ROUTES,
    "ip-rule-4.txt": Kind.POLICY,
    "ip-rule-6.txt": Kind.POLICY,
    "conntrack-4.txt": Kind.CONNECTIONS,
    "conntrack-6.txt": Kind.CONNECTIONS,
    "sysctl.txt": Kind.SETTINGS,
    "recent.txt": Kind.CLIENTS,
    "ipset.txt": Kind.SETS,
}


@dataclass(slots=True)
class Bundle:
    """Files by name, the node they are of, and why others are missing (by name)."""

    node: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def pack(bundle: Bundle) -> bytes:
    """The bundle as a file. Equal bundles are equal bytes."""
    about = json.dumps({"version": 1, "node": bundle.node, "failures": bundle.failures}, indent=2, sort_keys=True)
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, content in sorted({**bundle.files, ABOUT: about.encode() + b"\n"}.items()):
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            member.mode = 0o600
            archive.addfile(member, io.BytesIO(content))
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(raw.getvalue()) + packer.flush()


def unpack(name: str, raw: bytes) -> Bundle:
    """The files of a bundle; such with other names are passed over. Raises EvidenceError."""
    found = Bundle()
    try:
        with tarfile.open(fileobj=io.BytesIO(_inflate(name, raw)), mode="r:") as archive:
            for number, member in enumerate(archive, 1):
                if number > MAX_FILES:
                    raise EvidenceError(name, f"holds more than {MAX_FILES} files")
                base = member.name.rpartition("/")[2]
                content = archive.extractfile(member) if member.isreg() else None
                if content is not None and base in (*CONTENTS, ABOUT, OBJECTS):
                    found.files[base] = content.read()
    except (tarfile.TarError, ValueError, OverflowError) as error:
        if isinstance(error, EvidenceError):
            raise
        raise EvidenceError(name, f"is no bundle of `fairway collect`: {error}") from None
    _read_about(name, found)
    if not found.files:
        raise EvidenceError(name, "holds none of the files that `fairway collect` writes")
    return found


def _inflate(name: str, raw: bytes) -> bytes:
    try:
        inflater = zlib.decompressobj(31)
        plain = inflater.decompress(raw, MAX_TOTAL + 1)
    except zlib.error as error:
        raise EvidenceError(name, f"is no tar.gz: {error}") from None
    if len(plain) > MAX_TOTAL:
        raise EvidenceError(name, f"unpacks to more than {MAX_TOTAL} bytes")
    if not inflater.eof:
        raise EvidenceError(name, "ends too early: the file is cut off")
    return plain


def _read_about(name: str, bundle: Bundle) -> None:
    try:
        about = json.loads(bundle.files.pop(ABOUT, b"{}"))
        bundle.node = str(about.get("node", ""))
        bundle.failures = {str(key): str(value) for key, value in dict(about.get("failures", {})).items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise EvidenceError(f"{name}: {ABOUT}", f"is not what `fairway collect` writes: {error}") from None
