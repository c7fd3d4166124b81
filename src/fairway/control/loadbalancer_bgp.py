"""The settings' part about routers: as what the nodes speak BGP, and to whom. Pure.

`bgp` (YAML or JSON) has `localAS` and `peers`, a list of `address`, `as`, and where it differs `holdTime` (seconds, 9),
`hops` (1), `bfd` (false) and `nodeSelector` (labels of the nodes that speak to it; none: all).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LARGEST_AS = 2**32 - 2  # RFC 7300
_PEER = ("address", "as", "holdTime", "hops", "bfd", "nodeSelector")


@dataclass(frozen=True, slots=True)
class Peer:
    """A router that nodes with `node_labels` speak to. Without a word for `hold` seconds the connection is lost."""

    address: str
    asn: int
    hold: int = 9
    hops: int = 1
    bfd: bool = False
    node_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bgp:
    """The nodes' autonomous system and their peers."""

    asn: int
    peers: tuple[Peer, ...] = ()


def read(said: Any) -> Bgp:
    """The value of `bgp`. Raises ValueError with the place and what is wrong there."""
    fields = _fields(said, ("localAS", "peers"), "bgp")
    peers = fields.get("peers") or []
    if not isinstance(peers, list):
        raise ValueError("bgp.peers: a list is expected")
    found = tuple(_peer(each, f"bgp.peers[{index}]") for index, each in enumerate(peers))
    for index, peer in enumerate(found):
        if peer.address in (other.address for other in found[:index]):
            raise ValueError(f"bgp.peers[{index}].address: {peer.address} is another peer's")
    return Bgp(_number(fields, "localAS", "bgp", 1, _LARGEST_AS), found)


def labels(said: Any, where: str) -> dict[str, str]:
    """A nodeSelector: labels and their values. Raises ValueError."""
    found = said if said is not None else {}
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise ValueError(f"{where}: a mapping of labels to texts is expected")
    return {str(name): value for name, value in found.items()}


def _peer(said: Any, where: str) -> Peer:
    fields = _fields(said, _PEER, where)
    text = fields.get("address")
    try:
        address = str(ipaddress.ip_address(text)) if isinstance(text, str) and "%" not in text else ""
    except ValueError:
        address = ""
    if not address:
        raise ValueError(f"{where}.address: {text!r} is no IP address")
    bfd = fields.get("bfd", False)
    if not isinstance(bfd, bool):
        raise ValueError(f"{where}.bfd: {bfd!r} is neither true nor false")
    return Peer(
        address,
        _number(fields, "as", where, 1, _LARGEST_AS),
        _number({"holdTime": 9} | fields, "holdTime", where, 3, 65535),  # RFC 4271, section 4.2
        _number({"hops": 1} | fields, "hops", where, 1, 255),
        bfd,
        labels(fields.get("nodeSelector"), f"{where}.nodeSelector"),
    )


def _fields(said: Any, known: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise ValueError(f"{where}: a mapping with {', '.join(known)} is expected")
    unknown = sorted(str(name) for name in said.keys() - set(known))
    if unknown:
        raise ValueError(f"{where}: unknown field {unknown[0]!r}; there are {', '.join(known)}")
    return said


def _number(fields: Mapping[str, Any], name: str, where: str, least: int, most: int) -> int:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{where}.{name}: {value!r} is no number from {least} to {most}")
    return value
