"""A table that has some of everything, for the tests of what programs nftables."""

from __future__ import annotations

from fairway.ruleset.nft import PRESENT as PRESENT
from fairway.ruleset.nft import (
    AnonymousMap,
    AnonymousSet,
    Assign,
    Bits,
    Chain,
    Concat,
    Counter,
    Ct,
    Element,
    Expression,
    Fib,
    Field,
    Hash,
    Hook,
    Literal,
    MapLookup,
    Match,
    Meta,
    Nat,
    Numgen,
    Other,
    Payload,
    Range,
    Reject,
    Rule,
    Set,
    SetName,
    SetUpdate,
    Table,
    TableName,
    Type,
    Verdict,
    VerdictMap,
)
from fairway.ruleset.nft_values import literal, pack, type_of, value

NAME = TableName("ip", "fairway")
DADDR, SADDR = Payload("ip", "daddr"), Payload("ip", "saddr")
L4PROTO, DPORT, MARK = Meta("l4proto"), Payload("th", "dport"), Meta("mark")
THIRD = Numgen("random", 3)
PLACE = Concat((DADDR, L4PROTO, DPORT))
PLACE_TYPES = (Type.IPV4, Type.PROTOCOL, Type.SERVICE)
ENDPOINT_TYPES = (Type.IPV4, Type.SERVICE)


def fields(*expressions: Expression) -> tuple[Field, ...]:
    return tuple(Field(type_of(expression), expression) for expression in expressions)


def place(address: str, protocol: str, port: int) -> bytes:
    return pack(PLACE_TYPES, (address, protocol, port))


def endpoint(address: str, port: int) -> Element:
    return Element(pack(ENDPOINT_TYPES, (address, port)))


def address(text: str) -> Literal:
    return literal(Type.IPV4, text)


def network(text: str, bits: int) -> Literal:
    return Literal(Type.IPV4, value(Type.IPV4, text), bits)


def mark(number: int) -> Literal:
    return literal(Type.MARK, number)


def number(value: int) -> Literal:
    return literal(Type.INTEGER, value)


def port(number: int) -> Literal:
    return literal(Type.SERVICE, number)


PLACE_FIELDS = fields(*PLACE.parts)
ENDPOINT_FIELDS = fields(DADDR, DPORT)
WEB = place("10.96.0.10", "tcp", 80)
DNS = place("10.96.0.11", "udp", 53)


def places(name: str = "places") -> Set:
    return Set(name, PLACE_FIELDS, elements={WEB: PRESENT, DNS: PRESENT})


def one_endpoint() -> Set:
    return Set("lb-1", PLACE_FIELDS, ENDPOINT_FIELDS, elements={DNS: endpoint("10.244.1.5", 53)})


def three_endpoints() -> Set:
    types = (*PLACE_TYPES, Type.INTEGER)
    keys = (pack(types, ("10.96.0.10", "tcp", 80, number)) for number in range(3))
    elements = {key: endpoint(f"10.244.1.{number}", 8080) for number, key in enumerate(keys, 6)}
    return Set("lb-3", PLACE_FIELDS + fields(THIRD), ENDPOINT_FIELDS, elements=elements)


def affinity() -> Set:
    flags = frozenset({"dynamic", "timeout"})
    return Set("affinity", fields(SADDR) + PLACE_FIELDS, ENDPOINT_FIELDS, flags, size=524288)


def ranges() -> Set:
    """Plain intervals: a network, one beside it, a single address, and the last of all."""

    def whole(first: str, last: str) -> tuple[bytes, Element]:
        return value(Type.IPV4, first), Element(end=value(Type.IPV4, last))

    single = value(Type.IPV4, "12.0.0.1")
    networks = (whole("10.0.0.0", "10.255.255.255"), whole("11.0.0.0", "11.0.0.7"), (single, PRESENT))
    top = whole("255.255.255.0", "255.255.255.255")
    return Set("ranges", fields(SADDR), flags=frozenset({"interval"}), elements=dict((*networks, top)))


def sources() -> Set:
    """Intervals in the last field of a concatenation."""
    types = (*PLACE_TYPES, Type.IPV4)

    def allowed(first: str, last: str) -> tuple[bytes, Element]:
        start, end = (pack(types, ("10.96.0.10", "tcp", 80, source)) for source in (first, last))
        return start, Element(end=end if end != start else b"")

    elements = dict((allowed("192.168.0.0", "192.168.0.255"), allowed("172.16.0.1", "172.16.0.1")))
    return Set("sources", PLACE_FIELDS + fields(SADDR), flags=frozenset({"interval"}), elements=elements)


def _sets() -> list[Set]:
    verdicts: dict[bytes, Element] = {WEB: Element(Verdict("goto", "lb")), DNS: Element(Verdict("drop"))}
    named = {b"eth0".ljust(16, b"\0"): PRESENT, b"cni0".ljust(16, b"\0"): PRESENT}
    return [
        Set("places", PLACE_FIELDS, comment="who is there", elements={WEB: Element(comment="web"), DNS: PRESENT}),
        one_endpoint(),
        three_endpoints(),
        affinity(),
        ranges(),
        sources(),
        Set("counted", PLACE_FIELDS, counter=True, elements={WEB: PRESENT}),
        Set("verdicts", PLACE_FIELDS, "verdict", elements=verdicts),
        Set("interfaces", (Field(Type.INTERFACE_NAME),), elements=named),
        Set("ports", fields(DPORT), elements={pack((Type.SERVICE,), (80,)): PRESENT}),
        Set("protocols", fields(L4PROTO), elements={pack((Type.PROTOCOL,), ("tcp",)): PRESENT}),
        Set(
            "marks", (Field(Type.MARK),), (Field(Type.MARK),), elements={pack((Type.MARK,), (5,)): Element(b"\6\0\0\0")}
        ),
        Set("brief", fields(SADDR), timeout_ms=3_600_000),
    ]


def _endpoint_of(map_: str, *key: Expression) -> Rule:
    transports = AnonymousSet(tuple(literal(Type.PROTOCOL, name) for name in ("tcp", "udp", "sctp")))
    found = MapLookup(Concat(key), SetName(map_))
    return Rule((Match(L4PROTO, transports), Nat("dnat", found, family="ip", address_and_port=True)))


def _balance() -> list[Rule]:
    return [
        _endpoint_of("affinity", SADDR, *PLACE.parts),
        _endpoint_of("lb-1", *PLACE.parts),
        _endpoint_of("lb-3", *PLACE.parts, THIRD),
    ]


def _remember() -> list[Rule]:
    original = (Ct("ip daddr", "original"), L4PROTO, Ct("proto-dst", "original"))
    replied = Concat((Ct("ip saddr", "reply"), Ct("proto-src", "reply")))
    written = SetUpdate("update", "affinity", Concat((SADDR, *original)), 10_800_000, replied)
    return [Rule((Match(L4PROTO, literal(Type.PROTOCOL, "tcp")), Match(Concat(original), SetName("places")), written))]


def _matches() -> list[Rule]:
    """One rule for each way of asking."""
    accept = Verdict("accept")
    device = Literal(Type.INTERFACE_NAME, b"eth", 24)
    tcp_port = Payload("tcp", "dport")
    asked: list[tuple[Match, ...]] = [
        (Match(SADDR, network("10.244.0.0", 16), "!="),),
        (Match(SADDR, network("10.240.0.0", 12)),),
        (Match(DADDR, Range(address("10.0.0.1"), address("10.0.0.9"))),),
        (Match(DADDR, Range(address("10.0.0.1"), address("10.0.0.9")), "!="),),
        (Match(DADDR, AnonymousSet((network("10.0.0.0", 8), address("12.0.0.1")))),),
        (Match(Bits(MARK, "&", mark(0x4000)), mark(0), "!="),),
        (Match(MARK, mark(5), ">"),),
        (Match(MARK, Range(mark(5), mark(9))),),
        (
            Match(Ct("state"), literal(Type.CT_STATE, "new"), "any"),
            Match(Ct("status"), literal(Type.CT_STATUS, "dnat"), "any"),
        ),
        (Match(Ct("direction"), literal(Type.CT_DIRECTION, "original")),),
        (Match(Fib(("daddr",), "type"), literal(Type.FIB_TYPE, "local")),),
        (Match(Fib(("daddr", "iif"), "type"), literal(Type.FIB_TYPE, "local")),),
        (Match(Meta("iifname"), device), Match(Meta("iif"), Literal(Type.INTERFACE, b"lo"), "!=")),
        (Match(tcp_port, Range(port(90), port(100))),),
        (Match(Concat((DADDR, tcp_port)), AnonymousSet((Concat((address("1.1.1.1"), port(80))),))),),
        (Match(Concat((DADDR, tcp_port)), AnonymousSet((Concat((address("1.1.1.1"), Range(port(8), port(9)))),))),),
        (Match(Payload("icmp", "type"), literal(Type.ICMP_TYPE, "echo-request")),),
        (Match(Hash(Concat((SADDR, Payload("tcp", "sport"))), 4, 0xDEAD), literal(Type.INTEGER, 1)),),
        (Match(Payload("ip", "ttl"), number(5)), Match(Payload("ip", "length"), Range(number(100), number(300)))),
        (Match(Payload("udp", "length"), number(300), ">"), Match(Meta("length"), number(300), "<")),
        (Match(Ct("zone"), number(5)), Match(Payload("tcp", "flags"), literal(Type.TCP_FLAGS, "syn"))),
        (Match(PLACE, SetName("places"), "!="),),
        (Match(SADDR, SetName("ranges")), Match(Concat((*PLACE.parts, SADDR)), SetName("sources"), "!=")),
    ]
    return [Rule((*matches, accept)) for matches in asked]


def _deeds() -> list[Rule]:
    """One rule for each way of acting."""
    two = AnonymousMap(((address("1.1.1.1"), mark(5)), (address("2.2.2.2"), mark(6))))
    way = AnonymousMap(
        ((address("1.1.1.1"), Verdict("accept")), (network("2.0.0.0", 8), Verdict("drop")), (None, Verdict("return")))
    )
    return [
        Rule((Assign(MARK, Bits(MARK, "|", mark(0x4000))),)),
        Rule((Assign(MARK, Bits(Bits(MARK, "&", mark(0xFFFFBFFF)), "|", mark(1))), Counter())),
        Rule((Assign(MARK, MapLookup(DADDR, two)),)),
        Rule((Assign(Ct("mark"), MARK), Assign(Ct("zone"), number(5)))),
        Rule((VerdictMap(DADDR, way),)),
        Rule((VerdictMap(PLACE, SetName("verdicts")),)),
        Rule((SetUpdate("add", "affinity", Concat((SADDR, *PLACE.parts)), 5000, Concat((DADDR, DPORT))),)),
        Rule((Reject(),), comment="nobody there"),
        Rule((Reject("tcp reset"),)),
        Rule((Reject("icmp admin-prohibited"),)),
        Rule((Other("meta nftrace set 1", harmless=True),)),
        Rule((Verdict("goto", "lb"),)),
    ]


def _translations() -> list[Rule]:
    return [
        Rule((Match(Payload("tcp", "dport"), port(1)), Nat("dnat", address("1.2.3.4"), port(80)))),
        Rule((Match(Payload("udp", "dport"), port(2)), Nat("redirect", port=port(99)))),
        Rule((Nat("dnat", Range(address("1.1.1.1"), address("1.1.1.9")), flags=("random", "persistent")),)),
        Rule((Nat("dnat", address("10.0.0.1")),)),
    ]


def table() -> Table:
    """Everything at once."""
    masquerade = Nat("masquerade", flags=("fully-random",))
    chains = [
        Chain("lb", _balance(), comment="balance"),
        Chain("remember", _remember()),
        Chain("matches", _matches()),
        Chain("deeds", _deeds()),
        Chain("prerouting", [Rule((Verdict("jump", "lb"),)), *_translations()], Hook("nat", "prerouting", -100)),
        Chain(
            "postrouting",
            [Rule((masquerade,)), Rule((Nat("snat", address("1.1.1.1")),))],
            Hook("nat", "postrouting", 100),
        ),
        Chain("forward", [Rule((Verdict("jump", "matches"),))], Hook("filter", "forward", -1, "drop")),
    ]
    sets = {kept.name: kept for kept in _sets()}
    return Table(NAME.family, NAME.name, sets, {chain.name: chain for chain in chains}, "some of everything")
