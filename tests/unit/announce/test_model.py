"""The promises of announcing, held against a world where everything goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from fairway.announce.election import Wish
from fairway.announce.member import DEFAULT
from tests.unit.announce.model import Node, World

ADDRESSES = ("10.0.0.200", "10.0.0.201")
NAMES = ("node-a", "node-b", "node-c")
WISHES = {each: Wish(each, ("default/web",), (frozenset(NAMES),)) for each in ADDRESSES}
DEAD_AFTER = 2.0
"""Seconds in which another node answers for one that died, with an API that answers in a tenth of a second."""


def world(seed: int, slow: float = 0.02, drift: float = 0.1) -> World:
    """Three nodes that have settled. The clock of each may run fast or slow by `drift`."""
    made = World(Random(seed), slow=slow, lag=slow)
    for name in NAMES:
        made.nodes[name] = Node(made, name, 1 + made.random.choice((-drift, 0.0, drift)), WISHES)
    made.check = lambda: never_two(made)
    made.run(2.0)
    assert_served(made)
    return made


def never_two(made: World) -> None:
    for address in ADDRESSES:
        answering = made.answering(address)
        assert len(answering) <= 1, f"{made.time:.4f}: {address} is answered for by {answering}"


def assert_served(made: World) -> None:
    for address in ADDRESSES:
        assert len(made.answering(address)) == 1, f"{made.time:.4f}: {address}"


def darkness(made: World, seconds: float, address: str = ADDRESSES[0]) -> float:
    """The longest that nobody answered for the address in that time."""
    longest = 0.0
    since = made.time
    for _ in range(int(seconds / 0.01)):
        made.run(0.01)
        if made.answering(address):
            since = made.time
        longest = max(longest, made.time - since)
    return longest


def announcer(made: World, address: str = ADDRESSES[0]) -> Node:
    [name] = made.answering(address)
    return made.nodes[name]


@pytest.mark.parametrize("seed", range(6))
def test_the_addresses_of_a_dead_node_are_taken_in_two_seconds(seed: int) -> None:
    made = world(seed, slow=0.1)
    announcer(made).dead = True
    assert darkness(made, 4.0) < DEAD_AFTER
    assert_served(made)


def test_addresses_are_spread() -> None:
    made = world(1)
    assert announcer(made, ADDRESSES[0]) is not announcer(made, ADDRESSES[1])


def test_a_node_that_comes_back_takes_nothing_from_others() -> None:
    made = world(2)
    gone = announcer(made)
    gone.dead = True
    made.run(4.0)
    now = announcer(made)
    made.nodes[gone.name] = Node(made, gone.name, 1.0, WISHES)
    made.run(5.0)
    assert announcer(made) is now


def test_a_process_that_is_started_again_at_once_keeps_its_addresses() -> None:
    made = world(3)
    before = announcer(made)
    before.dead = True
    made.run(0.2)
    made.nodes[before.name] = Node(made, before.name, 1.0, WISHES)
    assert darkness(made, 3.0) < 0.5
    assert announcer(made).name == before.name


@pytest.mark.parametrize("seed", range(4))
def test_while_the_api_is_away_nobody_falls_silent_and_afterwards_nothing_has_moved(seed: int) -> None:
    made = world(seed)
    before = [announcer(made, each) for each in ADDRESSES]
    made.up = False
    assert darkness(made, 20.0) == 0.0
    made.up = True
    assert darkness(made, 5.0) == 0.0
    assert [announcer(made, each) for each in ADDRESSES] == before


@pytest.mark.parametrize("seed", range(4))
def test_who_alone_has_lost_the_api_gives_up_before_another_begins(seed: int) -> None:
    made = world(seed)
    lonely = announcer(made)
    lonely.api = False
    assert darkness(made, 5.0) < 0.2  # between two probes of the other and its first announcement
    assert announcer(made) is not lonely
    lonely.api = True
    made.run(5.0)
    assert_served(made)


@pytest.mark.parametrize("seed", range(4))
def test_a_stopped_process_that_is_woken_answers_nothing_before_it_knows_better(seed: int) -> None:
    made = world(seed)
    stopped = announcer(made)
    stopped.woken = made.time + 10.0
    assert darkness(made, 10.0) < DEAD_AFTER
    made.run(5.0)
    assert announcer(made) is not stopped


@pytest.mark.parametrize("seed", range(12))
def test_clocks_that_drift_apart_and_answers_that_come_late_make_no_two(seed: int) -> None:
    made = world(seed, slow=0.002, drift=0.0)
    lonely = announcer(made)
    for each in made.nodes.values():
        each.run_at(0.91 if each is lonely else 1.1)
    lonely.late = 0.45
    made.run(3.0 + made.random.uniform(0, 1))
    lonely.api = False
    made.run(4.0)
    assert announcer(made) is not lonely


@pytest.mark.parametrize("seed", range(4))
def test_who_is_told_nothing_takes_nothing(seed: int) -> None:
    made = world(seed)
    holder = announcer(made)
    for each in made.nodes.values():
        each.watch(each is holder)
    assert darkness(made, 10.0) == 0.0
    assert announcer(made) is holder


def test_a_move_leaves_a_gap_of_moments() -> None:
    made = world(4)
    old = announcer(made)
    rest = frozenset(NAMES) - {old.name}
    for each in made.nodes.values():
        each.member.wish({address: Wish(address, ("default/web",), (rest,)) for address in ADDRESSES})
    assert darkness(made, 2.0) < 0.15
    assert announcer(made) is not old


def test_who_should_not_announce_goes_on_until_somebody_else_can() -> None:
    made = world(5)
    old = announcer(made)
    others = [each for each in made.nodes.values() if each is not old]
    for each in others:
        each.dead = True
    rest = frozenset(NAMES) - {old.name}
    old.member.wish({address: Wish(address, ("default/web",), (rest, frozenset(NAMES))) for address in ADDRESSES})
    assert darkness(made, 40.0) == 0.0


def _api_of(node: Node, on: bool) -> None:
    node.api = on


def _cable(node: Node, on: bool) -> None:
    node.cable = node.api = on


def mischief(made: World) -> None:
    """One fault, and its end some time later."""
    random = made.random
    node = made.nodes[random.choice(NAMES)]
    seconds = random.uniform(0.05, 4.0)
    match random.randrange(8):
        case 0:
            node.woken = max(node.woken, made.time + seconds)
        case 1:
            _api_of(node, False)
            made.after(seconds, None, lambda: _api_of(node, True))
        case 2:
            made.up = False
            made.after(seconds, None, lambda: setattr(made, "up", True))
        case 3:
            node.dead = True
            made.after(seconds, None, lambda: _reborn(made, node.name))
        case 4:
            made.slow = made.lag = random.choice([0.01, 0.05, 0.3, 0.8])
        case 5:
            node.watch(False)
            made.after(seconds, node, lambda: node.watch(True))
        case 6:
            node.late = random.choice([0.0, 0.1, 0.4])
        case 7:
            chosen = frozenset(random.sample(NAMES, random.randint(1, 3)))
            wishes = {each: Wish(each, ("default/web",), (chosen, frozenset(NAMES))) for each in ADDRESSES}
            for each in made.nodes.values():
                tell: Callable[[], None] = lambda each=each: each.member.wish(wishes)  # type: ignore[misc]  # noqa: E731
                made.after(random.uniform(0, 0.5), each, tell)


def _reborn(made: World, name: str) -> None:
    if made.nodes[name].dead:
        made.nodes[name] = Node(made, name, 1 + made.random.uniform(-0.05, 0.05), WISHES)


@pytest.mark.parametrize("seed", range(12))
def test_never_two_whatever_happens_and_one_soon_after_it_has_ended(seed: int) -> None:
    made = world(seed)
    for _ in range(15):
        mischief(made)
        made.run(made.random.uniform(0.0, 2.5))
    made.slow = made.lag = 0.02
    for each in made.nodes.values():
        each.late = 0.0
    made.run(DEFAULT.idle_lapse)
    assert_served(made)
