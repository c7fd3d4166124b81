"""Replies in one stroke say what the general path says, octet for octet, and the usual questions have one."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.dns import wire
from fairway.dns.brief import Briefs
from fairway.dns.ready import Ready
from fairway.dns.wire import Manner
from fairway.dns.zone import Zone
from tests.unit.dns.cluster import endpoints, external, host, namespace, pod, put, service
from tests.unit.dns.test_zone_model import EVENTS, REVERSE, UNIVERSE, Event, kind

TYPES = ("A", "AAAA", "SRV", "PTR", "TXT", "SOA", "NS", "CNAME", "ANY", "TYPE65280")
ODD = (
    "dns-version.cluster.local",
    "kube-dns.kube-system.svc.cluster.local",
    "x.kube-dns.kube-system.svc.cluster.local",
    "hostmaster.cluster.local",
    "x.hostmaster.cluster.local",
    "x.a.svc.cluster.local.svc.cluster.local",
    "X.a.svc.cluster.local",
    "x.a.svc.Cluster.local",
)


COOKIE = dns.edns.GenericOption(10, b"12345678")


def query(name: str, type: str, payload: int = -1, flags: int = dns.flags.RD, *, cookie: bool = False) -> bytes:
    edns = {"use_edns": 0, "payload": payload, "options": [COOKIE] * cookie} if payload >= 0 else {}
    return dns.message.make_query(name, type, id=4711, flags=flags, **edns).to_wire()


def said(made: object) -> tuple[bytes, object, object, object]:
    """All there is to know of a reply: its octets (also with its addresses turned), and what is filed."""
    assert isinstance(made, Ready)
    octets = b"".join(made.reply.octets(ident + b"\0" * 10) for ident in (b"\0\0", b"\0\1"))
    return octets, made.roots, (made.type, made.rcode, made.zone), made.reply.end


ASKED = st.builds(
    query,
    st.sampled_from([*UNIVERSE, *ODD]),
    st.sampled_from(TYPES),
    st.sampled_from((-1, 0, 512, 1232, 4096)),
    st.sampled_from((0, dns.flags.RD, dns.flags.RD | dns.flags.CD | dns.flags.AD)),
    cookie=st.booleans(),
)
MANNERS = st.builds(Manner, recursion=st.booleans(), shuffle=st.booleans())


@given(EVENTS, st.lists(ASKED, min_size=10, max_size=50), MANNERS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_brief_reply_is_what_the_general_path_says(
    events: list[Event], questions: list[bytes], manner: Manner, udp: bool
) -> None:
    zone = Zone(reverse=REVERSE)
    briefs = Briefs(zone, manner, udp=udp)
    for verb, each in events:
        if verb == "set":
            put(zone, each)
        else:
            getattr(zone, f"delete_{kind(each)}")(each["metadata"].get("namespace", ""), each["metadata"]["name"])
        for question in questions:
            brief = briefs.ready(question)
            if brief is not None:
                general = wire.prepare(question, zone, udp=udp, synced=True, manner=manner)
                assert said(brief) == said(general)


CLUSTER = (
    service("web", "default", "10.96.1.2", "fd00::2", ports=["http:80/TCP"]),
    service("pets", "default", "None"),
    endpoints("pets", host("a", "10.244.0.1", "fd00::1"), host("b", "10.244.0.2"), ports=["http:80/TCP"]),
    external("out", "example.com"),
    namespace("quiet"),
    pod("p", "10.244.0.9"),
)


@pytest.mark.parametrize(
    "question",
    [
        "web.default.svc.cluster.local A",
        "web.default.svc.cluster.local AAAA",
        "web.default.svc.cluster.local TXT",
        "_http._tcp.web.default.svc.cluster.local SRV",
        "_http._tcp.pets.default.svc.cluster.local SRV",
        "pets.default.svc.cluster.local A",
        "a.pets.default.svc.cluster.local AAAA",
        "2.1.96.10.in-addr.arpa PTR",
        "2.0.244.10.in-addr.arpa PTR",
        "9.9.96.10.in-addr.arpa PTR",
        "10-244-0-9.default.pod.cluster.local A",
        "none.default.svc.cluster.local A",
        "web.default.svc.cluster.local.default.svc.cluster.local A",
        "www.example.com.svc.cluster.local A",
        "quiet.svc.cluster.local A",
        "cluster.local A",
    ],
)
def test_the_usual_questions_have_brief_replies(question: str) -> None:
    zone = put(Zone(), *CLUSTER)
    briefs = Briefs(zone, wire.PLAIN, udp=True)
    name, type = question.split()
    for payload, cookie in ((-1, False), (1232, False), (1232, True)):
        asked = query(name, type, payload, cookie=cookie)
        assert said(briefs.ready(asked)) == said(wire.prepare(asked, zone, udp=True, synced=True))


@pytest.mark.parametrize(
    "question", ["out.default.svc.cluster.local A", "WEB.default.svc.cluster.local A", "www.example.com A"]
)
def test_what_is_not_brief_is_left_to_the_general_path(question: str) -> None:
    name, type = question.split()
    assert Briefs(put(Zone(), *CLUSTER), wire.PLAIN, udp=True).ready(query(name, type)) is None


def test_names_with_which_a_walk_begins_are_left_to_it() -> None:
    manner = Manner(begins=lambda name: name[0] == b"www")
    briefs = Briefs(Zone(), manner, udp=True)
    assert briefs.ready(query("www.default.svc.cluster.local", "A")) is None
    assert briefs.ready(query("web.default.svc.cluster.local", "A")) is not None


def test_denials_of_one_shape_are_one_reply() -> None:
    briefs = Briefs(put(Zone(), *CLUSTER), wire.PLAIN, udp=True)
    made = [briefs.ready(query(f"no{number}.default.svc.cluster.local", "A")) for number in range(10, 20)]
    assert len({id(each.reply) for each in made if each}) == 1
    assert len({each.roots for each in made if each}) == 10


@pytest.mark.parametrize(
    "names",
    [
        ("kube-dns.kube-sister.svc", "kube-dns.kube-system.svc", "kube-dnt.kube-system.svc"),
        ("x.postmaster", "x.hostmaster"),
        ("a.default.svc", "a.default.pod"),
    ],
)
def test_denials_that_end_in_other_names_of_the_soa_are_told_apart(names: tuple[str, ...]) -> None:
    zone = Zone()
    briefs = Briefs(zone, wire.PLAIN, udp=True)
    for name in (*names, *reversed(names)):
        for payload in (-1, 1232):
            asked = query(f"{name}.cluster.local", "A", payload)
            assert said(briefs.ready(asked)) == said(wire.prepare(asked, zone, udp=True, synced=True))


def test_a_longer_question_is_not_taken_for_one_with_an_opt_record() -> None:
    briefs = Briefs(Zone(), wire.PLAIN, udp=True)
    short, long = (f"{'x' * length}.default.svc.cluster.local" for length in (5, 5 + 11))
    for asked in (query(long, "A"), query(short, "A", 512), query(long, "A")):
        assert said(briefs.ready(asked)) == said(wire.prepare(asked, Zone(), udp=True, synced=True))
