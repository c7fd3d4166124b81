"""The rhythm of probes, and what their results come to."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from fairway.pods import probes
from fairway.pods.probes import Purpose, Track
from fairway.pods.view import Probe


def play(probe: Probe, purpose: Purpose, works: Callable[[float], bool], until: float) -> list[tuple[float, Track]]:
    """Tries of a probe of a container started at 0, as (time, state after it)."""
    track, tries = probes.begin(probe, purpose, 0.0), []
    while track.next_at <= until:
        now = track.next_at
        track = probes.record(track, probe, works(now), now)
        tries.append((round(now, 3), track))
    return tries


def test_readiness_is_found_out_within_milliseconds_of_being_true() -> None:
    tries = play(Probe(period_seconds=10), Purpose.READINESS, lambda now: now >= 0.1, 1.0)
    assert [at for at, _ in tries] == [0.0, 0.02, 0.06, 0.14]
    assert tries[-1][1].result is True


def test_extra_tries_do_not_count_against_the_threshold() -> None:
    tries = play(Probe(period_seconds=10, failure_threshold=3), Purpose.STARTUP, lambda _: False, 35.0)
    given_up = [at for at, track in tries if track.result is False]
    assert given_up[0] == 30.0


def test_liveness_waits_and_gives_up_after_the_threshold() -> None:
    probe = Probe(initial_delay_seconds=5, period_seconds=2, failure_threshold=3)
    tries = play(probe, Purpose.LIVENESS, lambda now: now < 8, 20.0)
    assert [at for at, _ in tries][:3] == [5.0, 7.0, 9.0]
    assert next(at for at, track in tries if track.result is False) == 13.0


def test_one_success_begins_the_count_of_failures_anew() -> None:
    probe = Probe(period_seconds=1, failure_threshold=2)
    tries = play(probe, Purpose.LIVENESS, lambda now: now % 2 == 0, 20.0)
    assert all(track.result is not False for _, track in tries)


def test_success_threshold() -> None:
    probe = Probe(period_seconds=1, success_threshold=3)
    tries = play(probe, Purpose.READINESS, lambda _: True, 5.0)
    assert [track.result for _, track in tries][:3] == [None, None, True]


def test_readiness_is_lost_and_found_by_the_period() -> None:
    probe = Probe(period_seconds=2, failure_threshold=1)
    tries = play(probe, Purpose.READINESS, lambda now: not 3 < now < 5, 8.0)
    assert [(at, track.result) for at, track in tries] == [(0, True), (2, True), (4, False), (6, True), (8, True)]


@given(st.integers(0, 5), st.integers(1, 10), st.integers(1, 4), st.lists(st.booleans(), max_size=40))
def test_a_probe_always_goes_on_and_never_faster_than_it_may(
    delay: int, period: int, threshold: int, results: list[bool]
) -> None:
    probe = Probe(initial_delay_seconds=delay, period_seconds=period, failure_threshold=threshold)
    track = probes.begin(probe, Purpose.READINESS, 0.0)
    assert track.next_at == delay
    good = False
    for passed in results:
        now = track.next_at
        track = probes.record(track, probe, passed, now)
        good = good or passed
        assert (
            now + (period if good else probes.FIRST_INTERVAL) <= track.next_at + 1e-9 or track.next_at == track.due_at
        )
        assert track.next_at <= now + period


def test_what_an_earlier_agent_knew_is_believed() -> None:
    track = probes.known_good(probes.begin(Probe(period_seconds=10), Purpose.READINESS, 0.0))
    assert track.result is True
    assert probes.record(track, Probe(period_seconds=10), False, 0.0).result is True


def test_a_probe_held_back_by_the_startup_probe_begins_when_that_is_over() -> None:
    held = probes.delayed(probes.begin(Probe(), Purpose.LIVENESS, 0.0), 30.0)
    assert (held.next_at, held.due_at) == (30.0, 30.0)
