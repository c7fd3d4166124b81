"""Which upgrade a client asks for, and what it speaks inside of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from fairway.pods import forward, messages, ports, remote, websocket
from fairway.pods.channels import Channels, NoProtocol
from fairway.pods.forward import Dial
from fairway.pods.pipes import Pipe, TunnelPipe, offered, upgrade_of
from fairway.pods.remote import SpdyChannels
from fairway.pods.websocket import WebSocketChannels

SPDY = "SPDY/3.1"
SERVED = ("websocket", SPDY.lower())
_PROTOCOL = "X-Stream-Protocol-Version"
_ASK = f"this is served to clients that ask for an upgrade of the connection, to WebSocket or to {SPDY}"

Headers = Mapping[str, str]
"""Of a request, with names in lower case."""


def channels(headers: Headers) -> tuple[bytes, Callable[[Pipe], Channels]]:
    """The head that agrees to the upgrade of a remote command, and what its connection is then. Raises NoProtocol."""
    match upgrade_of(headers):
        case "websocket":
            protocol = _agreed(offered(headers, "sec-websocket-protocol"), websocket.PROTOCOLS)
            return _websocket(headers, protocol), lambda pipe: WebSocketChannels(TunnelPipe(pipe))
        case "spdy/3.1":
            # A client that names no protocol speaks the first one, which had no name then.
            protocol = _agreed(_streams(headers) or [remote.PROTOCOLS[-1]], remote.PROTOCOLS)
            return _spdy(protocol), lambda pipe: SpdyChannels(pipe, protocol)
    raise NoProtocol(_ASK)


def forwarding(
    headers: Headers, query: Mapping[str, Sequence[str]], dial: Dial
) -> tuple[bytes, Callable[[Pipe], Awaitable[None]]]:
    """The head that agrees to the upgrade of a port-forward, and what serves its connection. Raises NoProtocol."""
    match upgrade_of(headers):
        case "websocket":
            served = (f"{SPDY}+{forward.PROTOCOL}", ports.PROTOCOL)
            protocol = _agreed(offered(headers, "sec-websocket-protocol"), served)
            numbers = _ports(query) if protocol == ports.PROTOCOL else []
            return _websocket(headers, protocol), partial(_tunnelled, numbers, dial)
        case "spdy/3.1":
            protocol = _agreed(_streams(headers) or [forward.PROTOCOL], (forward.PROTOCOL,))
            return _spdy(protocol), lambda pipe: forward.serve(pipe, dial)
    raise NoProtocol(_ASK)


async def _tunnelled(numbers: Sequence[int], dial: Dial, pipe: Pipe) -> None:
    tunnel = TunnelPipe(pipe)
    await (ports.serve(tunnel, numbers, dial) if numbers else forward.serve(tunnel, dial))


def _ports(query: Mapping[str, Sequence[str]]) -> list[int]:
    try:
        return ports.ports_of(query.get("ports", ()))
    except ValueError as error:
        raise NoProtocol(str(error)) from None


def _websocket(headers: Headers, protocol: str) -> bytes:
    try:
        return messages.handshake(headers, protocol)
    except ValueError as error:
        raise NoProtocol(str(error)) from None


def _spdy(protocol: str) -> bytes:
    return messages.switching(SPDY, {_PROTOCOL: protocol})


def _streams(headers: Headers) -> list[str]:
    return offered(headers, _PROTOCOL.lower())


def _agreed(wishes: Sequence[str], served: Sequence[str]) -> str:
    """The first wish that is served. Raises NoProtocol."""
    for wish in wishes:
        if wish in served:
            return wish
    raise NoProtocol(f"the client speaks {', '.join(wishes) or 'no sub-protocol'}; served are {', '.join(served)}")
