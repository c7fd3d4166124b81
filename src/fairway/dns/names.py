"""Domain names as tuples of labels, and the forms in which addresses appear in names.

A label is bytes because a query may hold any byte (RFC 2181 section 11), and because `bytes.lower` folds exactly the
letters that DNS folds (RFC 4343). The root label is left out: `(b"www", b"example", b"com")`.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from fairway.dns.errors import BadName

Name = tuple[bytes, ...]

MAX_LABEL = 63
MAX_NAME = 255
"""Octets of a name on the wire, length octets and root included (RFC 1035 section 2.3.4)."""

IN_ADDR: Name = (b"in-addr", b"arpa")
IP6: Name = (b"ip6", b"arpa")


def parse(text: str) -> Name:
    """The name written as `a.b.c` or `a.b.c.` (no escapes: names of objects need none). Raises BadName."""
    try:
        labels = tuple(text.removesuffix(".").encode("ascii").split(b"."))
    except UnicodeEncodeError as error:
        raise BadName(f"{text!r} is no domain name: only ASCII is allowed") from error
    if not all(map(is_label, labels)) or wire_length(labels) > MAX_NAME:
        raise BadName(f"{text!r} is no domain name: labels have 1 to {MAX_LABEL} octets, names at most {MAX_NAME}")
    return labels


def text(name: Name) -> str:
    """The name as people and zone files write it, with the final dot; odd bytes as `\\DDD` (RFC 1035 section 5.1)."""
    return "".join(_label_text(label) + "." for label in name) or "."


def _label_text(label: bytes) -> str:
    return "".join(chr(octet) if 0x21 <= octet <= 0x7E and octet not in b'."\\' else f"\\{octet:03}" for octet in label)


def lower(name: Name) -> Name:
    """The name as it is compared: A-Z folded, nothing else."""
    return tuple([label.lower() for label in name])


def is_label(label: bytes) -> bool:
    """Whether the label fits on the wire."""
    return 0 < len(label) <= MAX_LABEL


def wire_length(name: Name) -> int:
    """The uncompressed octets of the name."""
    return sum(map(len, name)) + len(name) + 1


def pack(address: str) -> bytes | None:
    """The 4 or 16 octets of an address, or None when the text is none (or has a zone: `fe80::1%eth0`)."""
    try:
        if ":" in address:
            return ip_address(address).packed if "%" not in address else None
        octets = bytes(map(int, address.split(".")))
        return octets if len(octets) == 4 and ".".join(map(str, octets)) == address else None
    except ValueError:
        return None


def dashed(packed: bytes) -> bytes:
    """The label an address takes in names: `10-244-0-5`, `fd00--5`."""
    return str(ip_address(packed)).replace(".", "-").replace(":", "-").encode()


def undashed(label: bytes) -> bytes | None:
    """The packed address a label stands for, or None. Any spelling of a v6 address is understood."""
    written = label.decode("latin-1")
    return pack(written.replace("-", ".")) or pack(written.replace("-", ":"))


def reverse(packed: bytes) -> Name:
    """The name under which an address is looked up: in-addr.arpa (RFC 1035 section 3.5), ip6.arpa (RFC 3596)."""
    if len(packed) == 4:
        return (*(str(octet).encode() for octet in reversed(packed)), *IN_ADDR)
    return (*(b"%c" % digit for digit in reversed(packed.hex().encode())), *IP6)


def reversed_range(name: Name) -> tuple[bytes, bytes] | None:
    """The first and last address (packed) that a lower-case name under in-addr.arpa or ip6.arpa stands for: one
    address for a whole name, a range for a shorter one, None for a name that stands for no address."""
    if name[-2:] == IN_ADDR:
        return _v4_range(name[:-2])
    if name[-2:] == IP6:
        return _v6_range(name[:-2])
    return None


_OCTETS = {str(number).encode(): number for number in range(256)}
"""Numbers by their only proper spelling (no leading zeros)."""


def _v4_range(labels: Name) -> tuple[bytes, bytes] | None:
    if len(labels) > 4 or not all(label in _OCTETS for label in labels):
        return None
    first, missing = bytes([_OCTETS[label] for label in reversed(labels)]), 4 - len(labels)
    return first + bytes(missing), first + b"\xff" * missing


def _v6_range(labels: Name) -> tuple[bytes, bytes] | None:
    if len(labels) > 32 or not all(len(label) == 1 and label in b"0123456789abcdef" for label in labels):
        return None
    digits = b"".join(reversed(labels)).decode()
    return bytes.fromhex(digits.ljust(32, "0")), bytes.fromhex(digits.ljust(32, "f"))


def reverse_apexes(network: IPv4Network | IPv6Network) -> tuple[Name, ...]:
    """The reverse zones that make up a range, cut where labels are: 10.96.0.0/12 is sixteen (96 to 111.10)."""
    unit = 8 if network.version == 4 else 4
    length = -(-network.prefixlen // unit) * unit
    return tuple(
        reverse(part.network_address.packed)[(network.max_prefixlen - length) // unit :]
        for part in network.subnets(new_prefix=length)
    )


def address_text(packed: bytes) -> str:
    """The canonical text of a packed address (RFC 5952 for IPv6)."""
    return str(IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed))
