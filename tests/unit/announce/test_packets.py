"""Frames of ARP and neighbour discovery: what others send, what we answer with, and what is no such frame."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.announce import filters, packets
from fairway.announce.packets import Asks, Tells
from fairway.node import Address

OURS, THEIRS = bytes.fromhex("02000000000b"), bytes.fromhex("0200000000c1")
V4, CLIENT4 = ipaddress.IPv4Address("10.0.0.200"), ipaddress.IPv4Address("10.0.0.100")
V6, CLIENT6 = ipaddress.IPv6Address("fd00:1::200"), ipaddress.IPv6Address("fd00:1::100")

WHO_HAS = bytes.fromhex(
    "ffffffffffff 0200000000c1 0806 0001 0800 06 04 0001 0200000000c1 0a000064 000000000000 0a0000c8"
)
# As Linux sends it: to the group of the last three octets, with its own address in the option.
SOLICITATION = bytes.fromhex(
    "3333ff000200 0200000000c1 86dd 60000000 0020 3a ff fd000001000000000000000000000100"
    "ff0200000000000000000001ff000200 8700 77da 00000000 fd000001000000000000000000000200 0101 0200000000c1"
)


def test_a_question_is_answered_to_who_asked() -> None:
    asked = packets.read(WHO_HAS)
    assert asked == Asks(V4, THEIRS, CLIENT4)
    answer = packets.answer(asked, OURS)
    assert answer[:14] == THEIRS + OURS + b"\x08\x06" and len(answer) == 60
    assert packets.read(answer) == Tells(V4, OURS)
    assert answer[32:42] == THEIRS + CLIENT4.packed


def test_a_solicitation_is_answered_to_who_asked() -> None:
    asked = packets.read(SOLICITATION)
    assert asked == Asks(V6, THEIRS, CLIENT6)
    answer = packets.answer(asked, OURS)
    assert answer[:6] == THEIRS and answer[38:54] == CLIENT6.packed
    assert answer[58] == 0x60  # solicited, to override, no router
    assert packets.read(answer) == Tells(V6, OURS)


@pytest.mark.parametrize("address", [V4, V6], ids=str)
def test_what_we_send_is_what_we_understand(address: Address) -> None:
    assert packets.read(packets.probe(address, OURS)) == Asks(address, OURS, None)
    told = [packets.read(frame) for frame in packets.announcement(address, OURS)]
    assert told and set(told) == {Tells(address, OURS)}


def test_duplicate_address_detection_is_answered_to_all() -> None:
    asked = packets.read(packets.probe(V6, THEIRS))
    assert isinstance(asked, Asks)
    answer = packets.answer(asked, OURS)
    assert answer[:6] == bytes.fromhex("333300000001") and answer[58] == 0x20  # nobody's question: not solicited
    assert packets.read(answer) == Tells(V6, OURS)


def test_an_announcement_is_of_both_sorts() -> None:
    operations = [frame[20:22] for frame in packets.announcement(V4, OURS)]
    assert operations == [b"\0\1", b"\0\2"]


def changed(frame: bytes, offset: int, to: str) -> bytes:
    value = bytes.fromhex(to)
    return frame[:offset] + value + frame[offset + len(value) :]


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (WHO_HAS[:-1], "too short"),
        (changed(WHO_HAS, 14, "0006"), "not of Ethernet"),
        (changed(WHO_HAS, 16, "86dd"), "not of IPv4"),
        (changed(WHO_HAS, 18, "08"), "addresses of another length"),
        (changed(WHO_HAS, 20, "0008"), "another operation"),
        (changed(WHO_HAS, 6, "01"), "sent by a group"),
        (changed(WHO_HAS, 22, "ffffffffffff"), "said by a group"),
        (changed(WHO_HAS, 22, "000000000000"), "said by nobody"),
        (changed(SOLICITATION, 21, "fe"), "it was forwarded"),
        (changed(SOLICITATION, 20, "00"), "behind an extension header"),
        (changed(SOLICITATION, 56, "0000"), "wrong checksum"),
        (changed(SOLICITATION, 18, "0028"), "longer than the frame"),
        (changed(SOLICITATION, 79, "00"), "an option of no length"),
        (SOLICITATION[:60], "too short"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_is_not_proper_is_not_heard(frame: bytes, why: str) -> None:
    assert packets.read(frame) is None, why


@given(st.binary(max_size=100))
def test_noise_is_borne(frame: bytes) -> None:
    packets.read(frame)


@given(st.sampled_from([WHO_HAS, SOLICITATION]), st.integers(0, 85), st.binary(min_size=1, max_size=4))
def test_damage_is_borne(frame: bytes, offset: int, noise: bytes) -> None:
    packets.read(frame[:offset] + noise + frame[offset + len(noise) :])


def passes(program: filters.Program, frame: bytes) -> bool:
    """What the kernel's machine would say (the part of it that our programs use)."""
    position, held = 0, 0
    while True:
        code, if_true, if_false, constant = program[position]
        position += 1
        if code == 0x06:
            return constant != 0
        if code == 0x15:
            position += if_true if held == constant else if_false
        else:
            size = 4 if code == 0x20 else 1
            if constant + size > len(frame):
                return False
            held = int.from_bytes(frame[constant : constant + size], "big")


def test_filters_let_through_what_concerns_the_addresses_and_nothing_else() -> None:
    others = [ipaddress.IPv4Address(f"10.0.0.{last}") for last in range(201, 240)]
    arp = filters.arp([*others, V4, V6])
    assert passes(arp, WHO_HAS) and all(passes(arp, frame) for frame in packets.announcement(V4, THEIRS))
    assert not passes(filters.arp(others), WHO_HAS) and not passes(filters.NOTHING, WHO_HAS)
    assert passes(filters.arp([CLIENT4]), WHO_HAS)  # it claims to be the client
    discovery = filters.discovery([V4, V6])
    assert passes(discovery, SOLICITATION) and passes(discovery, packets.probe(V6, THEIRS))
    assert not passes(filters.discovery([CLIENT6]), SOLICITATION)
    assert not passes(discovery, changed(SOLICITATION, 54, "85"))  # a router solicitation


def test_filters_stay_within_what_the_kernel_takes() -> None:
    many = [V4 + index for index in range(filters.MOST)]
    assert len(filters.arp(many)) <= 4096
    assert passes(filters.arp([*many, V4 - 1]), changed(WHO_HAS, 38, "01010101"))
    assert passes(filters.DISCOVERY, SOLICITATION) and not passes(filters.DISCOVERY, changed(SOLICITATION, 54, "85"))
    assert filters.discovery([V6 + index for index in range(filters.MOST + 1)]) == filters.DISCOVERY
