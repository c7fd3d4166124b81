"""Transactions that land once, however often they have to be sent.

When a connection is lost after a transaction was sent, nobody knows whether it was done, or whether it is still on its
way to being done. So each transaction also moves a *slot*, a small key that one writer holds for one transaction at a
time: it says "slot last modified at m" among its checks and writes the slot among its changes. Sent again, it is done
only if it was not done before; if it was, the slot's own revision is the transaction's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairway.store import etcd_wire as wire
from fairway.store.base import Check, Conflict, Delete, Entry, Put
from fairway.store.etcd_rpc import Cluster

_DONE, _FENCED = b"done", b"fenced"
"""What a slot holds: whether the last thing that moved it was a transaction, or the end of waiting for one."""

SWEEP = 100
"""Abandoned slots removed at a time; an etcd transaction has at most 128 operations unless told otherwise."""


@dataclass(slots=True)
class Slot:
    """A key and the revision of its last change (0: it does not exist)."""

    key: bytes
    modified: int = 0


class Slots:
    """The slots of one writer, `name`, under `prefix`; as many as it ever had transactions under way at once."""

    def __init__(self, cluster: Cluster, prefix: bytes, name: str) -> None:
        self._cluster = cluster
        self._prefix = prefix
        self._mine = prefix + name.encode() + b"/"
        self._free: list[Slot] = []
        self._made = 0

    def take(self) -> Slot:
        """A slot nobody else uses until it is given back. One whose fate is unknown is never given back."""
        if self._free:
            return self._free.pop()
        self._made += 1
        return Slot(self._mine + b"%d" % self._made)

    def give_back(self, slot: Slot) -> None:
        self._free.append(slot)

    async def sweep(self, before: int) -> None:
        """Remove slots unused since before a revision: their writers crashed, or will make them again."""
        request = wire.range_request(self._prefix, wire.prefix_end(self._prefix), keys_only=True)
        answer, _ = await self._cluster.call(wire.RANGE, request)
        old = [found for found in wire.read_range(answer).found if found.modified < before][:SWEEP]
        if old:
            compares = [wire.modified_is(found.key, found.modified) for found in old]
            removals = [wire.delete_op(wire.delete_request(found.key)) for found in old]
            await self._cluster.call(wire.TXN, wire.txn_request(compares, removals, ()))

    async def clear(self) -> None:
        """Remove this writer's slots: it writes no more."""
        if self._made:
            request = wire.delete_request(self._mine, wire.prefix_end(self._mine))
            await self._cluster.call(wire.DELETE_RANGE, request)


class Writer:
    """Sends transactions on keys under `prefix`."""

    def __init__(self, cluster: Cluster, slots: Slots, prefix: bytes) -> None:
        self._cluster = cluster
        self._slots = slots
        self._prefix = prefix

    async def write(self, checks: Sequence[Check], changes: Sequence[Put | Delete]) -> int:
        """Do the changes, which must be real ones, or none; returns the revision. Raises Conflict, Refused, Unusable,
        and Silent when it is not known what became of it."""
        looks = [wire.range_op(wire.range_request(self._key(check.key))) for check in checks]
        compares = [wire.modified_is(self._key(check.key), check.modified) for check in checks]
        if not changes:
            reply, _ = await self._send(wire.txn_request(compares, (), looks))
            self._hold(checks, reply.ranges, reply.succeeded)
            return reply.revision
        slot = self._slots.take()
        revision = await self._once(slot, checks, compares, [self._operation(change) for change in changes], looks)
        self._slots.give_back(slot)
        return revision

    async def _once(
        self, slot: Slot, checks: Sequence[Check], compares: list[bytes], operations: list[bytes], looks: list[bytes]
    ) -> int:
        while True:
            reply, doubtful = await self._guarded(slot, _DONE, compares, operations, looks)
            if reply.succeeded:
                slot.modified = reply.revision
                return reply.revision
            if done := _done(slot, reply.ranges[0]):
                return done
            if reply.ranges[0].found or not slot.modified:
                break
            # The slot was swept away while it was idle; so nothing that counted on it was done or ever will be.
            slot.modified = 0
        if doubtful and (done := await self._fence(slot)):
            return done
        self._slots.give_back(slot)
        self._hold(checks, reply.ranges[1:], holds=False)
        raise AssertionError("a transaction failed whose checks all hold")

    async def _guarded(
        self, slot: Slot, word: bytes, compares: list[bytes], operations: list[bytes], looks: list[bytes]
    ) -> tuple[wire.TxnReply, bool]:
        unmoved = wire.modified_is(slot.key, slot.modified)
        move = wire.put_op(wire.put_request(slot.key, word))
        look = wire.range_op(wire.range_request(slot.key))
        return await self._send(wire.txn_request([unmoved, *compares], [move, *operations], [look, *looks]))

    async def _fence(self, slot: Slot) -> int:
        """Move the slot so that an attempt which is still under way can no longer be done; if it was done first, the
        revision it was done at, else 0."""
        reply, _ = await self._guarded(slot, _FENCED, [], [], [])
        if reply.succeeded:
            slot.modified = reply.revision
            return 0
        return _done(slot, reply.ranges[0])

    async def _send(self, request: bytes) -> tuple[wire.TxnReply, bool]:
        answer, doubtful = await self._cluster.call(wire.TXN, request)
        return wire.read_txn(answer), doubtful

    def _hold(self, checks: Sequence[Check], found: Sequence[wire.RangeReply], holds: bool) -> None:
        """Raise Conflict for the first check that does not hold by what the transaction saw."""
        if holds:
            return
        for check, reply in zip(checks, found, strict=True):
            seen = reply.found[0] if reply.found else None
            if (seen.modified if seen else 0) != check.modified:
                entry = Entry(check.key, seen.value, seen.created, seen.modified) if seen else None
                raise Conflict(check.key, entry)

    def _operation(self, change: Put | Delete) -> bytes:
        key = self._key(change.key)
        if isinstance(change, Delete):
            return wire.delete_op(wire.delete_request(key))
        return wire.put_op(wire.put_request(key, change.value))

    def _key(self, key: str) -> bytes:
        return self._prefix + key.encode()


def _done(slot: Slot, reply: wire.RangeReply) -> int:
    """The revision at which an earlier attempt did its transaction; 0 when none did."""
    if not reply.found or reply.found[0].modified == slot.modified:
        return 0
    slot.modified = reply.found[0].modified
    return slot.modified if reply.found[0].value == _DONE else 0
