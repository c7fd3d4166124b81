"""`Nftables` on the real kernel: transactions and readings by netlink, without the nft program (EDGE).

One transaction is one message to the kernel, whatever its length. Rules are read back through `nft list`, as only nft
knows how to say what others programmed; everything that is asked in the steady state goes by netlink alone.
"""

from __future__ import annotations

import errno
import socket
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from fairway.kernel.base import KernelError, Refused
from fairway.kernel.linux import netns
from fairway.kernel.linux import nft_numbers as n
from fairway.kernel.linux.netlink import NETFILTER, Netlink, NetlinkError, Request, attributes, read_text, text
from fairway.kernel.linux.nft_messages import Message, Unencodable, batch, header, kind, transaction
from fairway.kernel.linux.nft_sets import Shape, Unsayable, key_at, read_elements
from fairway.ruleset import nft_parse, nft_print
from fairway.ruleset.nft import AddElements, AddSet, Change, DeleteElements, Element, Set, Table, TableName, Type

_ANY_FAMILY = b"\0\0\0\0"
_HEADER_SIZE = 4
_GENERATION_ID = 1
_TABLE, _RULE_CHAIN, _CHAIN_NAME = 1, 2, 3
_SET_NAME, _SET_FLAGS = 2, 3
_ANONYMOUS = 1
_ATTEMPTS = 8
_TRANSIENT = frozenset({errno.EINTR, errno.EAGAIN, errno.ERESTART})
_TIMEOUT_SECONDS = 120.0
_TEXT_ONLY = frozenset({Type.INTERFACE, Type.UNKNOWN})  # types whose bytes mean something else in the kernel


class LinuxNftables:
    """nf_tables of the namespace at the path `namespace`; None: of the thread that first uses it.

    The socket is opened by the first call and stays open, and so keeps the namespace alive, until `close`: closing one
    that has worked on rules takes the kernel some 10 ms. For one thread at a time.
    """

    def __init__(self, namespace: str | None = None) -> None:
        self._namespace = namespace
        self._opened: Netlink | None = None

    def close(self) -> None:
        """Let go of the namespace; the next call opens it again."""
        if self._opened:
            self._opened.close()
            self._opened = None

    def identity(self) -> int:
        """See `kernel.base.Nftables.identity`."""
        return self._kernel().identity()

    def apply(self, changes: Sequence[Change]) -> None:
        """See `kernel.base.Nftables.apply`. The kernel's own interruptions are repeated."""
        if not changes:
            return
        try:
            messages = transaction(changes, self._device)
        except Unencodable as e:
            raise Refused(f"there is no netlink form of {e}", nft_print.changes(changes), e.change + 1) from None
        if not messages:
            return
        requests = batch(messages)
        for _ in range(_ATTEMPTS):
            refused = self._kernel().transact(requests)
            if not refused:
                return
            if not all(error.number in _TRANSIENT for error in refused.values()):
                raise _refusal(refused, messages, changes)
        raise KernelError(f"cannot change nftables: the kernel was interrupted {_ATTEMPTS} times")

    def read(self, table: TableName) -> Table | None:
        """See `kernel.base.Nftables.read`. Repeated when somebody changes rules meanwhile."""
        for _ in range(_ATTEMPTS):
            before = self.generation()
            found = self._read(table)
            if self.generation() == before:
                return found
        raise KernelError(f"cannot read the table {table.family} {table.name}: it changed during each reading")

    def elements(self, table: TableName, kept: Set) -> Sequence[tuple[bytes, Element]]:
        """See `kernel.base.Nftables.elements`."""
        try:
            shape = Shape(kept)
        except Unsayable as e:
            raise KernelError(f"cannot read the elements of {kept.name}: {e}") from None
        body = header(table.family) + text(1, table.name) + text(2, kept.name)
        request = Request(kind(n.GET_ELEMENTS), 0, body, f"list the elements of {kept.name}")
        try:
            replies = self._kernel().dump(request)
        except NetlinkError as e:
            if e.number == errno.ENOENT:
                return []
            raise
        return read_elements(shape, (reply.body[_HEADER_SIZE:] for reply in replies))

    def chains(self, table: TableName) -> Mapping[str, int] | None:
        """See `kernel.base.Nftables.chains`."""
        if not self._exists(table):
            return None
        body = header(table.family) + text(_TABLE, table.name)
        counts = {
            read_text(chain[_CHAIN_NAME]): 0
            for chain in self._dumped(n.GET_CHAIN, body, f"list the chains of {table.name}")
            if read_text(chain[_TABLE]) == table.name
        }
        for rule in self._dumped(n.GET_RULE, body, f"list the rules of {table.name}"):
            if read_text(rule[_TABLE]) == table.name:
                counts[read_text(rule[_RULE_CHAIN])] += 1
        return counts

    def sets(self, table: TableName) -> Collection[str]:
        """See `kernel.base.Nftables.sets`."""
        body = header(table.family) + text(_TABLE, table.name)
        if not self._exists(table):
            return frozenset()
        listed = self._dumped(n.GET_SET, body, f"list the sets of {table.name}")
        ours = (kept for kept in listed if read_text(kept[_TABLE]) == table.name)
        return frozenset(read_text(kept[_SET_NAME]) for kept in ours if not _is_anonymous(kept))

    def generation(self) -> int:
        """See `kernel.base.Nftables.generation`."""
        request = Request(kind(n.GET_GENERATION), 0, _ANY_FAMILY, "read the generation of nftables")
        reply = self._kernel().ask(request)
        return int.from_bytes(attributes(reply.body, _HEADER_SIZE).get(_GENERATION_ID, b""), "big")

    def _kernel(self) -> Netlink:
        if self._opened is None:
            self._opened = Netlink(NETFILTER, self._namespace)
        return self._opened

    def _entered(self) -> AbstractContextManager[object]:
        return netns.entered(self._namespace) if self._namespace is not None else nullcontext()

    def _device(self, name: str) -> int:
        with self._entered():
            try:
                return socket.if_nametoindex(name)
            except OSError:
                raise Unsayable(f"the device {name}, which does not exist") from None

    def _read(self, table: TableName) -> Table | None:
        """The form by nft without elements, the elements by netlink."""
        if not self._exists(table):
            return None
        listed = self._list("-a", "-t", "list", "table", table.family, table.name)
        found = nft_parse.parse(listed).tables.get(table) if listed else None
        for kept in found.sets.values() if found else ():
            if _TEXT_ONLY.isdisjoint(field.type for field in kept.key):
                kept.elements = dict(self.elements(table, kept))
            else:
                kept.elements = self._elements_as_text(table, kept)
        return found

    def _exists(self, table: TableName) -> bool:
        body = header(table.family) + text(_TABLE, table.name)
        try:
            self._kernel().ask(Request(kind(n.GET_TABLE), 0, body, f"read the table {table.name}"))
        except NetlinkError as e:
            if e.number == errno.ENOENT:
                return False
            raise
        return True

    def _dumped(self, message: int, body: bytes, what: str) -> Iterator[Mapping[int, bytes]]:
        for reply in self._kernel().dump(Request(kind(message), 0, body, what)):
            yield attributes(reply.body, _HEADER_SIZE)

    def _elements_as_text(self, table: TableName, kept: Set) -> dict[bytes, Element]:
        listed = self._list("list", "map" if kept.data else "set", table.family, table.name, kept.name)
        found = nft_parse.parse(listed).tables.get(table) if listed else None
        return found.sets[kept.name].elements if found and kept.name in found.sets else {}

    def _list(self, *arguments: str) -> str:
        """What `nft` prints; "" when what it was asked for is gone."""
        try:
            with self._entered():
                done = subprocess.run(
                    ["nft", *arguments], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
                )
        except FileNotFoundError:
            raise KernelError("nft is not installed: the package nftables has it") from None
        except (OSError, subprocess.TimeoutExpired) as e:
            raise KernelError(f"cannot run nft: {e}") from e
        if done.returncode:
            if "No such file or directory" in done.stderr:
                return ""
            raise KernelError(f"cannot list nftables: {done.stderr.strip()}")
        return done.stdout


def _is_anonymous(kept: Mapping[int, bytes]) -> bool:
    return bool(int.from_bytes(kept.get(_SET_FLAGS, b""), "big") & _ANONYMOUS)


def _refusal(refused: dict[int, NetlinkError], messages: Sequence[Message], changes: Sequence[Change]) -> KernelError:
    """The first refusal as an error that points at the change. One of the batch itself is about who asks."""
    first = min(refused)
    error = refused[first]
    if not 0 < first <= len(messages):
        return error
    message = messages[first - 1]
    change = changes[message.change]
    element = ""
    of_elements = message.request.kind in (kind(n.NEW_ELEMENTS), kind(n.DELETE_ELEMENTS))
    key = key_at(message.request.body, error.offset) if of_elements else b""
    if key and isinstance(change, AddSet | AddElements | DeleteElements):
        element = f": {nft_print.spelled_key([field.type for field in change.set.key], key)}"
    code = errno.errorcode.get(error.number, str(error.number))
    reason = f"cannot {message.request.what}: {error.reason} ({code}){element}"
    return Refused(reason, nft_print.changes(changes), message.change + 1)
