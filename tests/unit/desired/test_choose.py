"""Which endpoints a node uses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.desired.choose import Candidate, choose
from fairway.desired.model import Endpoint

HERE, THERE = True, False


def candidate(number: int, local: bool = THERE, state: str = "ready", zones: str = "", nodes: str = "") -> Candidate:
    return Candidate(
        Endpoint(f"10.244.0.{number}", 80, local),
        ready=state == "ready",
        serving=state in ("ready", "leaving"),
        terminating=state in ("leaving", "gone"),
        zones=frozenset(zones.split()),
        nodes=frozenset(nodes.split()),
    )


def numbers(endpoints: tuple[Endpoint, ...]) -> list[int]:
    return [int(e.address.rpartition(".")[2]) for e in endpoints]


CASES = [
    # (candidates, cluster, local, reachable)
    ("ready ones serve", [candidate(1, HERE), candidate(2)], [1, 2], [1], True),
    ("unready ones do not", [candidate(1, HERE, "unready"), candidate(2)], [2], [], True),
    ("leaving ones do not while others are ready", [candidate(1, HERE, "leaving"), candidate(2)], [2], [1], True),
    ("leaving ones are the last resort", [candidate(1, HERE, "leaving"), candidate(2, THERE, "gone")], [1], [1], True),
    ("nobody", [candidate(1, HERE, "unready"), candidate(2, THERE, "gone")], [], [], False),
    ("not even a slice", [], [], [], False),
    ("elsewhere only", [candidate(2)], [2], [], True),
    ("zone hints", [candidate(1, zones="z1"), candidate(2, zones="z2"), candidate(3, zones="z1 z2")], [1, 3], [], True),
    ("one hint is missing", [candidate(1, zones="z1"), candidate(2)], [1, 2], [], True),
    ("an unready one needs no hint", [candidate(1, zones="z1"), candidate(2, THERE, "unready")], [1], [], True),
    ("no hint names this zone", [candidate(1, zones="z2"), candidate(2, zones="z3")], [1, 2], [], True),
    ("node hints win", [candidate(1, nodes="a", zones="z1"), candidate(2, nodes="b", zones="z1")], [1], [], True),
    ("no node hint names this node", [candidate(1, nodes="b", zones="z1"), candidate(2, nodes="b")], [1, 2], [], True),
    ("then zones", [candidate(1, nodes="b", zones="z1"), candidate(2, nodes="b", zones="z2")], [1], [], True),
    (
        "a hinted one that leaves does not stand for its zone",
        [candidate(1, THERE, "leaving", zones="z1"), candidate(2, zones="z2")],
        [2],
        [],
        True,
    ),
    ("policy Local knows no zones", [candidate(1, HERE, zones="z2"), candidate(2, zones="z1")], [2], [1], True),
]


@pytest.mark.parametrize(
    ("candidates", "cluster", "local", "reachable"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_choice(candidates: list[Candidate], cluster: list[int], local: list[int], reachable: bool) -> None:
    chosen = choose(candidates, "a", "z1")

    assert numbers(chosen.cluster) == cluster
    assert numbers(chosen.local) == local
    assert chosen.reachable is reachable


def test_without_a_zone_of_its_own_a_node_uses_every_zone() -> None:
    chosen = choose([candidate(1, zones="z1"), candidate(2, zones="z2")], "a", "")

    assert numbers(chosen.cluster) == [1, 2]


def test_a_set_that_no_address_uses_stays_empty() -> None:
    chosen = choose([candidate(1, HERE)], "a", "", uses_cluster=False)

    assert chosen.cluster == ()
    assert numbers(chosen.local) == [1]


def test_of_two_descriptions_of_one_address_the_better_counts() -> None:
    """A pod moves from one slice to another in two writes: for a moment both have it."""
    chosen = choose([candidate(1, HERE, "unready"), candidate(1, HERE), candidate(1, HERE, "gone")], "a", "")

    assert numbers(chosen.cluster) == [1]


candidates_strategy = st.lists(
    st.builds(
        candidate,
        st.integers(1, 9),
        st.booleans(),
        st.sampled_from(["ready", "unready", "leaving", "gone"]),
        st.sampled_from(["", "z1", "z2", "z1 z2"]),
        st.sampled_from(["", "a", "b"]),
    ),
    max_size=8,
)


@given(candidates_strategy, st.sampled_from(["", "z1"]))
def test_hints_never_turn_traffic_away(candidates: list[Candidate], zone: str) -> None:
    chosen = choose(candidates, "a", zone)

    assert bool(chosen.cluster) == chosen.reachable


@given(candidates_strategy, st.randoms(use_true_random=False))
def test_the_order_of_slices_does_not_matter(candidates: list[Candidate], random: object) -> None:
    """Unless two slices describe one address with the same standing; then its hints may differ."""
    distinct = list({c.endpoint.address: c for c in candidates}.values())
    shuffled = sorted(distinct, key=lambda _: random.random())  # type: ignore[attr-defined]

    assert choose(shuffled, "a", "z1") == choose(distinct, "a", "z1")


@given(candidates_strategy)
def test_what_is_ready_here_serves_policy_local(candidates: list[Candidate]) -> None:
    chosen = choose(candidates, "a", "z1")
    ready_here = {c.endpoint for c in candidates if c.ready and c.endpoint.local}

    if ready_here:
        assert set(chosen.local) == ready_here
    assert all(e.local for e in chosen.local)
