"""What a listener's connections inherit."""

from __future__ import annotations

import socket

from fairway.api.http import PROBE_AFTER_SECONDS, PROBES, _prepare


def test_connections_do_not_wait_for_acknowledgements_and_ask_after_silent_clients() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _prepare(listener)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == PROBE_AFTER_SECONDS
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == PROBES
