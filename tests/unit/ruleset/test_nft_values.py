"""Values of the nftables language: bytes as registers hold them, spellings as nft prints them."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.ruleset.nft import Bits, Concat, Ct, Fib, Literal, Meta, Numgen, Payload, Type
from fairway.ruleset.nft_values import SIZES, pack, pack_address, sizes, spell, type_of, types_of, unpack, value

PLACE = (Type.IPV4, Type.PROTOCOL, Type.SERVICE)
NUMBERS = [type_ for type_ in Type if type_ not in (Type.INTERFACE_NAME, Type.INTERFACE, Type.UNKNOWN)]


def native(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)


def test_each_field_of_a_key_has_registers_of_its_own() -> None:
    assert pack(PLACE, ("10.96.0.10", "tcp", 80)) == b"\x0a\x60\x00\x0a" + b"\x06\0\0\0" + b"\0\x50\0\0"
    assert sizes(PLACE) == (4, 4, 4)
    assert sizes((Type.IPV6, Type.ETHER, Type.INTERFACE_NAME)) == (16, 8, 16)


def test_numbers_of_the_machine_are_in_its_order() -> None:
    assert pack((Type.MARK, Type.INTEGER), ("0x4000", 3)) == native(0x4000) + native(3)


@pytest.mark.parametrize(
    ("type_", "given_", "spelled"),
    [
        (Type.MARK, "0x4000", "0x00004000"),
        (Type.PROTOCOL, "6", "tcp"),
        (Type.PROTOCOL, "icmpv6", "ipv6-icmp"),
        (Type.PROTOCOL, 253, "253"),
        (Type.CT_STATE, "related,established", "established,related"),
        (Type.CT_STATUS, "dnat", "dnat"),
        (Type.FIB_TYPE, "local", "local"),
        (Type.ICMP_TYPE, "echo-request", "echo-request"),
        (Type.IPV6, "FD00:0::1", "fd00::1"),
        (Type.ETHER, "2:0:0:0:0:a", "02:00:00:00:00:0a"),
        (Type.INTERFACE_NAME, "eth0", "eth0"),
        (Type.PACKET_TYPE, "unicast", "host"),
    ],
)
def test_spelling(type_: Type, given_: str | int, spelled: str) -> None:
    assert spell(type_, value(type_, given_)) == spelled


@given(st.ip_addresses())
def test_addresses_keep_their_bytes(address: object) -> None:
    assert pack_address(str(address)) == address.packed  # type: ignore[attr-defined]


@given(st.sampled_from(NUMBERS), st.data())
def test_what_is_spelled_is_read_back(type_: Type, data: st.DataObject) -> None:
    packed = data.draw(st.binary(min_size=SIZES[type_], max_size=SIZES[type_]))
    assert value(type_, spell(type_, packed)) == packed


@given(st.lists(st.tuples(st.ip_addresses(v=4), st.integers(0, 255), st.integers(0, 65535)), max_size=3))
def test_packed_keys_are_read_back(keys: list[tuple[object, int, int]]) -> None:
    for address, protocol, port in keys:
        packed = pack(PLACE, (str(address), protocol, port))
        assert pack(PLACE, unpack(PLACE, packed)) == packed


@pytest.mark.parametrize(
    ("type_", "wrong"),
    [
        (Type.IPV4, "10.0.0.256"),
        (Type.IPV4, "10.0.0"),
        (Type.IPV4, "10..0.1"),
        (Type.IPV4, "fd00::1"),
        (Type.IPV6, "10.0.0.1"),
        (Type.SERVICE, 65536),
        (Type.SERVICE, "http/1"),
        (Type.PROTOCOL, "nothing"),
        (Type.ETHER, "0:1:2"),
        (Type.CT_STATE, "newest"),
        (Type.INTERFACE_NAME, "a-name-of-16-chr"),
    ],
)
def test_what_is_none_of_the_type_is_refused(type_: Type, wrong: str | int) -> None:
    with pytest.raises(ValueError, match=r"."):
        value(type_, wrong)


def test_a_wrong_number_of_fields_is_refused() -> None:
    with pytest.raises(ValueError, match="2 values for 3 fields"):
        pack(PLACE, ("10.0.0.1", "tcp"))
    with pytest.raises(ValueError, match="8 bytes for fields of 12"):
        unpack(PLACE, b"\0" * 8)


def test_types_of_expressions() -> None:
    assert type_of(Payload("th", "dport")) is Type.SERVICE
    assert type_of(Ct("ip daddr", "original")) is Type.IPV4
    assert type_of(Fib(("daddr",), "type")) is Type.FIB_TYPE
    assert type_of(Bits(Meta("mark"), "&", Literal(Type.MARK, native(1)))) is Type.MARK
    assert types_of(Concat((Payload("ip6", "daddr"), Meta("l4proto"), Numgen("random", 3)))) == (
        Type.IPV6,
        Type.PROTOCOL,
        Type.INTEGER,
    )
