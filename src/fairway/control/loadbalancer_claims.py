"""The record of load-balancer addresses: which Service holds which, on which terms. Pure.

The record is one object of the API, changed by conditional writes alone, so that no two controllers can give one
address away twice: a Service's status shows an address only after the record names the Service as its holder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from fairway.client.base import Object
from fairway.objects.kinds import CONFIG_MAP

NAMESPACE = "kube-system"
RECORD = "fairway-loadbalancer-claims"
NODES = "nodes"
"""Held by Services of the style "nodes" in the place of an address: ports of the nodes' own addresses."""
_FIELD = "claims"


class Terms(msgspec.Struct, frozen=True):
    """On which a Service holds an address: its (protocol, port) pairs, the key it shares by ("": it does not), and
    where its traffic may go ("": to every endpoint; else the selector of those that get it locally)."""

    ports: tuple[tuple[str, int], ...] = ()
    key: str = ""
    local: str = ""


class Claim(msgspec.Struct, frozen=True):
    """A Service, by its uid, and what it holds."""

    uid: str
    namespace: str
    name: str
    addresses: tuple[str, ...]
    terms: Terms = Terms()

    @property
    def who(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Record:
    """All claims, the oldest first. `version` is the resourceVersion they were read at, "" when there is no record
    yet or none that can be read; `found` is the object it was read from."""

    claims: tuple[Claim, ...] = ()
    version: str = ""
    found: Object | None = None


_DECODER = msgspec.json.Decoder(tuple[Claim, ...])


def read(found: Object | None) -> Record:
    """The record in its ConfigMap. One that others have spoilt counts as empty: it is written anew, and Services get
    what their status shows."""
    if found is None:
        return Record()
    text = (found.get("data") or {}).get(_FIELD, "[]")
    try:
        claims = _DECODER.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError):
        claims = ()
    return Record(claims, str(found["metadata"].get("resourceVersion", "")), found)


def written(record: Record, claims: Sequence[Claim]) -> Object:
    """The ConfigMap that holds `claims` next; bears the version it replaces."""
    text = msgspec.json.encode(tuple(claims)).decode()
    metadata = {"name": RECORD, "namespace": NAMESPACE}
    fresh: Object = {"apiVersion": CONFIG_MAP.api_version, "kind": CONFIG_MAP.name, "metadata": metadata}
    return {**(record.found or fresh), "data": {_FIELD: text}}


def conflict(mine: Terms, theirs: Terms, address: str) -> str:
    """Why two Services cannot both hold an address; "" when they can."""
    both = sorted(set(mine.ports) & set(theirs.ports))
    if address == NODES:
        return f"both want port {_port(both[0])}" if both else ""
    if not mine.key or mine.key != theirs.key:
        return "they have no sharing key in common"
    if both:
        return f"both want port {_port(both[0])}"
    if mine.local != theirs.local:
        return "their externalTrafficPolicy differs, or is Local for different pods"
    return ""


def _port(pair: tuple[str, int]) -> str:
    return f"{pair[1]}/{pair[0]}"
