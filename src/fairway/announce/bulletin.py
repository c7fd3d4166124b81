"""What a node says in its Lease: which addresses it announces or wants to, and how far it reaches. Pure.

One Lease per node, in `kube-system`. The record is JSON in an annotation, for kubectl and `fairway lb` to read.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

from fairway.node import Address, Network
from fairway.objects.kinds import NODE

NAMESPACE = "kube-system"
LABEL = "fairway.io/announcer"
SELECTOR = f"{LABEL}=true"
RECORD = "fairway.io/announcer"
PREFIX = "fairway-announcer-"
LONGEST_LAPSE = 300.0

Object = dict[str, Any]


class Claim(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node says of an address: that it announces it (`held`), or wants to. `term` counts the address's
    announcers; `since` (RFC 3339) and `why` are for people."""

    term: int
    since: str = ""
    why: str = ""
    held: bool = False


class Bulletin(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node's word. `host` tells machines of one name apart; `reach` are the networks on whose segments it can
    answer, `macs` its own there; it is to be believed for `lapse` seconds, as its reader counts them, after it was
    first seen. `leaving`: it will not come again."""

    node: str
    host: str = ""
    claims: dict[str, Claim] = {}
    reach: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()
    lapse: float = 0.0
    leaving: bool = False


class Posted(msgspec.Struct, frozen=True):
    """A bulletin in one version of its Lease."""

    bulletin: Bulletin
    version: str


_DECODER = msgspec.json.Decoder(Bulletin)


def name_of(node: str) -> str:
    """The name of a node's Lease."""
    return PREFIX + node


def lease(bulletin: Bulletin, node_uid: str, version: str, stamp: str) -> Object:
    """The Lease that says it. `version` is that of the Lease it replaces ("": none), `stamp` the time for people. The
    Node of uid `node_uid` takes the Lease with it when it is removed."""
    metadata: Object = {
        "name": name_of(bulletin.node),
        "namespace": NAMESPACE,
        "labels": {LABEL: "true"},
        "annotations": {RECORD: msgspec.json.encode(bulletin).decode()},
    }
    if node_uid:
        owner = {"apiVersion": NODE.api_version, "kind": NODE.name, "name": bulletin.node, "uid": node_uid}
        metadata["ownerReferences"] = [owner]
    if version:
        metadata["resourceVersion"] = version
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": {
            "holderIdentity": "" if bulletin.leaving else bulletin.node,
            "leaseDurationSeconds": max(1, round(bulletin.lapse)),
            "renewTime": stamp,
        },
    }


def read(found: Object) -> Bulletin:
    """What a Lease says. Raises ValueError for one that says nothing of the kind."""
    metadata = found.get("metadata") or {}
    try:
        said = _DECODER.decode((metadata.get("annotations") or {}).get(RECORD, ""))
    except msgspec.DecodeError as error:
        raise ValueError(f"Lease {metadata.get('name')}: annotation {RECORD}: {error}") from error
    if name_of(said.node) != metadata.get("name"):
        raise ValueError(f"Lease {metadata.get('name')} speaks for node {said.node!r}")
    if not 0 <= said.lapse <= LONGEST_LAPSE:
        raise ValueError(f"Lease {metadata.get('name')} wants to be believed for {said.lapse} s")
    for text in (*said.reach, *said.claims):
        ipaddress.ip_network(text)
    return said


def posted(found: Object) -> Posted:
    """What a Lease says, with its version. Raises ValueError."""
    return Posted(read(found), str((found.get("metadata") or {}).get("resourceVersion", "")))


def reaches(reach: Iterable[str], address: Address) -> bool:
    """Whether one of the networks holds the address."""
    return any(address in _network(text) for text in reach)


@lru_cache(maxsize=1024)
def _network(text: str) -> Network:
    return ipaddress.ip_network(text)
