"""Transactions of any size are one: half a million elements, a thousand refusals."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fairway.kernel.base import Refused
from fairway.kernel.linux import netns
from fairway.kernel.linux.nft_notices import NftNotices
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.ruleset.nft import (
    PRESENT,
    AddElements,
    AddSet,
    AddTable,
    DeleteElements,
    DeleteTable,
    Element,
    Set,
    TableName,
)
from tests.contract.nft_scene import DADDR, NAME, fields

pytestmark = pytest.mark.kernel
MANY = 500_000
KEPT = Set("addresses", fields(DADDR))


@pytest.fixture
def path() -> Iterator[str]:
    name = f"fwt-{os.getpid()}-many"
    try:
        yield netns.create(name)
    finally:
        netns.delete(name)


@pytest.fixture
def kernel(path: str) -> Iterator[LinuxNftables]:
    handle = LinuxNftables(path)
    handle.apply([AddTable(NAME), AddSet(NAME, KEPT)])
    yield handle
    handle.close()


def addresses(count: int) -> list[tuple[bytes, Element]]:
    return [((0x0A000000 + number).to_bytes(4, "big"), PRESENT) for number in range(count)]


def test_half_a_million_elements_land_at_once(kernel: LinuxNftables) -> None:
    before = kernel.generation()
    kernel.apply([AddElements(NAME, KEPT, addresses(MANY))])
    assert kernel.generation() == before + 1
    with pytest.raises(Refused, match=r"EEXIST|ENOENT"):
        kernel.apply([DeleteElements(NAME, KEPT, addresses(MANY + 1))])
    kernel.apply([DeleteElements(NAME, KEPT, addresses(MANY))])
    assert list(kernel.elements(NAME, KEPT)) == []
    kernel.apply([DeleteTable(NAME)])


def test_of_many_refusals_the_first_is_told(kernel: LinuxNftables) -> None:
    """Their answers do not fit the socket; the rest of them must not be taken for those of the next transaction."""
    some = addresses(3000)
    deletions = [DeleteElements(NAME, KEPT, [pair]) for pair in some]
    with pytest.raises(Refused) as refused:
        kernel.apply([AddElements(NAME, KEPT, some[:100]), *deletions])
    assert refused.value.line == 102
    assert "10.0.0.100" in refused.value.reason

    kernel.apply([AddElements(NAME, KEPT, some[:2])])
    assert len(kernel.elements(NAME, KEPT)) == 2


def test_a_listener_who_cannot_follow_learns_that_he_missed_something(path: str, kernel: LinuxNftables) -> None:
    notices = NftNotices(path)
    try:
        kernel.apply([AddElements(NAME, KEPT, addresses(100_000))])
        assert any(notice.lost for notice in notices.wait(5))
        kernel.apply([DeleteTable(NAME)])
        assert notices.wait(5)
        kernel.apply([AddTable(TableName("ip6", "late"))])
        assert [notice.tables for notice in notices.wait(5)] == [{TableName("ip6", "late")}]
    finally:
        notices.close()
