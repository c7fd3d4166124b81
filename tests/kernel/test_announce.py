"""Announcers on a real segment: processes that are killed, stopped and cut off, and what a client there finds."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator

import pytest

from fairway.announce import responder
from fairway.announce.member import DEFAULT
from fairway.kernel.linux import netns
from tests.kernel.segment import API, NODES, V4, V6, Segment, segment, wait

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not (shutil.which("nsenter") and shutil.which("ip")), reason="no nsenter or no ip"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segment]:
    with segment(tmp_path_factory.mktemp("segment")) as built:
        yield built


def settled(world: Segment, address: str = V4) -> str:
    """The one node that answers for an address."""
    wait(lambda: len(world.answering(address)) == 1, f"one node answers for {address}")
    [node] = world.answering(address)
    return node


def other(node: str) -> str:
    [found] = set(NODES) - {node}
    return found


def handed_over(world: Segment, old: str, seconds: float = 30.0) -> list[str]:
    """What is told until the other node has begun, and for a while after it."""
    said: list[str] = []
    wait(lambda: other(old) in said or said.extend(world.told(V4, 0.2)), "the other has taken over", seconds)  # type: ignore[func-returns-value]
    return [*said, *world.told(V4, 1.0)]


@pytest.mark.parametrize("address", [V4, V6])
def test_one_node_answers_and_is_reached(world: Segment, address: str) -> None:
    node = settled(world, address)
    wait(lambda: world.reaches(address), "a connection comes through")
    assert world.believed(address) == node


@pytest.mark.parametrize("address", [V4, V6])
def test_a_client_that_asks_nobody_hears_where_the_address_is_now(world: Segment, address: str) -> None:
    old = settled(world, address)
    wait(lambda: world.reaches(address), "a connection comes through")
    mac = world.macs[old].hex(":")
    # An entry that is believed for good, as of a host that trusts what it has heard: only an announcement changes it.
    world.ip("client", "neighbour", "replace", address, "lladdr", mac, "dev", "eth0", "nud", "reachable")
    world.signal(old, signal.SIGKILL)
    world.ip("switch", "link", "set", old, "down")
    try:
        wait(lambda: world.believed(address) == other(old), "the client has heard of the move")
        wait(lambda: world.reaches(address), "and comes through, by a switch that floods nothing")
    finally:
        world.ip("switch", "link", "set", old, "up")
        world.announce(old)
    assert settled(world, address) == other(old)


def test_a_device_that_goes_and_comes_back_with_another_mac_is_announced_anew(world: Segment) -> None:
    node = settled(world)
    wait(lambda: world.reaches(V4), "a connection comes through")
    before = world.macs[node]
    world.macs[node] = before[:5] + bytes([before[5] ^ 0xFF])
    world.ip(node, "link", "set", "eth0", "down")
    world.ip(node, "link", "set", "eth0", "address", world.macs[node].hex(":"))
    world.ip(node, "link", "set", "eth0", "up")
    world.ip(node, "address", "replace", f"fd00:a::{NODES[node]}/64", "dev", "eth0", "nodad")  # it went with the link
    new = settled(world)
    wait(lambda: world.believed(V4) == new, "the client has heard where it is")
    wait(lambda: world.reaches(V4), "and comes through")


def test_a_device_without_its_cable_carries_nothing(world: Segment) -> None:
    def carries() -> bool:
        return netns.open_socket_in(world.paths["client"], lambda: responder.carries("eth0"))

    assert carries()
    world.ip("switch", "link", "set", "client", "down")
    try:
        wait(lambda: not carries(), "the other end is down")
    finally:
        world.ip("switch", "link", "set", "client", "up")
    wait(carries, "it is up again")


def test_a_stopped_process_that_is_woken_is_silent(world: Segment) -> None:
    old = settled(world)
    world.signal(old, signal.SIGSTOP)
    try:
        wait(lambda: world.answering(V4) == {other(old)}, "the other has taken over")
    finally:
        world.signal(old, signal.SIGCONT)
    assert set(world.told(V4, 1.5)) == {other(old)}


def test_a_node_that_has_lost_the_server_is_silent_before_another_begins(world: Segment) -> None:
    old = settled(world)
    world.ip(old, "route", "add", "blackhole", f"{API}/32")
    try:
        said = handed_over(world, old)
        assert old not in said[said.index(other(old)) :]
    finally:
        world.ip(old, "route", "delete", "blackhole", f"{API}/32")
    assert set(world.told(V4, 1.5)) == {other(old)}


def test_a_server_that_is_away_changes_nothing(world: Segment) -> None:
    before = {address: settled(world, address) for address in (V4, V6)}
    world.signal("api", signal.SIGSTOP)
    try:
        time.sleep(1.5 * DEFAULT.lapse)  # so that every Lease seems to have ended
        assert {address: settled(world, address) for address in (V4, V6)} == before
        wait(lambda: world.reaches(V4) and world.reaches(V6), "the switch has not forgotten where they are")
    finally:
        world.signal("api", signal.SIGCONT)
    assert set(world.told(V4, 1.5 * DEFAULT.lapse)) == {before[V4]}


def test_an_announcer_that_ends_hands_over(world: Segment) -> None:
    old = settled(world)
    world.signal(old, signal.SIGTERM)
    assert old not in world.answering(V4)
    wait(lambda: world.answering(V4) == {other(old)}, "the other has taken over")
    wait(lambda: world.believed(V4) == other(old), "the client has heard of it")
    world.announce(old)
