"""Names of the world outside: who is asked, what is believed, and what happens when servers fail. The servers are on
loopback and do as each test tells them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import pytest

from fairway.dns import metrics as told
from fairway.dns import names
from fairway.dns.cache import Limits
from fairway.dns.forward import Forwarder
from fairway.dns.metrics import Metrics
from fairway.dns.records import Rcode, Type
from fairway.dns.settings import Settings
from tests.unit.dns.elsewhere import Elsewhere, Manner, elsewhere, reply

WWW = "www.example.com"


class Scene:
    """A forwarder at work between its clients (`ask`) and the servers it forwards to."""

    def __init__(self, forwarder: Forwarder, metrics: Metrics, servers: list[Elsewhere]) -> None:
        self.forwarder = forwarder
        self.metrics = metrics
        self.servers = servers
        self.now = 1000.0

    async def message(
        self, name: str = WWW, type: str = "A", *, udp: bool = True, **options: Any
    ) -> dns.message.Message:
        query = dns.message.make_query(name, type, **options)
        octets = await self.forwarder.resolve(query.to_wire(), udp=udp, client="192.0.2.1")
        read = dns.message.from_wire(octets)
        assert (read.id, read.question[0].to_text()) == (query.id, query.question[0].to_text())
        return read

    async def ask(self, name: str = WWW, type: str = "A", **options: Any) -> list[str]:
        """The answer section's lines, or the rcode when there are none."""
        message = await self.message(name, type, **options)
        lines = [line for rrset in message.answer for line in rrset.to_text().splitlines()]
        return lines or [dns.rcode.to_text(message.rcode())]


Story = Callable[[Scene], Awaitable[None]]


def play(story: Story, *manners: Manner, settings: Settings = Settings(), tcp: Manner | None = None) -> None:  # noqa: B008
    """Tell a story with one server for each manner, asked in their order."""

    async def run() -> None:
        stop, metrics = asyncio.Event(), Metrics()
        async with AsyncExitStack() as undo, asyncio.timeout(30):
            servers = [await undo.enter_async_context(elsewhere(each, tcp)) for each in manners]
            whom = tuple(each.endpoint for each in servers)
            forwarder = Forwarder(replace(settings, servers=whom), metrics, clock=lambda: scene.now)
            scene = Scene(forwarder, metrics, servers)
            running = asyncio.create_task(forwarder.run(stop))
            try:
                await story(scene)
            finally:
                stop.set()
                await running

    asyncio.run(run())


IN_TURN = Settings(policy="sequential", per_try=0.1, total=1.0)


def fine(asked: dns.message.Message) -> dns.message.Message:
    return reply(asked, f"{asked.question[0].name} 300 A 198.51.100.7")


def silent(_: dns.message.Message) -> None:
    return None


def test_an_answer_is_passed_on_with_recursion_available() -> None:
    async def story(scene: Scene) -> None:
        message = await scene.message()
        assert [each.to_text() for each in message.answer] == [f"{WWW}. 300 IN A 198.51.100.7"]
        assert dns.flags.to_text(message.flags) == "QR RD RA"

    play(story, fine)


def test_a_client_reads_its_own_spelling() -> None:
    async def story(scene: Scene) -> None:
        assert await scene.ask("wWw.exAMPLE.com") == ["wWw.exAMPLE.com. 300 IN A 198.51.100.7"]
        assert await scene.ask("WWW.example.COM") == ["WWW.example.COM. 300 IN A 198.51.100.7"]
        assert len(scene.servers[0].queries) == 1

    play(story, fine)


def test_ids_ports_and_letters_differ_from_query_to_query() -> None:
    async def story(scene: Scene) -> None:
        for number in range(40):
            await scene.ask(f"host-{number}.somewhere.example.com")
        (server,) = scene.servers
        assert len({each.id for each in server.queries}) > 35
        assert len(set(server.ports)) > 35
        spellings = {str(each.question[0].name).partition(".")[2] for each in server.queries}
        assert len(spellings) > 35
        assert {each.payload for each in server.queries} == {1232}

    play(story, fine)


# What is believed


def test_datagrams_that_answer_something_else_are_passed_over() -> None:
    def liar(asked: dns.message.Message) -> list[bytes]:
        lie = reply(asked, f"{asked.question[0].name} 300 A 203.0.113.66")
        wrong_id = lie.to_wire()
        wrong_id = bytes((wrong_id[0] ^ 1,)) + wrong_id[1:]
        other = reply(
            dns.message.make_query("other.example.com", "A", id=asked.id), "other.example.com 300 A 203.0.113.66"
        )
        other_type = reply(dns.message.make_query(asked.question[0].name, "AAAA", id=asked.id))
        return [b"", b"short", wrong_id, asked.to_wire(), other.to_wire(), other_type.to_wire(), fine(asked).to_wire()]

    async def story(scene: Scene) -> None:
        assert await scene.ask() == [f"{WWW}. 300 IN A 198.51.100.7"]
        assert scene.servers[0].transports == ["udp"]

    play(story, liar)


def test_who_guesses_too_often_makes_us_ask_over_tcp() -> None:
    def flood(asked: dns.message.Message) -> list[bytes]:
        lie = reply(asked, f"{asked.question[0].name} 300 A 203.0.113.66").to_wire()
        return [((asked.id + guess) % 65536).to_bytes(2, "big") + lie[2:] for guess in range(1, 200)]

    async def story(scene: Scene) -> None:
        assert await scene.ask() == [f"{WWW}. 300 IN A 198.51.100.7"]
        assert scene.servers[0].transports == ["udp", "tcp"]

    play(story, flood, tcp=fine)


def test_only_what_was_asked_for_is_taken() -> None:
    def generous(asked: dns.message.Message) -> dns.message.Message:
        return reply(
            asked,
            f"{WWW} 300 CNAME web.example.net",
            "web.example.net 60 A 198.51.100.8",
            "bank.example.org 86400 A 203.0.113.66",
            authority="example.com 86400 NS ns.evil.example",
            additional="ns.evil.example 86400 A 203.0.113.66",
        )

    async def story(scene: Scene) -> None:
        message = await scene.message()
        assert [each.to_text() for each in message.answer] == [
            f"{WWW}. 300 IN CNAME web.example.net.",
            "web.example.net. 60 IN A 198.51.100.8",
        ]
        assert (message.authority, message.additional) == ([], [])

    play(story, generous)


# What servers can and cannot do


def test_what_is_truncated_is_had_over_tcp_and_cut_for_the_client_again() -> None:
    many = ", ".join(f"198.51.100.{last}" for last in range(1, 151))

    def cut(asked: dns.message.Message) -> dns.message.Message:
        made = reply(asked)
        made.flags |= dns.flags.TC
        return made

    async def story(scene: Scene) -> None:
        assert len(await scene.ask(udp=False)) == 150
        assert scene.servers[0].transports == ["udp", "tcp"]
        over_udp = await scene.message()
        assert (bool(over_udp.flags & dns.flags.TC), over_udp.answer) == (True, [])

    play(story, cut, tcp=lambda asked: reply(asked, f"{WWW} 300 A {many}"))


def test_a_server_that_changes_letters_is_asked_over_tcp_and_then_in_plain_letters() -> None:
    def respell(asked: dns.message.Message) -> bytes:
        octets = fine(asked).to_wire()
        return octets[:12] + octets[12:].lower()

    async def story(scene: Scene) -> None:
        for name in (WWW, "a." + WWW, "b." + WWW):
            assert await scene.ask(name) == [f"{name}. 300 IN A 198.51.100.7"]
        assert scene.servers[0].transports == ["udp", "tcp", "udp", "udp"]
        plain = [str(each.question[0].name) for each in scene.servers[0].queries[2:]]
        assert plain == ["a.www.example.com.", "b.www.example.com."]

    play(story, respell)


def test_a_server_that_changes_letters_and_has_no_tcp_is_believed_in_plain_letters() -> None:
    def respell(asked: dns.message.Message) -> bytes:
        octets = fine(asked).to_wire()
        return octets[:12] + octets[12:].lower()

    async def story(scene: Scene) -> None:
        assert await scene.ask() == [f"{WWW}. 300 IN A 198.51.100.7"]
        assert scene.servers[0].transports == ["udp", "tcp", "udp"]

    play(story, respell, tcp=silent)


def test_a_server_without_edns_is_asked_without() -> None:
    def old(asked: dns.message.Message) -> dns.message.Message:
        if asked.edns >= 0:
            made = dns.message.make_response(asked)
            made.use_edns(False)
            made.set_rcode(dns.rcode.FORMERR)
            return made
        return fine(asked)

    async def story(scene: Scene) -> None:
        assert await scene.ask() == [f"{WWW}. 300 IN A 198.51.100.7"]
        assert await scene.ask("a." + WWW) == [f"a.{WWW}. 300 IN A 198.51.100.7"]
        assert [each.edns for each in scene.servers[0].queries][-1] == -1

    play(story, old)


# Servers that fail


@pytest.mark.parametrize(
    "lame",
    [
        lambda asked: reply(asked, rcode="SERVFAIL"),
        lambda asked: reply(asked, rcode="REFUSED"),
        lambda asked: dns.message.make_response(asked),
        lambda asked: asked.to_wire()[:2] + b"\x81\x80" + asked.to_wire()[4:6] + b"\0\7\0\0\0\0" + asked.to_wire()[12:],
        silent,
    ],
    ids=["SERVFAIL", "REFUSED", "referral", "unreadable", "silence"],
)
def test_the_next_server_is_asked_when_one_is_of_no_use(lame: Manner) -> None:
    async def story(scene: Scene) -> None:
        assert await scene.ask() == [f"{WWW}. 300 IN A 198.51.100.7"]
        assert [len(each.queries) for each in scene.servers] == [1, 1]

    play(story, lame, fine, settings=IN_TURN)


def test_a_lost_datagram_is_sent_again() -> None:
    lost: list[str] = []

    def once(asked: dns.message.Message) -> dns.message.Message | None:
        lost.append("")
        return fine(asked) if len(lost) > 1 else None

    async def story(scene: Scene) -> None:
        assert await scene.ask() == [f"{WWW}. 300 IN A 198.51.100.7"]

    play(story, once, settings=IN_TURN)


def test_servfail_when_nobody_answers_and_nobody_is_asked_again_at_once() -> None:
    async def story(scene: Scene) -> None:
        assert await scene.ask() == ["SERVFAIL"]
        tries = len(scene.servers[0].queries)
        assert await scene.ask() == ["SERVFAIL"]
        assert len(scene.servers[0].queries) == tries

    play(story, silent, silent, settings=IN_TURN)


@pytest.mark.parametrize(
    ("last", "rcode"),
    [(lambda asked: reply(asked, rcode="REFUSED"), "REFUSED"), (dns.message.make_response, "SERVFAIL")],
    ids=["refusal", "referral"],
)
def test_what_the_last_server_says_when_none_knows(last: Manner, rcode: str) -> None:
    """A referral to servers that nobody asks is no answer, above all not that there is no such record."""

    async def story(scene: Scene) -> None:
        assert await scene.ask() == [rcode]

    play(story, last)


def test_a_server_that_is_down_is_asked_last_until_it_is_back() -> None:
    async def story(scene: Scene) -> None:
        first, second = scene.servers
        take, first.take = first.take, lambda *_: []  # type: ignore[method-assign]
        for number in range(2):
            await scene.ask(f"{number}.{WWW}")
        assert scene.metrics.value(told.FORWARD_UP, f"127.0.0.1:{first.endpoint[1]}") == 0
        seen = len(second.queries)
        assert await scene.ask("third." + WWW) == [f"third.{WWW}. 300 IN A 198.51.100.7"]
        assert (len(second.queries), scene.metrics.value(told.FORWARD_UP, f"127.0.0.1:{second.endpoint[1]}")) == (
            seen + 1,
            1,
        )
        first.take = take  # type: ignore[method-assign]
        while not scene.metrics.value(told.FORWARD_UP, f"127.0.0.1:{first.endpoint[1]}"):
            await asyncio.sleep(0.05)
        await scene.ask("fourth." + WWW)
        assert first.asked == [f"fourth.{WWW}."]

    play(story, fine, fine, settings=IN_TURN)


def test_a_port_where_nobody_listens_costs_no_waiting() -> None:
    async def story(scene: Scene) -> None:
        async with elsewhere(fine) as gone:
            nobody = gone.endpoint
        settings = Settings(servers=(nobody, scene.servers[0].endpoint), policy="sequential", per_try=60, total=120)
        assert await Scene(Forwarder(settings, Metrics()), scene.metrics, []).ask() == [f"{WWW}. 300 IN A 198.51.100.7"]

    play(story, fine)


def test_a_server_that_leads_back_to_us_is_not_asked() -> None:
    """The server forwards all it is asked to the forwarder, as a resolv.conf that names ourselves would."""

    async def run() -> None:
        stop, metrics = asyncio.Event(), Metrics()
        forwarders: list[Forwarder] = []

        async with elsewhere(silent) as mirror, asyncio.timeout(20):
            loop = asyncio.get_running_loop()
            replies: set[asyncio.Task[None]] = set()
            seen: list[bytes] = []

            async def back(octets: bytes) -> None:
                await forwarders[0].resolve(octets, udp=True, client="127.0.0.1")

            def take(octets: bytes, *_: Any) -> list[bytes]:
                seen.append(octets)
                replies.add(loop.create_task(back(octets)))
                return [reply(dns.message.from_wire(octets), rcode="SERVFAIL").to_wire()]

            mirror.take = take  # type: ignore[method-assign]
            forwarders.append(Forwarder(Settings(servers=(mirror.endpoint,)), metrics))
            running = asyncio.create_task(forwarders[0].run(stop))
            while metrics.value(told.FORWARD_UP, f"127.0.0.1:{mirror.endpoint[1]}") or not seen:
                await asyncio.sleep(0.01)
            before = len(seen)
            scene = Scene(forwarders[0], metrics, [])
            assert await scene.ask() == ["SERVFAIL"]
            assert len(seen) == before
            stop.set()
            await asyncio.gather(running, *replies)

    asyncio.run(run())


def test_a_worker_knows_the_test_of_another_and_does_not_pass_it_on() -> None:
    async def run() -> None:
        async with elsewhere(fine) as server, asyncio.timeout(20):
            seen: list[bytes] = []
            server.take = lambda octets, *_: seen.append(octets) or []  # type: ignore[method-assign, func-returns-value]
            settings = replace(IN_TURN, servers=(server.endpoint,))
            stop = asyncio.Event()
            running = asyncio.create_task(Forwarder(settings, Metrics()).run(stop))
            while not seen:
                await asyncio.sleep(0.01)
            stop.set()
            await running
            probe = seen[0]
            for other, passes_on in ((settings, False), (replace(settings, mark="another"), True)):
                before = len(seen)
                worker = Forwarder(other, Metrics())
                answer = dns.message.from_wire(await worker.resolve(probe, udp=True, client="127.0.0.1"))
                assert (answer.rcode(), len(seen) > before) == (dns.rcode.SERVFAIL, passes_on)

    asyncio.run(run())


def test_a_question_that_comes_back_waits_for_itself_and_is_not_multiplied() -> None:
    async def story(scene: Scene) -> None:
        (server,) = scene.servers
        returned: list[asyncio.Task[bytes]] = []

        def back(asked: dns.message.Message) -> None:
            again = scene.forwarder.resolve(asked.to_wire(), udp=True, client="127.0.0.1")
            returned.append(asyncio.create_task(again))

        server.udp = back
        assert await scene.ask() == ["SERVFAIL"]
        await asyncio.gather(*returned)
        assert 1 <= len(server.queries) <= 3

    play(story, silent, settings=replace(IN_TURN, total=0.3))


# Many at once


def test_the_same_question_of_many_is_sent_once() -> None:
    async def story(scene: Scene) -> None:
        asking = [scene.ask("WwW.example.com" if each % 2 else WWW) for each in range(50)]
        assert len({tuple(line.lower() for line in lines) for lines in await asyncio.gather(*asking)}) == 1
        assert len(scene.servers[0].queries) == 1

    play(story, fine)


def test_questions_that_mean_something_else_are_not_the_same() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.gather(
            scene.ask(),
            scene.ask(type="AAAA"),
            scene.ask(want_dnssec=True),
            scene.ask(flags=dns.flags.RD | dns.flags.CD),
        )
        seen = {
            (bool(each.ednsflags & dns.flags.DO), bool(each.flags & dns.flags.CD)) for each in scene.servers[0].queries
        }
        assert (len(scene.servers[0].queries), seen) == (4, {(False, False), (True, False), (False, True)})

    play(story, fine)


def test_more_questions_than_allowed_are_refused() -> None:
    async def story(scene: Scene) -> None:
        answers = await asyncio.gather(*(scene.ask(f"{each}.{WWW}") for each in range(5)))
        assert sorted(line for (line,) in answers) == ["REFUSED"] * 3 + ["SERVFAIL"] * 2
        assert scene.metrics.value(told.FORWARD_REJECTS) == 3

    play(story, silent, settings=replace(IN_TURN, questions=2))


# Whom to ask


def test_stub_domains_have_servers_of_their_own_and_the_longest_counts() -> None:
    async def run() -> None:
        async with elsewhere(fine) as world, elsewhere(fine) as office, elsewhere(fine) as lab, asyncio.timeout(20):
            stubs = (
                (names.parse("Example.org"), (office.endpoint,)),
                (names.parse("lab.example.org"), (lab.endpoint,)),
            )
            scene = Scene(Forwarder(Settings(servers=(world.endpoint,), stubs=stubs), Metrics()), Metrics(), [])
            for name in ("example.org", "A.example.ORG", "b.lab.example.org", "notexample.org", "org"):
                await scene.ask(name)
            assert office.asked == ["example.org.", "a.example.org."]
            assert lab.asked == ["b.lab.example.org."]
            assert world.asked == ["notexample.org.", "org."]

    asyncio.run(run())


def test_a_name_that_nobody_is_there_for_is_refused() -> None:
    async def run() -> None:
        async with elsewhere(fine) as office:
            stubs = ((names.parse("example.org"), (office.endpoint,)),)
            scene = Scene(Forwarder(Settings(stubs=stubs), Metrics()), Metrics(), [])
            assert await scene.ask() == ["REFUSED"]
            assert (Settings().configured, Settings(stubs=stubs).configured) == (False, True)

    asyncio.run(run())


def test_round_robin_goes_round_and_sequential_does_not() -> None:
    async def turn(scene: Scene) -> None:
        for number in range(6):
            await scene.ask(f"{number}.{WWW}")

    async def round(scene: Scene) -> None:
        await turn(scene)
        assert [len(each.queries) for each in scene.servers] == [2, 2, 2]

    async def sequential(scene: Scene) -> None:
        await turn(scene)
        assert [len(each.queries) for each in scene.servers] == [6, 0, 0]

    play(round, fine, fine, fine, settings=Settings(policy="round_robin"))
    play(sequential, fine, fine, fine, settings=Settings(policy="sequential"))


def test_who_does_not_want_others_to_be_asked_gets_what_is_known() -> None:
    async def story(scene: Scene) -> None:
        assert await scene.ask(flags=0) == ["REFUSED"]
        await scene.ask()
        assert await scene.ask(flags=0) == [f"{WWW}. 300 IN A 198.51.100.7"]
        assert len(scene.servers[0].queries) == 1

    play(story, fine)


# The cache at work


def test_what_is_known_is_not_asked_again() -> None:
    def nowhere(asked: dns.message.Message) -> dns.message.Message:
        soa = "example.com 900 SOA ns.example.com. host.example.com. 1 7200 1800 86400 60"
        return reply(asked, rcode="NXDOMAIN", authority=soa)

    async def story(scene: Scene) -> None:
        for _ in range(3):
            message = await scene.message()
            assert (message.rcode(), message.authority[0].ttl) == (dns.rcode.NXDOMAIN, 60)
        assert len(scene.servers[0].queries) == 1
        assert scene.metrics.value(told.CACHE_HITS, "denial") == 2
        assert scene.metrics.value(told.CACHE_MISSES) == 1
        assert scene.forwarder.resolve_cached(dns.message.make_query(WWW, "A").to_wire(), udp=True) is not None

    play(story, nowhere)


def test_a_denial_without_its_reason_is_not_kept() -> None:
    async def story(scene: Scene) -> None:
        assert [await scene.ask(), await scene.ask()] == [["NXDOMAIN"], ["NXDOMAIN"]]
        assert len(scene.servers[0].queries) == 2

    play(story, lambda asked: reply(asked, rcode="NXDOMAIN"))


def test_an_answer_past_its_time_is_given_when_nobody_answers() -> None:
    async def story(scene: Scene) -> None:
        assert await scene.ask() == [f"{WWW}. 300 IN A 198.51.100.7"]
        scene.now += 400
        scene.servers[0].udp = silent
        assert await scene.ask() == [f"{WWW}. 30 IN A 198.51.100.7"]
        tries = len(scene.servers[0].queries)
        assert await scene.ask() == [f"{WWW}. 30 IN A 198.51.100.7"]
        assert (len(scene.servers[0].queries), scene.metrics.value(told.CACHE_STALE)) == (tries, 2)

    play(story, fine, settings=replace(IN_TURN, cache=Limits(stale=3600)))


def test_an_answer_past_its_time_is_given_when_a_fresh_one_takes_long_and_the_fresh_one_comes_to_use() -> None:
    async def story(scene: Scene) -> None:
        await scene.ask()
        scene.now += 400
        (server,) = scene.servers
        dropped: list[str] = []

        def late(asked: dns.message.Message) -> dns.message.Message | None:
            dropped.append("")
            return fine(asked) if len(dropped) == 2 else None

        server.udp = late
        assert await scene.ask() == [f"{WWW}. 30 IN A 198.51.100.7"]
        while await scene.ask() != [f"{WWW}. 300 IN A 198.51.100.7"]:
            await asyncio.sleep(0.01)
        assert len(dropped) == 2

    play(story, fine, settings=replace(IN_TURN, cache=Limits(stale=3600), patience=0.01))


def test_hot_names_are_asked_for_anew_before_they_expire() -> None:
    async def story(scene: Scene) -> None:
        (server,) = scene.servers
        for _ in range(3):
            await scene.ask()
        scene.now += 280
        assert await scene.ask() == [f"{WWW}. 20 IN A 198.51.100.7"]
        while await scene.ask() != [f"{WWW}. 300 IN A 198.51.100.7"]:
            await asyncio.sleep(0.01)
        assert (len(server.queries), scene.metrics.value(told.CACHE_PREFETCHES)) == (2, 1)

    play(story, fine, settings=Settings(cache=Limits(prefetch=3)))


@pytest.mark.parametrize("address", ["::1", "::1%lo"])
def test_a_server_of_the_other_family(address: str) -> None:
    async def run() -> None:
        async with elsewhere(fine, address="::1") as server, asyncio.timeout(20):
            servers = ((address, server.endpoint[1]),)
            scene = Scene(Forwarder(Settings(servers=servers), Metrics()), Metrics(), [server])
            assert await scene.ask() == [f"{WWW}. 300 IN A 198.51.100.7"]

    asyncio.run(run())


# Questions of our own


def test_an_answer_of_our_own_has_the_aliases_and_what_they_lead_to() -> None:
    async def story(scene: Scene) -> None:
        answer = await scene.forwarder.follow(names.parse(WWW), Type.A)
        assert answer.rcode == Rcode.NOERROR
        assert [str(each) for each in answer.answer] == [
            f"{WWW}. 300 IN CNAME web.example.net.",
            "web.example.net. 60 IN A 198.51.100.8",
        ]
        assert await scene.forwarder.lookup(names.parse(WWW), Type.A) == answer.answer

    play(story, lambda asked: reply(asked, f"{WWW} 300 CNAME web.example.net", "web.example.net 60 A 198.51.100.8"))


@pytest.mark.parametrize(
    ("said", "meant"), [("NXDOMAIN", "NXDOMAIN"), ("REFUSED", "SERVFAIL"), ("SERVFAIL", "SERVFAIL")]
)
def test_an_answer_of_our_own_says_how_it_ends(said: str, meant: str) -> None:
    async def story(scene: Scene) -> None:
        answer = await scene.forwarder.follow(names.parse(WWW), Type.A)
        assert (answer.rcode.name, answer.answer) == (meant, ())

    play(story, lambda asked: reply(asked, rcode=said))


@pytest.mark.parametrize(
    "octets", [b"\x12\x34", b"\x12\x34" + bytes(10), b"\x12\x34\1\0\0\1" + bytes(6) + b"\xc0\x0c\0\1\0\1"]
)
def test_what_cannot_be_read_is_a_format_error(octets: bytes) -> None:
    async def story(scene: Scene) -> None:
        answer = dns.message.from_wire(await scene.forwarder.resolve(octets, udp=True, client="192.0.2.1"))
        assert (answer.id, answer.rcode()) == (0x1234, dns.rcode.FORMERR)

    play(story, fine)
