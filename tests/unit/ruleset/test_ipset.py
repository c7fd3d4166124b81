"""Sets as `ipset save` and `ipset list` print them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.packet import Family
from fairway.ruleset.ipset import TYPES, Device, Element, Field, IpSet, ParseError, Part, Port, parse

SAVED = """
create clients hash:ip family inet hashsize 1024 maxelem 65536 timeout 100 counters comment bucketsize 12 initval 0x95
add clients 10.0.0.1 timeout 99 packets 0 bytes 0 comment "who is 10.0.0.1 timeout"
add clients 10.0.0.2 timeout 0 packets 0 bytes 0
create pools hash:net family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x79bfe6c1
add pools 10.0.0.0/8
add pools 10.1.0.0/16 nomatch
add pools 10.9.9.9
create doors hash:ip,port family inet6 hashsize 1024 maxelem 65536
add doors fd00::1,ipv6-icmp:echo-request
add doors fd00::1,tcp:80
create ways hash:net,iface family inet hashsize 1024 maxelem 65536
add ways 0.0.0.0/0,eth wildcard
add ways 11.0.0.0/8,physdev:eth1
create range bitmap:ip range 10.0.0.0-10.0.255.255 netmask 24
add range 10.0.5.0
create ports bitmap:port range 0-1024
add ports 80
create marks hash:ip,mark family inet markmask 0x000000ff hashsize 1024 maxelem 65536
add marks 10.0.0.5,0x00000005
create cards bitmap:ip,mac range 10.0.0.0-10.0.0.255
add cards 10.0.0.5,02:00:00:00:00:01
add cards 10.0.0.6
create odd hash:tuple,ip family inet
add odd whatever,it is
create all list:set size 8
add all clients
add all pools
"""


def listing(saved: str) -> str:
    """The same as `ipset list` prints it."""
    sets: dict[str, list[str]] = {}
    for line in saved.split("\n"):
        verb, _, rest = line.partition(" ")
        name, _, rest = rest.partition(" ")
        if verb == "create":
            type_, _, options = rest.partition(" ")
            head = [f"Name: {name}", f"Type: {type_}", "Revision: 6", f"Header: {options}".rstrip()]
            sets[name] = [*head, "Size in memory: 474", "References: 1", "Number of entries: 2", "Members:"]
        elif verb == "add":
            sets[name].append(rest)
    return "\n\n".join("\n".join(lines) for lines in sets.values()) + "\n"


def test_what_was_saved() -> None:
    found = parse(SAVED)
    net, ip = ipaddress.ip_network, ipaddress.ip_address
    assert found["clients"].elements == (Element((ip("10.0.0.1"),)), Element((ip("10.0.0.2"),)))
    exception = Element((net("10.1.0.0/16"),), nomatch=True)
    assert found["pools"].elements == (
        Element((net("10.0.0.0/8"),)),
        exception,
        Element((net("10.9.9.9/32"),)),
    )
    assert found["doors"].family is Family.IPV6
    assert found["doors"].elements == (
        Element((ip("fd00::1"), Port("ipv6-icmp", "echo-request"))),
        Element((ip("fd00::1"), Port("tcp", "80"))),
    )
    ways = found["ways"].elements or ()
    assert [(element.parts[1], element.wildcard) for element in ways] == [
        (Device("eth"), True),
        (Device("eth1", physical=True), False),
    ]
    assert found["range"].mask == 0xFFFFFF00
    assert found["ports"].elements == (Element((Port("", "80"),)),)
    assert (found["marks"].mark_mask, found["marks"].elements) == (0xFF, (Element((ip("10.0.0.5"), 5)),))
    assert [element.parts[1] for element in found["cards"].elements or ()] == ["02:00:00:00:00:01", ""]
    assert found["odd"].strange == "its type hash:tuple,ip"
    assert found["all"].elements == (Element(("clients",)), Element(("pools",)))


def test_a_listing_says_the_same() -> None:
    assert parse(listing(SAVED)) == parse(SAVED)


def test_a_listing_without_members_does_not_say_that_there_are_none() -> None:
    terse = "Name: a\nType: hash:ip\nRevision: 6\nHeader: family inet hashsize 1024 maxelem 65536\nReferences: 1\n"
    assert parse(terse)["a"].elements is None
    assert parse(f"{terse}Members:\n")["a"].elements == ()


def test_an_option_that_nobody_knows_leaves_the_set_unknown() -> None:
    found = parse("create a hash:ip family inet reversed yes\nadd a 10.0.0.1\n")
    assert found["a"].strange == "its option reversed"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("add a 10.0.0.1", "line 1: an element of set a, which was not created before"),
        ("create a hash:ip family inet\nadd a", "line 2: expected a line of `ipset save`"),
        ("create a hash:ip family inet\nadd a 10.0.0.1,tcp:80", "line 2: expected an element of hash:ip: 'add a"),
        ("create a hash:ip family inet\n\nadd a fd00::1", "line 3: 'fd00::1' is not of the set's family"),
        ("create a hash:ip family inet\nadd a 10.0.0.256", "line 2: '10.0.0.256' does not appear to be"),
        ("create a hash:net family inet\nadd a 10.0.0.0/33", "line 2: '10.0.0.0/33' does not appear to be"),
        ("create a hash:ip,port family inet\nadd a 10.0.0.1,tcp:70000", "line 2: '70000' is no port"),
        ("create a hash:ip,port family inet\nadd a 10.0.0.1,80", "line 2: '80' is no port of such a set"),
        ("create a bitmap:port range 0-9\nadd a tcp:8", "line 2: 'tcp:8' is no port of such a set"),
        ("create a hash:mac\nadd a 02:00", "line 2: '02:00' is no hardware address"),
        ("create a hash:ip family inet\nadd a 10.0.0.1 nomatch sometimes", "line 2: 'sometimes' is no option"),
        ("create a hash:ip family inet\nadd a 10.0.0.1 timeout", "line 2: 'timeout' is no option"),
        ("create a hash:ip family inet\ncreate a hash:ip family inet", "line 2: set a is there twice"),
        ("Type: hash:ip", "line 1: expected `Name: SET` before it"),
        ("Name: a\nMembers:\n10.0.0.1", "line 3: an element of set a before its type"),
        ("Name: a\nType: hash:ip\nMembers:\n10.0.0.1\n\n10.0.0.2", "line 6: expected a line of"),
        ("destroy a", "line 1: expected a line of `ipset save` or `ipset list`: 'destroy a'"),
    ],
)
def test_what_no_ipset_prints_is_named_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert str(caught.value).startswith(complaint)


addresses: dict[Family, st.SearchStrategy[Part]] = {
    Family.IPV4: st.ip_addresses(v=4),
    Family.IPV6: st.ip_addresses(v=6),
}
letters = st.text("abcdefghijkl0123456789-_.", min_size=1, max_size=12).map(lambda text: f"n{text}")


def networks(family: Family) -> st.SearchStrategy[Part]:
    lengths = st.integers(0, 32 if family is Family.IPV4 else 128)
    return st.builds(lambda a, n: ipaddress.ip_network(f"{a}/{n}", strict=False), addresses[family], lengths)


def parts(kind: Field, family: Family | None) -> st.SearchStrategy[Part]:
    numbers = st.integers(0, 65535).map(str)
    hexadecimal = st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":"))
    alone = st.builds(Port, st.just(""), numbers)
    return {
        Field.ADDRESS: addresses[family or Family.IPV4],
        Field.NETWORK: networks(family or Family.IPV4),
        Field.PORT: st.builds(Port, st.sampled_from(["tcp", "udp", "sctp"]), numbers) if family else alone,
        Field.DEVICE: st.builds(Device, letters, st.booleans()),
        Field.MARK: st.integers(0, 0xFFFFFFFF),
        Field.HARDWARE: hexadecimal,
        Field.SET: letters,
    }[kind]


@st.composite
def some_sets(draw: st.DrawFn) -> dict[str, IpSet]:
    found = {}
    for name in draw(st.lists(letters, max_size=4, unique=True)):
        type_ = draw(st.sampled_from(sorted(TYPES)))
        families = [Family.IPV4] if type_.startswith("bitmap:ip") else list(Family)
        both = type_ in ("bitmap:port", "list:set", "hash:mac")
        family = None if both else draw(st.sampled_from(families))
        values = st.tuples(*(parts(kind, family) for kind in TYPES[type_]))
        elements = draw(st.lists(st.builds(Element, values, st.booleans()), max_size=5))
        found[name] = IpSet(name, type_, family, TYPES[type_], elements=tuple(elements))
    return found


def said(part: Part) -> str:
    match part:
        case Port(protocol, port):
            return f"{protocol}:{port}" if protocol else port
        case Device(name, physical):
            return f"physdev:{name}" if physical else name
        case int():
            return f"{part:#010x}"
    return str(part)


def saved(sets: Iterable[IpSet]) -> str:
    lines = []
    for each in sets:
        family = {Family.IPV4: " family inet", Family.IPV6: " family inet6", None: ""}[each.family]
        lines.append(f"create {each.name} {each.type}{'' if each.type.startswith('bitmap') else family} hashsize 64")
        for element in each.elements or ():
            lines.append(f"add {each.name} {','.join(map(said, element.parts))}{' nomatch' * element.nomatch}")
    return "\n".join(lines)


@given(some_sets())
def test_what_is_written_is_read(sets: dict[str, IpSet]) -> None:
    text = saved(sets.values())
    assert parse(text) == sets
    assert parse(listing(text)) == sets


@given(st.text(max_size=60), st.integers(0, len(SAVED)), st.booleans())
def test_rubbish_is_an_error_with_its_line_or_read(rubbish: str, at: int, listed: bool) -> None:
    sample = listing(SAVED) if listed else SAVED
    try:
        parse(sample[:at] + rubbish + sample[at:])
    except ParseError as error:
        assert error.line > 0
