"""Reading the lists of `-m recent` as `fairway collect` saves them: a line for each client, with its list and the
seconds since it was seen."""

from __future__ import annotations

import ipaddress
import re

from fairway.trace.conditions import Remembered
from fairway.trace.evidence.texts import Text

MAX_LINES = 1_000_000
_SECONDS = re.compile(r"\d{1,12}(\.\d{1,6})?")


def clients(text: Text) -> Remembered:
    """Seconds since each address was seen, by list. Raises EvidenceError with the line that is none."""
    found: dict[str, dict[str, float]] = {}
    for number, line in enumerate(text.content.splitlines(), 1):
        if number > MAX_LINES:
            raise text.error(f"more than {MAX_LINES} lines", number)
        try:
            name, address, seconds = line.split()
            if not _SECONDS.fullmatch(seconds):
                raise ValueError
            found.setdefault(name, {})[str(ipaddress.ip_address(address))] = float(seconds)
        except ValueError:
            raise text.error(f"expected `LIST ADDRESS SECONDS`: {line[:100]!r}", number) from None
    return found
