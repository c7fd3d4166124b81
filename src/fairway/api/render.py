"""Stored bytes as a client wants to see them: itself, an old version, a Table, metadata only; JSON or YAML. Pure.

The common case, a JSON list in the current version, splices stored bytes and decodes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from fairway.api import tables
from fairway.api.accept import Wanted
from fairway.api.answers import JSON, Answer
from fairway.api.requests import Options, Target
from fairway.objects import codec, convert
from fairway.store.base import Entry

Object = dict[str, Any]


def load(value: bytes, revision: int) -> Object:
    """A stored object with its resourceVersion."""
    obj: Object = msgspec.json.decode(value)
    obj["metadata"]["resourceVersion"] = str(revision)
    return obj


def object_bytes(target: Target, value: bytes, revision: int) -> bytes:
    """One object as JSON in the version the client asked for."""
    if target.api_version == target.kind.api_version:
        return codec.with_revision(value, revision)
    converted = convert.from_storage(target.kind, load(value, revision), target.api_version)
    return codec.with_revision(codec.encode(converted), revision)


def partial(obj: Object, name: str = "PartialObjectMetadata") -> Object:
    """What remains of an object for those who want metadata only."""
    return {"kind": name, "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def form_bytes(target: Target, wanted: Wanted, options: Options, value: bytes, revision: int, now: datetime) -> bytes:
    """One object as JSON in the form that was negotiated."""
    if wanted.form == "Table":
        obj = msgspec.json.decode(object_bytes(target, value, revision))
        metadata = {"resourceVersion": str(revision)}
        return msgspec.json.encode(
            tables.table(target.kind, [obj], now, list_metadata=metadata, include_object=options.include_object)
        )
    if wanted.form == "PartialObjectMetadata":
        return msgspec.json.encode(partial(load(value, revision)))
    return object_bytes(target, value, revision)


def encoded(
    body: bytes, wanted: Wanted, options: Options, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> Answer:
    """JSON bytes as the answer in the wanted encoding."""
    if wanted.encoding == "yaml":
        import yaml

        text = yaml.safe_dump(msgspec.json.decode(body), sort_keys=False, allow_unicode=True)
        return Answer(status, text.encode(), "application/yaml", headers)
    return Answer(status, msgspec.json.format(body) if options.pretty else body, JSON, headers)


def list_metadata(revision: int, continue_token: str, remaining: int) -> Object:
    """The metadata of a list: its revision, and where the next page begins."""
    metadata: Object = {"resourceVersion": str(revision)}
    if continue_token:
        metadata["continue"] = continue_token
        if remaining:
            metadata["remainingItemCount"] = remaining
    return metadata


def list_body(
    target: Target,
    wanted: Wanted,
    options: Options,
    entries: Sequence[Entry],
    metadata: Mapping[str, Any],
    now: datetime,
) -> list[bytes]:
    """A list as JSON, in pieces."""
    if wanted.form == "Table":
        objects = [msgspec.json.decode(object_bytes(target, entry.value, entry.modified)) for entry in entries]
        shown = tables.table(
            target.kind, objects, now, list_metadata=dict(metadata), include_object=options.include_object
        )
        return [msgspec.json.encode(shown)]
    name, version = f"{target.kind.name}List", target.api_version
    if wanted.form == "PartialObjectMetadata":
        name, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
    head = msgspec.json.encode({"kind": name, "apiVersion": version, "metadata": metadata})
    start = head[:-1] + b',"items":['
    if not wanted.form and target.api_version == target.kind.api_version:
        return [start, *codec.joined((entry.value, entry.modified) for entry in entries), b"]}"]
    bodies = [form_bytes(target, wanted, options, entry.value, entry.modified, now) for entry in entries]
    return [start, b",".join(bodies), b"]}"]
