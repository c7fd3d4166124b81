"""What can go wrong in the DNS room before a question is ever asked; trouble with questions is an rcode."""

from __future__ import annotations


class DnsError(Exception):
    """Root of the room's errors."""


class BadName(DnsError):
    """A text is no domain name."""


class BadZone(DnsError):
    """The zone was configured with something that cannot be served."""


class CannotListen(DnsError):
    """An address to answer on could not be had."""

    def __init__(self, address: str, port: int, reason: str) -> None:
        super().__init__(f"cannot listen on {address} port {port}: {reason}; is the address here and the port free?")
        self.address = address
        self.port = port


class BadUpstream(DnsError):
    """A server to forward to, or a stub domain, was written in a way that cannot be read."""


class Unreadable(DnsError):
    """Octets are no DNS message, or none of the kind that was wanted."""


class Signed(DnsError):
    """A query has a signature (TSIG), and no key is known here."""
