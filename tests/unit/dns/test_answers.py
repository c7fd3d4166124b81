"""Ready replies are never old: after each event every one is what the general path would say; and the books."""

from __future__ import annotations

from collections import Counter

import dns.flags
import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.dns import metrics, wire
from fairway.dns.answers import Answers, Place
from fairway.dns.metrics import Metrics
from fairway.dns.ready import Ready, Tally
from fairway.dns.table import LEAVING, MOST_OF_ONE, Table
from fairway.dns.wire import Manner, Referral
from fairway.dns.zone import Zone
from tests.unit.dns.cluster import endpoints, external, namespace, pod, put, service
from tests.unit.dns.test_zone_model import EVENTS, REVERSE, UNIVERSE, Event, kind

UDP = Place("dns://:53", udp=True, v6=False)
TYPES = ("A", "AAAA", "SRV", "PTR", "ANY")


def query(name: str, type: str = "A", ident: int = 0x1234, **more: object) -> bytes:
    message = dns.message.make_query(name, type, **more)  # type: ignore[arg-type]
    message.id = ident
    return message.to_wire()


def answering(zone: Zone, told: Metrics | None = None) -> Answers:
    made = Answers(zone, UDP, told or Metrics())
    zone.on_change = made.table.forget
    made.synced = True
    return made


def is_ready(answers: Answers, question: bytes) -> bool:
    return question[2:] in answers.table.ready


ALL = [(query(name, type), f"{name} {type}") for name in UNIVERSE for type in TYPES]


@given(EVENTS, st.lists(st.sampled_from(ALL), min_size=1, max_size=60))
@settings(max_examples=150, deadline=None)
def test_after_each_event_every_reply_is_what_the_general_path_says(
    events: list[Event], questions: list[tuple[bytes, str]]
) -> None:
    zone = Zone(reverse=REVERSE)
    answers = answering(zone)
    for verb, each in events:
        if verb == "set":
            put(zone, each)
        else:
            getattr(zone, f"delete_{kind(each)}")(each["metadata"].get("namespace", ""), each["metadata"]["name"])
        answers.settle()
        for question, text in questions:
            assert answers.answer(question) == wire.respond(question, zone, udp=True, synced=True), text


def test_a_question_seen_before_is_ready_whatever_its_id() -> None:
    answers = answering(put(Zone(), service("web", "default", "10.96.1.2")))
    asked = query("web.default.svc.cluster.local", ident=1)
    first = answers.answer(asked)
    assert is_ready(answers, asked)
    second = answers.answer(query("web.default.svc.cluster.local", ident=0xBEEF))
    assert isinstance(first, bytes)
    assert second == b"\xbe\xef" + first[2:]


def test_the_case_of_the_question_is_kept() -> None:
    answers = answering(put(Zone(), service("web", "default", "10.96.1.2")))
    for _ in range(2):
        for name in ("WEB.default.svc.cluster.local", "web.Default.SVC.cluster.local"):
            reply = answers.answer(query(name))
            assert isinstance(reply, bytes)
            assert dns.message.from_wire(reply).question[0].name.to_text() == name + "."


def test_an_event_takes_away_its_own_replies_and_no_others() -> None:
    zone = put(Zone(), service("web", "default", "10.96.1.2"), service("api", "default", "10.96.1.3"))
    answers = answering(zone)
    web, api = query("web.default.svc.cluster.local"), query("api.default.svc.cluster.local")
    back, other = query("2.1.96.10.in-addr.arpa", "PTR"), query("nobody.default.svc.cluster.local")
    for each in (web, api, back, other):
        answers.answer(each)
    put(zone, service("web", "default", "10.96.1.9"))
    answers.settle()
    assert [is_ready(answers, each) for each in (web, api, back, other)] == [False, True, False, True]


def test_a_negative_reply_goes_when_its_name_comes() -> None:
    zone = Zone()
    answers = answering(zone)
    questions = {
        "web.default.svc.cluster.local": "A",
        "_http._tcp.web.default.svc.cluster.local": "SRV",
        "default.svc.cluster.local": "A",
        "2.1.96.10.in-addr.arpa": "PTR",
        "10-244-0-5.default.pod.cluster.local": "A",
    }
    for name, type in questions.items():
        answers.answer(query(name, type))
        assert is_ready(answers, query(name, type)), name
    put(zone, service("web", "default", "10.96.1.2", ports=["http:80/TCP"]), pod("p", "10.244.0.5"))
    answers.settle()
    for name, type in questions.items():
        assert not is_ready(answers, query(name, type)), name


def test_a_namespace_comes_and_goes() -> None:
    zone = Zone()
    answers = answering(zone)
    asked = query("quiet.svc.cluster.local")
    rcodes = []
    for event in (lambda: None, lambda: put(zone, namespace("quiet")), lambda: zone.delete_namespace("", "quiet")):
        event()
        reply = answers.answer(asked)
        assert isinstance(reply, bytes)
        rcodes.append(dns.message.from_wire(reply).rcode().name)
    assert rcodes == ["NXDOMAIN", "NOERROR", "NXDOMAIN"]


@pytest.mark.parametrize(
    ("name", "type", "more"),
    [
        ("1.96.10.in-addr.arpa", "PTR", {}),
        ("web.default.svc.cluster.local", "A", {"options": [dns.edns.GenericOption(10, b"12345678")]}),
    ],
    ids=["a partial reverse name", "a client's cookie"],
)
def test_what_any_change_may_alter_or_nobody_will_repeat_is_not_kept(
    name: str, type: str, more: dict[str, object]
) -> None:
    answers = answering(put(Zone(), service("web", "default", "10.96.1.2")))
    assert answers.answer(query(name, type, **more)) is not None
    assert not answers.table.ready


def test_nothing_is_kept_before_the_zone_is_complete() -> None:
    answers = answering(Zone())
    answers.synced = False
    answers.answer(query("web.default.svc.cluster.local"))
    assert not answers.table.ready


def test_addresses_begin_at_each_in_turn_and_keep_their_number() -> None:
    ips = [f"10.244.0.{last}" for last in range(1, 8)]
    answers = answering(put(Zone(), service("pets", "default", "None"), endpoints("pets", *ips)))
    firsts: Counter[str] = Counter()
    for ident in range(7 * 20):
        reply = answers.answer(query("pets.default.svc.cluster.local", ident=ident))
        assert isinstance(reply, bytes)
        given = [each.to_text() for each in dns.message.from_wire(reply).answer[0]]
        assert sorted(given) == sorted(ips)
        firsts[given[0]] += 1
    assert dict(firsts) == dict.fromkeys(ips, 20)


def test_addresses_stay_in_order_when_that_is_wished() -> None:
    zone = put(Zone(), service("pets", "default", "None"), endpoints("pets", "10.244.0.1", "10.244.0.2"))
    for ident in (1, 2):
        made = wire.respond(
            query("pets.default.svc.cluster.local", ident=ident),
            zone,
            udp=True,
            synced=True,
            manner=Manner(shuffle=False),
        )
        assert isinstance(made, bytes)
        assert [each.to_text() for each in dns.message.from_wire(made).answer[0]] == ["10.244.0.1", "10.244.0.2"]


# names of others


def asked_elsewhere(zone: Zone, question: bytes) -> Referral:
    made = wire.respond(question, zone, udp=True, synced=True, manner=Manner(recursion=True))
    assert isinstance(made, Referral)
    return made


def test_a_name_of_others_is_referred_when_recursion_is_offered_and_desired() -> None:
    question = query("www.example.com")
    referral = asked_elsewhere(Zone(), question)
    assert (referral.message, referral.chain, str(referral.question.name[0], "ascii")) == (question, (), "www")
    undesired = query("www.example.com", flags=0)
    refused = wire.respond(undesired, Zone(), udp=True, synced=True, manner=Manner(recursion=True))
    assert isinstance(refused, bytes)
    assert dns.message.from_wire(refused).rcode() == dns.rcode.REFUSED


def test_recursion_is_told_in_every_reply_when_offered() -> None:
    zone = put(Zone(), service("web", "default", "10.96.1.2"))
    for offered in (True, False):
        made = wire.respond(
            query("web.default.svc.cluster.local"), zone, udp=True, synced=True, manner=Manner(recursion=offered)
        )
        assert isinstance(made, bytes)
        assert bool(dns.message.from_wire(made).flags & dns.flags.RA) == offered


def test_an_alias_that_leads_out_is_finished_with_what_is_found_there() -> None:
    zone = put(Zone(), external("db", "db.example.com"), service("web", "default", "10.96.1.2", ports=["http:80/TCP"]))
    referral = asked_elsewhere(zone, query("db.default.svc.cluster.local"))
    assert [str(each) for each in referral.chain] == ["db.default.svc.cluster.local. 5 IN CNAME db.example.com."]
    found = zone.answer(wire.Question((b"web", b"default", b"svc", b"cluster", b"local"), 1)).answer
    reply = dns.message.from_wire(referral.finish(found))
    assert (reply.flags & dns.flags.AA, reply.flags & dns.flags.RA) == (dns.flags.AA, dns.flags.RA)
    assert [each.to_text() for each in reply.answer] == [
        "db.default.svc.cluster.local. 5 IN CNAME db.example.com.",
        "web.default.svc.cluster.local. 5 IN A 10.96.1.2",
    ]


# the books and the table


def test_the_books_count_ready_replies_as_any_other() -> None:
    told = Metrics()
    answers = answering(put(Zone(), service("web", "default", "10.96.1.2")), told)
    for ident in range(5):
        answers.answer(query("web.default.svc.cluster.local", ident=ident))
        answers.answer(query("no.default.svc.cluster.local", "TYPE999", ident=ident))
    answers.answer(b"\x00" * 12)
    assert told.value(metrics.REQUESTS, "dns://:53", "cluster.local.", "A", "udp", "1") == 5
    assert told.value(metrics.REQUESTS, "dns://:53", "cluster.local.", "other", "udp", "1") == 5
    assert told.value(metrics.RESPONSES, "dns://:53", "cluster.local.", "NXDOMAIN") == 5
    assert told.value(metrics.RESPONSES, "dns://:53", ".", "FORMERR") == 1
    assert told.value(metrics.REQUEST_SIZE, "dns://:53", "cluster.local.", "udp") == 10


def filled(budget: int, count: int) -> tuple[Table, Zone, list[bytes]]:
    """A table in which each of so many Services has been asked for."""
    zone = put(
        Zone(), *(service(f"n{number}", "default", f"10.96.{number >> 8}.{number & 255}") for number in range(count))
    )
    table = Table(budget)
    asked = [query(f"n{number}.default.svc.cluster.local") for number in range(count)]
    for each in asked:
        made = wire.prepare(each, zone, udp=True, synced=True)
        assert isinstance(made, Ready)
        table.put(each[2:], made, Tally())
    return table, zone, asked


def test_a_full_table_stays_within_its_budget_and_is_never_empty() -> None:
    table, _, asked = filled(100_000, 1000)
    assert 250 < len(table.ready) < 360
    assert asked[-1][2:] in table.ready


def test_going_through_more_names_than_fit_finds_some_of_them_ready() -> None:
    answers = answering(Zone())
    answers.table.budget = 60_000
    questions = [query(f"x{number}.default.svc.cluster.local") for number in range(400)]
    found = 0
    for _ in range(20):
        for each in questions:
            found += is_ready(answers, each)
            answers.answer(each)
    assert found > 500


def test_what_changes_leaves_a_table_whichever_generation_it_is_of() -> None:
    table, _, asked = filled(20_000, 100)
    for number in range(100):
        table.forget(("service", b"default", b"n%d" % number))
        assert asked[number][2:] not in table.ready
    assert not table.ready


def test_those_that_make_way_go_a_few_at_a_time() -> None:
    answers = answering(Zone())
    answers.table.budget = 30_000
    ready, before = answers.table.ready, 0
    for number in range(500):
        answers.answer(query(f"x{number}.default.svc.cluster.local"))
        assert len(ready) > before - LEAVING
        before = len(ready)
    assert before < 200


def test_what_is_about_to_make_way_hears_of_changes() -> None:
    zone = Zone()
    answers = answering(zone)
    answers.table.budget = 30_000
    for number in range(500):
        answers.answer(query(f"x{number}.default.svc.cluster.local"))
        put(zone, service(f"x{number % 50}", "default", "10.96.1.2"))
        zone.delete_service("default", f"x{number % 50}")
        if number >= 100:
            put(zone, service(f"x{number - 100}", "default", "10.96.1.2"))
            assert not is_ready(answers, query(f"x{number - 100}.default.svc.cluster.local"))


def test_replies_that_deny_the_same_way_are_one() -> None:
    answers = answering(Zone())
    questions = [query(f"x{number}.default.svc.cluster.local") for number in range(10, 60)]
    replies = [answers.answer(each) for each in questions]
    assert len({id(kept) for kept in answers.table.ready.values()}) == 1
    assert [answers.answer(each) for each in questions] == replies


def test_books_of_replies_that_made_way_are_closed_and_none_is_lost() -> None:
    told = Metrics()
    answers = answering(Zone(), told)
    answers.table.budget = 20_000
    for type in range(300, 900):
        answers.answer(query("no.default.svc.cluster.local", f"TYPE{type}"))
    assert len(answers._tallies) < 200
    assert told.value(metrics.REQUESTS, "dns://:53", "cluster.local.", "other", "udp", "1") == 600


def test_of_what_one_change_may_alter_not_too_many_are_kept() -> None:
    zone = put(Zone(), service("web", "default", "10.96.1.2"))
    answers = answering(zone)
    for number in range(3 * MOST_OF_ONE):
        assert isinstance(answers.answer(query(f"x{number}.web.default.svc.cluster.local")), bytes)
    assert len(answers.table.ready) == MOST_OF_ONE
    put(zone, service("web", "default", "10.96.1.3"))
    assert not answers.table.ready
