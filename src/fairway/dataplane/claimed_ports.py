"""Node ports held against other programs of the node, and served at localhost (EDGE).

Packets to a node port are translated before any program sees them: a program that listens there would not notice why
nobody comes. So the ports are taken: at the node's own addresses by sockets that are bound and nothing else, at
loopback by listeners that lead clients on (`localhost`) while there are endpoints. Where somebody else is first, that
is told, and tried again. SCTP ports are not held.
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import NoReturn

from fairway.dataplane.base import Report, Update
from fairway.dataplane.localhost import Forwarder, TcpForwarder, UdpForwarder, chooser
from fairway.dataplane.node_ports import NodePort, NodePorts, near
from fairway.dataplane.proxy import Observer
from fairway.desired.model import PortName
from fairway.packet import Family, Protocol, family_of, host_port

LOOPBACK = ("127.0.0.1", "::1")
MOST_SOCKETS = 8192
"""So many are opened at most: a whole range of node ports at loopback and one address of the node."""
AGAIN_SECONDS = 15.0
_BACKLOG = 128
_AT_ONCE = 64  # node ports looked after before others get their turn
_KINDS = {Protocol.TCP: socket.SOCK_STREAM, Protocol.UDP: socket.SOCK_DGRAM}

Clash = Callable[[PortName, str], None]
"""Hears of a Service whose node port another program has, and the sentence that says so."""


@dataclass(slots=True)
class _Held:
    socket: socket.socket
    serving: bool = False


class ClaimedPorts(Observer):
    """The sockets. `localhost` are the loopback addresses to serve; `told` hears of clashes, once each; at most
    `most` sockets are opened."""

    def __init__(self, told: Clash, localhost: Collection[str] = LOOPBACK, most: int = MOST_SOCKETS) -> None:
        self._told = told
        self._most = most
        self._localhost = localhost
        self._node_ports = NodePorts()
        self._held: dict[NodePort, dict[str, _Held]] = {}
        self._count = 0
        self._addresses: tuple[str, ...] = ()
        self._waiting: set[NodePort] = set()
        self._clashes: set[tuple[NodePort, str]] = set()
        self._work = asyncio.Event()
        self._forwarders: dict[Protocol, Forwarder] = {Protocol.TCP: TcpForwarder(), Protocol.UDP: UdpForwarder()}

    async def applied(self, update: Update, report: Report, seconds: float) -> None:
        """See `Observer`. The sockets follow behind."""
        self._waiting |= self._node_ports.take(update)
        addresses = tuple(_addresses(update))
        if addresses != self._addresses:
            self._addresses = addresses
            self._waiting.update(self._node_ports)
        if self._waiting:
            self._work.set()

    async def run(self) -> NoReturn:
        """Open and close sockets until cancelled; then close all."""
        try:
            while True:
                await self._woken()
                while self._waiting:
                    for _ in range(min(_AT_ONCE, len(self._waiting))):
                        self._settle(self._waiting.pop())
                    await asyncio.sleep(0)
        finally:
            for node_port, held in self._held.items():
                for address in tuple(held):
                    self._let_go(node_port, address)
            for forwarder in self._forwarders.values():
                await forwarder.close()

    async def _woken(self) -> None:
        """Until something is different, or clashes are to be tried again."""
        try:
            async with asyncio.timeout(AGAIN_SECONDS):
                await self._work.wait()
        except TimeoutError:
            self._waiting.update(node_port for node_port, _ in self._clashes)
        self._work.clear()

    def _settle(self, node_port: NodePort) -> None:
        """Hold one node port where it is to be held, and nowhere else."""
        if node_port.protocol not in _KINDS:
            return
        ports = self._node_ports.of(node_port)
        wanted = dict.fromkeys(self._addresses, False) if ports else {}
        for address in self._localhost if ports else ():
            served = bool(near(ports, family_of(address)))
            if served or node_port.protocol is Protocol.TCP:  # a bound UDP socket would swallow what nobody serves
                wanted[address] = served
        held = self._held.setdefault(node_port, {})
        for address in [address for address, one in held.items() if wanted.get(address) is not one.serving]:
            self._let_go(node_port, address)
        for address in wanted.keys() - held.keys():
            self._take(node_port, address, wanted[address])
        self._clashes -= {(node_port, address) for address in (*LOOPBACK, *self._addresses) if address not in wanted}
        if not held:
            del self._held[node_port]

    def _take(self, node_port: NodePort, address: str, serve: bool) -> None:
        if self._count >= self._most:
            return
        try:
            bound = _bind(node_port, address, serve)
        except OSError as error:
            self._refused(node_port, address, error)
            return
        self._clashes.discard((node_port, address))
        self._count += 1
        self._held[node_port][address] = _Held(bound, serve)
        if serve:
            family = family_of(address)
            choose = chooser(lambda: near(self._node_ports.of(node_port), family), random.choice)
            self._forwarders[node_port.protocol].serve(bound, choose)

    def _let_go(self, node_port: NodePort, address: str) -> None:
        held = self._held[node_port].pop(address)
        self._count -= 1
        if held.serving:
            self._forwarders[node_port.protocol].leave(held.socket)
        held.socket.close()

    def _refused(self, node_port: NodePort, address: str, error: OSError) -> None:
        """Only a port in use is a clash: an address may be gone by now, or the node may have no IPv6."""
        where = (node_port, address)
        if error.errno != errno.EADDRINUSE or where in self._clashes:
            return
        first = not any(clash[0] == node_port for clash in self._clashes)
        self._clashes.add(where)
        port = next(iter(self._node_ports.of(node_port).values()), None)
        if first and port is not None:
            place = host_port(address, node_port.number)
            self._told(
                port.name,
                f"node port {node_port.number}/{node_port.protocol}: another program listens at {place} of this node; "
                "what is sent to the node port goes to the Service's endpoints, and never to that program",
            )


def _bind(node_port: NodePort, address: str, serve: bool) -> socket.socket:
    """A socket at this place, listening if it is TCP and to be served. Raises OSError."""
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(kind, _KINDS[node_port.protocol] | socket.SOCK_NONBLOCK)
    try:
        if serve and node_port.protocol is Protocol.TCP:
            # connections of an earlier run may linger; where somebody listens this refuses all the same
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, node_port.number))
        if serve and node_port.protocol is Protocol.TCP:
            made.listen(_BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _addresses(update: Update) -> Iterator[str]:
    """The node's own addresses at which node ports are served."""
    for family in Family:
        facts = update.settings.node(family)
        for address in facts.addresses if facts.node_ports_on is None else facts.node_ports_on:
            if address not in LOOPBACK:
                yield address
