"""A hostile peer of the server that questions are forwarded to: it knows the name, answers at once and tirelessly with
the server's address as its own, and is not believed.

Everything runs in a network namespace without a name, which is gone with its process. The server answers only after
the flood has gone past, so that nothing but the checks keeps the lies out.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PLAY = """
    import asyncio, random, socket, struct, subprocess, sys
    import dns.message, dns.rrset
    from fairway.dns.forward import Forwarder
    from fairway.dns.settings import Settings
    from fairway.dns.metrics import Metrics

    SERVER, PEER = "192.0.2.53", "192.0.2.66"
    WWW = "www.example.com."
    FLOOD = {flood}

    def setup():
        for command in ("link set lo up", *(f"address add {{each}}/24 dev lo" for each in (SERVER, PEER))):
            subprocess.run(["ip", *command.split()], check=True)

    def answer(query, address):
        made = dns.message.make_response(query, recursion_available=True)
        made.answer.append(dns.rrset.from_text(query.question[0].name, 300, "IN", "A", address))
        return made.to_wire()

    def datagram(lie, target, port):
        udp = struct.pack("!4H", 53, port, 8 + len(lie), 0) + lie
        addresses = socket.inet_aton(SERVER) + socket.inet_aton(target)
        return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses + udp

    def liar(sees):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        own.bind((PEER, 53))
        chance = random.Random(5)
        def flood(query, target, port):
            for _ in range(FLOOD):
                wrong = (query.id + chance.randrange(1, 65536)) % 65536
                guessed = port if sees else chance.choice([each for each in (port - 1, port + 1) if each < 65536])
                for ident in (wrong, query.id):
                    lie = answer(dns.message.make_query(WWW, "A", id=ident if sees else query.id), "203.0.113.66")
                    raw.sendto(datagram(lie, target, guessed), (target, 0))
            # All is right here but the address it comes from.
            own.sendto(answer(query, "203.0.113.66"), (target, port))
        return flood

    async def serve(flood, honest):
        loop = asyncio.get_running_loop()
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind((SERVER, 53))
        opened.setblocking(False)
        asked = []
        async def connected(reader, writer):
            length = int.from_bytes(await reader.readexactly(2), "big")
            query = dns.message.from_wire(await reader.readexactly(length))
            asked.append("tcp")
            octets = answer(query, "198.51.100.7")
            writer.write(len(octets).to_bytes(2, "big") + octets)
            await writer.drain()
            writer.close()
        tcp = await asyncio.start_server(connected, SERVER, 53)
        async def answering():
            while True:
                octets, peer = await loop.sock_recvfrom(opened, 4096)
                query = dns.message.from_wire(octets)
                if str(query.question[0].name).lower() == WWW:
                    asked.append("udp")
                    flood(query, *peer)
                    if not honest:
                        continue
                await loop.sock_sendto(opened, answer(query, "198.51.100.7"), peer)
        return asyncio.create_task(answering()), tcp, asked

    async def main():
        setup()
        serving, tcp, asked = await serve(liar({sees}), {honest})
        forwarder = Forwarder(Settings(servers=((SERVER, 53),)), Metrics())
        for dnssec in (False, True):
            query = dns.message.make_query(WWW, "A", want_dnssec=dnssec)
            reply = dns.message.from_wire(await forwarder.resolve(query.to_wire(), udp=True, client=PEER))
            print(*(rdata for rrset in reply.answer for rdata in rrset))
        print(*asked, file=sys.stderr)
        serving.cancel()
        tcp.close()

    asyncio.run(main())
"""


def play(**how: object) -> tuple[set[str], set[str]]:
    """The addresses that clients were told, and how the server was asked."""
    script = textwrap.dedent(PLAY.format(**how))
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split()), set(done.stderr.split())


@pytest.mark.kernel
def test_a_peer_that_guesses_ports_is_never_heard() -> None:
    addresses, transports = play(sees=False, honest=True, flood=500)
    assert (addresses, transports) == ({"198.51.100.7"}, {"udp"})


@pytest.mark.kernel
def test_a_peer_that_knows_the_port_makes_us_ask_over_tcp() -> None:
    addresses, transports = play(sees=True, honest=True, flood=100)
    assert (addresses, transports) == ({"198.51.100.7"}, {"udp", "tcp"})


@pytest.mark.kernel
def test_a_peer_that_silences_the_server_is_not_believed_either() -> None:
    addresses, _ = play(sees=True, honest=False, flood=100)
    assert addresses == {"198.51.100.7"}
