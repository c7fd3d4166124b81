"""Times as the API writes them (RFC 3339, UTC) and as we reckon with them (seconds since the epoch)."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(seconds: float) -> str:
    """`2026-01-02T03:04:05Z`: the API's Time, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_stamp(seconds: float) -> str:
    """`2026-01-02T03:04:05.000000Z`: the API's MicroTime."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse(text: str | None) -> float | None:
    """The seconds of an API Time or MicroTime; None for none, and for text that is no time."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
