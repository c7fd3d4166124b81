"""What a proxy finds in the kernel when it takes over, its own earlier run's rules or a kube-proxy's, in nftables; and
what it leaves there when a kube-proxy takes over from it.

(What stands in iptables is read by `adopt` and `claims`.)
"""

from __future__ import annotations

from collections.abc import Iterator

from fairway.dataplane.adopt import adopt, target
from fairway.dataplane.apply import removal
from fairway.dataplane.claims import claimed
from fairway.dataplane.nft_layout import declared, table_name
from fairway.desired.model import Claim
from fairway.kernel.base import KernelError, Netfilter, Nftables
from fairway.packet import Family, Protocol
from fairway.ruleset import nft
from fairway.ruleset.iptables import parse
from fairway.ruleset.nft_values import unpack

_OWN = ("cluster-ips", "external", "unserved", "node-ports", "unserved-node-ports")
_REFERENCE = {
    "service-ips": "cluster-ips",
    "no-endpoint-services": "cluster-ips",
    "service-nodeports": "node-ports",
    "no-endpoint-nodeports": "node-ports",
}
"""kube-proxy's verdict maps, each with the set of ours whose keys are made the same way."""


def reference_table(family: Family) -> nft.TableName:
    """kube-proxy's table."""
    return table_name(family)._replace(name="kube-proxy")


def tables(family: Family) -> tuple[nft.TableName, ...]:
    """The tables of node proxies."""
    return (table_name(family), reference_table(family))


def table_claims(nftables: Nftables, family: Family) -> Iterator[Claim]:
    """The destinations that the tables which stand answer for. Raises KernelError."""
    yield from _own_claims(nftables, family)
    for name, like in _REFERENCE.items():
        kept = nft.Set(name, declared(family, like).key, "verdict")
        yield from _claims(nftables, reference_table(family), kept, family)


def _own_claims(nftables: Nftables, family: Family) -> Iterator[Claim]:
    for name in _OWN:
        yield from _claims(nftables, table_name(family), declared(family, name), family)


def _claims(nftables: Nftables, table: nft.TableName, kept: nft.Set, family: Family) -> Iterator[Claim]:
    types = [field.type for field in kept.key]
    for key, _ in nftables.elements(table, kept):
        *address, protocol, port = unpack(types, key)
        if protocol.upper() in Protocol.__members__:
            yield Claim(family, Protocol(protocol.upper()), "".join(address), int(port))


def remove_tables(nftables: Nftables, family: Family) -> list[Claim]:
    """Take the tables of node proxies away and say what they claimed; none there is no error. Raises KernelError."""
    standing = _standing(nftables, family)
    if not standing:
        return []
    claims = list(table_claims(nftables, family))
    nftables.apply([nft.DeleteTable(table) for table in standing])
    return claims


def _standing(nftables: Nftables, family: Family) -> list[nft.TableName]:
    try:
        return [table for table in tables(family) if nftables.chains(table) is not None]
    except KernelError:
        return []  # a kernel without nf_tables, or without the family, holds none


def remove_rules(netfilter: Netfilter, family: Family) -> list[Claim]:
    """Take the iptables rules of node proxies away, jumps first, and say what they claimed. Raises KernelError."""
    try:
        held = adopt(parse(netfilter.save(family)))
    except ValueError as error:
        raise KernelError(f"cannot read the kernel's {family} rules: {error}") from error
    for text in removal(held):
        netfilter.restore(family, text)
    return list(claimed(held, family))


def lacking(nftables: Nftables, netfilter: Netfilter, family: Family) -> bool:
    """Whether nobody but our table serves the destinations it answers for. Raises KernelError."""
    if table_name(family) not in _standing(nftables, family) or next(_own_claims(nftables, family), None) is None:
        return False
    return nftables.chains(reference_table(family)) is None and not _dispatched(netfilter, family)


def leave(nftables: Nftables, family: Family) -> None:
    """Take our table away, and nothing of anybody else's; none there is no error. Raises KernelError."""
    if table_name(family) in _standing(nftables, family):
        nftables.apply([nft.DeleteTable(table_name(family))])


def _dispatched(netfilter: Netfilter, family: Family) -> bool:
    """Whether packets come to the rules of a proxy in iptables."""
    nat = adopt(parse(netfilter.save(family, "nat"))).chains("nat")
    return all(any(target(rule) == "KUBE-SERVICES" for rule in nat.get(hook, ())) for hook in ("PREROUTING", "OUTPUT"))
