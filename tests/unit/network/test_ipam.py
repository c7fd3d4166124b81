"""Pod addresses: what is never given, what comes back last, what survives a restart."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.network.ipam import AddressTaken, Ipam, IpamError, IpamState, RangeFull


def addresses(ipam: Ipam, owners: Iterable[str]) -> list[str]:
    return [ipam.allocate(owner)[0] for owner in owners]


def test_network_gateway_and_broadcast_are_never_given() -> None:
    ipam = Ipam(["10.244.1.0/29"])
    assert ipam.gateways == ("10.244.1.1/29",)
    assert addresses(ipam, "abcde") == ["10.244.1.2", "10.244.1.3", "10.244.1.4", "10.244.1.5", "10.244.1.6"]


def test_a_full_range_says_so_and_gives_nothing() -> None:
    ipam = Ipam(["fd00::/64", "10.244.1.0/30"])
    ipam.allocate("a")
    before = ipam.state
    with pytest.raises(RangeFull, match=r"all 1 pod addresses of 10\.244\.1\.0/30 are held: delete pods or add a node"):
        ipam.allocate("b")
    assert ipam.state == before


def test_a_released_address_comes_back_only_after_all_others() -> None:
    ipam = Ipam(["10.244.1.0/29"])
    addresses(ipam, "abc")
    ipam.release("a")
    assert addresses(ipam, "xyz") == ["10.244.1.5", "10.244.1.6", "10.244.1.2"]


def test_asking_again_gives_the_same() -> None:
    ipam = Ipam(["10.244.1.0/24", "fd00:10:244:1::/64"])
    assert ipam.allocate("a") == ipam.allocate("a") == ipam.held("a") == ("10.244.1.2", "fd00:10:244:1::2")
    assert ipam.with_prefixes(ipam.held("a")) == ("10.244.1.2/24", "fd00:10:244:1::2/64")


def test_who_holds_nothing_may_release_it() -> None:
    ipam = Ipam(["10.244.1.0/24"])
    ipam.release("nobody")
    assert ipam.held("nobody") == ()


def test_the_state_goes_on_where_it_stood() -> None:
    first = Ipam(["10.244.1.0/24"])
    addresses(first, "abc")
    first.release("c")
    assert addresses(Ipam(["10.244.1.0/24"], first.state), "d") == ["10.244.1.5"]


def test_rebuilt_from_living_pods_alone_it_goes_on_behind_the_highest() -> None:
    ipam = Ipam(["10.244.1.0/24"], IpamState({"a": ("10.244.1.9",), "b": ("10.244.1.4",)}))
    assert addresses(ipam, "c") == ["10.244.1.10"]


def test_a_known_last_address_beats_the_highest_living_one() -> None:
    """The ring went round: 10.244.1.3 was the last one given, though a pod of the round before lives at .200."""
    ipam = Ipam(["10.244.1.0/24"], IpamState({"old": ("10.244.1.200",)}, ("10.244.1.3",)))
    assert addresses(ipam, "n") == ["10.244.1.4"]


def test_a_last_address_of_another_range_is_forgotten() -> None:
    assert addresses(Ipam(["10.244.2.0/24"], IpamState({}, ("10.244.1.77",))), "a") == ["10.244.2.2"]


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ({"a": ("10.244.2.9",)}, "a holds 10.244.2.9, which no pod can have of 10.244.1.0/24"),
        ({"a": ("10.244.1.1",)}, "a holds 10.244.1.1, which no pod can have"),
        ({"a": ("fd00::2",)}, "a holds fd00::2, which no pod can have"),
        ({"a": ("10.244.1.9", "fd00::9")}, "a pod here has 1 address"),
    ],
)
def test_a_state_of_other_ranges_is_refused(held: dict[str, tuple[str, ...]], reason: str) -> None:
    with pytest.raises(IpamError, match=reason):
        Ipam(["10.244.1.0/24"], IpamState(held))


def test_two_pods_at_one_address_are_named() -> None:
    with pytest.raises(AddressTaken, match=r"b and a both hold 10\.244\.1\.9"):
        Ipam(["10.244.1.0/24"], IpamState({"a": ("10.244.1.9",), "b": ("10.244.1.9",)}))


def test_a_range_without_room_is_refused() -> None:
    with pytest.raises(IpamError, match=r"10\.244\.1\.0/31 has no room for pods: give the node a larger range"):
        Ipam(["10.244.1.0/31"])


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60), st.sampled_from(["10.1.0.0/28", "fd00::/124"])
)
def test_however_pods_come_and_go(steps: list[tuple[bool, int]], cidr: str) -> None:
    """No address is held twice or outside the range, and a new one is never the one released a moment ago."""
    network = ipaddress.ip_network(cidr)
    ipam = Ipam([cidr])
    released = ""
    for come, number in steps:
        owner = f"pod-{number}"
        if come:
            new = not ipam.held(owner)
            (address,) = ipam.allocate(owner)
            assert ipaddress.ip_address(address) in network
            assert not new or address != released
        else:
            released = (ipam.held(owner) or (released,))[0]
            ipam.release(owner)
        ipam = Ipam([cidr], ipam.state)  # a restart at every moment changes nothing
        held = [a for owned in ipam.state.held.values() for a in owned]
        assert len(set(held)) == len(held)
