"""What a SPDY peer can do wrong."""

from __future__ import annotations


class Violation(Exception):
    """The peer broke the protocol in a way that ends the connection; the message says how."""
