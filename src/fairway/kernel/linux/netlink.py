"""Netlink, the kernel's own request protocol (RFC 3549, linux/netlink.h): messages, attributes, and a socket.

The codec knows no subsystem: rtnetlink, ctnetlink and nf_tables put their headers and attribute numbers into it. All
numbers are in host byte order except where a subsystem wants network order (`be16`, `be32`, `be64`).
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import NamedTuple

from fairway.kernel.base import KernelError
from fairway.kernel.linux import netns

ROUTE = 0  # NETLINK_ROUTE
NETFILTER = 12  # NETLINK_NETFILTER

REPLACE = 0x100
EXCLUSIVE = 0x200
CREATE = 0x400
APPEND = 0x800

_REQUEST = 0x1
_ACK = 0x4
_DUMP = 0x300
_DUMP_INTERRUPTED = 0x10
_CAPPED = 0x100
_ACK_TLVS = 0x200

_ERROR = 2
_DONE = 3
_MESSAGE_ATTRIBUTE = 1  # NLMSGERR_ATTR_MSG
_OFFSET_ATTRIBUTE = 2  # NLMSGERR_ATTR_OFFS

_SOL_NETLINK = 270
_CAP_ACK = 10
_EXT_ACK = 11
_STRICT_CHECK = 12

NESTED = 0x8000  # marks an attribute that holds attributes
_TYPE_MASK = 0x3FFF

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_BATCH_MESSAGES = 64  # their acknowledgements must fit the receive buffer
_BATCH_BYTES = 64 * 1024
_RECEIVE_BYTES = 128 * 1024
_SEND_BYTES = 64 * 1024  # what any socket's buffer takes
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER
_SEND_BUFFER_FORCE = 32  # SO_SNDBUFFORCE
_TIMEOUT_SECONDS = 10  # the kernel answers within the call; silence means a message it takes for none
_DUMP_ATTEMPTS = 16


class NetlinkError(KernelError):
    """The kernel refused one request. `number` is the errno, `reason` its text or the kernel's own longer one;
    `offset` is where in the request's body the attribute at fault begins, 0 when the kernel does not say."""

    def __init__(self, what: str, number: int, reason: str = "", offset: int = 0) -> None:
        self.number = number
        self.offset = offset
        self.reason = reason or os.strerror(number)
        code = errno.errorcode.get(number, str(number))
        advice = "; root, or CAP_NET_ADMIN, is needed" if number == errno.EPERM else ""
        super().__init__(f"cannot {what}: {self.reason} ({code}{advice})")


class Request(NamedTuple):
    """One message to the kernel. `body` is the subsystem's header with its attributes behind it; `what` completes
    the sentence "cannot ..." should the kernel refuse."""

    kind: int
    flags: int
    body: bytes
    what: str


class Reply(NamedTuple):
    """One message from the kernel. `sender`: the socket that asked for what a notice tells of."""

    kind: int
    body: bytes
    sender: int = 0


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    size = 4 + len(payload)
    return _ATTRIBUTE.pack(size, kind) + payload + b"\0" * (-size & 3)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(attributes))


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(1, "little"))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def be16(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(2, "big"))


def be32(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(4, "big"))


def be64(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(8, "big"))


def text(kind: int, value: str) -> bytes:
    """A string with its closing zero byte."""
    return attribute(kind, value.encode() + b"\0")


def read_text(payload: bytes) -> str:
    """A string attribute's value, without the closing zero byte."""
    return payload.rstrip(b"\0").decode(errors="replace")


def read_u32(payload: bytes | None) -> int:
    """A host-order number, 0 for an attribute that is not there."""
    return int.from_bytes(payload, sys.byteorder) if payload else 0


def read_address(packed: bytes) -> str:
    """An IP address as the rest of Fairway spells it (`ipaddress`): inet_ntop writes `::ffff:10.0.0.1` where that
    says `::ffff:a00:1`."""
    if len(packed) == 4:
        return socket.inet_ntop(socket.AF_INET, packed)
    spelled = socket.inet_ntop(socket.AF_INET6, packed)
    return str(ipaddress.IPv6Address(packed)) if "." in spelled else spelled


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes from `offset` on, by number without the flag bits; of repeated ones the last."""
    return dict(attribute_list(data, offset))


def attribute_list(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes from `offset` on, in order. Stops at a length that cannot be."""
    end = len(data)
    unpack = _ATTRIBUTE.unpack_from
    while offset + 4 <= end:
        size, kind = unpack(data, offset)
        if size < 4 or offset + size > end:
            return
        yield kind & _TYPE_MASK, data[offset + 4 : offset + size]
        offset += size + 3 & ~3


def encode(request: Request, sequence: int, flags: int = 0) -> bytes:
    """A request as it goes over the socket, padded to four bytes."""
    size = _HEADER.size + len(request.body)
    header = _HEADER.pack(size, request.kind, _REQUEST | request.flags | flags, sequence, 0)
    return header + request.body + b"\0" * (-size & 3)


class _Message(NamedTuple):
    kind: int
    flags: int
    sequence: int
    body: bytes
    sender: int


def _decode(data: bytes) -> Iterator[_Message]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        size, kind, flags, sequence, sender = _HEADER.unpack_from(data, offset)
        if size < _HEADER.size or offset + size > len(data):
            return
        yield _Message(kind, flags, sequence, data[offset + _HEADER.size : offset + size], sender)
        offset += size + 3 & ~3


def _refusal(message: _Message, what: str) -> NetlinkError | None:
    """What an error or done message says: None for an acknowledgement. The kernel's own text follows the echoed
    request (its header alone when capped), or, in a done message, the error number."""
    number = -struct.unpack_from("=i", message.body)[0] if len(message.body) >= 4 else 0
    if number <= 0:
        return None
    offset = 4
    if message.kind == _ERROR:
        echoed = _HEADER.size if message.flags & _CAPPED else struct.unpack_from("=I", message.body, 4)[0]
        offset += echoed + 3 & ~3
    tlvs = attributes(message.body, offset) if message.flags & _ACK_TLVS else {}
    offset = max(0, read_u32(tlvs.get(_OFFSET_ATTRIBUTE)) - _HEADER.size)
    return NetlinkError(what, number, read_text(tlvs.get(_MESSAGE_ATTRIBUTE, b"")), offset)


class Netlink:
    """A netlink socket in the network namespace `namespace` (a path; None: the calling thread's own). For one thread
    at a time. Use it as a context manager: an open socket keeps its namespace alive. One that hears the notices of
    `groups` (a bit mask) asks for nothing."""

    def __init__(self, protocol: int, namespace: str | None = None, groups: int = 0) -> None:
        def opened() -> socket.socket:
            return _open(protocol, groups)

        self._socket = opened() if namespace is None else netns.open_socket_in(namespace, opened)
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def dump(self, request: Request) -> list[Reply]:
        """All answers to a list request, taken again when the kernel says that they changed under its hands. Raises
        NetlinkError."""
        for _ in range(_DUMP_ATTEMPTS):
            replies, consistent = self._dump_once(request)
            if consistent:
                return replies
        raise KernelError(f"cannot {request.what}: it changed during each of {_DUMP_ATTEMPTS} readings")

    def ask(self, request: Request) -> Reply:
        """The one answer to a request for one object. Raises NetlinkError (ENOENT, ENODEV: no such object)."""
        self._sequence += 1
        self._socket.send(encode(request, self._sequence))
        messages = self._receive(request.what)
        while True:
            message = next(messages)
            if message.sequence != self._sequence:
                continue
            if message.kind != _ERROR:
                return Reply(message.kind, message.body)
            if error := _refusal(message, request.what):
                raise error

    def send(self, requests: Sequence[Request]) -> list[NetlinkError | None]:
        """Perform the requests in order, many in one call; what became of each. A refused one does not keep the
        kernel from the next."""
        results: list[NetlinkError | None] = []
        for batch in _batches(requests):
            results += self._send_batch(batch)
        return results

    def perform(self, requests: Sequence[Request]) -> None:
        """`send`, and raise the first error of all."""
        for error in self.send(requests):
            if error:
                raise error

    def transact(self, requests: Sequence[Request]) -> dict[int, NetlinkError]:
        """Send a batch, whose first and last messages are its brackets, as one message to the kernel, which performs
        all of it or nothing; what was refused, by position. The kernel works within the call and answers before it
        returns. Raises KernelError when it gave no answer at all."""
        first = self._sequence + 1
        self._sequence += len(requests)
        proof = len(requests) - 2  # only refusals are answered, and this one: silence is no proof
        whole = b"".join(encode(request, first + i, _ACK if i == proof else 0) for i, request in enumerate(requests))
        self._send_whole(whole, requests[proof].what)
        refused: dict[int, NetlinkError] = {}
        answered = False
        for message in self._waiting(requests[proof].what):
            position = message.sequence - first
            if message.kind == _ERROR and 0 <= position < len(requests):
                answered = answered or position == proof
                if error := _refusal(message, requests[position].what):
                    refused.setdefault(position, error)
        if not answered and not refused:
            raise KernelError(f"cannot {requests[proof].what}: the kernel gave no answer to the transaction")
        return refused

    def identity(self) -> int:
        """The number by which the kernel tells this socket from others: the sender of what it asks for."""
        if not self._socket.getsockname()[0]:
            self._socket.bind((0, 0))
        return int(self._socket.getsockname()[0])

    def fileno(self) -> int:
        return self._socket.fileno()

    def notified(self, seconds: float) -> bool:
        """Wait for a notice of `groups` at most that long; whether one came. What it says is left unread: whoever
        wants the state asks for it, so that notices that were lost do no harm."""
        ready = select.poll()  # and not select, which knows no descriptors above 1023
        ready.register(self._socket, select.POLLIN)
        if not ready.poll(seconds * 1000):
            return False
        try:
            self._socket.recv(_RECEIVE_BYTES)
        except OSError as e:
            if e.errno != errno.ENOBUFS:  # more came than the socket could keep
                raise KernelError(f"cannot wait for the kernel's notices: {e.strerror}") from e
        return True

    def hear(self) -> list[Reply] | None:
        """The next notices of `groups`; None when some were lost because more came than the socket could keep."""
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except OSError as e:
            if e.errno == errno.ENOBUFS:
                return None
            raise KernelError(f"cannot hear the kernel's notices: {e.strerror}") from e
        return [Reply(message.kind, message.body, message.sender) for message in _decode(data)]

    def ignore(self, sender: int) -> None:
        """Have the kernel leave out notices of what the socket of identity `sender` asked for (a classic BPF filter on
        the sender in the message's header)."""
        as_loaded = int.from_bytes(struct.pack("=I", sender), "big")
        steps = ((0x20, 0, 0, 12), (0x15, 0, 1, as_loaded), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
        program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
        described = struct.pack("@HP", len(steps), ctypes.addressof(program))
        self._socket.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, described)

    def _send_batch(self, batch: Sequence[Request]) -> list[NetlinkError | None]:
        first = self._sequence + 1
        self._sequence += len(batch)
        self._socket.send(b"".join(encode(request, first + i, _ACK) for i, request in enumerate(batch)))
        results: dict[int, NetlinkError | None] = {}
        messages = self._receive(batch[0].what)
        while len(results) < len(batch):
            message = next(messages)
            position = message.sequence - first
            if message.kind == _ERROR and 0 <= position < len(batch):
                results[position] = _refusal(message, batch[position].what)
        return [results[position] for position in range(len(batch))]

    def _dump_once(self, request: Request) -> tuple[list[Reply], bool]:
        self._sequence += 1
        self._socket.send(encode(request, self._sequence, _DUMP))
        replies: list[Reply] = []
        consistent = True
        for message in self._receive(request.what):
            if message.sequence != self._sequence:
                continue  # the rest of a list that an error ended
            consistent = consistent and not message.flags & _DUMP_INTERRUPTED
            if message.kind in (_ERROR, _DONE):
                if error := _refusal(message, request.what):
                    raise error
                break
            replies.append(Reply(message.kind, message.body))
        return replies, consistent

    def _send_whole(self, data: bytes, what: str) -> None:
        """Send a message of any length: the socket's buffer is made large enough, which needs privilege."""
        if len(data) > _SEND_BYTES:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SEND_BUFFER_FORCE, len(data) // 2 + _SEND_BYTES)
            except OSError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(data))
        try:
            self._socket.send(data)
        except OSError as e:
            raise KernelError(f"cannot {what}: {e.strerror} (a transaction of {len(data)} bytes)") from e

    def _waiting(self, what: str) -> Iterator[_Message]:
        """The messages that have come already. Those that the buffer could not keep are lost; the first are there."""
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno == errno.ENOBUFS:
                    continue
                raise KernelError(f"cannot {what}: {e.strerror}") from e
            yield from _decode(data)

    def _receive(self, what: str) -> Iterator[_Message]:
        """Messages as they come, without end: the caller knows which is the last."""
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except OSError as e:
                reason = "the kernel gave no answer" if e.errno == errno.EAGAIN else e.strerror
                raise KernelError(f"cannot {what}: {reason}") from e
            yield from _decode(data)


def _open(protocol: int, groups: int) -> socket.socket:
    try:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    except OSError as e:
        raise KernelError(f"cannot open a netlink socket (protocol {protocol}): {e.strerror}") from e
    if groups:
        opened.bind((0, groups))
    opened.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
    opened.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
    opened.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)  # lists are filtered by the header's fields (kernel 5.0)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _TIMEOUT_SECONDS, 0))
    return opened


def _batches(requests: Sequence[Request]) -> Iterator[list[Request]]:
    batch: list[Request] = []
    size = 0
    for request in requests:
        if batch and (len(batch) == _BATCH_MESSAGES or size + len(request.body) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(request)
        size += len(request.body) + _HEADER.size + 4
    if batch:
        yield batch
