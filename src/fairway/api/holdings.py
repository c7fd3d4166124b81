"""What the cluster's numbers look like in the store while a Service holds them. Pure.

An address is held by its IPAddress, which users see (KEP-1880) and may delete; then a claim beside the objects, which
nobody else touches, takes its place in the same transaction. A node port has a claim from the beginning.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from fairway.api.keys import key_of
from fairway.api.metadata import timestamp
from fairway.objects import codec
from fairway.objects.kinds import IP_ADDRESS

MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
FAMILY = "ipaddress.kubernetes.io/ip-family"
ALLOCATOR = "ipallocator.k8s.io"


class Holder(msgspec.Struct, frozen=True):
    """The Service that a claim is for."""

    namespace: str = ""
    name: str = ""
    uid: str = ""


def holder_of(metadata: dict[str, Any]) -> Holder:
    """The holder that a Service's metadata tells of."""
    return Holder(metadata["namespace"], metadata["name"], metadata["uid"])


def claim(holder: Holder) -> bytes:
    """The value of a claim."""
    return msgspec.json.encode(holder)


def read_claim(value: bytes) -> Holder:
    """Who holds a claim."""
    return msgspec.json.decode(value, type=Holder)


def address_key(address: str) -> str:
    """The key of the IPAddress of an address (in canonical form)."""
    return key_of(IP_ADDRESS, "", address)


def labels_of(address: str) -> dict[str, str]:
    """The labels of an IPAddress that the allocator made."""
    return {FAMILY: "IPv6" if ":" in address else "IPv4", MANAGED_BY: ALLOCATOR}


def ip_address(holder: Holder, address: str, uid: str, now: datetime) -> bytes:
    """The IPAddress that says whose the address (in canonical form) is."""
    parent = {"group": "", "resource": "services", "namespace": holder.namespace, "name": holder.name}
    return codec.encode(
        {
            "kind": IP_ADDRESS.name,
            "apiVersion": IP_ADDRESS.api_version,
            "metadata": {
                "name": address,
                "uid": uid,
                "creationTimestamp": timestamp(now),
                "labels": labels_of(address),
            },
            "spec": {"parentRef": parent},
        }
    )
