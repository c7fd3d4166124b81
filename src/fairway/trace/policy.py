"""Which routing table a packet is looked up in: the rules of `ip rule` (ip-rule(8)) beyond those every node has."""

from __future__ import annotations

from dataclasses import dataclass

from fairway.node import Address, Network
from fairway.packet import Family

MAIN = "main"
"""Also `254`; the table `default` (253) is empty unless somebody fills it."""


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One rule: what it asks of a packet, and the table it names or what it does (`action`: "unreachable",
    "blackhole", "prohibit"). `longer_than` is suppress_prefixlength (-1: none); `unknown` are words that are not
    followed here; `family` None: both."""

    priority: int
    table: str = ""
    source: Network | None = None
    destination: Network | None = None
    mark: int = 0
    mask: int = 0
    in_device: str = ""
    out_device: str = ""
    negated: bool = False
    action: str = ""
    longer_than: int = -1
    unknown: str = ""
    family: Family | None = None

    def applies(self, source: Address | None, destination: Address, mark: int, in_device: str) -> bool:
        """Whether the rule asks for such a packet. A packet of the node's own comes in by `lo` (fib_rules.c); `oif`
        asks for a socket bound to a device, which nothing here is; what is `unknown` is left out."""
        if self.family is not None and (self.family is Family.IPV6) != (destination.version == 6):
            return False
        if self.unknown or self.out_device:
            return False
        return self._matches(source, destination, mark, in_device or "lo") != self.negated

    def _matches(self, source: Address | None, destination: Address, mark: int, in_device: str) -> bool:
        return (
            self.in_device in ("", in_device)
            and (mark & self.mask) == self.mark
            and _within(source, self.source)
            and _within(destination, self.destination)
        )

    def __str__(self) -> str:
        parts = [f"rule {self.priority}:", "not" if self.negated else "", f"from {self.source or 'all'}"]
        parts += [f"to {self.destination}"] if self.destination else []
        parts += [f"fwmark {self.mark:#x}/{self.mask:#x}"] if self.mask else []
        parts += [f"iif {self.in_device}"] if self.in_device else []
        parts += [self.action or f"lookup {self.table}"]
        return " ".join(part for part in parts if part)


def _within(address: Address | None, network: Network | None) -> bool:
    return network is None or (address is not None and address.version == network.version and address in network)
