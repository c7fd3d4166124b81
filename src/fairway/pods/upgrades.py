"""EDGE. Which upgrade a client asks for, and what it speaks inside of it."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from fairway.pods import forward, ports, remote, websocket
from fairway.pods.channels import Channels, NoProtocol
from fairway.pods.forward import Dial
from fairway.pods.pipes import BarePipe, Pipe, TunnelPipe, offered, upgrade_of
from fairway.pods.remote import SpdyChannels
from fairway.pods.websocket import WebSocketChannels

SPDY = "SPDY/3.1"
_PROTOCOL = "X-Stream-Protocol-Version"
_ASK = f"this is served to clients that ask for an upgrade of the connection, to WebSocket or to {SPDY}"


async def channels(request: web.Request) -> Channels:
    """Agree to the upgrade of a remote command. Raises NoProtocol."""
    match upgrade_of(request):
        case "websocket":
            _agreed(offered(request, "Sec-WebSocket-Protocol"), websocket.PROTOCOLS)
            return await WebSocketChannels.accept(request)
        case "spdy/3.1":
            # A client that names no protocol speaks the first one, which had no name then.
            wishes = offered(request, _PROTOCOL) or [remote.PROTOCOLS[-1]]
            protocol = _agreed(wishes, remote.PROTOCOLS)
            return SpdyChannels(await _bare(request, protocol), protocol)
    raise NoProtocol(_ASK)


async def forwarding(request: web.Request, dial: Dial) -> web.StreamResponse:
    """Agree to the upgrade of a port-forward, and serve it. Raises NoProtocol."""
    match upgrade_of(request):
        case "websocket":
            served = (f"{SPDY}+{forward.PROTOCOL}", ports.PROTOCOL)
            protocol = _agreed(offered(request, "Sec-WebSocket-Protocol"), served)
            numbers = _ports(request) if protocol == ports.PROTOCOL else []
            tunnel = await TunnelPipe.accept(request, (protocol,))
            await (ports.serve(tunnel, numbers, dial) if numbers else forward.serve(tunnel, dial))
            return tunnel.response
        case "spdy/3.1":
            wishes = offered(request, _PROTOCOL) or [forward.PROTOCOL]
            pipe = await _bare(request, _agreed(wishes, (forward.PROTOCOL,)))
            await forward.serve(pipe, dial)
            return pipe.response
    raise NoProtocol(_ASK)


def _ports(request: web.Request) -> list[int]:
    try:
        return ports.ports_of(request.query.getall("ports", []))
    except ValueError as error:
        raise NoProtocol(str(error)) from None


async def _bare(request: web.Request, protocol: str) -> Pipe:
    return await BarePipe.accept(request, SPDY, {_PROTOCOL: protocol})


def _agreed(wishes: Sequence[str], served: Sequence[str]) -> str:
    """The first wish that is served. Raises NoProtocol."""
    for wish in wishes:
        if wish in served:
            return wish
    raise NoProtocol(f"the client speaks {', '.join(wishes) or 'no sub-protocol'}; served are {', '.join(served)}")
