"""Which node is to announce which address. Pure: the same from the same, on every node alike.

What is held by a node that may hold it stays there. What nobody holds goes to the node that has least, and among
equals to the one that a hash of both names prefers, so that nodes need not agree on an order to agree on a choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wish:
    """An address to be announced, for these Services. `choices` are the nodes that may: those of an earlier one go
    before those of a later one."""

    address: str
    services: tuple[str, ...]
    choices: tuple[frozenset[str], ...]

    def best(self, able: Collection[str]) -> frozenset[str]:
        """Of the nodes that are able, those that may announce it now."""
        return next((found for each in self.choices if (found := each.intersection(able))), frozenset())


def orders(
    wishes: Mapping[str, Wish], able: Mapping[str, Collection[str]], holders: Mapping[str, str]
) -> Mapping[str, tuple[str, ...]]:
    """For each address the nodes that may announce it, the one that is to do it first. `able` are the nodes that are
    there and reach the address, `holders` who has it now."""
    best = {address: wish.best(able.get(address, ())) for address, wish in wishes.items()}
    stay = {address: node for address, node in holders.items() if node in best.get(address, ())}
    load: dict[str, int] = {}
    for node in stay.values():
        load[node] = load.get(node, 0) + 1
    found: dict[str, tuple[str, ...]] = {}
    for address in sorted(best):
        ranked = sorted(best[address], key=lambda node, at=address: (load.get(node, 0), _score(at, node)))  # type: ignore[misc]
        first = stay.get(address)
        if first is None and ranked:
            load[ranked[0]] = load.get(ranked[0], 0) + 1
        elif first is not None:
            ranked = [first, *(node for node in ranked if node != first)]
        found[address] = tuple(ranked)
    return found


def _score(address: str, node: str) -> bytes:
    return hashlib.blake2b(f"{address} {node}".encode(), digest_size=8).digest()
