"""The destinations that a kernel's iptables rules claim for Services: read back once, when a proxy takes over.

Flows to a Service that was deleted while no proxy ran can be told from other translated flows only by the rules that
still stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fairway.dataplane.adopt import Held
from fairway.desired.model import Claim
from fairway.packet import Family, Protocol

_DISPATCH = re.compile(
    r"^(?:-d (?P<address>[0-9a-f.:]+)/(?:32|128) )?-p (?P<protocol>tcp|udp|sctp) .*--dport (?P<port>\d+)\b"
)


def claimed(held: Held, family: Family) -> Iterator[Claim]:
    """The claims of the rules in the nat table's dispatch chains."""
    chains = held.chains("nat")
    for chain in ("KUBE-SERVICES", "KUBE-NODEPORTS"):
        for rule in chains.get(chain, ()):
            found = _DISPATCH.match(rule)
            if found:
                address = found["address"] or ""
                yield Claim(family, Protocol(found["protocol"].upper()), address, int(found["port"]))
