"""Which endpoints of a Service port this node uses: readiness, terminating fall-back, policies, topology hints.

Sources: KEP-1669 (terminating endpoints), KEP-2086 (internalTrafficPolicy), KEP-2433 and KEP-3015 (topology hints,
same-node preference).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from fairway.desired.model import Endpoint


class Candidate(NamedTuple):
    """An endpoint as the slices describe it. `zones` and `nodes` are its topology hints; empty: none given.

    (A named tuple because tens of thousands are made when a proxy starts, in a third of a dataclass's time.)
    """

    endpoint: Endpoint
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zones: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()

    @property
    def last_resort(self) -> bool:
        """Going away but still answering: used only where nothing ready is left."""
        return self.serving and self.terminating

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """Which of two descriptions of the same address counts, when slices overlap: the higher."""
        return (self.endpoint.local, self.ready, self.serving)


class Chosen(NamedTuple):
    """The endpoints for policy Cluster and for policy Local, sorted by text; `reachable`: anyone serves anywhere."""

    cluster: tuple[Endpoint, ...]
    local: tuple[Endpoint, ...]
    reachable: bool


def choose(
    candidates: Iterable[Candidate], node_name: str, zone: str, *, uses_cluster: bool = True, uses_local: bool = True
) -> Chosen:
    """Choose for the node `node_name` in `zone` ("" when unknown). A set that no address uses is left empty."""
    distinct = _deduplicate(candidates)
    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    if uses_cluster:
        near = topology(distinct, node_name, zone)
        cluster = _serving([c for c in distinct if near(c)]) or _serving(distinct)
    if uses_local:
        local = _serving([c for c in distinct if c.endpoint.local])
    return Chosen(cluster, local, any(c.ready or c.last_resort for c in distinct))


def topology(candidates: Sequence[Candidate], node_name: str, zone: str) -> Callable[[Candidate], bool]:
    """The filter that hints ask for. A kind of hint counts only if every ready endpoint has one, and only if it
    leaves some endpoint for this node: half-written hints must not turn traffic away. Node hints go before zones."""
    ready = [c for c in candidates if c.ready]
    if all(c.nodes for c in ready) and any(node_name in c.nodes for c in ready):
        return lambda c: node_name in c.nodes
    if zone and all(c.zones for c in ready) and any(zone in c.zones for c in ready):
        return lambda c: zone in c.zones
    return lambda _: True


def _serving(candidates: Sequence[Candidate]) -> tuple[Endpoint, ...]:
    """The ready ones, or, failing these, those that still answer while they go away."""
    ready = tuple(c.endpoint for c in candidates if c.ready)
    return ready or tuple(c.endpoint for c in candidates if c.last_resort)


def _deduplicate(candidates: Iterable[Candidate]) -> list[Candidate]:
    """One candidate per address and port, in the order of their text."""
    best: dict[str, Candidate] = {}
    for candidate in candidates:
        text = str(candidate.endpoint)
        known = best.get(text)
        if known is None or candidate.rank > known.rank:
            best[text] = candidate
    return [best[text] for text in sorted(best)]
