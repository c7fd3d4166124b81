"""What `fairway trace` reads from files, and the bundle that `fairway collect` makes on a node."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairway.assemble.catalogue import Catalogue
from fairway.kernel.linux import observed
from fairway.trace.evidence import bundle, texts
from fairway.trace.evidence.gathered import Gathered
from fairway.trace.evidence.texts import EvidenceError, Kind, Text


@dataclass(frozen=True, slots=True)
class Files:
    """Names of files as given; `rules` are recognised by what they hold."""

    rules: Sequence[str] = ()
    routes: Sequence[str] = ()
    policy: Sequence[str] = ()
    addresses: Sequence[str] = ()
    connections: Sequence[str] = ()
    settings: Sequence[str] = ()
    objects: Sequence[str] = ()
    bundle: str = ""

    @property
    def given(self) -> bool:
        """Whether the node is read from files, not from a kernel."""
        return bool(self.rules or self.bundle)


def gather(files: Files, node: str) -> tuple[Gathered, Catalogue]:
    """Read the files. `node` is the name of the node they are of ("": as the bundle says). Raises EvidenceError."""
    found: list[Text] = []
    packed = bundle.Bundle()
    if files.bundle:
        packed = bundle.unpack(files.bundle, read_file(files.bundle))
        found += [
            texts.read(f"{files.bundle}: {name}", content, bundle.CONTENTS[name])
            for name, content in packed.files.items()
            if name in bundle.CONTENTS
        ]
    found += _texts(files)
    gathered = Gathered.read(found, node or packed.node, whole=bool(files.bundle) and not files.rules)
    if not gathered.has_rules:
        raise EvidenceError(files.bundle, "holds no rules: iptables-save and nft both failed where it was made")
    gathered.notes += [f"{name} is missing from the bundle: {why}." for name, why in packed.failures.items()]
    return gathered, objects_of(files, packed)


def _texts(files: Files) -> Iterator[Text]:
    for name in files.rules:
        text = texts.read(name, read_file(name))
        if text.kind not in (*texts.RULES, *texts.BESIDE_RULES):
            raise EvidenceError(name, f"holds no rules but {text.kind.value}")
        yield text
    for names, kind in (
        (files.routes, Kind.ROUTES),
        (files.policy, Kind.POLICY),
        (files.addresses, Kind.ADDRESSES),
        (files.connections, Kind.CONNECTIONS),
        (files.settings, Kind.SETTINGS),
    ):
        for name in names:
            yield texts.read(name, read_file(name), kind)


def objects_of(files: Files, packed: bundle.Bundle | None = None) -> Catalogue:
    """The objects of files and of a bundle. Raises EvidenceError."""
    found = [Catalogue.read(read_file(name), name) for name in files.objects]
    if packed is not None and bundle.OBJECTS in packed.files:
        found.append(Catalogue.read(packed.files[bundle.OBJECTS], f"{files.bundle}: {bundle.OBJECTS}"))
    return functools.reduce(Catalogue.joined, found, Catalogue(given=False))


def read_file(name: str) -> bytes:
    """A file's bytes, one more than is allowed at most. Raises EvidenceError."""
    try:
        with Path("/dev/stdin" if name == "-" else name).open("rb") as file:
            return file.read(texts.MAX_BYTES + 1)
    except OSError as error:
        raise EvidenceError(name, error.strerror or str(error)) from None


def collect(node: str, connections: bool, objects: bytes = b"") -> bundle.Bundle:
    """Everything of this machine that a trace looks at. Only reads. Raises KernelError."""
    pieces = observed.observe(connections=connections)
    failures = {piece.name: f"`{piece.command}`: {piece.failure}" for piece in pieces if piece.failure}
    files = {piece.name: piece.text for piece in pieces if piece.text or not piece.failure}
    if objects:
        files[bundle.OBJECTS] = objects
    return bundle.Bundle(node or os.uname().nodename, files, failures)
