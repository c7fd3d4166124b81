"""Connections that the kernel knows already: what its table of them says about a packet of one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fairway.packet import Protocol


class Original(NamedTuple):
    """The two ends of a packet, as connection tracking keeps them."""

    source: str
    destination: str
    source_port: int
    destination_port: int

    def turned(self) -> Original:
        """The ends of a packet that goes back."""
        return Original(self.destination, self.source, self.destination_port, self.source_port)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of `conntrack -L`: the connection as it began, and the answers to it as they are expected. `replied`
    says that one was seen, `state` is the protocol's own ("ESTABLISHED", "TIME_WAIT"), `seconds` is what is left."""

    protocol: Protocol
    original: Original
    reply: Original
    replied: bool = True
    mark: int = 0
    state: str = ""
    seconds: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What an entry says about a packet: `after` are its ends once translated. `answer`: it goes the way back."""

    entry: Entry
    after: Original
    answer: bool = False

    @property
    def established(self) -> bool:
        """Whether rules see the packet as ESTABLISHED: not before the connection was answered (nf_conntrack_core.c)."""
        return self.answer or self.entry.replied


@dataclass(frozen=True, slots=True)
class Connections:
    """The table, by protocol and ends."""

    entries: Mapping[tuple[Protocol, Original], Known] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Connections:
        """The table of these entries."""
        found: dict[tuple[Protocol, Original], Known] = {}
        for entry in entries:
            found[entry.protocol, entry.original] = Known(entry, entry.reply.turned())
            found.setdefault((entry.protocol, entry.reply), Known(entry, entry.original.turned(), answer=True))
        return cls(found)

    def find(self, protocol: Protocol, ends: Original) -> Known | None:
        """The entry that a packet with these ends belongs to."""
        return self.entries.get((protocol, ends))

    def alike(self, protocol: Protocol, ends: Original) -> list[Entry]:
        """Entries of the same client and destination, whatever their source port; the longest left first."""
        found = [
            known.entry
            for (kind, original), known in self.entries.items()
            if kind is protocol
            and not known.answer
            and original._replace(source_port=0) == ends._replace(source_port=0)
        ]
        return sorted(found, key=lambda entry: -entry.seconds)
