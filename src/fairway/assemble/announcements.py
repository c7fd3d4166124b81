"""Who announces which load-balancer address, as objects say, and who would if a node died. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fairway.announce.bulletin import Bulletin, reaches, read
from fairway.announce.election import Wish, orders
from fairway.assemble.announceable import by_service, wishes
from fairway.client.base import Object
from fairway.control.loadbalancer_pools import Settings
from fairway.control.times import parse

GRACE = 3.0
"""Seconds by which the clock of who looks may differ from that of who renewed a Lease. The announcers themselves do
not compare clocks."""
_COLUMNS = ("ADDRESS", "NODE", "SINCE", "WHY", "NEXT")


class UnknownNode(LookupError):
    """There is no announcer on that node; the message says where there are."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """An address that is to be announced: by which `node` it is ("": by none), since when and why; `next` are the
    nodes that would follow. `silent`: the node's Lease has not been renewed for so many seconds, too long."""

    address: str
    services: tuple[str, ...]
    node: str
    since: str
    why: str
    next: tuple[str, ...]
    silent: float = 0.0


@dataclass(frozen=True, slots=True)
class IfDead:
    """What would be if `node` died: by address who would take it ("": nobody); others stay where they are. `seconds`
    is how long it takes to find out that it died."""

    node: str
    takers: Mapping[str, str]
    seconds: float


@dataclass(frozen=True, slots=True)
class Scene:
    """What is to be announced, and what the Leases say: bulletins by node, with the seconds since their renewal."""

    wanted: Mapping[str, Wish]
    said: Mapping[str, tuple[Bulletin, float]]

    @classmethod
    def of(
        cls,
        services: Iterable[Object],
        nodes: Sequence[Object],
        slices: Iterable[Object],
        leases: Iterable[Object],
        settings: Settings,
        now: float,
    ) -> Scene:
        """From the objects. `now` is in seconds since the epoch. Leases that say nothing are left out."""
        said: dict[str, tuple[Bulletin, float]] = {}
        for lease in leases:
            try:
                bulletin = read(lease)
            except ValueError:
                continue
            renewed = parse((lease.get("spec") or {}).get("renewTime"))
            said[bulletin.node] = bulletin, now - renewed if renewed is not None else float("inf")
        return cls(wishes(services, nodes, by_service(slices), settings), said)

    def announcements(self) -> tuple[Announcement, ...]:
        """Every address that is to be announced, in order."""
        holders, order = self._holders(), self._orders()
        found = []
        for address, wish in sorted(self.wanted.items(), key=lambda each: ipaddress.ip_address(each[0]).packed):
            node = holders.get(address, "")
            rest = tuple(each for each in order[address] if each != node)
            if not node:
                why = (
                    "no node that may announce it has an announcer that reaches it" if not rest else "about to be taken"
                )
                found.append(Announcement(address, wish.services, "", "", why, rest))
                continue
            bulletin, age = self.said[node]
            claim = bulletin.claims[address]
            silent = 0.0 if self._lives(node) else age
            found.append(Announcement(address, wish.services, node, claim.since, claim.why, rest, silent))
        return tuple(found)

    def if_dead(self, node: str) -> IfDead:
        """What would be without a node. Raises UnknownNode."""
        if node not in self.said:
            others = f"there are on {', '.join(sorted(self.said))}" if self.said else "there is none anywhere"
            raise UnknownNode(f"no announcer on node {node!r}; {others}")
        left = {address: holder for address, holder in self._holders().items() if holder == node}
        order = self._orders(without=node)
        takers = {address: next(iter(order[address]), "") for address in sorted(left)}
        return IfDead(node, takers, self.said[node][0].lapse)

    def _lives(self, node: str) -> bool:
        bulletin, age = self.said[node]
        return not bulletin.leaving and age < bulletin.lapse + GRACE

    def _holders(self) -> dict[str, str]:
        """Who says that it announces an address; of two, the one of the younger right."""
        found: dict[str, tuple[int, str]] = {}
        for node, (bulletin, _) in self.said.items():
            for address, claim in bulletin.claims.items():
                if claim.held and address in self.wanted:
                    found[address] = max(found.get(address, (0, "")), (claim.term, node))
        return {address: node for address, (_, node) in found.items()}

    def _orders(self, without: str = "") -> Mapping[str, tuple[str, ...]]:
        there = {node: said.reach for node, (said, _) in self.said.items() if node != without and self._lives(node)}
        able = {
            address: {node for node, reach in there.items() if reaches(reach, ipaddress.ip_address(address))}
            for address in self.wanted
        }
        holders = {address: node for address, node in self._holders().items() if node in there}
        return orders(self.wanted, able, holders)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table; the last column is as wide as it is."""
    every, last = [columns, *rows], len(columns) - 1
    widths = [max(len(row[index]) for row in every) for index in range(last)]
    return ["  ".join([*(cell.ljust(widths[i]) for i, cell in enumerate(row[:last])), row[last]]) for row in every]


def lines(found: Sequence[Announcement]) -> list[str]:
    """For people: a table of addresses."""
    return table(_COLUMNS, [_row(each) for each in found])


def fate(told: IfDead) -> list[str]:
    """For people: what would be."""
    if not told.takers:
        return [f"if {told.node} died: no address would move"]
    found = [f"if {told.node} died, which others would know in {told.seconds:.1f} s:"]
    for address, node in told.takers.items():
        found.append(f"  {address} would be announced by {node or 'nobody: no other node may'}")
    return found


def _row(each: Announcement) -> tuple[str, str, str, str, str]:
    why = each.why
    if each.silent:
        why = f"{why}; silent for {each.silent:.0f} s"
    since = each.since.partition(".")[0].removesuffix("Z")
    return each.address, each.node or "-", f"{since}Z" if since else "-", why, ",".join(each.next) or "-"
