"""Elements of nft sets and maps read from a listing: the part of it that is long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from fairway.ruleset.nft import Element, Field, Literal, Set, Type, Verdict
from fairway.ruleset.nft_parse_expressions import between, network
from fairway.ruleset.nft_values import SIZES, number, size, value
from fairway.ruleset.nft_words import WORD, NotUnderstood, ParseError, milliseconds, unquoted

Interval: TypeAlias = tuple[bytes, bytes]


class _OtherType(Exception):
    """A word is none of its field's type."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


def read_elements(kept: Set, text: str, error: Callable[[str], ParseError]) -> None:
    """Add the elements in `text` to a set. A field that some element does not fit is taken for one of unknown type.
    Raises what `error` makes for text that is no list of elements."""
    keys = [one.type for one in kept.key]
    data = [one.type for one in kept.data if isinstance(one, Field)]
    key_reader, data_reader = _Fields(keys), _Fields(data)
    while True:
        try:
            kept.elements = dict(_element(words, key_reader, data_reader) for words in _split(text))
            break
        except _OtherType as other:
            reader = key_reader if key_reader.failed else data_reader
            if reader.types[other.place] is Type.UNKNOWN:
                raise error(f"an element of {kept.name} is longer than anything a kernel holds") from None
            reader.give_up(other.place)
        except (NotUnderstood, IndexError, ValueError):
            raise error(f"the elements of {kept.name} cannot be read") from None
    kept.key = _retyped(kept.key, key_reader.types)
    if not isinstance(kept.data, str):
        kept.data = _retyped(kept.data, data_reader.types)


def _retyped(fields: Sequence[Field], types: Sequence[Type]) -> tuple[Field, ...]:
    return tuple(kept if kept.type is type_ else Field(type_) for kept, type_ in zip(fields, types, strict=True))


def _split(text: str) -> Iterator[list[str]]:
    """The words of each element."""
    if '"' not in text:
        yield from filter(None, (part.split() for part in text.split(",")))
        return
    words: list[str] = []
    for word in WORD.findall(text):
        if word != ",":
            words.append(word)
        elif words:
            yield words
            words = []
    if words:
        yield words


@dataclass(slots=True)
class _Fields:
    """Reads fields of these types; each spelling is read once."""

    types: list[Type]
    known: dict[tuple[Type, str], Interval] = field(default_factory=dict)
    failed: bool = False

    def give_up(self, place: int) -> None:
        self.types[place] = Type.UNKNOWN
        self.failed = False

    def read(self, words: Sequence[str], start: int) -> tuple[bytes, bytes]:
        """The lowest and the highest key of the words from `start` on, dots between them."""
        low = high = b""
        for place, type_ in enumerate(self.types):
            word = words[start + 2 * place]
            found = self.known.get((type_, word))
            if found is None:
                found = self._interval(place, type_, word)
            low += found[0]
            high += found[1]
        return low, high

    def _interval(self, place: int, type_: Type, word: str) -> Interval:
        found = interval(type_, unquoted(word))
        if found is None:
            self.failed = True
            raise _OtherType(place)
        self.known[type_, word] = found
        return found


def interval(type_: Type, word: str) -> Interval | None:
    """The first and last value, padded, that a word spells: a value, a network or a range. None: none of the type."""
    try:
        low = high = value(type_, word)
    except ValueError:
        net = network(type_, word)
        ends = between(type_, word)
        if net is not None and net.prefix_bits is not None:
            low, high = span(net)
        elif ends is not None:
            low, high = ends.low.value, ends.high.value
        else:
            return None
    return low.ljust(size(type_), b"\0"), high.ljust(size(type_), b"\0")


def span(net: Literal) -> Interval:
    """The first and last value of a network."""
    bits = SIZES[net.type] * 8
    ones = (1 << (bits - (net.prefix_bits if net.prefix_bits is not None else bits))) - 1
    within = number(net.type, net.value)
    return value(net.type, within & ~ones), value(net.type, within | ones)


def _element(words: Sequence[str], keys: _Fields, data: _Fields) -> tuple[bytes, Element]:
    catch_all = words[0] == "*"
    low, high = (b"", b"") if catch_all else keys.read(words, 0)
    at = 1 if catch_all else 2 * len(keys.types) - 1
    end = high if high != low else b""
    if at < len(words) and words[at] == ".":
        raise NotUnderstood("more fields than the set has")
    if at == len(words):
        return low, Element(end=end)
    if words[at] == ":":
        return low, Element(_data(words, at + 1, data), end)
    return low, _with_extras(words, at, end, data)


def _data(words: Sequence[str], start: int, data: _Fields) -> bytes | Verdict:
    if data.types:
        return data.read(words, start)[0]
    return Verdict(words[start], unquoted(words[start + 1]) if start + 1 < len(words) else "")


def _with_extras(words: Sequence[str], at: int, end: bytes, data: _Fields) -> Element:
    """Counters, times and comments between the key and the data; what is unknown there is passed over."""
    found = Element(end=end)
    while at < len(words) and words[at] != ":":
        word, following = words[at], words[at + 1] if at + 1 < len(words) else ""
        at += 2
        match word:
            case "timeout":
                found = found._replace(timeout_ms=milliseconds(following))
            case "expires":
                found = found._replace(expires_ms=milliseconds(following))
            case "comment":
                found = found._replace(comment=unquoted(following))
            case "packets":
                found = found._replace(packets=int(following))
            case "bytes":
                found = found._replace(bytes=int(following))
            case _:
                at -= 1
    return found._replace(data=_data(words, at + 1, data)) if at < len(words) else found
