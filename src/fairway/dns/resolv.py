"""Which servers a host asks: the `nameserver` lines of its resolv.conf (resolv.conf(5))."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from fairway.dns.errors import BadUpstream

DNS_PORT = 53
Endpoint = tuple[str, int]
"""An address (of v6 perhaps with its zone: `fe80::1%eth0`) and a port."""


def nameservers(text: str) -> tuple[Endpoint, ...]:
    """The servers in their order, each once. Lines that cannot be read are passed over, as the C library does."""
    words = (line.split() for line in text.splitlines())
    named = (line[1] for line in words if len(line) > 1 and line[0] == "nameserver")
    return tuple(dict.fromkeys((address, DNS_PORT) for address in named if _address(address) is not None))


def searches(text: str) -> tuple[str, ...]:
    """The search list: that of the last `search` or `domain` line."""
    words = (line.split() for line in text.splitlines())
    lists = [tuple(line[1:]) for line in words if line and line[0] in ("search", "domain")]
    return lists[-1] if lists else ()


def endpoint(text: str) -> Endpoint:
    """A server written `10.0.0.5`, `10.0.0.5:5353`, `fd00::5` or `[fd00::5]:5353`. Raises BadUpstream."""
    if _address(text) is not None:
        return text, DNS_PORT
    host, _, port = text.rpartition(":")
    address = _address(host.removeprefix("[").removesuffix("]"))
    bracketed = host.startswith("[") and host.endswith("]")
    if address is None or bracketed != (address.version == 6) or not port.isdecimal() or not 0 < int(port) < 65536:
        raise BadUpstream(f"{text!r} is no server: needs ADDRESS or ADDRESS:PORT ([ADDRESS]:PORT for IPv6)")
    return host.strip("[]"), int(port)


def endpoint_text(server: Endpoint) -> str:
    """The server as it is written in logs and labels, always with its port."""
    address, port = server
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
