"""Addresses at which a node's own pods ask, without connection tracking.

A query is one datagram each way: tracking it costs an entry that outlives it by half a minute, and when the table is
full, or two queries of one socket race for an entry, the client waits five seconds for an answer that never comes. The
addresses stand on a device of their own; packets to them, and replies from them, are marked untracked before anything
else sees them, which also keeps the node proxy from translating them: the Service's own address may be one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address

from fairway.kernel.base import Bridge, DeviceAddress, LinkState
from fairway.kernel.linux.links import LinuxLinks
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.ruleset import nft, nft_parse

DEVICE = "fairway-dns"
TABLE = nft.TableName("inet", "fairway-dns")
PORT = 53


@contextmanager
def untracked(addresses: Sequence[str]) -> Iterator[None]:
    """Have the addresses on this node, untracked, until the end of the block. What an earlier run has left behind is
    replaced. Raises KernelError, and ValueError for a text that is no address."""
    if not addresses:
        yield
        return
    wanted, changes = device(addresses), rules(addresses)
    links, tables = LinuxLinks(), LinuxNftables()
    try:
        tables.apply(changes)
        links.apply(wanted)
        yield
    finally:
        links.apply(LinkState(), wanted)
        tables.apply([nft.DeleteTable(TABLE)])
        tables.close()


def device(addresses: Sequence[str]) -> LinkState:
    """The device with the addresses: a bridge without ports, since nothing but addresses is wanted of it."""
    each = (DeviceAddress(DEVICE, f"{at}/{at.max_prefixlen}") for at in map(ip_address, addresses))
    return LinkState(bridges=(Bridge(DEVICE, mtu=1500),), addresses=tuple(each))


def rules(addresses: Sequence[str]) -> list[nft.Change]:
    """The changes that make the table, whatever was there before."""
    return replacing(_text(addresses))


def replacing(listing: str) -> list[nft.Change]:
    """The changes that make tables as listed, whatever was there before; tables without sets."""
    changes: list[nft.Change] = []
    for name, table in nft_parse.parse(listing).tables.items():
        changes += [nft.DeleteTable(name), nft.AddTable(name, table.comment)]
        for chain in table.chains.values():
            changes.append(nft.AddChain(name, chain))
            changes += (nft.AddRule(name, chain.name, rule) for rule in chain.rules)
    return changes


def _text(addresses: Sequence[str]) -> str:
    """The table as `nft list` writes it: queries of pods come in, queries of the node and all replies go out."""
    queries = replies = ""
    for at in map(ip_address, addresses):
        family = "ip" if at.version == 4 else "ip6"
        for protocol in ("udp", "tcp"):
            queries += f"\t\t{family} daddr {at} {protocol} dport {PORT} notrack\n"
            replies += f"\t\t{family} saddr {at} {protocol} sport {PORT} notrack\n"
    return (
        f"table inet {TABLE.name} {{\n"
        f"\tchain prerouting {{\n\t\ttype filter hook prerouting priority -300; policy accept;\n{queries}\t}}\n"
        f"\tchain output {{\n\t\ttype filter hook output priority -300; policy accept;\n{queries}{replies}\t}}\n"
        "}\n"
    )
