"""A server of the world outside, on loopback, that answers as it is told: what dnspython makes of a question, or any
octets. It notes what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataset
import dns.rrset

from fairway.dns.resolv import Endpoint

Manner = Callable[[dns.message.Message], "dns.message.Message | bytes | Iterable[bytes] | None"]
"""What a server makes of a question: a reply, octets, several datagrams, or silence."""


def reply(
    asked: dns.message.Message, *answers: str, rcode: str = "NOERROR", authority: str = "", additional: str = ""
) -> dns.message.Message:
    """The reply of a resolver, with records written as in zone files."""
    made = dns.message.make_response(asked, recursion_available=True)
    made.set_rcode(dns.rcode.from_text(rcode))
    for section, lines in ((made.answer, answers), (made.authority, [authority]), (made.additional, [additional])):
        section += [rrset(line) for line in lines if line]
    return made


def rrset(line: str) -> dns.rrset.RRset:
    """`name ttl type data[, data...]`; names need no final dot."""
    name, ttl, type, data = line.split(maxsplit=3)
    absolute = dns.rdataset.from_text_list(
        "IN", type, int(ttl), data.split(", "), origin=dns.name.root, relativize=False
    )
    return dns.rrset.from_rdata_list(dns.name.from_text(name), int(ttl), list(absolute))


class Elsewhere:
    """The server: `udp` and `tcp` are how it answers, `asked` the questions in their order, `name TYPE`, with the
    letters as they came; `queries` the messages. Questions nobody but its askers' guards ask are left out of both."""

    def __init__(self, udp: Manner, tcp: Manner | None = None) -> None:
        self.udp = udp
        self.tcp = tcp or udp
        self.queries: list[dns.message.Message] = []
        self.ports: list[int] = []
        self.endpoint: Endpoint = ("127.0.0.1", 0)
        self.transports: list[str] = []

    @property
    def asked(self) -> list[str]:
        return [f"{each.question[0].name}".lower() for each in self.queries]

    def take(self, octets: bytes, manner: Manner, port: int, transport: str) -> list[bytes]:
        """The datagrams that answer this one."""
        query = dns.message.from_wire(octets)
        type = query.question[0].rdtype.name
        if type in ("HINFO", "NS"):
            return [reply(query, rcode="NXDOMAIN").to_wire()]
        self.queries.append(query)
        self.ports.append(port)
        self.transports.append(transport)
        made = manner(query)
        if made is None:
            return []
        if isinstance(made, dns.message.Message):
            return [made.to_wire(max_size=65535)]
        return [made] if isinstance(made, bytes) else list(made)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: Elsewhere) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for each in self._server.take(data, self._server.udp, addr[1], "udp"):
            self._transport.sendto(each, addr)


@asynccontextmanager
async def elsewhere(udp: Manner, tcp: Manner | None = None, *, address: str = "127.0.0.1") -> AsyncIterator[Elsewhere]:
    """Run one."""
    server = Elsewhere(udp, tcp)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("peername")[1]
        try:
            length = int.from_bytes(await reader.readexactly(2), "big")
            for each in server.take(await reader.readexactly(length), server.tcp, port, "tcp"):
                writer.write(len(each).to_bytes(2, "big") + each)
            await writer.drain()
        finally:
            writer.close()

    listener = await asyncio.start_server(connected, address, 0)
    port = listener.sockets[0].getsockname()[1]
    datagrams, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Datagrams(server), local_addr=(address, port)
    )
    server.endpoint = (address, port)
    try:
        yield server
    finally:
        datagrams.close()
        listener.close()
        await listener.wait_closed()
