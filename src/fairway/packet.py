"""Packets and what can become of them: families, protocols, the five-tuple, the closed list of outcomes.

The oracle (`desired.decide`), the tracer (`trace`) and the lab speak of a packet's fate only in these words, so that
their answers can be compared for equality.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias


class Family(enum.StrEnum):
    """IP families, spelled as Service.spec.ipFamilies spells them."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


class Protocol(enum.StrEnum):
    """Transport protocols a ServicePort may name."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"

    @property
    def number(self) -> int:
        """The protocol's number in the IP header (IANA)."""
        return {"TCP": 6, "UDP": 17, "SCTP": 132}[self.value]


def family_of(address: str) -> Family:
    """The family of an address or CIDR in text form; only IPv6 text holds a colon."""
    return Family.IPV6 if ":" in address else Family.IPV4


def host_port(address: str, port: int) -> str:
    """`10.0.0.1:80` or `[fd00::1]:80`, as logs, rules and URLs write it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection, as it enters a node or leaves one of its processes.

    Addresses are in canonical text form. `in_interface` is the device it arrives on; "" means that a process of the
    node itself sends it (it then meets OUTPUT instead of PREROUTING).
    """

    source: str
    destination: str
    protocol: Protocol
    destination_port: int
    source_port: int = 40000
    in_interface: str = ""

    @property
    def family(self) -> Family:
        return family_of(self.destination)


class Verdict(enum.StrEnum):
    """What can happen to a packet. The list is closed: a new word needs a sentence in `trace.explain` too."""

    ENDPOINT = "endpoint"  # translated to an endpoint of a Service and sent there
    UNTRANSLATED = "untranslated"  # no Service claims it: it goes to the address it names
    REJECTED = "rejected"  # refused with an ICMP error or a reset
    DROPPED = "dropped"  # vanishes without an answer
    UNKNOWN = "unknown"  # the rules at hand do not say (partial dump, unknown match)


@dataclass(frozen=True, slots=True, order=True)
class Outcome:
    """One possible fate. `endpoint` is "address:port" when verdict is ENDPOINT; `masqueraded` says whether the
    receiver sees the node's address instead of the packet's source."""

    verdict: Verdict
    endpoint: str = ""
    masqueraded: bool = False


Outcomes: TypeAlias = Mapping[Outcome, Fraction]
"""Every possible outcome with its exact probability; the fractions sum to 1."""
