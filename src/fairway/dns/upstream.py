"""EDGE. One server that questions are forwarded to: how it is asked, what it can do, and whether it is well.

Every question has a socket of its own, connected, so that the kernel chooses a random source port and lets nobody but
the server's own address answer; the id is random, and so is the case of the letters (0x20). A server that changes the
letters is asked over TCP, where nobody can put in a word, and no longer tested that way if it does the same there.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from enum import Enum

from fairway.dns.encode import HEADER
from fairway.dns.errors import DnsError
from fairway.dns.inquiry import TC, Belief, Inquiry, ask, judge, wire_name
from fairway.dns.names import Name
from fairway.dns.records import Rcode, Type
from fairway.dns.resolv import Endpoint, endpoint_text

MAX_FAILURES = 2
"""Questions in a row without an answer after which a server counts as down (CoreDNS: 2)."""
PROBE_EVERY = 0.5
"""Seconds between looks at a server that is down (CoreDNS: 0.5)."""
LOOP_EVERY = 30.0
"""Seconds between looks at a server that leads back to us."""
PROBE_LIMIT = 2.0
MAX_FOREIGN = 32
"""Datagrams that are no answer to our question after which somebody is guessing: the rest is said over TCP."""
_HINFO = 13
_MAX_DATAGRAM = 65535

_log = logging.getLogger(__name__)


class NoAnswer(DnsError):
    """An upstream did not answer: in time, or at all."""


class _Doubt(Exception):
    """What came over UDP cannot be believed or is not whole. `respelled` if it was but for the case of letters."""

    def __init__(self, *, respelled: bool = False) -> None:
        self.respelled = respelled


class Health(Enum):
    """How a server is."""

    WELL = "it answers"
    DOWN = "it did not answer lately"
    LOOPED = "what it is asked comes back to us"


class Upstream:
    """The server at `endpoint`. `zone` is what it is asked about (the root for all). `mark` is a label that no name has
    but those of the questions by which it is tested for leading back here: to this process, or one that shares it."""

    def __init__(self, endpoint: Endpoint, zone: Name, mark: bytes) -> None:
        self.endpoint = endpoint
        self.text = endpoint_text(endpoint)
        self._probes = (mark, *zone)
        self._failures = 0
        self._looped = False
        self._troubled = asyncio.Event()
        self._keeps_case = True
        self._knows_edns = True

    @property
    def health(self) -> Health:
        """How the server is, by what it was asked last."""
        if self._looped:
            return Health.LOOPED
        return Health.DOWN if self._failures >= MAX_FAILURES else Health.WELL

    async def ask(self, inquiry: Inquiry, limit: float) -> bytes:
        """The server's reply, to be believed and whole. Raises NoAnswer when there is none within `limit` seconds."""
        try:
            async with asyncio.timeout(limit):
                reply = await self._ask(inquiry, limit)
        except TimeoutError as error:
            self._fail()
            raise NoAnswer(f"{self.text} did not answer within {limit:.1f} s") from error
        except (OSError, EOFError) as error:
            self._fail()
            raise NoAnswer(f"{self.text} cannot be asked: {error or 'it closed the connection'}") from error
        self._failures = 0
        return reply

    def is_probe(self, inquiry: Inquiry, client: str) -> bool:
        """Whether this is a question by which the server was tested for leading back to us: then it does."""
        if inquiry.labels[1:] != self._probes:
            return False
        if not self._looped:
            _log.error(
                "what is forwarded to %s comes back (from %s): it is not asked for now. Is it this server, or one that"
                " forwards here? Give the servers of the world outside with --forward or --resolv-conf.",
                self.text,
                client,
            )
        self._looped = True
        return True

    async def watch(self) -> None:
        """Look after the server for ever: whether it leads back to us, and when it is down, whether it is back."""
        while True:
            while not await self._leads_elsewhere():
                await asyncio.sleep(LOOP_EVERY if self._looped else PROBE_EVERY)
            self._troubled.clear()
            await self._troubled.wait()
            while not await self._answers(Inquiry(b"\0", Type.NS)):
                await asyncio.sleep(PROBE_EVERY)
            _log.info("%s answers again", self.text)

    async def _leads_elsewhere(self) -> bool:
        """Whether the server answers a question that nobody else asks without asking it of us in turn."""
        probe = wire_name((secrets.token_hex(8).encode(), *self._probes))
        before, self._looped = self._looped, False
        answered = await self._answers(Inquiry(probe, _HINFO))
        passed = answered and not self._looped
        self._looped = self._looped or (before and not passed)
        if passed and before:
            _log.warning("%s no longer leads back here and is asked again", self.text)
        return passed

    async def _answers(self, inquiry: Inquiry) -> bool:
        try:
            await self.ask(inquiry, PROBE_LIMIT)
        except NoAnswer:
            return False
        return True

    def _fail(self) -> None:
        self._failures += 1
        if self._failures == MAX_FAILURES:
            _log.warning("%s does not answer; it is asked last until it does", self.text)
            self._troubled.set()

    # ---- one question -----------------------------------------------------------------------------------------

    async def _ask(self, inquiry: Inquiry, limit: float) -> bytes:
        """Over UDP, and over TCP what cannot be had that way; a server that does not know EDNS is asked without."""
        edns = self._knows_edns
        reply = await self._exchange(inquiry, limit, edns)
        if edns and reply[3] & 0xF in (Rcode.FORMERR, Rcode.NOTIMP):
            plain = await self._exchange(inquiry, limit, False)
            if plain[3] & 0xF not in (Rcode.FORMERR, Rcode.NOTIMP):
                self._knows_edns = False
            return plain
        return reply

    async def _exchange(self, inquiry: Inquiry, limit: float, edns: bool) -> bytes:
        try:
            return await self._udp(inquiry, edns)
        except _Doubt as doubt:
            if not doubt.respelled:
                return await self._tcp(inquiry, edns)
        try:
            async with asyncio.timeout(limit / 2):
                return await self._tcp(inquiry, edns)
        except (OSError, EOFError, TimeoutError):
            self._stop_respelling()
        return await self._udp(inquiry, edns)

    async def _udp(self, inquiry: Inquiry, edns: bool) -> bytes:
        """One datagram out, and the one that answers it in. Raises _Doubt, OSError."""
        query = self._query(inquiry, edns)
        loop = asyncio.get_running_loop()
        with socket.socket(_family(self.endpoint), socket.SOCK_DGRAM) as opened:
            opened.setblocking(False)
            opened.connect(_with_zone(self.endpoint))
            await loop.sock_sendall(opened, query)
            for _ in range(MAX_FOREIGN):
                reply = await loop.sock_recv(opened, _MAX_DATAGRAM)
                match judge(query, reply):
                    case Belief.OURS if not _flags(reply) & TC:
                        return reply
                    case Belief.OURS:
                        raise _Doubt
                    case Belief.RESPELLED:
                        raise _Doubt(respelled=True)
        _log.warning("%s datagrams answered a question to %s wrongly: somebody guesses", MAX_FOREIGN, self.text)
        raise _Doubt

    async def _tcp(self, inquiry: Inquiry, edns: bool) -> bytes:
        """The same on a connection. Raises OSError, EOFError."""
        query = self._query(inquiry, edns)
        reader, writer = await asyncio.open_connection(*self.endpoint)
        try:
            writer.write(len(query).to_bytes(2, "big") + query)
            length = int.from_bytes(await reader.readexactly(2), "big")
            reply = await reader.readexactly(length)
        finally:
            writer.close()
        belief = judge(query, reply)
        if belief is Belief.FOREIGN:
            raise ConnectionError("it answered another question")
        if belief is Belief.RESPELLED:
            self._stop_respelling()
        return reply

    def _query(self, inquiry: Inquiry, edns: bool) -> bytes:
        chance = secrets.randbits(8 * len(inquiry.name)) if self._keeps_case else 0
        return ask(inquiry, secrets.randbits(16), chance, edns=edns)

    def _stop_respelling(self) -> None:
        if self._keeps_case:
            _log.info("%s does not keep the case of letters; ids and ports alone must do", self.text)
        self._keeps_case = False


def _flags(message: bytes) -> int:
    return int(HEADER.unpack_from(message)[1])


def _family(endpoint: Endpoint) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in endpoint[0] else socket.AF_INET


def _with_zone(endpoint: Endpoint) -> tuple[str, int] | tuple[str, int, int, int]:
    """The endpoint as sockets want it: `fe80::1%eth0` needs the interface's number. Raises OSError."""
    address, _, zone = endpoint[0].partition("%")
    return (address, endpoint[1], 0, socket.if_nametoindex(zone)) if zone else endpoint
