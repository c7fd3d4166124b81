"""The chains and rules that stand on every node in iptables mode, whatever the Services: a table of literals.

Spelling and order are those of `iptables-save` after kube-proxy 1.36 (tests/golden).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from fairway.desired.model import NodeFacts
from fairway.packet import Family

CANARY = "KUBE-PROXY-CANARY"
"""An empty chain in each table: when it is gone, somebody flushed the rules."""

BASE_CHAINS: Mapping[str, tuple[str, ...]] = {
    "mangle": (CANARY,),
    "filter": (
        CANARY,
        "KUBE-FIREWALL",
        "KUBE-FORWARD",
        "KUBE-SERVICES",
        "KUBE-EXTERNAL-SERVICES",
        "KUBE-NODEPORTS",
        "KUBE-PROXY-FIREWALL",
    ),
    "nat": (CANARY, "KUBE-MARK-MASQ", "KUBE-POSTROUTING", "KUBE-NODEPORTS", "KUBE-SERVICES"),
}

SERVICE_CHAIN_PREFIXES = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-FW-", "KUBE-XLB-")
"""Chains that belong to one Service port or endpoint (KUBE-XLB: proxies up to 1.23)."""

SHARED_CHAINS = frozenset({"KUBE-FIREWALL"})
"""Chains that the kubelet writes to as well: rules are added to them, never taken away."""

_FIREWALL = '-m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL'
_PORTALS = '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES'
_NEW_PORTALS = f"-m conntrack --ctstate NEW {_PORTALS}"
_EXTERNAL = (
    "-m conntrack --ctstate NEW "
    '-m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES'
)

JUMPS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "filter": {
        "INPUT": (
            "-j KUBE-FIREWALL",
            _FIREWALL,
            '-m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS',
            _EXTERNAL,
        ),
        "FORWARD": (
            _FIREWALL,
            '-m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
            _NEW_PORTALS,
            _EXTERNAL,
        ),
        "OUTPUT": ("-j KUBE-FIREWALL", _FIREWALL, _NEW_PORTALS),
    },
    "nat": {
        "PREROUTING": (_PORTALS,),
        "OUTPUT": (_PORTALS,),
        "POSTROUTING": ('-m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',),
    },
}
"""The rules in built-in chains that lead to ours, in their order."""

JUMP_TARGETS: Mapping[str, frozenset[str]] = {
    table: frozenset(rule.rpartition(" ")[2] for rules in chains.values() for rule in rules)
    for table, chains in JUMPS.items()
}
"""A rule of a built-in chain that leads to one of these is a proxy's, however an older one worded it."""

INVALID_ACCOUNT = "ct_state_invalid_dropped_pkts"

LOCALNET_GUARD = (
    '! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" '
    "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
)
"""In KUBE-FIREWALL while node ports are served at loopback. The kubelet may write the same there."""

_LAST = '-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain"'


def base_rules(
    family: Family, facts: NodeFacts, mark: int, accounts: Collection[str]
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(table, chain, rules) of the chains that do not depend on Services."""
    masked = f"{mark:#x}/{mark:#x}"
    count = f"-m nfacct --nfacct-name  {INVALID_ACCOUNT} " if INVALID_ACCOUNT in accounts else ""
    invalid = (f"-m conntrack --ctstate INVALID {count}-j DROP",) if facts.drops_invalid else ()
    yield (
        "filter",
        "KUBE-FORWARD",
        (
            *invalid,
            f'-m comment --comment "kubernetes forwarding rules" -m mark --mark {masked} -j ACCEPT',
            '-m comment --comment "kubernetes forwarding conntrack rule" '
            "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        ),
    )
    yield "nat", "KUBE-MARK-MASQ", (f"-j MARK --set-xmark {masked}",)
    yield (
        "nat",
        "KUBE-POSTROUTING",
        (
            f"-m mark ! --mark {masked} -j RETURN",
            # the mark is cleared so that a packet that comes round again (a tunnel) is not translated twice
            f"-j MARK --set-xmark {mark:#x}/0x0",
            '-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
        ),
    )
    if family is Family.IPV4 and facts.localhost_node_ports:
        # route_localnet lets neighbours address 127.0.0.0/8: only what was translated may (CVE-2020-8558)
        yield (
            "filter",
            "KUBE-FIREWALL",
            (LOCALNET_GUARD,),
        )


def node_port_dispatch(family: Family, facts: NodeFacts) -> Iterator[str]:
    """The end of KUBE-SERVICES: what is for the node itself may be for a node port."""
    if facts.node_ports_on is not None:
        for address in facts.node_ports_on:
            prefix = "/128" if ":" in address else "/32"
            yield f"-d {address}{prefix} {_LAST} -j KUBE-NODEPORTS"
        return
    unless = ""
    if family is Family.IPV6:
        unless = "! -d ::1/128 "  # the kernel has no route_localnet for IPv6
    elif not facts.localhost_node_ports:
        unless = "! -d 127.0.0.0/8 "
    yield f"{unless}{_LAST} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"
