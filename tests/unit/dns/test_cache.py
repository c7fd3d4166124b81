"""Answers kept: what is found, for how long, and what makes way. The clock is the test's own."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from fairway.dns.cache import REST, Cache, Limits, State
from fairway.dns.inquiry import Inquiry, wire_name
from fairway.dns.kept import Kept, plain
from fairway.dns.names import parse
from fairway.dns.records import Rcode, Type


def about(name: str, **options: bool) -> Inquiry:
    return Inquiry(wire_name(parse(name)), Type.A, **options)


def answer(lifetime: int, size: int = 100) -> Kept:
    return Kept(bytes(size), (), Rcode.NOERROR, lifetime)


WEB, API = about("web.example.com"), about("api.example.com")
FAILURE = plain(WEB, Rcode.SERVFAIL, lifetime=1)


def seen(cache: Cache, inquiry: Inquiry, now: float) -> tuple[int, State] | None:
    hit = cache.get(inquiry, now)
    return (hit.age, hit.state) if hit else None


def test_an_answer_grows_old_and_is_gone() -> None:
    cache = Cache()
    cache.put(WEB, answer(30), 100.0)
    assert seen(cache, WEB, 100.0) == (0, State.FRESH)
    assert seen(cache, WEB, 129.9) == (29, State.FRESH)
    assert seen(cache, WEB, 130.0) is None
    assert (len(cache), cache.octets) == (0, 0)


def test_what_may_not_be_kept_is_not_and_ends_what_was() -> None:
    cache = Cache()
    cache.put(WEB, answer(30), 0)
    cache.put(WEB, answer(0), 1)
    assert seen(cache, WEB, 1) is None


def test_questions_with_other_flags_have_answers_of_their_own() -> None:
    cache = Cache()
    cache.put(WEB, answer(30), 0)
    assert cache.get(about("web.example.com", do=True), 0) is None
    assert cache.get(about("web.example.com", cd=True), 0) is None
    assert cache.get(WEB._replace(type=Type.AAAA), 0) is None


def test_the_answer_not_used_for_longest_makes_way() -> None:
    cache = Cache(Limits(entries=2))
    cache.put(WEB, answer(30), 0)
    cache.put(API, answer(30), 0)
    cache.get(WEB, 1)
    cache.put(about("new.example.com"), answer(30), 2)
    assert (seen(cache, API, 3), seen(cache, WEB, 3)) == (None, (3, State.FRESH))
    assert cache.evictions == 1


def test_octets_are_bounded_too() -> None:
    cache = Cache(Limits(octets=2 * answer(30).size))
    cache.put(WEB, answer(30, size=101), 0)
    cache.put(API, answer(30), 0)
    assert (seen(cache, WEB, 0), len(cache)) == (None, 1)
    cache.put(WEB, answer(30, size=10_000), 0)
    assert seen(cache, WEB, 0) is None


def test_nothing_is_kept_without_room() -> None:
    cache = Cache(Limits(entries=0))
    cache.put(WEB, answer(30), 0)
    assert len(cache) == 0


def test_a_hot_answer_that_is_nearly_gone_is_to_be_renewed_once() -> None:
    cache = Cache(Limits(prefetch=3))
    cache.put(WEB, answer(100), 0)
    states = [cache.get(WEB, now) for now in (1, 2, 89, 90, 91)]
    assert [hit.state for hit in states if hit] == [State.FRESH] * 3 + [State.ENDING, State.FRESH]
    cache.put(WEB, answer(100), 91)
    assert seen(cache, WEB, 190) == (99, State.FRESH)


def test_an_answer_that_few_ask_for_is_not_renewed() -> None:
    cache = Cache(Limits(prefetch=3))
    cache.put(WEB, answer(100), 0)
    assert [seen(cache, WEB, now) for now in (98, 99)] == [(98, State.FRESH), (99, State.FRESH)]


def test_a_renewal_that_fails_may_be_tried_again() -> None:
    cache = Cache(Limits(prefetch=1))
    cache.put(WEB, answer(100), 0)
    assert seen(cache, WEB, 91) == (91, State.ENDING)
    cache.put(WEB, FAILURE, 92)
    assert seen(cache, WEB, 93) == (93, State.ENDING)


def test_stale_answers_stay_for_when_nobody_answers() -> None:
    cache = Cache(Limits(stale=600))
    cache.put(WEB, answer(30), 0)
    assert seen(cache, WEB, 30) == (30, State.STALE)
    cache.put(WEB, FAILURE, 31)
    assert seen(cache, WEB, 32) == (32, State.RESTING)
    assert seen(cache, WEB, 31 + REST) == (61, State.STALE)
    assert seen(cache, WEB, 630) is None


def test_a_failure_is_remembered_where_nothing_is_known_and_after_an_answer_is_gone() -> None:
    cache = Cache()
    cache.put(WEB, FAILURE, 0)
    assert seen(cache, WEB, 0.5) == (0, State.FRESH)
    cache.put(API, answer(30), 0)
    cache.put(API, FAILURE, 31)
    hit = cache.get(API, 31.5)
    assert hit is not None
    assert hit.kept is FAILURE


@dataclass
class Told:
    """What a plain cache without any bound would know."""

    kept: Kept
    stored: int


@given(
    limits=st.builds(
        Limits,
        entries=st.integers(0, 4),
        octets=st.integers(0, 2500),
        stale=st.sampled_from([0, 10]),
        prefetch=st.integers(0, 2),
    ),
    steps=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(-1, 20), st.integers(1, 900))),
)
def test_whatever_happens_nothing_is_too_old_or_too_much(
    limits: Limits, steps: list[tuple[int, int, int, int]]
) -> None:
    """An answer found is the last one put, is as old as it says, and bounds hold after every step."""
    cache, told, now = Cache(limits), dict[Inquiry, Told](), 0
    for name, passing, lifetime, size in steps:
        now += passing
        inquiry = about(f"host-{name}.example.com")
        if lifetime < 0:
            hit = cache.get(inquiry, now)
            if hit is not None:
                known = told[inquiry]
                assert (hit.kept, hit.age) == (known.kept, now - known.stored)
                fresh = hit.state in (State.FRESH, State.ENDING)
                assert fresh == (hit.age < known.kept.lifetime)
                assert hit.age < known.kept.lifetime + limits.stale
        else:
            cache.put(inquiry, answer(lifetime, size), now)
            told[inquiry] = Told(answer(lifetime, size), now)
        assert len(cache) <= limits.entries
        assert 0 <= cache.octets <= limits.octets
        assert (cache.octets == 0) == (len(cache) == 0)
