"""Generated nftables values, each in the form in which a listing is read."""

from __future__ import annotations

from hypothesis import strategies as st

from fairway.ruleset import nft
from fairway.ruleset.nft import (
    AnonymousMap,
    AnonymousSet,
    Bits,
    Concat,
    Element,
    Expression,
    Field,
    Literal,
    MapLookup,
    Match,
    Meta,
    Nat,
    Numgen,
    Payload,
    Range,
    Rule,
    SetName,
    Statement,
    Type,
    Verdict,
)
from fairway.ruleset.nft_names import BIT_NAMES
from fairway.ruleset.nft_values import SIZES, pack, types_of, value

SELECTORS: tuple[Expression, ...] = (
    Payload("ip", "saddr"),
    Payload("ip6", "daddr"),
    Payload("th", "dport"),
    Payload("tcp", "sport"),
    Meta("l4proto"),
    Meta("mark"),
    Meta("iifname"),
    nft.Ct("state"),
    nft.Ct("mark"),
    nft.Ct("ip daddr", "original"),
    nft.Ct("proto-dst", "original"),
    nft.Fib(("daddr",), "type"),
    nft.Fib(("saddr", "iif"), "type"),
    Numgen("random", 3),
    Numgen("inc", 7, 2),
    nft.Hash(Payload("ip", "saddr"), 5, 0xDEAD),
    nft.Hash(None, 5),
)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,9}-[A-Z0-9]{1,4}(/[a-z]{1,3})?", fullmatch=True)
COMMENTS = st.one_of(st.just(""), st.text("abc /:-#;{},", min_size=1, max_size=12).filter(lambda t: t.strip() == t))
NAMED = "abcdefghij"


@st.composite
def literals(draw: st.DrawFn, type_: Type) -> Literal:
    """A constant of a type, as it is read back: bits that have no name make the number."""
    if type_ is Type.INTERFACE_NAME:
        name = draw(st.text(NAMED, min_size=1, max_size=15)).encode()
        return Literal(type_, name, len(name) * 8 if draw(st.booleans()) else None)
    if type_ in BIT_NAMES:
        names = draw(st.lists(st.sampled_from(sorted(BIT_NAMES[type_])), min_size=1, unique=True))
        return Literal(type_, value(type_, ",".join(names)))
    return Literal(type_, draw(st.binary(min_size=SIZES[type_], max_size=SIZES[type_])))


def single(type_: Type) -> st.SearchStrategy[Literal]:
    """A constant that is one element of a set: one flag, a whole name."""
    if type_ in BIT_NAMES:
        return st.sampled_from([Literal(type_, value(type_, name)) for name in BIT_NAMES[type_]])
    if type_ is Type.INTERFACE_NAME:
        return st.text(NAMED, min_size=1, max_size=15).map(lambda name: Literal(type_, name.encode()))
    return literals(type_)


@st.composite
def ranges(draw: st.DrawFn, type_: Type) -> Expression:
    """A constant or, where order means something, a range or a network."""
    if type_ not in (Type.IPV4, Type.IPV6, Type.SERVICE, Type.INTEGER):
        return draw(single(type_))
    low, high = draw(literals(type_)), draw(literals(type_))
    kinds: list[Expression] = [low, Range(low, high)]
    if type_ in (Type.IPV4, Type.IPV6):
        kinds.append(Literal(type_, low.value, draw(st.integers(0, SIZES[type_] * 8))))
    return draw(st.sampled_from(kinds))


def elements(types: tuple[Type, ...]) -> st.SearchStrategy[Expression]:
    parts = st.tuples(*(ranges(type_) for type_ in types))
    return parts.map(lambda found: found[0] if len(found) == 1 else Concat(found))


selectors = st.one_of(
    st.sampled_from(SELECTORS),
    st.lists(st.sampled_from(SELECTORS), min_size=2, max_size=3).map(lambda parts: Concat(tuple(parts))),
)
verdicts = st.one_of(
    st.sampled_from(("accept", "drop", "return", "continue")).map(Verdict),
    st.builds(Verdict, st.sampled_from(("jump", "goto")), NAMES),
)


@st.composite
def matches(draw: st.DrawFn) -> Statement:
    left = draw(selectors)
    types = types_of(left)
    if draw(st.booleans()):
        return Match(left, SetName(draw(NAMES)), draw(st.sampled_from(("==", "!="))))
    if draw(st.booleans()):
        return Match(left, AnonymousSet(tuple(draw(st.lists(elements(types), min_size=1, max_size=3)))))
    if len(types) == 1 and types[0] in BIT_NAMES:
        return Match(left, draw(literals(types[0])), draw(st.sampled_from(("==", "!=", "any"))))
    if left == Meta("mark"):
        masked = Bits(left, draw(st.sampled_from(("&", "|", "^"))), draw(literals(Type.MARK)))
        return Match(masked, draw(literals(Type.MARK)), draw(st.sampled_from(("==", "!=", ">"))))
    return Match(left, draw(elements(types)), draw(st.sampled_from(("==", "!="))))


@st.composite
def maps(draw: st.DrawFn, key: Expression, data: st.SearchStrategy[Expression | Verdict]) -> SetName | AnonymousMap:
    if draw(st.booleans()):
        return SetName(draw(NAMES))
    pairs = draw(st.lists(st.tuples(elements(types_of(key)), data), min_size=1, max_size=3))
    return AnonymousMap(tuple(pairs))


@st.composite
def last(draw: st.DrawFn) -> Statement:
    """What a rule may end in."""
    found: Statement = draw(endings(draw))
    return found


def endings(draw: st.DrawFn) -> st.SearchStrategy[Statement]:
    key = draw(selectors)
    address, port = draw(literals(Type.IPV4)), draw(literals(Type.SERVICE))
    both = draw(maps(key, st.just(Concat((address, port)))).filter(lambda found: isinstance(found, AnonymousMap)))
    flags = draw(st.sampled_from(((), ("random",), ("fully-random", "persistent"))))
    return st.one_of(
        verdicts,
        st.just(nft.VerdictMap(key, draw(maps(key, verdicts)))),
        st.sampled_from((Nat("masquerade", flags=flags), Nat("masquerade", port=port), Nat("redirect", port=port))),
        st.just(Nat("dnat", address, port, flags=flags)),
        st.just(Nat("dnat", MapLookup(key, both), family="ip", flags=flags, address_and_port=True)),
        st.just(Nat("snat", draw(literals(Type.IPV4)), family="ip")),
        st.just(nft.Assign(Meta("mark"), MapLookup(key, draw(maps(key, literals(Type.MARK)))))),
        st.sampled_from((nft.Reject(), nft.Reject("tcp reset"), nft.Reject("icmp host-unreachable"))),
        st.builds(nft.SetUpdate, st.sampled_from(("add", "update")), NAMES, st.just(key), st.integers(0, 10**9)),
    )


rules = st.builds(
    lambda first, count, end, comment: Rule((*first, *count, end), comment),
    st.lists(matches(), max_size=2),
    st.lists(st.builds(nft.Counter, st.integers(0, 99), st.integers(0, 9999)), max_size=1),
    last(),
    COMMENTS,
)
hooks = st.one_of(
    st.none(),
    st.builds(
        nft.Hook,
        st.sampled_from(("filter", "nat", "route")),
        st.sampled_from(("prerouting", "input", "forward", "output", "postrouting")),
        st.integers(-400, 400),
        st.sampled_from(("accept", "drop")),
    ),
)
chains = st.builds(nft.Chain, NAMES, st.lists(rules, max_size=3), hooks, COMMENTS)


KINDS: tuple[tuple[Field, ...] | str, ...] = ((), "verdict", (Field(Type.IPV4), Field(Type.SERVICE)))
KEYS = (Type.IPV4, Type.IPV6, Type.PROTOCOL, Type.SERVICE, Type.MARK)
FLAGS = st.frozensets(st.sampled_from(("interval", "timeout", "dynamic")))


@st.composite
def sets(draw: st.DrawFn) -> nft.Set:
    types = tuple(draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3)))
    data = draw(st.sampled_from(KINDS))
    fields = tuple(Field(type_) for type_ in types)
    kept = nft.Set(draw(NAMES), fields, data, draw(FLAGS), draw(st.integers(0, 99)), comment=draw(COMMENTS))
    for _ in range(draw(st.integers(0, 3))):
        key, end = draw(keys(types))
        held: bytes | Verdict = draw(verdicts) if data == "verdict" else PLACE if data else b""
        timeout = draw(st.integers(0, 10**9))
        kept.elements[key] = Element(held, end if end != key else b"", timeout, comment=draw(COMMENTS))
    return kept


PLACE = pack((Type.IPV4, Type.SERVICE), ("10.0.0.1", 80))


@st.composite
def keys(draw: st.DrawFn, types: tuple[Type, ...]) -> tuple[bytes, bytes]:
    """The first and the last key of an element."""
    low = [draw(literals(type_)).value for type_ in types]
    high = [
        max(first, draw(literals(type_)).value) if type_ in (Type.IPV4, Type.SERVICE) else first
        for type_, first in zip(types, low, strict=True)
    ]
    return _packed(types, low), _packed(types, high)


def _packed(types: tuple[Type, ...], values: list[bytes]) -> bytes:
    return b"".join(one.ljust((SIZES[type_] + 3) & ~3, b"\0") for type_, one in zip(types, values, strict=True))


@st.composite
def tables(draw: st.DrawFn) -> nft.Table:
    """A table of an ip family, with sets and chains."""
    found = nft.Table(draw(st.sampled_from(("ip", "ip6"))), draw(NAMES), comment=draw(COMMENTS))
    found.sets = {kept.name: kept for kept in draw(st.lists(sets(), max_size=3))}
    found.chains = {chain.name: chain for chain in draw(st.lists(chains, max_size=3))}
    return found
