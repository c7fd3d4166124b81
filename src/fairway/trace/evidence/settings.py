"""Reading `sysctl -a`: the switches that decide about a packet's way."""

from __future__ import annotations

import re

from fairway.packet import Family
from fairway.trace.evidence.texts import Text
from fairway.trace.routing import Settings

_LINE = re.compile(r"(?P<key>[\w./:@*+-]+)\s*=\s*(?P<value>.*)")
_REVERSE_PATH = re.compile(r"net\.ipv4\.conf\.(?P<device>.+)\.rp_filter")
MAX_LINES = 1_000_000

FORWARD = {Family.IPV4: "net.ipv4.ip_forward", Family.IPV6: "net.ipv6.conf.all.forwarding"}
BRIDGE = {Family.IPV4: "net.bridge.bridge-nf-call-iptables", Family.IPV6: "net.bridge.bridge-nf-call-ip6tables"}


def read_settings(text: Text) -> dict[str, str]:
    """Values by name, in the spelling with dots. Raises EvidenceError with the line that is none."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.content.splitlines(), 1):
        if number > MAX_LINES:
            raise text.error(f"more than {MAX_LINES} lines", number)
        if not line.strip() or line.lstrip().startswith(("#", ";", "sysctl: ")):
            continue
        match = _LINE.match(line.strip())
        if match is None:
            raise text.error(f"expected `name = value`: {line[:100]!r}", number)
        key = match["key"]
        first = next((c for c in key if c in "./"), ".")
        found[key if first == "." else key.translate({ord("/"): ".", ord("."): "/"})] = match["value"].strip()
    return found


def settings(values: dict[str, str], family: Family) -> Settings:
    """The switches; what is not said has the value it has on the nodes of clusters."""
    return Settings(
        ip_forward=_on(values.get(FORWARD[family]), True),
        route_localnet=_on(values.get("net.ipv4.conf.all.route_localnet"), False),
        reverse_path={
            match["device"]: int(value)
            for key, value in values.items()
            if (match := _REVERSE_PATH.fullmatch(key)) and value.isdigit()
        },
        bridge_rules=_on(values.get(BRIDGE[family]), True),
    )


def _on(value: str | None, usual: bool) -> bool:
    return usual if value is None else value.strip() not in ("0", "")
