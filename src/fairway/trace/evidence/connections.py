"""Reading `conntrack -L` (plain or `-o extended`) and /proc/net/nf_conntrack."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence

from fairway.packet import Protocol
from fairway.trace.connections import Connections, Entry, Original
from fairway.trace.evidence.texts import Text

MAX_ENTRIES = 4_000_000

_HEAD = re.compile(r"\s*(?:ipv[46]\s+\d+\s+)?(?P<protocol>\w+)\s+\d+\s+(?P<rest>.*)")
_PAIR = re.compile(r"(\w+)=(\S+)")
_PROTOCOLS = {"tcp": Protocol.TCP, "udp": Protocol.UDP, "sctp": Protocol.SCTP}
_ENDS = ("src", "dst", "sport", "dport")


def connections(text: Text) -> Connections:
    """The table; connections of other protocols are left out. Raises EvidenceError with the line that is none."""
    return Connections.of(_entries(text))


def _entries(text: Text) -> Iterator[Entry]:
    for number, line in enumerate(text.content.splitlines(), 1):
        if number > MAX_ENTRIES:
            raise text.error(f"more than {MAX_ENTRIES} lines", number)
        if not line.strip() or line.startswith(("#", "conntrack v")):
            continue
        head = _HEAD.match(line)
        if head is None or "src=" not in line:
            raise text.error(f"expected a line of conntrack -L: {line[:100]!r}", number)
        protocol = _PROTOCOLS.get(head["protocol"])
        if protocol is not None:
            yield _entry(text, number, protocol, head["rest"])


def _entry(text: Text, number: int, protocol: Protocol, rest: str) -> Entry:
    pairs = _PAIR.findall(rest)
    ends = [(key, value) for key, value in pairs if key in _ENDS]
    others = dict(pairs)
    words = rest[: rest.find("src=")].split()
    try:
        if len(ends) != 2 * len(_ENDS):
            raise ValueError("expected src, dst, sport and dport twice")
        seconds = next((int(word) for word in words if word.isdigit()), 0)
        state = next((word for word in words if word.isupper()), "")
        mark = int(others.get("mark", "0"))
        ways = _ends(ends[:4]), _ends(ends[4:])
    except (ValueError, KeyError) as error:
        raise text.error(str(error), number) from None
    return Entry(protocol, *ways, "[UNREPLIED]" not in rest, mark, state, seconds)


def _ends(pairs: Sequence[tuple[str, str]]) -> Original:
    said = dict(pairs)
    source, destination = (str(ipaddress.ip_address(said[key])) for key in ("src", "dst"))
    return Original(source, destination, int(said["sport"]), int(said["dport"]))
