"""Notices of nf_tables: who changed which tables, as the kernel tells everybody who listens (EDGE)."""

from __future__ import annotations

import select
from collections.abc import Sequence

from fairway.kernel.base import Notice
from fairway.kernel.linux import nft_numbers as n
from fairway.kernel.linux.netlink import NETFILTER, Netlink, Reply, attributes, read_text
from fairway.kernel.linux.nft_messages import kind
from fairway.ruleset.nft import TableName

_HEADER_SIZE = 4
_TABLE = 1  # the same attribute in all messages but that of the generation
_NAMES = {
    **dict.fromkeys((kind(n.NEW_CHAIN), kind(n.DELETE_CHAIN)), 3),
    **dict.fromkeys((kind(n.NEW_RULE), kind(n.DELETE_RULE)), 2),
    **dict.fromkeys((kind(n.NEW_SET), kind(n.DELETE_SET)), 2),
    **dict.fromkeys((kind(n.NEW_ELEMENTS), kind(n.DELETE_ELEMENTS)), 2),
}
"""The attribute that names the chain or set, by message."""
_ID, _PROCESS, _PROGRAM = 1, 2, 3


class NftNotices:
    """`Notices` of the namespace at the path `namespace`; None: of the calling thread's own. The transactions of the
    handle whose identity is `own` are not told; the kernel itself leaves them out, as one of many elements would fill
    the socket.

    As long as anybody listens, the kernel describes every element of every transaction and keeps what it says until
    the end (Linux 6.18): 60,000 elements take it 0.19 s of CPU instead of 0.11, 264,000 take 0.9 to 4 s instead of
    0.6. So listen from after a first load on; `Nftables.generation` tells whether somebody came between."""

    def __init__(self, namespace: str | None = None, own: int = 0) -> None:
        self._kernel = Netlink(NETFILTER, namespace, groups=1 << n.GROUP - 1)
        if own:
            self._kernel.ignore(own)
        self._tables: set[TableName] = set()
        self._names: set[tuple[TableName, str]] = set()

    def fileno(self) -> int:
        """See `kernel.base.Notices.fileno`."""
        return self._kernel.fileno()

    def close(self) -> None:
        """See `kernel.base.Notices.close`."""
        self._kernel.close()

    def wait(self, seconds: float) -> Sequence[Notice]:
        """See `kernel.base.Notices.wait`. A transaction is told when the kernel has said all of it."""
        found: list[Notice] = []
        ready = select.poll()  # and not select, which knows no descriptors above 1023
        ready.register(self._kernel.fileno(), select.POLLIN)
        while ready.poll(0 if found else seconds * 1000):
            heard = self._kernel.hear()
            if heard is None:
                self._tables.clear()
                self._names.clear()
                found.append(Notice(lost=True))
            else:
                found += (notice for reply in heard if (notice := self._read(reply)))
        return found

    def _read(self, reply: Reply) -> Notice | None:
        """Gather the names; the message of the new generation, which is the last, ends the transaction."""
        known = attributes(reply.body, _HEADER_SIZE)
        if reply.kind != kind(n.NEW_GENERATION):
            table = TableName(n.FAMILY_NAMES.get(reply.body[0], ""), read_text(known.get(_TABLE, b"")))
            self._tables.add(table)
            if reply.kind in _NAMES:
                self._names.add((table, read_text(known.get(_NAMES[reply.kind], b""))))
            return None
        tables, self._tables = frozenset(self._tables), set()
        names, self._names = frozenset(self._names), set()
        generation, process = (int.from_bytes(known.get(number, b""), "big") for number in (_ID, _PROCESS))
        return Notice(generation, tables, names, process, read_text(known.get(_PROGRAM, b"")), reply.sender)
