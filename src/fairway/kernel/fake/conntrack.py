"""`Conntrack` in memory: a table of flows that is filled by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairway.kernel.base import Flow
from fairway.packet import Family


class FakeConntrack:
    """The connections of one pretended namespace. `deleted` lists what was deleted, in order."""

    def __init__(self, flows: Iterable[Flow] = ()) -> None:
        self.deleted: list[Flow] = []
        self._flows: dict[tuple[object, ...], Flow] = {}
        for flow in flows:
            self.add(flow)

    def add(self, flow: Flow) -> None:
        """A new connection; one of the same original tuple ends."""
        self._flows[_tuple(flow)] = flow

    def flows(self, family: Family, protocol: int = 0) -> Sequence[Flow]:
        """See `kernel.base.Conntrack.flows`."""
        return [f for f in self._flows.values() if f.family is family and protocol in (0, f.protocol)]

    def delete(self, flows: Sequence[Flow]) -> int:
        """See `kernel.base.Conntrack.delete`."""
        before = len(self.deleted)
        for flow in flows:
            found = self._flows.get(_tuple(flow))
            if found and flow.identity in (0, found.identity):
                self.deleted.append(self._flows.pop(_tuple(flow)))
        return len(self.deleted) - before


def _tuple(flow: Flow) -> tuple[object, ...]:
    """What the kernel finds a connection by: its original direction."""
    return flow.family, flow.protocol, flow.source, flow.source_port, flow.destination, flow.destination_port
