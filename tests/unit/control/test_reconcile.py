"""The work queue under a virtual clock, and on asyncio."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from fairway.client.base import Unreachable
from fairway.control.reconcile import FIRST_DELAY, LONGEST_DELAY, Reconciler, Schedule


def schedule() -> Schedule[str]:
    return Schedule(lambda: 0.0)


def drain(queue: Schedule[str], now: float) -> list[str]:
    taken = []
    while (key := queue.take(now)) is not None:
        taken.append(key)
        queue.done(key)
    return taken


def test_additions_of_one_key_coalesce_in_order() -> None:
    queue = schedule()
    for key in ("a", "b", "a", "c", "b"):
        queue.add(key)
    assert drain(queue, 0) == ["a", "b", "c"]
    assert queue.idle


def test_a_key_added_while_it_runs_runs_once_more_afterwards() -> None:
    queue = schedule()
    queue.add("a")
    assert queue.take(0) == "a"
    queue.add("a")
    queue.add("a")
    assert queue.take(0) is None
    queue.done("a")
    assert drain(queue, 0) == ["a"]


def test_failures_wait_longer_each_time_and_success_forgets_them() -> None:
    queue = schedule()
    queue.add("a")
    now, delays = 0.0, []
    for _ in range(16):
        assert queue.take(now) == "a"
        delays.append(queue.failed(now, "a"))
        assert queue.take(now) is None
        now = queue.next_due() or 0.0
    assert delays[:3] == [FIRST_DELAY, FIRST_DELAY * 2, FIRST_DELAY * 4]
    assert delays[-1] == LONGEST_DELAY
    assert drain(queue, now) == ["a"]
    queue.add("a")
    queue.take(now)
    assert queue.failed(now, "a") == FIRST_DELAY


def test_news_about_a_failed_key_does_not_wait() -> None:
    queue = schedule()
    queue.add("a")
    queue.take(0)
    queue.failed(0, "a")
    queue.add("a")
    assert drain(queue, 0) == ["a"]


def test_the_earlier_appointment_stands() -> None:
    queue = schedule()
    queue.after(0, 10, "a")
    queue.after(0, 20, "a")
    assert queue.next_due() == 10
    queue.after(0, 5, "a")
    assert (drain(queue, 4.9), drain(queue, 5), drain(queue, 100)) == ([], ["a"], [])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["add", "after", "take", "done", "fail"]))))
def test_a_key_never_runs_twice_at_once_and_nothing_is_lost(steps: list[tuple[str, str]]) -> None:
    queue = schedule()
    now, running, owed = 0.0, set[str](), set[str]()
    for key, step in steps:
        now += 1
        if step == "add":
            queue.add(key)
            owed.add(key)
        elif step == "after":
            queue.after(now, 1.5, key)
            owed.add(key)
        elif step == "take" and (taken := queue.take(now)) is not None:
            assert taken not in running
            running.add(taken)
            owed.discard(taken)
        elif step in ("done", "fail") and key in running:
            running.remove(key)
            if step == "done":
                queue.done(key)
            else:
                queue.failed(now, key)
                owed.add(key)
    for key in running:
        queue.done(key)
    assert owed <= set(drain(queue, now + 1000))


def test_work_is_bounded_repeated_on_failure_and_survives_bugs() -> None:
    attempts: dict[str, int] = {}
    at_once: list[int] = []
    finished = asyncio.Event()
    running = 0

    async def work(key: str) -> float | None:
        nonlocal running
        running += 1
        at_once.append(running)
        await asyncio.sleep(0)
        running -= 1
        attempts[key] = attempts.get(key, 0) + 1
        if key == "cut" and attempts[key] < 3:
            raise Unreachable("away")
        if key == "bug" and attempts[key] < 2:
            raise KeyError("unforeseen")
        if key == "later" and attempts[key] < 2:
            return 0.001
        if attempts == {"cut": 3, "bug": 2, "later": 2, "plain": 1}:
            finished.set()
        return None

    async def scene() -> None:
        queue: Reconciler[str] = Reconciler("test", work, concurrency=2, jitter=lambda: 0.0)
        for key in ("cut", "bug", "later", "plain"):
            queue.add(key)
        running_queue = asyncio.create_task(queue.run())
        await asyncio.wait_for(finished.wait(), 10)
        running_queue.cancel()

    asyncio.run(scene())
    assert max(at_once) == 2
