"""The whole server against the plain reading of the specification, while objects come and go.

Questions are asked again and again, so that replies which are ready are in the way of every event. An answer may be
that of any state between the first event not yet known to have arrived and the last one told, never an older one.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Iterator
from typing import cast

import dns.message
import dns.rcode
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.client.base import Client
from fairway.dns.server import DnsServer
from fairway.dns.zone import Zone
from fairway.objects.kinds import ENDPOINT_SLICE, NAMESPACE, POD, SERVICE
from tests.unit.dns.api import Api
from tests.unit.dns.cluster import Object, endpoints, namespace, pod, service
from tests.unit.dns.test_zone_model import EVENTS, REVERSE, UNIVERSE, Event, Records, expected, kind, write_down

KINDS = {"service": SERVICE, "slice": ENDPOINT_SLICE, "pod": POD, "namespace": NAMESPACE}
TYPES = ("A", "AAAA", "SRV", "PTR", "CNAME")
QUESTIONS = st.lists(
    st.tuples(st.sampled_from(UNIVERSE), st.sampled_from(TYPES)), min_size=15, max_size=25, unique=True
)

Key = tuple[str, str, str]
State = dict[Key, Object]
Said = tuple[str, set[str]]


class Asker:
    """A client on a socket of its own, that asks one question at a time."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(("127.0.0.1", port))

    def close(self) -> None:
        self._socket.close()

    async def ask(self, name: str, type: str) -> Said:
        """The rcode and the data of the answer section."""
        query = dns.message.make_query(name, type)
        self._socket.send(query.to_wire())
        reply = dns.message.from_wire(await asyncio.get_running_loop().sock_recv(self._socket, 4096))
        assert reply.id == query.id
        data = {each.to_text() for rrset in reply.answer for each in rrset}
        return dns.rcode.to_text(reply.rcode()), data


class Marks:
    """Events that show when everything told before on the same watch has arrived."""

    def __init__(self, api: Api, asker: Asker) -> None:
        self._api = api
        self._asker = asker
        self._numbers = itertools.count(1)

    async def arrived(self, what: str) -> None:
        """Return when all events of a kind have arrived."""
        number = next(self._numbers)
        address = f"10.244.255.{number}"
        mark, question = {
            "service": (service(f"m{number}", "mark", "10.96.255.1"), f"m{number}.mark.svc.cluster.local"),
            "slice": (
                endpoints("all", address, name=f"m{number}", namespace="mark"),
                f"{address.replace('.', '-')}.all.mark.svc.cluster.local",
            ),
            "pod": (pod(f"m{number}", address, "mark"), f"{address.replace('.', '-')}.mark.pod.cluster.local"),
            "namespace": (namespace(f"mark-{number}"), f"mark-{number}.svc.cluster.local"),
        }[what]
        self._api.tell(KINDS[what], "ADDED", mark)
        while (await self._asker.ask(question, "A"))[0] != "NOERROR":
            await asyncio.sleep(0)


def batches(events: list[Event]) -> Iterator[tuple[str, list[Event]]]:
    """Runs of events of one kind: these arrive in order, those of different kinds need not."""
    for what, run in itertools.groupby(events, key=lambda event: kind(event[1])):
        yield what, list(run)


def tell(api: Api, state: State, event: Event) -> State:
    """Let an event happen; the state after it."""
    verb, each = event
    what = kind(each)
    key = what, each["metadata"].get("namespace", ""), each["metadata"]["name"]
    after = dict(state)
    if verb == "set":
        api.tell(KINDS[what], "MODIFIED" if key in state else "ADDED", each)
        after[key] = each
    elif key in state:
        api.tell(KINDS[what], "DELETED", after.pop(key))
    return after


async def play(api: Api, asker: Asker, events: list[Event], questions: list[tuple[str, str]]) -> None:
    marks = Marks(api, asker)
    state: State = {}
    for what, run in batches(events):
        possible: list[Records] = [write_down(state)]
        for event in run:
            state = tell(api, state, event)
            possible.append(write_down(state))
            for name, type in questions[:5]:
                said = await asker.ask(name, type)
                assert said in [expected(records, name, type) for records in possible], f"{name} {type}"
        await marks.arrived(what)
        for name, type in questions:
            assert await asker.ask(name, type) == expected(possible[-1], name, type), f"{name} {type}"


@given(EVENTS, QUESTIONS)
@settings(max_examples=40, deadline=None)
def test_every_answer_is_that_of_a_state_between_the_events_start_and_its_end(
    events: list[Event], questions: list[tuple[str, str]]
) -> None:
    async def run() -> None:
        api, stop = Api(services=[service("all", "mark", "None")]), asyncio.Event()
        server = DnsServer(cast("Client", api), zone=Zone(reverse=REVERSE), addresses=[("127.0.0.1", 0)])
        serving = asyncio.create_task(server.run(stop))
        async with asyncio.timeout(60):
            await server.complete.wait()
            asker = Asker(server.bound[0][1])
            try:
                await play(api, asker, events, questions)
            finally:
                asker.close()
                stop.set()
                await serving

    asyncio.run(run())
