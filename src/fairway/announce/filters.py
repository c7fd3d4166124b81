"""Which frames the kernel is to wake us for: classic BPF programs (Linux, networking/filter.rst). Pure.

A segment is full of ARP that is none of our business; a filter costs the others nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Sequence
from typing import TypeAlias

from fairway.node import Address

Instruction: TypeAlias = tuple[int, int, int, int]
"""Code, jump if true, jump if false, constant."""
Program: TypeAlias = Sequence[Instruction]

MOST = 1000
"""For more addresses than these a filter looks at the sort of frame alone: a program has at most 4096 instructions."""

_WORD, _BYTE = 0x20, 0x30  # load from the frame
_EQUAL = 0x15
_RETURN = 0x06
_ALL, _NONE = (_RETURN, 0, 0, 0xFFFF), (_RETURN, 0, 0, 0)
NOTHING: Program = (_NONE,)
_ARP_SENDER, _ARP_TARGET = 28, 38
_NEXT_HEADER, _TYPE, _TARGET_END = 20, 54, 74
_ICMP6, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136
_SORT: Program = (
    (_BYTE, 0, 0, _NEXT_HEADER),
    (_EQUAL, 1, 0, _ICMP6),
    _NONE,
    (_BYTE, 0, 0, _TYPE),
    (_EQUAL, 2, 0, _SOLICITATION),
    (_EQUAL, 1, 0, _ADVERTISEMENT),
    _NONE,
)
ARP: Program = (_ALL,)
DISCOVERY: Program = (*_SORT, _ALL)
"""All frames of the sort (that of ARP is in the socket's binding)."""


def arp(addresses: Collection[Address]) -> Program:
    """ARP frames that ask for one of the addresses or claim one."""
    wanted = sorted(int(each) for each in addresses if isinstance(each, ipaddress.IPv4Address))
    if len(wanted) > MOST:
        return ARP
    return (*_one_of(_ARP_TARGET, wanted), *_one_of(_ARP_SENDER, wanted), _NONE)


def discovery(addresses: Collection[Address]) -> Program:
    """IPv6 frames that solicit one of the addresses or advertise one, told by the last four octets."""
    wanted = sorted({int(each) & 0xFFFFFFFF for each in addresses if isinstance(each, ipaddress.IPv6Address)})
    if len(wanted) > MOST:
        return DISCOVERY
    return (*_SORT, *_one_of(_TARGET_END, wanted), _NONE)


def _one_of(offset: int, values: Sequence[int]) -> Iterator[Instruction]:
    """Take the frame if the word at `offset` is one of these. Each test has its own return: a jump is short."""
    yield (_WORD, 0, 0, offset)
    for value in values:
        yield (_EQUAL, 0, 1, value)
        yield _ALL
