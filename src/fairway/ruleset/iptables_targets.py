"""Read the target of an iptables rule (`-j DNAT --to-destination 10.244.1.28:80`) into a value.

Holds also the pieces that matches and targets share: a module's or target's section of the rule, port ranges, marks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fairway.ruleset.iptables_terms import (
    Accept,
    Address,
    ChangeSets,
    CopyMark,
    Drop,
    Jump,
    Masquerade,
    NoTrack,
    Passive,
    Range,
    Redirect,
    Reject,
    Return,
    SetMark,
    Side,
    Target,
    Translate,
    Unknown,
)

ALL_BITS = 0xFFFFFFFF

PASSIVE = frozenset(
    {
        "LOG",
        "NFLOG",
        "ULOG",
        "TRACE",
        "TCPMSS",
        "TCPOPTSTRIP",
        "CHECKSUM",
        "CLASSIFY",
        "CONNSECMARK",
        "SECMARK",
        "DSCP",
        "TOS",
        "TTL",
        "HL",
        "ECN",
        "AUDIT",
        "LED",
        "IDLETIMER",
        "RATEEST",
        "TEE",
        "HMARK",
        "CT",
    }
)
"""Targets after which the kernel reads the next rule and which do not change where the packet goes."""

DARK = frozenset(
    {
        "QUEUE",
        "NFQUEUE",
        "TPROXY",
        "SYNPROXY",
        "NETMAP",
        "CLUSTERIP",
        "SNPT",
        "DNPT",
        "MIRROR",
        "SAME",
        "BALANCE",
    }
)
"""Targets that hand the packet to a program or translate it in ways that are not modelled."""


class NotUnderstood(ValueError):
    """Text that the reader does not know; it becomes `Unknown` before anyone outside sees it."""


@dataclass(frozen=True, slots=True)
class Option:
    """One `--name value ...` of a module or target."""

    name: str
    values: tuple[str, ...]
    negated: bool

    @property
    def value(self) -> str:
        """The only value. Raises NotUnderstood when there are none or several."""
        if len(self.values) != 1:
            raise NotUnderstood(self.text)
        return self.values[0]

    @property
    def text(self) -> str:
        """As the rule had it."""
        return " ".join([*(["!"] if self.negated else []), self.name, *self.values])


@dataclass(slots=True)
class Section:
    """A module (`-m NAME`) or target (`-j NAME`) and the options that belong to it."""

    name: str
    options: list[Option] = field(default_factory=list)

    def add(self, name: str, values: Sequence[str], negated: bool) -> None:
        """File one more option."""
        self.options.append(Option(name, tuple(values), negated))

    def by_name(self) -> Mapping[str, Option]:
        """Its options by their names; the last one wins, as it does for the iptables program."""
        return {option.name: option for option in self.options}

    def only(self, name: str) -> Option:
        """The option of that name, when it is the only one there. Raises NotUnderstood otherwise."""
        if [o.name for o in self.options] != [name]:
            raise NotUnderstood(self.text)
        return self.options[0]

    @property
    def text(self) -> str:
        """The options as the rule had them."""
        return " ".join(option.text for option in self.options)

    @property
    def text_with_module(self) -> str:
        """The section as a match of a rule."""
        return f"-m {self.name} {self.text}".strip()


def port_range(text: str, separator: str) -> Range:
    """ "80", "1000:2000" (matches), "1000-2000" (targets), ":1024", "1024:" as first and last port."""
    first, found, last = text.partition(separator)
    low = int(first) if first else 0
    high = (int(last) if last else 65535) if found else low
    if not first and not found:
        raise NotUnderstood(text)
    if not 0 <= low <= high <= 65535:
        raise NotUnderstood(text)
    return low, high


def value_and_mask(text: str) -> tuple[int, int]:
    """ "0x4000/0x4000" or "1" (all bits count) as two numbers of 32 bits."""
    value, found, mask = text.partition("/")
    return int(value, 0) & ALL_BITS, (int(mask, 0) & ALL_BITS) if found else ALL_BITS


def read_target(section: Section, goto: bool = False) -> Target:
    """The target a section names. Names that are no known extension are user chains, unless options follow them."""
    reader = _TARGETS.get(section.name)
    text = f"-j {section.name} {section.text}".strip()
    try:
        if reader is not None:
            return reader(section)
        if section.name in PASSIVE:
            return Passive(section.name, section.text)
    except (NotUnderstood, ValueError, IndexError, KeyError):
        return Unknown(text)
    if section.name in DARK or section.options or not section.name:
        return Unknown(text)
    return Jump(section.name, goto)


def _reject(section: Section) -> Target:
    options = section.by_name()
    return Reject(options["--reject-with"].value if "--reject-with" in options else "icmp-port-unreachable")


def _mark(section: Section) -> Target:
    return _set_mark(section.options[0], connection=False)


def _set_mark(option: Option, connection: bool) -> SetMark:
    """The five spellings; iptables-save prints all of them as --set-xmark (iptables-extensions(8), MARK)."""
    value, mask = value_and_mask(option.value)
    match option.name:
        case "--set-xmark":
            return SetMark(value, mask, connection=connection)
        case "--set-mark":
            return SetMark(value, mask, either=True, connection=connection)
        case "--or-mark":
            return SetMark(value, value, either=True, connection=connection)
        case "--and-mark":
            return SetMark(0, ~value & ALL_BITS, connection=connection)
        case "--xor-mark":
            return SetMark(value, 0, connection=connection)
    raise NotUnderstood(option.text)


def _connmark(section: Section) -> Target:
    options = section.by_name()
    if "--save-mark" not in options and "--restore-mark" not in options:
        return _set_mark(section.options[0], connection=True)
    both = int(options["--mask"].value, 0) if "--mask" in options else ALL_BITS
    return CopyMark(
        save="--save-mark" in options,
        packet_mask=int(options["--nfmask"].value, 0) if "--nfmask" in options else both,
        connection_mask=int(options["--ctmask"].value, 0) if "--ctmask" in options else both,
    )


def _dnat(section: Section) -> Target:
    return Translate(Side.DESTINATION, *_place(section.by_name()["--to-destination"].value))


def _snat(section: Section) -> Target:
    return Translate(Side.SOURCE, *_place(section.by_name()["--to-source"].value))


def _place(text: str) -> tuple[tuple[Address, Address] | None, Range | None]:
    """`ADDRESS[-ADDRESS][:PORT[-PORT]]`, with brackets around IPv6 addresses when a port follows."""
    ports: Range | None = None
    if text.startswith("["):
        text, _, rest = text[1:].partition("]")
        ports = port_range(rest[1:], "-") if rest.startswith(":") else None
    elif text.count(":") == 1:
        text, _, rest = text.partition(":")
        ports = port_range(rest.partition("/")[0], "-")
    if not text:
        return None, ports
    first, _, last = text.partition("-")
    return (ipaddress.ip_address(first), ipaddress.ip_address(last or first)), ports


def _masquerade(section: Section) -> Target:
    options = section.by_name()
    ports = port_range(options["--to-ports"].value, "-") if "--to-ports" in options else None
    return Masquerade("--random-fully" in options, ports)


def _redirect(section: Section) -> Target:
    options = section.by_name()
    return Redirect(port_range(options["--to-ports"].value, "-") if "--to-ports" in options else None)


def _ct(section: Section) -> Target:
    return NoTrack() if "--notrack" in section.by_name() else Passive("CT", section.text)


def _set(section: Section) -> Target:
    """`--map-set` copies what a set's element says into the packet's mark, which is not modelled."""
    if any(option.name == "--map-set" for option in section.options):
        raise NotUnderstood(section.text)
    changed = [option.values[0] for option in section.options if option.name in ("--add-set", "--del-set")]
    return ChangeSets(tuple(changed))


_TARGETS: Mapping[str, Callable[[Section], Target]] = {
    "ACCEPT": lambda _: Accept(),
    "DROP": lambda _: Drop(),
    "RETURN": lambda _: Return(),
    "NOTRACK": lambda _: NoTrack(),
    "REJECT": _reject,
    "MARK": _mark,
    "CONNMARK": _connmark,
    "DNAT": _dnat,
    "SNAT": _snat,
    "MASQUERADE": _masquerade,
    "REDIRECT": _redirect,
    "CT": _ct,
    "SET": _set,
}
