"""Masquerade of pod traffic that leaves the cluster, and leave to forward it (pure), in the chains flannel uses.

    rules = masquerade.rules(Family.IPV4, ["10.244.1.0/24"], ["10.244.0.0/16"])
    if text := masquerade.missing(rules, netfilter.save(Family.IPV4)):
        netfilter.restore(Family.IPV4, text)

A pod's address means something inside the cluster only: to the rest of the world it must look like its node. What the
node proxy marked it masquerades itself; a second rewrite of such a packet is left out by the chain's first rule.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from fairway.packet import Family, family_of
from fairway.ruleset.iptables import BUILTIN, Ruleset, Table, dump, parse, quote

NAT_CHAIN = "FLANNEL-POSTRTG"
FORWARD_CHAIN = "FLANNEL-FWD"
PROXY_MARK = 0x4000  # the node proxy's --iptables-masquerade-bit 14

_MASQUERADE_COMMENT = f"-m comment --comment {quote('flanneld masq')}"
_FORWARD_COMMENT = f"-m comment --comment {quote('flanneld forward')}"
_MULTICAST = {Family.IPV4: "224.0.0.0/4", Family.IPV6: "ff00::/8"}


def rules(
    family: Family, own_pod_cidrs: Sequence[str], cluster_cidrs: Sequence[str], proxy_mark: int = PROXY_MARK
) -> Ruleset:
    """The chains of one family with the jumps that lead there; empty for a family without pods.

    `own_pod_cidrs` are the node's ranges, `cluster_cidrs` those of all pods. Traffic between pods keeps its source;
    so does traffic from outside to this node's pods (a node port of policy Local); what else a pod sends, and what
    else comes from outside to other nodes' pods, leaves with the node's address.
    """
    ruleset = Ruleset()
    own, cluster = _of(family, own_pod_cidrs), _of(family, cluster_cidrs)
    if own and cluster:
        nat, forward = ruleset.table("nat"), ruleset.table("filter")
        nat.chain("POSTROUTING").rules.append(f"{_MASQUERADE_COMMENT} -j {NAT_CHAIN}")
        nat.chain(NAT_CHAIN).rules += _masquerade(family, own, cluster, proxy_mark)
        forward.chain("FORWARD").rules.append(f"{_FORWARD_COMMENT} -j {FORWARD_CHAIN}")
        accept = f"{_FORWARD_COMMENT} -j ACCEPT"
        forward.chain(FORWARD_CHAIN).rules += [f"{end} {cidr} {accept}" for cidr in cluster for end in ("-s", "-d")]
    return ruleset


def missing(wanted: Ruleset, saved: str) -> str:
    """What `iptables-restore --noflush` must be given so that `saved` (what `iptables-save` printed) holds `wanted`;
    "" when it does. Own chains are refilled whole, jumps in built-in chains appended, nobody else's rules touched."""
    have = parse(saved)
    tables: dict[str, Table] = {}
    for name, table in wanted.tables.items():
        needed = _missing_of(table, have.tables.get(name, Table(name)))
        if needed.chains:
            tables[name] = needed
    return _restorable(Ruleset(tables))


def _masquerade(family: Family, own: Sequence[str], cluster: Sequence[str], proxy_mark: int) -> Iterator[str]:
    back = f"{_MASQUERADE_COMMENT} -j RETURN"
    leave = f"{_MASQUERADE_COMMENT} -j MASQUERADE --random-fully"
    yield f"-m mark --mark {proxy_mark:#x}/{proxy_mark:#x} {back}"
    yield from (f"-s {here} -d {pods} {back}" for here in own for pods in cluster)
    yield from (f"-s {pods} -d {here} {back}" for here in own for pods in cluster)
    yield from (f"! -s {pods} -d {here} {back}" for here in own for pods in cluster)
    yield from (f"-s {pods} ! -d {_MULTICAST[family]} {leave}" for pods in cluster)
    yield from (f"! -s {pods} -d {pods} {leave}" for pods in cluster)


def _missing_of(wanted: Table, have: Table) -> Table:
    needed = Table(wanted.name)
    for chain in wanted.chains.values():
        found = have.chains.get(chain.name)
        there = found.rules if found else []
        if chain.name in BUILTIN[wanted.name]:
            needed_rules = [rule for rule in chain.rules if rule not in there]
        else:
            needed_rules = [] if there == chain.rules else chain.rules
        if needed_rules:
            needed.chain(chain.name).rules += needed_rules
    return needed


def _restorable(ruleset: Ruleset) -> str:
    """The text without declarations of built-in chains: those would be emptied of other programs' rules."""
    lines = dump(ruleset).splitlines(keepends=True)
    builtin = {f":{chain} " for chains in BUILTIN.values() for chain in chains}
    return "".join(line for line in lines if not (line[0] == ":" and line.partition(" ")[0] + " " in builtin))


def _of(family: Family, cidrs: Sequence[str]) -> list[str]:
    return [str(ipaddress.ip_network(text)) for text in cidrs if family_of(text) is family]
