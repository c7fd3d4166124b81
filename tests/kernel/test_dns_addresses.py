"""On a wildcard address, replies leave from the very address that was asked: the kernel's own choice would be another.

Runs in a network namespace without a name, which is gone with its process.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

SERVER = """
    import asyncio, subprocess
    import dns.asyncquery, dns.message
    from fairway.dns.server import DnsServer
    from fairway.dns.zone import Zone
    from tests.unit.dns.api import Api

    def ip(command):
        subprocess.run(["ip", *command.split()], check=True)

    async def main():
        ip("link set lo up")
        for address in {addresses!r}:
            ip(f"address add {{address}} dev lo {extra}")
        server, stop = DnsServer(Api(), zone=Zone(), addresses=[({wildcard!r}, 5353)]), asyncio.Event()
        serving = asyncio.create_task(server.run(stop))
        await server.complete.wait()
        for address in {addresses!r}:
            asked = address.split("/")[0]
            query = dns.message.make_query("web.default.svc.cluster.local", "A")
            # Raises UnexpectedSource when the reply comes from another address than the one asked.
            await dns.asyncquery.udp(query, asked, port=5353, timeout=5, source={client!r})
            print(asked)
        stop.set()
        await serving

    asyncio.run(main())
"""


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("wildcard", "client", "addresses", "extra"),
    [
        ("0.0.0.0", "192.0.2.1", ["192.0.2.1/24", "192.0.2.2/24", "198.51.100.53/32"], ""),
        ("::", "2001:db8::1", ["2001:db8::1/64", "2001:db8::2/64", "fd00::53/128"], "nodad"),
    ],
    ids=["IPv4", "IPv6"],
)
def test_replies_leave_from_the_address_that_was_asked(
    wildcard: str, client: str, addresses: list[str], extra: str
) -> None:
    script = textwrap.dedent(SERVER.format(wildcard=wildcard, client=client, addresses=addresses, extra=extra))
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [each.split("/")[0] for each in addresses]
