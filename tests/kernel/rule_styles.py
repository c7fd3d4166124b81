"""Rule sets nobody wrote, as nodes have them: Services of a golden, and before and behind them rules in the style of
Docker, firewalld, ufw, flannel, Calico and of people; for the tracer's tests against the kernel.

Everything is made up in IPv4; `as_ipv6` says the same in IPv6. Nodes are `tests.golden.nodes.lab_node`'s.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from fairway.packet import Family
from fairway.ruleset.iptables import Ruleset, dump, parse
from tests.golden import cases

HOOKS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
ARRIVING, LEAVING = ("PREROUTING", "INPUT", "FORWARD"), ("FORWARD", "OUTPUT", "POSTROUTING")

ASIDE = ("-p icmp -j ACCEPT", "-p tcp -m tcp --tcp-flags RST RST -j ACCEPT")
"""At the head of every built-in chain: answers and errors go their way and count nowhere else."""

PREFIXES = {
    "10.0.0.": "fd00:a::",
    "10.0.7.": "fd00:b::",
    "10.244.1.": "fd00:10:244:1::",
    "10.244.2.": "fd00:10:244:2::",
    "10.96.0.": "fd00:10:96::",
    "192.0.2.": "2001:db8::",
    "203.0.113.": "2001:db8:f::",
    "198.51.100.": "2001:db8:7::",
}
NETWORKS = {
    "10.244.0.0/16": "fd00:10:244::/48",
    "10.96.0.0/12": "fd00:10:96::/108",
    "10.0.0.0/8": "fd00::/16",
    "127.0.0.0/8": "::1/128",
    "224.0.0.0/4": "ff00::/8",
    "169.254.0.0/16": "fe80::/10",
}
_NETWORK = re.compile(r"\b(\d+\.\d+\.\d+\.\d+)/(\d+)")
_PLACE = re.compile(r"(--to-destination|--to-source|(?:dnat|snat) ip6? to) ([0-9a-f:]+::[0-9a-f]+):(\d+)")
_ADDRESS = re.compile(r"\b(\d+\.\d+\.\d+\.)(\d+)\b")
_WORDS = (
    ("icmp-port-unreachable", "icmp6-port-unreachable"),
    ("icmp-host-prohibited", "icmp6-adm-prohibited"),
    ("-p icmp ", "-p ipv6-icmp "),
    ("UNICAST,BROADCAST", "UNICAST"),
    ("--dst-type BROADCAST", "--dst-type MULTICAST"),
)


def as_ipv6(text: str) -> str:
    """Rules of iptables for the other family."""
    text = _NETWORK.sub(_network, text)
    text = _ADDRESS.sub(lambda found: host(found[0]), text)
    text = _PLACE.sub(r"\1 [\2]:\3", text)
    for ours, theirs in _WORDS:
        text = text.replace(ours, theirs)
    return text


def host(address: str) -> str:
    """The IPv6 address that has the place of an IPv4 address."""
    prefix, _, last = address.rpartition(".")
    if address == "127.0.0.1":
        return "::1"
    return PREFIXES[f"{prefix}."] + {"254": "fe", "0": ""}.get(last, last)


def _network(found: re.Match[str]) -> str:
    if found[0] in NETWORKS:
        return NETWORKS[found[0]]
    return host(found[1]) + {"32": "/128", "24": "/64"}[found[2]]


# Styles. Each adds to the built-in chains, in the order in which they are called.

Style = Callable[[random.Random, Ruleset], None]


def docker(chance: random.Random, into: Ruleset) -> None:
    """A bridge with published ports."""
    bridge = chance.choice(("cni0", "veth12345"))
    nat, filtering = into.table("nat"), into.table("filter")
    _to(into, "nat", "PREROUTING", "-m addrtype --dst-type LOCAL -j DOCKER")
    _to(into, "nat", "OUTPUT", "! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER")
    _to(into, "nat", "POSTROUTING", f"-s 10.244.1.0/24 ! -o {bridge} -j MASQUERADE")
    chain = nat.chain("DOCKER").rules
    chain += [f"-i {bridge} -j RETURN"] * chance.randint(0, 1)
    inner = filtering.chain("DOCKER").rules
    for outside, inside in chance.sample(((53, 53), (80, 8080), (8080, 80), (22, 53)), 2):
        protocol = chance.choice(("tcp", "udp"))
        target = chance.choice(("10.244.1.5", "10.244.1.77"))
        match = f"-p {protocol} -m {protocol} --dport"
        chain.append(f"! -i {bridge} {match} {outside} -j DNAT --to-destination {target}:{inside}")
        inner.append(f"-d {target}/32 ! -i {bridge} -o {bridge} {match} {inside} -j ACCEPT")
    _to(
        into,
        "filter",
        "FORWARD",
        "-j DOCKER-USER",
        "-j DOCKER-ISOLATION-STAGE-1",
        f"-o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"-o {bridge} -j DOCKER",
        f"-i {bridge} ! -o {bridge} -j ACCEPT",
        f"-i {bridge} -o {bridge} -j ACCEPT",
    )
    filtering.chain("FORWARD").policy = chance.choice(("ACCEPT", "DROP"))
    filtering.chain("DOCKER-USER").rules += [f"{_asked(chance, 'FORWARD')} -j {chance.choice(('RETURN', 'DROP'))}"]
    filtering.chain("DOCKER-USER").rules += ["-j RETURN"]
    filtering.chain("DOCKER-ISOLATION-STAGE-1").rules += [
        f"-i {bridge} ! -o {bridge} -j DOCKER-ISOLATION-STAGE-2",
        "-j RETURN",
    ]
    away = chance.choice(("flannel.1", "veth12345"))
    filtering.chain("DOCKER-ISOLATION-STAGE-2").rules += [f"-o {away} -j DROP", "-j RETURN"]


def firewalld(chance: random.Random, into: Ruleset) -> None:
    """Zones by device, in the iptables backend."""
    zones = {"eth0": "public", "cni0": chance.choice(("trusted", "public"))}
    for table, hook in (("raw", "PREROUTING"), ("mangle", "PREROUTING"), ("nat", "PREROUTING"), ("nat", "POSTROUTING")):
        _to(into, table, hook, f"-j {hook}_direct", f"-j {hook}_ZONES")
        into.table(table).chain(f"{hook}_direct")
        short, option = ("PRE", "-i") if hook == "PREROUTING" else ("POST", "-o")
        chain = into.table(table).chain(f"{hook}_ZONES").rules
        chain += [f"{option} {device} -g {short}_{zone}" for device, zone in zones.items()] + [f"-g {short}_public"]
        for zone in {"public", *zones.values()}:
            into.table(table).chain(f"{short}_{zone}").rules += [f"-j {short}_{zone}_allow"]
            into.table(table).chain(f"{short}_{zone}_allow")
    if chance.random() < 0.5:
        into.table("nat").chain("POST_public_allow").rules += ["! -o lo -j MASQUERADE"]
    port = chance.choice((53, 80, 30080))
    forward = f"-p udp -m udp --dport {port} -j DNAT --to-destination 10.244.1.5:53"
    into.table("nat").chain("PRE_public_allow").rules += [forward] * chance.randint(0, 1)
    for hook, words in (("INPUT", ("IN",)), ("FORWARD", ("FWDI", "FWDO"))):
        _zones_of_filter(chance, into, hook, words, zones)


def _zones_of_filter(
    chance: random.Random, into: Ruleset, hook: str, words: Sequence[str], zones: dict[str, str]
) -> None:
    filtering = into.table("filter")
    names = [f"{hook}_ZONES"] if hook == "INPUT" else [f"{hook}_IN_ZONES", f"{hook}_OUT_ZONES"]
    known = chance.choice(("RELATED,ESTABLISHED,DNAT", "RELATED,ESTABLISHED"))
    _to(
        into,
        "filter",
        hook,
        f"-m conntrack --ctstate {known} -j ACCEPT",
        "-i lo -j ACCEPT",
        f"-j {hook}_direct",
        *(f"-j {name}" for name in names),
        "-m conntrack --ctstate INVALID -j DROP",
        "-j REJECT --reject-with icmp-host-prohibited",
    )
    filtering.chain(f"{hook}_direct").rules += [f"{_asked(chance, hook)} -j ACCEPT"] * chance.randint(0, 1)
    for name, word in zip(names, words, strict=True):
        option = "-o" if word == "FWDO" else "-i"
        chain = filtering.chain(name).rules
        chain += [f"{option} {device} -g {word}_{zone}" for device, zone in zones.items()] + [f"-g {word}_public"]
        for zone in sorted({"public", *zones.values()}):
            filtering.chain(f"{word}_{zone}").rules += [f"-j {word}_{zone}_deny", f"-j {word}_{zone}_allow"]
            filtering.chain(f"{word}_{zone}").rules += ["-j ACCEPT"] * (zone == "trusted")
            filtering.chain(f"{word}_{zone}_deny").rules += [f"{_asked(chance, hook)} -j DROP"] * chance.randint(0, 1)
            allowed = f"-p {chance.choice(('udp', 'tcp'))} --dport {chance.choice((22, 53, 80))}"
            new = "-m conntrack --ctstate NEW,UNTRACKED -j ACCEPT"
            filtering.chain(f"{word}_{zone}_allow").rules += [f"{allowed} {new}"]


def ufw(chance: random.Random, into: Ruleset) -> None:
    """Chains before, of and after the user's rules."""
    filtering = into.table("filter")
    for hook in ("INPUT", "FORWARD", "OUTPUT"):
        word = hook.lower()
        filtering.chain(hook).policy = chance.choice(("ACCEPT", "DROP"))
        parts = (f"before-logging-{word}", f"before-{word}", f"after-{word}", f"reject-{word}", f"track-{word}")
        _to(into, "filter", hook, *(f"-j ufw-{part}" for part in parts))
        for part in parts:
            filtering.chain(f"ufw-{part}")
        before = filtering.chain(f"ufw-before-{word}").rules
        before += [f"{'-o' if hook == 'OUTPUT' else '-i'} lo -j ACCEPT"]
        before += ["-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"]
        before += ["-m conntrack --ctstate INVALID -j DROP"] * (hook == "INPUT")
        before += ["-j ufw-not-local"] * (hook == "INPUT") + [f"-j ufw-user-{word}"]
        rules = [
            f"{_asked(chance, hook)} -j {chance.choice(('ACCEPT', 'ACCEPT', 'DROP', 'ufw-user-limit'))}"
            for _ in range(chance.randint(0, 3))
        ]
        filtering.chain(f"ufw-user-{word}").rules += rules
    filtering.chain("ufw-not-local").rules += [
        *(f"-m addrtype --dst-type {kind} -j RETURN" for kind in ("LOCAL", "MULTICAST", "BROADCAST")),
        "-j DROP",
    ]
    filtering.chain("ufw-user-limit").rules += ["-j REJECT --reject-with icmp-port-unreachable"]
    filtering.chain("ufw-track-output").rules += ["-p udp -m conntrack --ctstate NEW -j ACCEPT"]


def flannel(chance: random.Random, into: Ruleset) -> None:
    """What a pod network masquerades and lets through."""
    fully = chance.choice(("", " --random-fully"))
    _to(into, "nat", "POSTROUTING", '-m comment --comment "flanneld masq" -j FLANNEL-POSTRTG')
    into.table("nat").chain("FLANNEL-POSTRTG").rules += [
        "-m mark --mark 0x4000/0x4000 -j RETURN",
        "-s 10.244.1.0/24 -d 10.244.0.0/16 -j RETURN",
        "-s 10.244.0.0/16 -d 10.244.1.0/24 -j RETURN",
        "! -s 10.244.0.0/16 -d 10.244.1.0/24 -j RETURN",
        f"-s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE{fully}",
        f"! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE{fully}",
    ]
    _to(into, "filter", "FORWARD", '-m comment --comment "flanneld forward" -j FLANNEL-FWD')
    into.table("filter").chain("FLANNEL-FWD").rules += ["-s 10.244.0.0/16 -j ACCEPT", "-d 10.244.0.0/16 -j ACCEPT"]


def calico(chance: random.Random, into: Ruleset) -> None:
    """Policies per workload device, with marks that chains hand each other."""
    done, seen = "0x10000/0x10000", "0x20000/0x20000"
    for table, hook in (("raw", "PREROUTING"), ("mangle", "PREROUTING"), ("filter", "INPUT"), ("filter", "FORWARD")):
        _to(into, table, hook, f"-j cali-{hook}")
    into.table("raw").chain("cali-PREROUTING").rules += [
        f"-j MARK --set-xmark 0x0/{0xF0000:#x}",
        "-i veth+ -j MARK --set-xmark 0x40000/0x40000",
        f"-m mark --mark {done} -j ACCEPT",
    ]
    into.table("mangle").chain("cali-PREROUTING").rules += [
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"-m mark --mark {done} -j ACCEPT",
    ]
    filtering = into.table("filter")
    filtering.chain("cali-INPUT").rules += [
        "-i veth+ -g cali-wl-to-host",
        f"-m mark --mark {done} -j ACCEPT",
    ]
    filtering.chain("cali-wl-to-host").rules += ["-j cali-from-wl-dispatch", "-j ACCEPT"]
    filtering.chain("cali-FORWARD").rules += [
        f"-j MARK --set-xmark 0x0/{0xE0000:#x}",
        f"-m mark --mark 0x0/{0x10000:#x} -j cali-from-host-endpoint",
        "-i veth+ -j cali-from-wl-dispatch",
        "-o cni0 -j cali-to-wl-dispatch",
        f"-m mark --mark {done} -j ACCEPT",
    ]
    filtering.chain("cali-from-host-endpoint")
    filtering.chain("cali-from-wl-dispatch").rules += ["-i veth12345 -g cali-fw-veth12345", "-j DROP"]
    filtering.chain("cali-to-wl-dispatch").rules += ["-o cni0 -g cali-fw-cni0", "-j DROP"]
    for chain, hook in (("cali-fw-veth12345", ""), ("cali-fw-cni0", "FORWARD")):
        filtering.chain(chain).rules += [
            "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-m conntrack --ctstate INVALID -j DROP",
            "-j MARK --set-xmark 0x0/0x10000",
            f"-m mark --mark 0x0/{0x20000:#x} -j cali-pi-policy",
            f"-m mark --mark {done} -j RETURN",
            f"{_asked(chance, hook)} -j MARK --set-xmark {done}",
            f"-m mark --mark {done} -j RETURN",
            f"-j {chance.choice(('DROP', 'ACCEPT'))}",
        ]
    filtering.chain("cali-pi-policy").rules += [
        f"{_asked(chance, '')} -j MARK --set-xmark {chance.choice((done, seen))}",
        f"-m mark --mark {done} -j RETURN",
    ]


def people(chance: random.Random, into: Ruleset) -> None:
    """Anything, anywhere, with two chains per table: jumps lead from the first to the second only."""
    for table, hooks in HOOKS.items():
        for chain in (*hooks, "ONE", "TWO"):
            _to(into, table, chain, *(_any(chance, table, chain) for _ in range(chance.choice((0, 0, 1, 2, 3)))))


def _any(chance: random.Random, table: str, chain: str) -> str:
    while True:
        rule = f"{_asked(chance, chain)} {_target(chance, table, chain)}".strip()
        if rule.count("-p ") <= 1:
            return rule


def services(chance: random.Random, into: Ruleset, family: Family = Family.IPV4) -> None:
    """What the reference's proxy wrote for a golden's Services."""
    golden = cases.load(chance.choice(cases.NAMES))
    for table, chains in golden.expected[family].items():
        for chain, specs in chains.items():
            _to(into, table, chain, *(re.sub(r"-m nfacct --nfacct-name +\S+ ", "", spec) for spec in specs))


STYLES: Sequence[Style] = (docker, firewalld, ufw, flannel, calico)


def made_up(chance: random.Random, family: Family) -> Ruleset:
    """One node's rules."""
    found = Ruleset()
    styles = [people] * (chance.random() < 0.6) + chance.sample(STYLES, chance.choice((0, 1, 1, 2, 2, 3)))
    serves = chance.random() < 0.6
    at = chance.randint(0, len(styles))
    for style in styles[:at]:
        style(chance, found)
    before = parse(_said(found, family))
    if serves:
        services(chance, before, family)
    behind = Ruleset()
    for style in styles[at:]:
        style(chance, behind)
    _append(before, parse(_said(behind, family)))
    # without any rule that needs connections the kernel keeps none, and nat sees nothing
    _to(before, "filter", "FORWARD", "-m conntrack --ctstate NEW")
    aside = parse(_said(_answers_aside(), family))
    _append(aside, before)
    return aside


def _answers_aside() -> Ruleset:
    found = Ruleset()
    for table, hooks in HOOKS.items():
        for hook in hooks:
            _to(found, table, hook, *ASIDE)
    return found


def _append(to: Ruleset, other: Ruleset) -> None:
    for table in other.tables.values():
        for chain in table.chains.values():
            mine = to.table(table.name).chain(chain.name)
            mine.rules += chain.rules
            mine.policy = chain.policy or mine.policy


def _said(rules: Ruleset, family: Family) -> str:
    text = dump(rules)
    return text if family is Family.IPV4 else as_ipv6(text)


def _to(into: Ruleset, table: str, chain: str, *rules: str) -> None:
    into.table(table).chain(chain).rules += rules


def _asked(chance: random.Random, chain: str) -> str:
    """A condition of a rule in a chain; of what comes after `-p` none or one."""
    port = chance.choice(("53", "80", "8080", "22", "30000:30300"))
    conditions = [
        *("", "-s 10.0.0.0/24", "! -s 10.0.0.100/32", "-d 10.244.1.5/32", "! -d 10.0.0.11/32", "-d 10.96.0.0/12"),
        *("-s 10.244.0.0/16", "! -d 10.244.0.0/16", "-s 192.0.2.5/32"),
        *(f"-p udp -m udp --dport {port}", f"-p udp -m udp ! --dport {port}", f"-p tcp -m tcp --dport {port}"),
        *("-p udp -m multiport --dports 53,80", "-p tcp -m multiport --ports 80,30000:30300", "-p udp", "! -p tcp"),
        *("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", "-p tcp -m tcp ! --tcp-flags SYN,ACK SYN"),
        *("-m mark --mark 0x1/0x1", "-m mark ! --mark 0x6/0x6", "-m addrtype --dst-type LOCAL"),
        *("-m connmark --mark 0x2/0x2", "-m connmark ! --mark 0x4/0x4", "-m mark --mark 0x4000/0x4000"),
        *("-m addrtype ! --src-type LOCAL", "-m addrtype --dst-type UNICAST,BROADCAST", '-m comment --comment "a b"'),
        *("-m addrtype --src-type LOCAL --dst-type LOCAL", "-m addrtype --src-type UNICAST"),
        *("-m statistic --mode nth --every 1 --packet 0", "-m iprange --src-range 10.0.0.2-10.0.0.109"),
        *("-m statistic --mode random --probability 0.50000000000", "-m iprange ! --dst-range 10.244.1.1-10.244.1.9"),
    ]
    if chain in HOOKS["mangle"]:
        conditions += [
            "-m conntrack --ctstate NEW",
            "-m conntrack ! --ctstate DNAT",
            "-m conntrack --ctstate SNAT,DNAT",
            "-m conntrack --ctstate INVALID,UNTRACKED",
            "-m state --state NEW",
        ]
    if chain in ARRIVING:
        conditions += ["-i eth0", "! -i cni+", "-i lo", "-i veth+"]
    if chain in LEAVING:
        conditions += ["-o cni0", "! -o eth+", "-o lo", "-o flannel.1"]
    if chain in ("PREROUTING", "INPUT"):
        conditions += ["-m addrtype --dst-type LOCAL --limit-iface-in"]
    return chance.choice(conditions)


def _target(chance: random.Random, table: str, chain: str) -> str:
    targets = ["", "", "-j RETURN", "-j ACCEPT", "-j MARK --set-xmark 0x4/0x4", "-j MARK --set-xmark 0x1/0x0"]
    targets += ["-j MARK --set-xmark 0x4000/0x4000"]
    targets += {"ONE": ["-j TWO", "-g TWO"], "TWO": []}.get(chain, ["-j ONE", "-g ONE", "-j TWO"])
    if table == "raw":
        targets += ["-j NOTRACK"]
    if table == "mangle":
        targets += ["-j MARK --set-xmark 0x2/0x2", "-j CONNMARK --save-mark", "-j CONNMARK --restore-mark"]
        targets += ["-j CONNMARK --set-xmark 0x2/0xffffffff"]
    if table == "filter":
        targets += ["-j REJECT --reject-with icmp-port-unreachable", "-j DROP"]
    if table == "nat" and chain in ("PREROUTING", "OUTPUT"):
        places = ("10.244.1.5:80", "10.0.0.11", "10.244.2.9:53", "10.0.7.11:80", "10.0.0.100", "10.244.1.77")
        # without a protocol a port cannot be translated: what has one asks for it
        targets += [f"-j DNAT --to-destination {to}" for to in places if ":" not in to]
        targets += [f"-p udp -j DNAT --to-destination {to}" for to in places]
        targets += ["-p udp -j REDIRECT --to-ports 53", "-p tcp -j REDIRECT --to-ports 80"]
    if table == "nat" and chain in ("POSTROUTING", "INPUT"):
        targets += ["-j SNAT --to-source 10.0.7.11"]
        targets += ["-j MASQUERADE"] if chain == "POSTROUTING" else []
    return chance.choice(targets)
