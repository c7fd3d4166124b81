"""What stands around a node's Service rules: kernel settings, and rules of others that packets meet first."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from fairway.assemble.doctor.findings import Finding, Severity
from fairway.packet import Family, Packet, Protocol, Verdict
from fairway.ruleset.iptables import Ruleset
from fairway.ruleset.nft import Ruleset as NftRuleset
from fairway.trace.evidence.gathered import Gathered
from fairway.trace.walk import trace

OWNERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("Docker", re.compile(r"DOCKER")),
    ("firewalld", re.compile(r"firewalld|(PRE|POST|INPUT|OUTPUT|FORWARD)\w*_(ZONES|direct|POLICIES)|_ZONES")),
    ("ufw", re.compile(r"ufw6?-")),
    ("the CNI port mapping", re.compile(r"CNI-(HOSTPORT|DN)|hostport")),
    ("Calico", re.compile(r"cali-|felix")),
    ("Cilium", re.compile(r"CILIUM_")),
    ("Weave", re.compile(r"WEAVE")),
    ("Istio", re.compile(r"ISTIO_")),
    ("libvirt", re.compile(r"LIBVIRT_|libvirt")),
)
STRANGER = "203.0.113.254"
"""An address that nobody has (RFC 5737)."""

_FULL = 0.9
_PROXY_TABLES = ("fairway", "kube-proxy")


def examine(gathered: Gathered, legacy: Collection[str] = ()) -> Iterator[Finding]:
    """The findings of one node. `legacy` are the tables that the kernel's old iptables keeps there."""
    yield from _settings(gathered.name, gathered.values)
    yield from _localnet(gathered)
    yield from _connections(gathered.name, gathered.values)
    iptables = [ruleset for _, _, ruleset in gathered.iptables]
    yield from _before(gathered.name, iptables)
    yield from _both_variants(gathered.name, gathered.nft, legacy)
    yield from _two_proxies(gathered.name, iptables, gathered.nft)


def _settings(node: str, values: Mapping[str, str]) -> Iterator[Finding]:
    if values.get("net.ipv4.ip_forward") == "0":
        message = "the node forwards no packets: no pod of it reaches anything beyond the node"
        yield _setting(node, "ip-forward", Severity.ERROR, message, "net.ipv4.ip_forward", "0")
    if values.get("net.bridge.bridge-nf-call-iptables") == "0":
        message = "bridged packets do not meet the rules: a pod that is led to another of its node gets no answer"
        yield _setting(node, "bridge-nf", Severity.WARNING, message, "net.bridge.bridge-nf-call-iptables", "0")
    every = int(values.get("net.ipv4.conf.all.rp_filter") or 0)
    for name, value in sorted(values.items()):
        device = _rp_filter_of(name)
        if device and device.startswith(("cni", "flannel", "cali", "vxlan")) and max(int(value or 0), every) == 1:
            message = f"{device} refuses packets whose answer would leave by another device: replies of Services may"
            yield _setting(node, "rp-filter", Severity.WARNING, message, name, value)


def _localnet(gathered: Gathered) -> Iterator[Finding]:
    """Whether neighbours reach the node's loopback addresses: kube-proxy switches that on, and guards it by a rule."""
    name = "net.ipv4.conf.all.route_localnet"
    if gathered.values.get(name) != "1":
        return
    scene = gathered.scene(Family.IPV4)
    device = next((route.device for route in scene.node.routes if route.destination.prefixlen == 0), "")
    neighbour = Packet(STRANGER, "127.0.0.1", Protocol.TCP, 10255, in_interface=device or "eth0")
    ends = trace(scene.rules, scene.node, neighbour, settings=scene.settings).outcomes()
    if all(outcome.verdict in (Verdict.DROPPED, Verdict.REJECTED) for outcome in ends):
        message = "neighbours' packets to 127.0.0.1 are let in, and a rule drops them (CVE-2020-8558)"
        yield _setting(gathered.name, "route-localnet", Severity.NOTE, message, name, "1")
        return
    message = "neighbours reach what listens on 127.0.0.1: no rule guards it (CVE-2020-8558)"
    yield _setting(gathered.name, "route-localnet", Severity.WARNING, message, name, "1")


def _rp_filter_of(name: str) -> str:
    found = re.fullmatch(r"net\.ipv4\.conf\.([^.]+)\.rp_filter", name)
    return found[1].replace("/", ".") if found else ""


def _setting(node: str, code: str, severity: Severity, message: str, name: str, value: str) -> Finding:
    return Finding(severity, code, message, "sysctl", name, node, (f"{name} = {value}",), f"sysctl {name}")


def _connections(node: str, values: Mapping[str, str]) -> Iterator[Finding]:
    """A table of connections that is full drops every new one."""
    most, count = (int(values.get(f"net.netfilter.nf_conntrack_{name}") or 0) for name in ("max", "count"))
    if most and count >= most * _FULL:
        message = f"the table of connections is nearly full ({count} of {most}): new connections will be dropped"
        severity = Severity.ERROR if count >= most else Severity.WARNING
        yield _setting(node, "conntrack-full", severity, message, "net.netfilter.nf_conntrack_max", str(most))


def _before(node: str, rulesets: Collection[Ruleset]) -> Iterator[Finding]:
    """Rules of the nat table that packets meet before Services, in the chains where destinations are decided."""
    for ruleset in rulesets:
        nat = ruleset.tables.get("nat")
        for name in ("PREROUTING", "OUTPUT") if nat else ():
            chain = nat.chains.get(name) if nat else None
            rules = chain.rules if chain else []
            ends = next((number for number, rule in enumerate(rules) if "-j KUBE-SERVICES" in rule), None)
            for number, rule in enumerate(rules[:ends] if ends is not None else (), 1):
                message = f"a rule of {owner(rule)} stands before those of Services: what it translates is no Service's"
                evidence = (f"-A {name} {rule}",)
                command = f"iptables -t nat -L {name} -v -n --line-numbers"
                where = f"{name} rule {number}"
                yield Finding(Severity.NOTE, "foreign-first", message, "table nat", where, node, evidence, command)


def owner(rule: str) -> str:
    """Whose a rule or table is, by the names in it."""
    return next((name for name, pattern in OWNERS if pattern.search(rule)), "somebody else")


def _both_variants(node: str, nft: NftRuleset | None, legacy: Collection[str]) -> Iterator[Finding]:
    """Tables of the old iptables beside those that its successor keeps in nf_tables."""
    modern = [name for name in (nft.tables if nft else ()) if name[0] in ("ip", "ip6") and name[1] in ("nat", "filter")]
    if legacy and modern:
        message = "iptables rules are held twice, by the old kernel interface and by nf_tables: packets meet both"
        evidence = (f"old: {', '.join(sorted(legacy))}", f"nf_tables: {', '.join(sorted(' '.join(n) for n in modern))}")
        command = "iptables-legacy-save; iptables-nft-save"
        yield Finding(Severity.WARNING, "two-variants", message, "", "", node, evidence, command)


def _two_proxies(node: str, rulesets: Collection[Ruleset], nft: NftRuleset | None) -> Iterator[Finding]:
    """Services programmed by iptables and in nftables at once, or by two proxies."""
    found = [" ".join(name) for name in (nft.tables if nft else ()) if name[1] in _PROXY_TABLES]
    for ruleset in rulesets:
        nat = ruleset.tables.get("nat")
        chain = nat.chains.get("KUBE-SERVICES") if nat else None
        if chain and chain.rules:
            found.append("iptables KUBE-SERVICES")
    kinds = {name.rpartition(" ")[2] for name in found}
    if len(kinds) > 1:
        message = "rules of more than one proxy stand side by side: one of them is left over, and may be behind"
        command = "nft list tables; iptables -t nat -L KUBE-SERVICES -n"
        yield Finding(Severity.WARNING, "two-proxies", message, "", "", node, tuple(found), command)


def families(gathered: Gathered) -> list[Family]:
    """The families that the node has addresses of, beside link-local ones."""
    versions = {a.version for i in gathered.interfaces for a in i.addresses if not a.ip.is_link_local}
    return [family for family, version in ((Family.IPV4, 4), (Family.IPV6, 6)) if version in versions]
