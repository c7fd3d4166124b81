"""Tables of nftables nobody wrote: random ones, zones in the style of firewalld, and Services as the reference's proxy
writes them; for the tracer's tests against the kernel.

Rules that must count do so behind everything they ask. As in `rule_styles`, everything is made up in IPv4 first.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from fairway.packet import Family
from tests.golden import cases
from tests.golden.test_nft_text import NAMES
from tests.kernel.rule_styles import as_ipv6

BASES = (
    *(("filter", hook, -300) for hook in ("prerouting", "output")),
    *(("filter", hook, -150) for hook in ("prerouting", "input", "forward", "postrouting")),
    ("route", "output", -150),
    ("nat", "prerouting", -100),
    ("nat", "output", -100),
    ("nat", "output", -90),
    ("filter", "output", -95),
    *(("filter", hook, 0) for hook in ("input", "forward", "output")),
    *(("filter", hook, 0) for hook in ("input", "forward")),
    ("nat", "postrouting", 100),
    ("nat", "input", 100),
)
USERS = ("ONE", "TWO")

SETS = """
    set hosts { type ipv4_addr; elements = { 10.244.1.5, 10.96.0.1, 10.0.0.100 }; }
    set networks { type ipv4_addr; flags interval; elements = { 10.244.0.0/16, 10.0.0.2-10.0.0.109 }; }
    set places { typeof ip daddr . meta l4proto . th dport;
        elements = { 10.96.0.1 . udp . 80, 10.244.1.5 . udp . 53 }; }
    set ranges { typeof ip saddr . th dport; flags interval; elements = { 10.0.0.0/24 . 50-60, 10.244.1.254 . 80 }; }
    map marks { type ipv4_addr : mark; elements = { 10.96.0.1 : 0x00000010, 10.244.1.5 : 0x00000003 }; }
    map ways { typeof ip daddr . th dport : verdict;
        elements = { 10.96.0.1 . 80 : goto TWO, 10.244.1.5 . 53 : return }; }
    map backends { typeof ip daddr . meta l4proto . th dport : ip daddr . th dport;
        elements = { 10.96.0.1 . udp . 80 : 10.244.1.5 . 53, 10.0.0.11 . udp . 53 : 10.0.7.11 . 80 }; }
    map draws { typeof ip daddr . numgen random mod 2 : ip daddr . th dport;
        elements = { 10.96.0.1 . 0 : 10.244.1.5 . 53, 10.96.0.1 . 1 : 10.0.7.11 . 80,
            10.244.1.254 . 1 : 10.244.1.5 . 80 }; }
    set seen { type ipv4_addr . inet_service; flags dynamic,timeout; size 128; timeout 1h; }
    map clients { type ipv4_addr : ipv4_addr . inet_service; flags dynamic,timeout; size 128; timeout 1h; }
"""
CONDITIONS = (
    *(
        "",
        "",
        "ip saddr 10.0.0.0/24",
        "ip saddr != 10.0.0.100",
        "ip daddr 10.244.1.5",
        "ip daddr != 10.0.0.1-10.0.0.19",
    ),
    *("ip daddr @hosts", "ip daddr != @networks", "ip saddr @networks", "ip saddr . th dport @ranges"),
    *("ip daddr . meta l4proto . th dport @places", "udp dport 53", "th dport { 53, 90-100 }", "tcp dport 53"),
    *("udp dport < 80", "udp dport >= 80", "meta mark & 0x00000001 == 0x00000001", "meta mark & 0x00000006 != 0x0"),
    *("meta mark { 0x00000000-0x00000007, 0x00000014 }", "meta l4proto { tcp, udp }"),
    *("meta l4proto . th dport { udp . 80 }", "meta l4proto . th dport != { udp . 80-90, tcp . 1 }"),
    *("ct mark 0x00000002", "ct mark & 0x2 != 0x0", "ct state new", "ct state invalid", "ct state != new"),
    *("ct state { new, established }", "ct state established,related", "ct state new,untracked"),
    *("ct status dnat", "ct status snat", "ct direction original", "numgen inc mod 1 0"),
    *("ct original ip daddr 10.96.0.1", "meta l4proto udp ct original proto-dst { 53, 54 }"),
    "meta l4proto udp ct original ip daddr . meta l4proto . ct original proto-dst @places",
    *("ip saddr { 10.0.0.100, 10.244.1.0/24 }", "meta mark > 0x00000001", "meta mark != { 0x00000004, 0x00000005 }"),
    *("update @seen { ip saddr . th dport }", "add @seen { ip daddr . th dport }"),
    *("ip saddr @clients", "icmp type echo-request", "ip protocol udp", "numgen random mod 2 1"),
)
MARKS = (
    *("meta mark set 0x00000001", "meta mark set meta mark | 0x00000004", "meta mark set meta mark ^ 0x00000005"),
    *("meta mark set ip daddr map @marks", "ct mark set 0x00000002", "ct mark set meta mark", "meta mark set ct mark"),
    *("meta mark set meta mark & 0xfffffffe", "meta mark set numgen inc mod 1 offset 4"),
)
COUNT = "counter packets 0 bytes 0"
OF_A_PROTOCOL = re.compile(r"(?:tcp|udp) dport|l4proto (?:udp|\{)|icmp type|ip protocol")
ASIDE = "meta l4proto != { tcp, udp } accept; tcp flags & rst == rst accept"
"""At the head of every base chain: answers and errors go their way and count nowhere."""

PROTOCOL = "meta l4proto { tcp, udp }"
UDP = f"{PROTOCOL} {COUNT}"


def condition(chance: random.Random, hook: str) -> str:
    here = list(CONDITIONS)
    if hook in ("prerouting", "input", "forward", "output"):
        here += ["fib daddr type local", "fib saddr type != local", "fib daddr type { unicast, broadcast }"]
    if hook in ("prerouting", "input", "forward"):
        here += ['iifname "eth0"', 'iifname != "cni*"', 'iifname { "eth0", "lo" }']
    if hook in ("forward", "output", "postrouting"):
        here += ['oifname "cni0"', 'oifname != "eth*"', 'oifname . th dport { "lo" . 53, "cni0" . 80 }']
    if hook == "prerouting":
        here += ["fib saddr . iif type unicast", "fib daddr . iif type local"]
    return chance.choice(here)


def verdicts(type_: str, hook: str, name: str) -> list[str]:
    """What a rule may end in; the last of a jump chain leads nowhere."""
    if name == "TWO":
        return [COUNT, f"{COUNT} return", f"{COUNT} accept"]
    if name == "ONE":
        return [COUNT, f"{COUNT} return", f"{COUNT} jump TWO", f"{COUNT} goto TWO"]
    found = [COUNT, f"{COUNT} accept", f"{COUNT} return", f"{COUNT} jump ONE", f"{COUNT} goto ONE", f"{COUNT} jump TWO"]
    found += ["ip daddr . th dport vmap @ways", "th dport vmap { 53 : jump ONE, 54-99 : accept }", f"{COUNT} continue"]
    if type_ == "filter":
        found += [f"{COUNT} drop"]
        if hook in ("input", "forward", "output"):
            found += [f"{COUNT} reject", f"{COUNT} reject with icmp port-unreachable"]
    if type_ == "nat" and hook in ("prerouting", "output"):
        found += [f"{UDP} dnat ip to 10.244.1.5:80", f"{COUNT} dnat ip to 10.0.0.11", f"{UDP} redirect to :53"]
        found += [f"{PROTOCOL} dnat ip to ip daddr . meta l4proto . th dport map @backends"] * 2
        found += [f"{PROTOCOL} dnat ip to ip daddr . numgen random mod 2 map @draws"] * 2
        found += [f"{UDP} dnat ip to numgen random mod 2 map {{ 0 : 10.244.1.5 . 53, 1 : 10.0.0.100 . 80 }}"]
        found += [f"{PROTOCOL} dnat ip to ip saddr map @clients"]
    if type_ == "nat" and hook == "postrouting":
        found += [f"{COUNT} masquerade", f"{COUNT} snat ip to 10.0.7.11"]
    return found


def random_rule(chance: random.Random, type_: str, hook: str, name: str) -> str:
    if hook == "prerouting" and type_ == "filter" and chance.random() < 0.05:
        return f"{condition(chance, hook)} notrack".strip()
    while True:
        parts = [condition(chance, hook)]
        if chance.random() < 0.3:
            parts.append(chance.choice(MARKS))
        if chance.random() < 0.3:
            parts.append(condition(chance, hook))
        parts.append(chance.choice(verdicts(type_, hook, name)))
        if sum(len(OF_A_PROTOCOL.findall(part)) for part in parts) <= 1:  # nft refuses to ask for two at once
            return " ".join(part for part in parts if part)


def random_table(chance: random.Random, family: str, name: str) -> str:
    """A table with some of the base chains and two chains for jumps, which lead from the first to the second only."""
    chains = [("TWO", "", "", 0), ("ONE", "", "", 0)]
    chains += [(f"{type_}{place}", type_, hook, priority) for place, (type_, hook, priority) in enumerate(BASES)]
    body = SETS
    for chain, type_, hook, priority in chains:
        rules = [random_rule(chance, type_, hook, chain) for _ in range(chance.randint(0, 4))]
        policy = "drop" if type_ == "filter" and chance.random() < 0.03 else "accept"
        head = f"type {type_} hook {hook} priority {priority}; policy {policy};\n{ASIDE}\n" if hook else ""
        body += f"chain {chain} {{\n{head}" + "".join(f"{rule}\n" for rule in rules) + "}\n"
    # without any rule that needs connections the kernel keeps none, and nat sees nothing
    body += "chain tracks {\n type filter hook forward priority 200\n ct state established\n}\n"
    return f"table {family} {name} {{\n{body}\n}}\n"


def firewalld(chance: random.Random) -> str:
    """Zones by device, and what comes of known connections first."""
    zone = chance.choice(("trusted", "public"))
    known = chance.choice(("established, related", "established, related, new"))
    last = chance.choice((f"{COUNT} reject with icmpx admin-prohibited", f"{COUNT} drop", f"{COUNT} accept"))
    allowed = chance.choice(("udp dport 53", "tcp dport { 22, 80 }", "th dport 8080"))
    forwarded = chance.choice(("", f'iifname "cni0" {COUNT} accept', f'oifname "cni0" {COUNT} jump filter_IN_public'))
    return f"""
table inet firewalld {{
  chain filter_IN_public {{
    {allowed} ct state {{ new, untracked }} {COUNT} accept
  }}
  chain filter_IN_trusted {{
    {COUNT} accept
  }}
  chain mangle_PRE {{
    type filter hook prerouting priority mangle + 10; policy accept;
    {ASIDE}
    iifname vmap {{ "eth0" : jump mark_public, "cni0" : return }}
  }}
  chain mark_public {{
    {chance.choice(("", f"udp dport 53 meta mark set 0x8 {COUNT}"))}
  }}
  chain nat_PRE {{
    type nat hook prerouting priority dstnat + 10; policy accept;
    {ASIDE}
    {chance.choice(("", f"udp dport 80 {COUNT} dnat ip to 10.244.1.5:53"))}
  }}
  chain nat_POST {{
    type nat hook postrouting priority srcnat + 10; policy accept;
    {ASIDE}
    {chance.choice(("", f'oifname "eth0" {COUNT} masquerade'))}
  }}
  chain filter_INPUT {{
    type filter hook input priority filter + 10; policy accept;
    {ASIDE}
    ct state {{ {known} }} {COUNT} accept
    ct status dnat {COUNT} accept
    iifname "lo" {COUNT} accept
    ct state invalid {COUNT} drop
    iifname vmap {{ "eth0" : goto filter_IN_public, "cni0" : jump filter_IN_{zone} }}
    {last}
  }}
  chain filter_FORWARD {{
    type filter hook forward priority filter + 10; policy accept;
    {ASIDE}
    ct state {{ established, related }} {COUNT} accept
    ct status dnat {COUNT} accept
    {forwarded}
    {last}
  }}
}}
"""


def services(chance: random.Random, family: Family) -> str:
    """What the reference's proxy wrote for a golden's Services."""
    text = cases.nft_text(chance.choice(NAMES))
    wanted = "ip" if family is Family.IPV4 else "ip6"
    tables = re.findall(r"^table \S+ \S+ \{.*?^\}\n?", text, re.MULTILINE | re.DOTALL)
    return "".join(table for table in tables if table.startswith(f"table {wanted} "))


def made_up(chance: random.Random, family: Family) -> str:
    """One node's tables, in the order in which they are made."""
    own = random_table(chance, "ip", "t")
    if chance.random() < 0.3:
        own += random_table(chance, "inet", "u")
    if chance.random() < 0.3:
        own += firewalld(chance)
    if family is Family.IPV6:
        own = in_ipv6(own)
    parts = [own, services(chance, family)] if chance.random() < 0.5 else [own]
    return "".join(chance.sample(parts, len(parts)))


_WORDS: Sequence[tuple[str, str]] = (
    (r"\btable ip ", "table ip6 "),
    (r"\bip (saddr|daddr)\b", r"ip6 \1"),
    (r"\b(dnat|snat) ip to\b", r"\1 ip6 to"),
    (r"\bipv4_addr\b", "ipv6_addr"),
    (r"\bicmp type\b", "icmpv6 type"),
    (r"\bicmp port-unreachable", "icmpv6 port-unreachable"),
    (r"\bip protocol\b", "ip6 nexthdr"),
    (r"fib daddr type \{ unicast, broadcast \}", "fib daddr type { unicast, multicast }"),
)


def in_ipv6(text: str) -> str:
    """Tables for the other family."""
    for pattern, said in _WORDS:
        text = re.sub(pattern, said, text)
    return as_ipv6(text)
