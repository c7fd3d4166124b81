"""Each API server keeps a record that it is there, and all of them keep `default/kubernetes` to those who are.

A server renews its record well within its lease; whoever sees one expire removes it, so that all agree at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from ipaddress import ip_address

from fairway.api.bootstrap import publish
from fairway.api.keys import API_SERVERS, api_server_key
from fairway.api.peers import Peer, Roll
from fairway.api.writes import Writer
from fairway.packet import host_port
from fairway.store.base import Check, Conflict, Delete, Put, Store


class Attendance:
    """One server's presence among the servers of its cluster. `clock` gives seconds that only go on."""

    def __init__(
        self, store: Store, writer: Writer, cidrs: tuple[str, ...], me: Peer, lease: float, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._writer = writer
        self._cidrs = cidrs
        self._me = me
        self._clock = clock
        self._roll = Roll(lease)
        # Endpoints may not be loopback addresses: a pod would reach itself there.
        self._reachable = not ip_address(me.address).is_loopback

    async def renew(self, longest: float) -> float:
        """Say that this server is there, see who else is, and make the way to the API lead to all of them. Returns in
        how many seconds to do it again, at most `longest`."""
        peers: list[Peer] = []
        if self._reachable:
            await self._store.commit([], [Put(_key(self._me), b"{}")])
            peers = await self._living()
        await publish(self._writer, self._cidrs, self._me.port, peers)
        return self._roll.wait(self._clock(), longest)

    async def leave(self) -> None:
        """Take this server off, unless it is the only one: others may still find it on their way to the next."""
        if self._reachable:
            await self._store.commit([], [Delete(_key(self._me))])
            if peers := await self._living():
                await publish(self._writer, self._cidrs, peers[0].port, peers)

    async def _living(self) -> list[Peer]:
        records = {_peer(entry.key): entry for entry in (await self._store.range(API_SERVERS)).entries}
        gone = self._roll.take({peer: entry.modified for peer, entry in records.items()}, self._clock())
        for peer in gone:
            entry = records[peer]
            with contextlib.suppress(Conflict):
                await self._store.commit([Check(entry.key, entry.modified)], [Delete(entry.key)])
        return sorted(records.keys() - gone)


def _key(peer: Peer) -> str:
    return api_server_key(host_port(*peer))


def _peer(key: str) -> Peer:
    address, _, port = key.removeprefix(API_SERVERS).rpartition(":")
    return Peer(address.strip("[]"), int(port))
