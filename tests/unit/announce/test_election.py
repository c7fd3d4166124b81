"""Who is to announce what: even, sticky, and the same on every node."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fairway.announce.election import Wish, orders

NODES = ("node-a", "node-b", "node-c", "node-d")
ADDRESSES = tuple(f"10.0.0.{last}" for last in range(200, 212))


def wish(address: str, *choices: frozenset[str]) -> Wish:
    return Wish(address, ("default/web",), choices)


def everywhere(nodes: frozenset[str] | set[str]) -> dict[str, set[str]]:
    return {address: set(nodes) for address in ADDRESSES}


WISHES = {address: wish(address, frozenset(NODES)) for address in ADDRESSES}


def test_addresses_are_spread_evenly() -> None:
    found = orders(WISHES, everywhere({*NODES}), {})
    assert Counter(order[0] for order in found.values()) == dict.fromkeys(NODES, 3)


def test_what_is_held_stays() -> None:
    holders = dict.fromkeys(ADDRESSES, "node-c")
    found = orders(WISHES, everywhere({*NODES}), holders)
    assert {order[0] for order in found.values()} == {"node-c"}


def test_what_a_node_left_goes_to_those_who_have_least() -> None:
    holders = {address: NODES[index % 3] for index, address in enumerate(ADDRESSES)}
    left = everywhere({"node-b", "node-c", "node-d"})
    found = orders(WISHES, left, holders)
    taken = Counter(found[address][0] for address, holder in holders.items() if holder == "node-a")
    assert taken == {"node-d": 4}


def test_a_node_of_an_earlier_choice_goes_before_who_holds_it() -> None:
    [address] = ADDRESSES[:1]
    one = {address: wish(address, frozenset({"node-b"}), frozenset(NODES))}
    assert orders(one, everywhere({*NODES}), {address: "node-a"})[address] == ("node-b",)
    assert orders(one, everywhere({"node-a"}), {address: "node-a"})[address] == ("node-a",)


def test_without_a_node_there_is_nobody() -> None:
    assert orders(WISHES, {}, {}) == dict.fromkeys(ADDRESSES, ())


@given(
    st.sets(st.sampled_from(NODES), min_size=1),
    st.dictionaries(st.sampled_from(ADDRESSES), st.sampled_from(NODES)),
    st.randoms(),
)
def test_all_nodes_come_to_the_same_and_only_what_must_moves(
    able: set[str], holders: dict[str, str], random: object
) -> None:
    shuffled = dict(sorted(WISHES.items(), key=lambda _: random.random()))  # type: ignore[attr-defined]
    found = orders(WISHES, everywhere(able), holders)
    assert orders(shuffled, everywhere(able), dict(reversed(holders.items()))) == found
    for address, order in found.items():
        assert set(order) == able
        if holders.get(address) in able:
            assert order[0] == holders[address]
    spread = Counter(order[0] for order in found.values())
    held = Counter(node for node in holders.values() if node in able)
    rest = [spread[node] for node in able if spread[node] > held[node]]
    assert not rest or max(rest) - min(spread[node] for node in able) <= 1
