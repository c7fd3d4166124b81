"""Changes to nftables as the messages of one netlink transaction, each remembering which change it belongs to."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fairway.kernel.linux import nft_numbers as n
from fairway.kernel.linux.netlink import APPEND, CREATE, Request, attribute, be32, nested, text
from fairway.kernel.linux.nft_loads import Brought
from fairway.kernel.linux.nft_rules import RuleEncoder
from fairway.kernel.linux.nft_sets import (
    Shape,
    Unsayable,
    anonymous_declaration,
    declaration,
    element_lists,
    element_message,
)
from fairway.kernel.linux.nft_userdata import commented
from fairway.ruleset.nft import (
    AddChain,
    AddElements,
    AddRule,
    AddSet,
    AddTable,
    Change,
    DeleteChain,
    DeleteElements,
    DeleteSet,
    DeleteTable,
    Element,
    FlushChain,
    FlushSet,
    Hook,
    Set,
    TableName,
)

_HEADER = struct.Struct("!BBH")
_TABLE, _NAME = 1, 2  # of sets and rules; of chains 3
_TABLE_USERDATA = 6
_CHAIN_NAME, _HOOK, _POLICY, _CHAIN_TYPE, _CHAIN_USERDATA = 3, 4, 5, 7, 12
_HOOK_NUMBER, _HOOK_PRIORITY, _HOOK_DEVICE = 1, 2, 3
_POLICIES = {"drop": 0, "accept": 1}


class Message(NamedTuple):
    """One message and the position of the change it says."""

    request: Request
    change: int


class Unencodable(Exception):
    """A change that cannot be said by netlink here. `change` is its position; the message says what of it."""

    def __init__(self, what: str, change: int) -> None:
        super().__init__(what)
        self.change = change


def header(family: str) -> bytes:
    """What stands before the attributes of every message (struct nfgenmsg)."""
    return _HEADER.pack(n.FAMILIES[family], 0, 0)


def kind(number: int) -> int:
    """The message's type as netlink knows it."""
    return n.SUBSYSTEM << 8 | number


def transaction(changes: Sequence[Change], index: Callable[[str], int]) -> list[Message]:
    """The messages of the changes in order, without the brackets of the batch; `index` tells the number of a device.
    Raises Unencodable."""
    encoder = _Encoder(index)
    messages: list[Message] = []
    for position, change in enumerate(changes):
        try:
            messages += [Message(request, position) for request in encoder.change(change)]
        except Unsayable as e:
            raise Unencodable(str(e), position) from None
    return messages


def batch(messages: Sequence[Message]) -> list[Request]:
    """The messages between their brackets."""
    body = _HEADER.pack(0, 0, n.SUBSYSTEM)
    begin = Request(n.BATCH_BEGIN, 0, body, "begin a transaction of nftables")
    end = Request(n.BATCH_END, 0, body, "end a transaction of nftables")
    return [begin, *(message.request for message in messages), end]


@dataclass(slots=True)
class _Encoder:
    index: Callable[[str], int]
    _identities: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _shapes: dict[tuple[TableName, str], tuple[Set, Shape]] = field(default_factory=dict)

    def change(self, change: Change) -> Iterator[Request]:
        """The messages of one change."""
        match change:
            case AddTable(table, comment):
                yield _add_table(table, comment)
            case DeleteTable(table, missing_ok):
                if missing_ok:
                    yield _add_table(table, "")
                yield _delete_table(table)
            case AddSet(table, kept):
                yield from self._add_set(table, kept)
            case DeleteSet(table, name):
                yield _request(table, n.DELETE_SET, 0, text(_NAME, name), f"delete the set {name}")
            case FlushSet(table, kept):
                yield _request(table, n.DELETE_ELEMENTS, 0, text(_NAME, kept.name), f"empty the set {kept.name}")
            case AddChain(table, chain):
                yield _add_chain(table, chain.name, chain.hook, chain.comment)
            case DeleteChain(table, name):
                yield _request(table, n.DELETE_CHAIN, 0, text(_CHAIN_NAME, name), f"delete the chain {name}")
            case FlushChain(table, name):
                yield _request(table, n.DELETE_RULE, 0, text(_NAME, name), f"empty the chain {name}")
            case AddRule():
                yield from self._add_rule(change)
            case AddElements(table, kept, elements):
                yield from self._elements(table, kept, elements, n.NEW_ELEMENTS)
            case DeleteElements(table, kept, elements):
                yield from self._elements(table, kept, elements, n.DELETE_ELEMENTS)

    def _add_set(self, table: TableName, kept: Set) -> Iterator[Request]:
        body = header(table.family) + declaration(table.name, kept, next(self._identities))
        yield Request(kind(n.NEW_SET), CREATE, body, f"make the set {kept.name}")
        if kept.elements:
            yield from self._elements(table, kept, list(kept.elements.items()), n.NEW_ELEMENTS)

    def _elements(
        self, table: TableName, kept: Set, elements: Sequence[tuple[bytes, Element]], message: int
    ) -> Iterator[Request]:
        adding = message == n.NEW_ELEMENTS
        what = f"{'add elements to' if adding else 'delete elements of'} {kept.name}"
        before = header(table.family)
        flags = CREATE if adding else 0
        for encoded in element_lists(self._shape(table, kept), elements, not adding):
            yield Request(kind(message), flags, before + element_message(table.name, kept.name, encoded), what)

    def _shape(self, table: TableName, kept: Set) -> Shape:
        known = self._shapes.get((table, kept.name))
        if known is None or known[0] is not kept:
            known = kept, Shape(kept)
            self._shapes[table, kept.name] = known
        return known[1]

    def _add_rule(self, change: AddRule) -> Iterator[Request]:
        table = change.table
        rule = RuleEncoder(table.family, lambda: next(self._identities), self.index)
        encoded = rule.encode(change.rule)
        for brought in rule.brought:
            yield from _bring(table, brought)
        what = f"add a rule to the chain {change.chain}"
        flags = CREATE if change.first else CREATE | APPEND
        yield _request(table, n.NEW_RULE, flags, text(_NAME, change.chain) + encoded, what)


def _bring(table: TableName, brought: Brought) -> Iterator[Request]:
    """Make the set that comes with a rule, and fill it."""
    shape = Shape(brought.set)
    size = len(brought.elements) * (2 if shape.interval and not shape.concatenated else 1)
    before = header(table.family)
    made = before + anonymous_declaration(table.name, brought.set, brought.identity, brought.by, size)
    yield Request(kind(n.NEW_SET), CREATE, made, "make the set of a rule")
    for encoded in element_lists(shape, brought.elements):
        body = before + element_message(table.name, brought.set.name, encoded, brought.identity)
        yield Request(kind(n.NEW_ELEMENTS), CREATE, body, "fill the set of a rule")


def _request(table: TableName, message: int, flags: int, rest: bytes, what: str) -> Request:
    return Request(kind(message), flags, header(table.family) + text(_TABLE, table.name) + rest, what)


def _add_table(table: TableName, comment: str) -> Request:
    userdata = attribute(_TABLE_USERDATA, commented(comment)) if comment else b""
    return _request(table, n.NEW_TABLE, CREATE, userdata, f"make the table {table.family} {table.name}")


def _delete_table(table: TableName) -> Request:
    return _request(table, n.DELETE_TABLE, 0, b"", f"delete the table {table.family} {table.name}")


def _add_chain(table: TableName, name: str, hook: Hook | None, comment: str) -> Request:
    parts = [text(_CHAIN_NAME, name)]
    if hook is not None:
        parts += [_hook(table.family, hook), be32(_POLICY, _POLICIES[hook.policy]), text(_CHAIN_TYPE, hook.type)]
    if comment:
        parts.append(attribute(_CHAIN_USERDATA, commented(comment)))
    return _request(table, n.NEW_CHAIN, CREATE, b"".join(parts), f"make the chain {name}")


def _hook(family: str, hook: Hook) -> bytes:
    numbers = n.DEVICE_HOOKS if family == "netdev" else n.HOOKS
    number = n.INET_INGRESS if (family, hook.hook) == ("inet", "ingress") else numbers.get(hook.hook)
    if number is None:
        raise Unsayable(f"the hook {hook.hook} in the family {family}")
    device = text(_HOOK_DEVICE, hook.device) if hook.device else b""
    priority = hook.priority & 0xFFFFFFFF
    return nested(_HOOK, be32(_HOOK_NUMBER, number), be32(_HOOK_PRIORITY, priority), device)
