"""That the other end of a TCP connection is gone, heard even while nobody reads from the connection.

Whoever waits before he reads on (since what he passes it on to takes no more) would never see the end, which stands
behind the bytes that he does not read. The kernel knows of it: EPOLLRDHUP (epoll_ctl(2), Linux 2.6.17).
"""

from __future__ import annotations

import asyncio
import select


async def hung_up(descriptor: int) -> None:
    """Return when the peer of a connection has closed it or is gone. Only for protocols in which a side that closes
    its half wants no more answer: those over TLS or WebSocket."""
    if descriptor < 0:
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    with select.epoll() as epoll:
        epoll.register(descriptor, select.EPOLLRDHUP)  # EPOLLHUP and EPOLLERR are always told
        loop.add_reader(epoll.fileno(), gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(epoll.fileno())
