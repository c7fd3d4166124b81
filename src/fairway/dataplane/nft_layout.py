"""The sets and maps of nftables mode: one table per family, whose form does not depend on the Services.

Everything that varies is an element of a set or a map (`dataplane.nft`). A *place* is a destination as packets name
it: address, protocol and port; for node ports protocol and port alone. Endpoints are found by one lookup: the map
`endpoints-3` holds, for every place with three endpoints, three keys that end with the numbers 0, 1 and 2, of which
the packet draws one. There is one such map, and one rule, for each number of endpoints that is in use.

Where it depends on the sender which Service answers at a place (several claim it, some for a few sources only), the
senders are told apart: `by-source-1` holds the place with the sources that fare in one way, `by-source-2` with those
that fare in another, and each has ways and maps of its own, `by-source-1-endpoints-3` and so on.

What elements ask for and a table need not have always (those maps, affinity) is made when it is first wanted: the
`Shape` names it. The rules that ask are in `nft_chains`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from fairway.packet import Family
from fairway.ruleset import nft
from fairway.ruleset.nft import Type

TABLE = "fairway"
COMMENT = "Services, by the node proxy of Fairway"

Shape: TypeAlias = frozenset[str]
"""The names of the sets and maps that exist because some element wants them: `KIND-NUMBER` or one of `ON_DEMAND`."""

ENDPOINTS, LOCAL_ENDPOINTS = "endpoints", "local-endpoints"
NODE_PORT_ENDPOINTS, NODE_PORT_LOCAL_ENDPOINTS = "node-port-endpoints", "node-port-local-endpoints"
STICKY, STICKY_NODE_PORTS = "sticky", "sticky-node-ports"
MIXED, MIXED_NODE_PORTS = "external-mixed", "node-ports-mixed"
AFFINITY, AFFINITY_NODE_PORTS = "affinity", "affinity-node-ports"

BY_SOURCE, STICKY_SOURCES = "by-source", "sticky-sources"

STICKY_MAPS = {STICKY: AFFINITY, STICKY_SOURCES: AFFINITY, STICKY_NODE_PORTS: AFFINITY_NODE_PORTS}
"""The sets of what is sticky by the map in which its clients are remembered."""

AFFINITY_SIZE = 524288
"""How many (client, place) pairs are remembered at most; then new clients are spread anew each time."""

PLACES = (
    "cluster-ips",  # cluster IPs that somebody serves
    "external",  # external and load-balancer addresses that somebody serves
    "external-local",  # those of them under policy Local
    "guarded",  # load-balancer addresses with source ranges: what is not let in is dropped
    "unserved",  # whatever the next four and `guarded` hold: one lookup spares the rest
    "dropped-internal",
    "refused-internal",
    "dropped-external",
    "refused-external",
)
NODE_PORT_PLACES = (
    "node-ports",
    "node-ports-local",
    "unserved-node-ports",
    "dropped-node-ports",
    "refused-node-ports",
)

COUNTED, COUNTED_NODE_PORTS = "counted", "counted-node-ports"
"""Where it is asked for: all places, each with the packets and bytes of its connections, both ways."""
COUNTED_ENDPOINTS = "counted-endpoints"
"""The same for each place and endpoint between which packets go: written by these, so that it costs nothing to load,
and forgotten after a day without any."""
COUNTED_ENDPOINTS_SIZE = 131072
_DAY_MS = 86_400_000

L4PROTO, PORT = nft.Meta("l4proto"), nft.Payload("th", "dport")
NODE_PORT = nft.Concat((L4PROTO, PORT))


def table_name(family: Family) -> nft.TableName:
    return nft.TableName(_ip(family), TABLE)


def declared(family: Family, name: str) -> nft.Set:
    """A set or map of the table, empty."""
    words = Words(family)
    fixed = (*words.fixed_sets(), *words.counted_sets())
    return next((kept for kept in fixed if kept.name == name), None) or words.on_demand(name)


def sizes(shape: Shape, kind: str) -> list[int]:
    """The numbers in the names of one kind, in order."""
    prefix = kind + "-"
    return sorted(
        int(name[len(prefix) :]) for name in shape if name.startswith(prefix) and name[len(prefix) :].isdecimal()
    )


def _ip(family: Family) -> str:
    return "ip" if family is Family.IPV4 else "ip6"


class Words:
    """One family's expressions and sets."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.ip = _ip(family)
        self.address_type = Type.IPV4 if family is Family.IPV4 else Type.IPV6
        self.source, self.destination = nft.Payload(self.ip, "saddr"), nft.Payload(self.ip, "daddr")
        self.place = nft.Concat((self.destination, L4PROTO, PORT))
        self.place_and_source = nft.Concat((*self.place.parts, self.source))
        self.original = nft.Ct(f"{self.ip} daddr", "original")
        self.answering = nft.Ct(f"{self.ip} saddr", "reply")

    def literal(self, address: str) -> nft.Literal:
        """An address, or a CIDR of any length."""
        network = ipaddress.ip_network(address)
        whole = network.prefixlen == network.max_prefixlen
        return nft.Literal(self.address_type, network.network_address.packed, None if whole else network.prefixlen)

    def any_of(self, addresses: Iterable[str]) -> nft.Expression:
        """One of these addresses or CIDRs."""
        literals = tuple(self.literal(address) for address in addresses)
        return literals[0] if len(literals) == 1 else nft.AnonymousSet(literals)

    def fixed_sets(self) -> Iterator[nft.Set]:
        place, node_port = self._fields(self.place), self._fields(NODE_PORT)
        yield from (nft.Set(name, place) for name in PLACES)
        yield from (nft.Set(name, node_port) for name in NODE_PORT_PLACES)
        yield self._sources("allowed-sources")
        yield nft.Set("hairpin", (self._field(self.source), self._field(self.destination)))
        yield nft.Set("live", (self._field(self.destination),))

    def counted_sets(self) -> Iterator[nft.Set]:
        yield nft.Set(COUNTED, self._fields(self.place), counter=True)
        yield nft.Set(COUNTED_NODE_PORTS, self._fields(NODE_PORT), counter=True)
        yield nft.Set(
            COUNTED_ENDPOINTS,
            (*self._fields(self.place), *self._endpoint()),
            flags=frozenset({"dynamic", "timeout"}),
            size=COUNTED_ENDPOINTS_SIZE,
            timeout_ms=_DAY_MS,
            counter=True,
        )

    def on_demand(self, name: str) -> nft.Set:
        """The set or map of a name in a `Shape`."""
        kind, _, number = name.rpartition("-")
        place, node_port = self._fields(self.place), self._fields(NODE_PORT)
        if kind in (NODE_PORT_ENDPOINTS, NODE_PORT_LOCAL_ENDPOINTS):
            return self._endpoints(name, node_port, int(number))
        if kind.endswith(ENDPOINTS):
            return self._endpoints(name, place, int(number))
        if kind in (BY_SOURCE, STICKY_SOURCES):
            return self._sources(name)
        if name in (AFFINITY, AFFINITY_NODE_PORTS):
            key = (self._field(self.source), *(place if name == AFFINITY else node_port))
            flags = frozenset({"dynamic", "timeout"})
            return nft.Set(name, key, self._endpoint(), flags=flags, size=AFFINITY_SIZE)
        return nft.Set(name, node_port if name == MIXED_NODE_PORTS or kind == STICKY_NODE_PORTS else place)

    def _sources(self, name: str) -> nft.Set:
        """Places, each with ranges of sources."""
        return nft.Set(name, self._fields(self.place_and_source), flags=frozenset({"interval"}))

    def _endpoints(self, name: str, key: tuple[nft.Field, ...], number: int) -> nft.Set:
        drawn = (self._field(draw(number)),) if number > 1 else ()
        return nft.Set(name, (*key, *drawn), self._endpoint())

    def _endpoint(self) -> tuple[nft.Field, ...]:
        return (self._field(self.destination), self._field(PORT))

    def _fields(self, concat: nft.Concat) -> tuple[nft.Field, ...]:
        return tuple(self._field(part) for part in concat.parts)

    def _field(self, of: nft.Expression) -> nft.Field:
        match of:
            case nft.Payload(field="dport"):
                return nft.Field(Type.SERVICE, of)
            case nft.Meta():
                return nft.Field(Type.PROTOCOL, of)
            case nft.Numgen():
                return nft.Field(Type.INTEGER, of)
        return nft.Field(self.address_type, of)


def draw(number: int) -> nft.Numgen:
    """A number below `number`, by chance."""
    return nft.Numgen("random", number)
