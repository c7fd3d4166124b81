"""When a probe is due and what its results mean (pure; times are seconds of any one clock).

The rhythm is the kubelet's with one difference: until a readiness or startup probe first succeeds it is also tried in
between, at intervals that double from 20 ms up to the period. Those extra tries count only when they succeed, so a pod
is Ready within milliseconds of being able to serve, and `failureThreshold` times `periodSeconds` stays the time it has.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from fairway.pods.view import Probe

FIRST_INTERVAL = 0.02


class Purpose(enum.StrEnum):
    """What a probe is for; the words are those of the kubelet's events."""

    STARTUP = "Startup"
    READINESS = "Readiness"
    LIVENESS = "Liveness"


@dataclass(frozen=True, slots=True)
class Track:
    """Where one probe of one container stands.

    `result` is None until a threshold has been reached; `row` counts results of a kind in a row (successes up from 1,
    failures down from -1); `next_at` is when to try again and `due_at` when a try next counts by the period; `interval`
    is the next extra try's distance, 0 once there are none.
    """

    result: bool | None
    row: int
    next_at: float
    due_at: float
    interval: float


def begin(probe: Probe, purpose: Purpose, started: float) -> Track:
    """The state of a probe of a container that started at `started`."""
    first = started + probe.initial_delay_seconds
    if purpose is Purpose.LIVENESS:
        return Track(None, 0, first, first, 0.0)
    return Track(None, 0, first, first + probe.period_seconds, FIRST_INTERVAL)


def record(track: Track, probe: Probe, passed: bool, now: float) -> Track:
    """The state after a try that ended at `now`."""
    counts = passed or now >= track.due_at
    row = track.row if not counts else max(track.row, 0) + 1 if passed else min(track.row, 0) - 1
    result = track.result
    if row >= probe.success_threshold:
        result = True
    elif -row >= probe.failure_threshold:
        result = False
    due = track.due_at if now < track.due_at else now + probe.period_seconds
    interval = 0.0 if track.result is True or result is True else track.interval
    if interval and now + interval < due:
        return Track(result, row, now + interval, due, interval * 2)
    return Track(result, row, due, due, interval)


def counted(before: Track, after: Track) -> bool:
    """Whether the try between these states counted as a failure."""
    return after.row < 0 and after.row != before.row


def delayed(track: Track, now: float) -> Track:
    """The state of a probe that had to wait for the startup probe until `now`."""
    return replace(track, next_at=max(now, track.next_at), due_at=max(now, track.due_at))


def known_good(track: Track) -> Track:
    """The state of a probe of which an earlier agent knew that it succeeds."""
    return replace(track, result=True, row=1, interval=0.0)
