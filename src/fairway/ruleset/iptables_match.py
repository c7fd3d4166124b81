"""Read what an iptables rule means: `understand("-p tcp --dport 80 -j X")` is typed matches (the rule's own
options first, then its modules in order) and a target.

Covers what kube-proxy (1.5 to 1.36), flannel, Docker and common hand-made rules use. Sources: iptables(8),
iptables-extensions(8). Whatever is not understood becomes `Unknown` with its text; this reader never raises.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from fairway.ruleset.iptables import split
from fairway.ruleset.iptables_targets import NotUnderstood, Section, port_range, read_target, value_and_mask
from fairway.ruleset.iptables_terms import (
    Accounting,
    AddressBetween,
    AddressIn,
    AddrType,
    Bridged,
    BridgePort,
    Comment,
    ConnState,
    Device,
    InSet,
    Mark,
    Match,
    Nth,
    Opaque,
    Parsed,
    Ports,
    ProtocolIs,
    Random,
    Recent,
    RecentAction,
    Side,
    Target,
    TcpFlags,
    Unknown,
)

TOP: Mapping[str, str] = {
    "-s": "-s",
    "--source": "-s",
    "--src": "-s",
    "-d": "-d",
    "--destination": "-d",
    "--dst": "-d",
    "-p": "-p",
    "--protocol": "-p",
    "--proto": "-p",
    "-i": "-i",
    "--in-interface": "-i",
    "-o": "-o",
    "--out-interface": "-o",
}
"""Options of the rule itself, which take one word, by all their spellings."""

PORTED = ("tcp", "udp", "sctp", "dccp", "udplite")

OPAQUE = frozenset(
    {
        "bpf",
        "cgroup",
        "cluster",
        "connbytes",
        "connlabel",
        "connlimit",
        "cpu",
        "devgroup",
        "dscp",
        "ecn",
        "esp",
        "ah",
        "hashlimit",
        "helper",
        "icmp",
        "icmp6",
        "ipvs",
        "length",
        "limit",
        "mac",
        "osf",
        "owner",
        "pkttype",
        "policy",
        "quota",
        "rateest",
        "realm",
        "rpfilter",
        "socket",
        "string",
        "time",
        "tos",
        "ttl",
        "hl",
        "u32",
        "eui64",
        "frag",
        "hbh",
        "dst",
        "ipv6header",
        "mh",
        "rt",
        "srh",
        "tcpmss",
    }
)
"""Modules whose answer depends on what no dump holds, or on parts of the packet that are not modelled."""


@dataclass(slots=True)
class _Reading:
    """A rule taken apart: its own options, then one section per module, then the target."""

    matches: list[Match] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    target: Section | None = None
    goto: bool = False


def understand(spec: str) -> Parsed:
    """What the rule with this specification means. Pure, never raises; see `Parsed.unknown` for what stayed dark."""
    reading = _take_apart(list(split(spec)))
    matches = reading.matches
    for section in reading.sections:
        matches.extend(_read_module(section))
    target: Target | None = None
    if reading.target is not None:
        target = read_target(reading.target, goto=reading.goto)
    return Parsed(tuple(matches), target)


def _take_apart(words: list[str]) -> _Reading:
    reading = _Reading()
    at, negated = 0, False
    while at < len(words):
        word = words[at]
        at += 1
        if word == "!":
            negated = True
            continue
        if word in TOP:
            at, negated, value = _value(words, at, negated)
            reading.matches.append(_top(TOP[word], value, negated))
            if TOP[word] == "-p" and not negated and value.lower() in PORTED:
                reading.sections.append(Section(value.lower()))  # `-p tcp --dport 80` needs no `-m tcp`
        elif word in ("-m", "--match", "-j", "--jump", "-g", "--goto"):
            name = words[at] if at < len(words) else ""
            at += 1
            _open(reading, word, name)
        elif word.startswith("--"):
            at = _option(reading, words, at, negated)
        else:
            reading.matches.append(Unknown(word))
        negated = False
    return reading


def _value(words: list[str], at: int, negated: bool) -> tuple[int, bool, str]:
    """The one word an option takes; before iptables 1.4.3 the `!` stood between the option and its word."""
    if at < len(words) and words[at] == "!":
        at, negated = at + 1, not negated
    return at + 1, negated, words[at] if at < len(words) else ""


def _open(reading: _Reading, word: str, name: str) -> None:
    section = Section(name)
    if word in ("-m", "--match"):
        reading.sections.append(section)
    else:
        reading.target, reading.goto = section, word in ("-g", "--goto")


def _option(reading: _Reading, words: list[str], at: int, negated: bool) -> int:
    """File the option words[at - 1] and its values under its section; returns where to read on."""
    name = words[at - 1]
    values: list[str] = []
    if name == "--comment":  # whatever the comment looks like, it is one word
        values, at = words[at : at + 1], at + 1
    else:
        while at < len(words) and not _is_option(words[at]):
            values.append(words[at])
            at += 1
        if not values and at + 1 < len(words) and words[at] == "!" and not _is_option(words[at + 1]):
            negated, values, at = not negated, [words[at + 1]], at + 2  # `--dport ! 80`, the old way
    section = _owner(reading, name)
    if section is None:
        reading.matches.append(Unknown(" ".join([name, *values])))
    else:
        section.add(name, values, negated)
    return at


def _is_option(word: str) -> bool:
    return word == "!" or word.startswith("--") or word in TOP or word in ("-m", "-j", "-g")


def _owner(reading: _Reading, name: str) -> Section | None:
    if reading.target is not None and not any(name in _OPTIONS.get(s.name, ()) for s in reading.sections):
        return reading.target
    for section in reversed(reading.sections):
        if name in _OPTIONS.get(section.name, ()):
            return section
    return reading.sections[-1] if reading.sections else None


def _top(option: str, value: str, negated: bool) -> Match:
    if option in ("-s", "-d"):
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            return Unknown(f"{'! ' if negated else ''}{option} {value}")
        return AddressIn(Side.SOURCE if option == "-s" else Side.DESTINATION, network, negated)
    if option == "-p":
        return ProtocolIs(value.lower(), negated)
    return Device(Side.SOURCE if option == "-i" else Side.DESTINATION, value, negated)


def _read_module(section: Section) -> Iterator[Match]:
    reader = _MODULES.get(section.name)
    if reader is None:
        yield Opaque(section.name, section.text) if section.name in OPAQUE else Unknown(section.text_with_module)
        return
    try:
        matches = list(reader(section))
    except (NotUnderstood, ValueError, IndexError, KeyError):
        matches = [Unknown(section.text_with_module)]
    yield from matches


def _ports(section: Section) -> Iterator[Match]:
    for option in section.options:
        match option.name:
            case "--dport" | "--destination-port":
                yield Ports(Side.DESTINATION, (port_range(option.value, ":"),), option.negated)
            case "--sport" | "--source-port":
                yield Ports(Side.SOURCE, (port_range(option.value, ":"),), option.negated)
            case "--syn":
                yield TcpFlags(frozenset({"SYN", "RST", "ACK", "FIN"}), frozenset({"SYN"}), option.negated)
            case "--tcp-flags":
                yield TcpFlags(_flags(option.values[0]), _flags(option.values[1]), option.negated)
            case _:
                yield Opaque(section.name, option.text)


def _flags(text: str) -> frozenset[str]:
    every = frozenset({"SYN", "ACK", "FIN", "RST", "URG", "PSH"})
    return {"ALL": every, "NONE": frozenset[str]()}.get(text, frozenset(text.split(",")))


def _multiport(section: Section) -> Iterator[Match]:
    sides = {
        "--dports": Side.DESTINATION,
        "--destination-ports": Side.DESTINATION,
        "--sports": Side.SOURCE,
        "--source-ports": Side.SOURCE,
        "--ports": Side.EITHER,
    }
    for option in section.options:
        ranges = tuple(port_range(part, ":") for part in option.value.split(","))
        yield Ports(sides[option.name], ranges, option.negated)


def _mark(section: Section) -> Iterator[Match]:
    value, mask = value_and_mask(section.only("--mark").value)
    yield Mark(value, mask, section.only("--mark").negated, connection=section.name == "connmark")


def _statistic(section: Section) -> Iterator[Match]:
    options = section.by_name()
    mode = options["--mode"].value if "--mode" in options else ""
    if mode == "random" and "--probability" in options:
        float(options["--probability"].value)
        yield Random(options["--probability"].value, options["--probability"].negated)
    elif mode == "nth" and "--every" in options:
        packet = int(options["--packet"].value) if "--packet" in options else 0
        yield Nth(int(options["--every"].value), packet, options["--every"].negated)
    else:
        raise NotUnderstood(section.text)


def _recent(section: Section) -> Iterator[Match]:
    options = section.by_name()
    actions = [a for a in RecentAction if f"--{a}" in options]
    if len(actions) != 1:
        raise NotUnderstood(section.text)

    def number(name: str) -> int:
        return int(options[name].value) if name in options else 0

    yield Recent(
        action=actions[0],
        name=options["--name"].value if "--name" in options else "DEFAULT",
        seconds=number("--seconds"),
        hits=number("--hitcount"),
        side=Side.DESTINATION if "--rdest" in options else Side.SOURCE,
        negated=options[f"--{actions[0]}"].negated,
    )


def _comment(section: Section) -> Iterator[Match]:
    yield Comment(section.only("--comment").value)


def _addrtype(section: Section) -> Iterator[Match]:
    options = section.by_name()
    limited = "--limit-iface-in" in options or "--limit-iface-out" in options
    for name, side in (("--src-type", Side.SOURCE), ("--dst-type", Side.DESTINATION)):
        if name in options:
            types = frozenset(options[name].value.upper().split(","))
            yield AddrType(side, types, options[name].negated, limited)


_CT_STATES = frozenset({"NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED", "SNAT", "DNAT"})


def _conntrack(section: Section) -> Iterator[Match]:
    for option in section.options:
        if option.name in ("--ctstate", "--state"):
            states = frozenset(option.value.upper().split(","))
            if not states <= _CT_STATES:
                raise NotUnderstood(option.text)
            yield ConnState(states, option.negated)
        else:
            yield Opaque(section.name, option.text)


def _nfacct(section: Section) -> Iterator[Match]:
    yield Accounting(section.only("--nfacct-name").value)


def _iprange(section: Section) -> Iterator[Match]:
    for option in section.options:
        side = {"--src-range": Side.SOURCE, "--dst-range": Side.DESTINATION}[option.name]
        first, _, last = option.value.partition("-")
        yield AddressBetween(side, ipaddress.ip_address(first), ipaddress.ip_address(last or first), option.negated)


_SIDES = {"src": Side.SOURCE, "dst": Side.DESTINATION}
_COUNTERS = tuple(f"--{what}-{how}" for what in ("packets", "bytes") for how in ("eq", "lt", "gt"))
_SET_OPTIONS = ("--match-set", "--set", "--return-nomatch", "--update-counters", "--update-subcounters", *_COUNTERS)


def _in_set(section: Section) -> Iterator[Match]:
    options = section.by_name()
    asked = options["--match-set"] if "--match-set" in options else options["--set"]  # its name before iptables 1.4.12
    if not options.keys() <= set(_SET_OPTIONS):
        raise NotUnderstood(section.text)
    name, flags = asked.values
    yield InSet(
        name,
        tuple(_SIDES[flag] for flag in flags.split(",")),
        asked.negated,
        exceptions="--return-nomatch" in options,
        counted=any(each in options for each in _COUNTERS),
    )


def _physdev(section: Section) -> Iterator[Match]:
    for option in section.options:
        match option.name:
            case "--physdev-in":
                yield BridgePort(Side.SOURCE, option.value, option.negated)
            case "--physdev-out":
                yield BridgePort(Side.DESTINATION, option.value, option.negated)
            case "--physdev-is-in":
                yield BridgePort(Side.SOURCE, negated=option.negated)
            case "--physdev-is-out":
                yield BridgePort(Side.DESTINATION, negated=option.negated)
            case "--physdev-is-bridged":
                yield Bridged(option.negated)
            case _:
                raise NotUnderstood(option.text)


_PORT_OPTIONS = ("--dport", "--destination-port", "--sport", "--source-port")
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(PORTED, _PORT_OPTIONS),
    "tcp": (*_PORT_OPTIONS, "--syn", "--tcp-flags", "--tcp-option"),
    "multiport": ("--dports", "--destination-ports", "--sports", "--source-ports", "--ports"),
    "mark": ("--mark",),
    "connmark": ("--mark",),
    "statistic": ("--mode", "--probability", "--every", "--packet"),
    "recent": (
        *("--set", "--rcheck", "--update", "--remove", "--seconds", "--hitcount", "--reap", "--rttl"),
        *("--name", "--mask", "--rsource", "--rdest"),
    ),
    "comment": ("--comment",),
    "addrtype": ("--src-type", "--dst-type", "--limit-iface-in", "--limit-iface-out"),
    "conntrack": (
        *("--ctstate", "--ctproto", "--ctorigsrc", "--ctorigdst", "--ctreplsrc", "--ctrepldst", "--ctstatus"),
        *("--ctorigsrcport", "--ctorigdstport", "--ctreplsrcport", "--ctrepldstport", "--ctexpire", "--ctdir"),
    ),
    "state": ("--state",),
    "nfacct": ("--nfacct-name",),
    "iprange": ("--src-range", "--dst-range"),
    "set": _SET_OPTIONS,
    "physdev": ("--physdev-in", "--physdev-out", "--physdev-is-in", "--physdev-is-out", "--physdev-is-bridged"),
}
_MODULES: Mapping[str, Callable[[Section], Iterator[Match]]] = {
    **dict.fromkeys(PORTED, _ports),
    "multiport": _multiport,
    "mark": _mark,
    "connmark": _mark,
    "statistic": _statistic,
    "recent": _recent,
    "comment": _comment,
    "addrtype": _addrtype,
    "conntrack": _conntrack,
    "state": _conntrack,
    "nfacct": _nfacct,
    "iprange": _iprange,
    "set": _in_set,
    "physdev": _physdev,
}
