"""Host ports: a pod's ports at its node's addresses (pure), in the chains the CNI plugin portmap uses.

    text = hostports.changes(family, forwards, netfilter.save(family, "nat"))
    if text:
        netfilter.restore(family, text)

The jumps are appended, and the node proxy puts its own in front: traffic to a Service is never taken by a host port
(CVE-2019-9946). What comes from the node's own loopback or from the pod itself is masqueraded, or the answer would not
find its way back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fairway.network.masquerade import missing
from fairway.packet import Family, family_of, host_port
from fairway.ruleset.iptables import Ruleset, parse, quote

DNAT, SETMARK, MASQ = "CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"
POD_PREFIX = "CNI-DN-"
MARK = 0x2000  # the kubelet's old bit 13, which portmap took over

_MASKED = f"{MARK:#x}/{MARK:#x}"
_LOCAL = f"-m addrtype --dst-type LOCAL -j {DNAT}"
_LOOPBACK = {Family.IPV4: "127.0.0.1/32", Family.IPV6: "::1/128"}
_ANY = frozenset({"", "0.0.0.0", "::"})


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of the node (at one of its addresses, "" for all) that leads to a port of a pod. `protocol` is "TCP",
    "UDP" or "SCTP"."""

    protocol: str
    host_ip: str
    host_port: int
    pod_ip: str
    pod_port: int


def changes(family: Family, forwards: Mapping[str, Iterable[Forward]], saved: str) -> str:
    """What `iptables-restore --noflush` must be given so that the nat table, which is `saved`, holds the forwards of
    pods (by pod) and none of earlier ones; "" when it does."""
    mine = {pod: [each for each in some if family_of(each.pod_ip) is family] for pod, some in forwards.items()}
    wanted = rules(family, {pod: some for pod, some in mine.items() if some})
    have = parse(saved).tables.get("nat")
    chains = have.chains if have is not None else {}
    if DNAT not in chains and len(wanted.table("nat").chain(DNAT).rules) == 0:
        return ""  # no host port, and there never was one
    needed = missing(wanted, saved)
    gone = [name for name in chains if name.startswith(POD_PREFIX) and name not in wanted.table("nat").chains]
    emptied = not wanted.table("nat").chain(DNAT).rules and bool(chains.get(DNAT) and chains[DNAT].rules)
    if not gone and not emptied:
        return needed
    return needed + _removal(gone, emptied)


def _removal(gone: list[str], emptied: bool) -> str:
    """Chains are emptied, so that nothing is reached through them, and then removed."""
    lines = ["*nat", *([f":{DNAT} - [0:0]"] if emptied else [])]
    lines += [f":{name} - [0:0]" for name in gone]
    lines += [f"-X {name}" for name in gone]
    return "\n".join([*lines, "COMMIT", ""])


def rules(family: Family, forwards: Mapping[str, Iterable[Forward]]) -> Ruleset:
    """The chains of one family with the jumps that lead there."""
    ruleset = Ruleset()
    nat = ruleset.table("nat")
    nat.chain("PREROUTING").rules.append(_LOCAL)
    nat.chain("OUTPUT").rules.append(_LOCAL)
    nat.chain("POSTROUTING").rules.append(_comment("CNI portfwd requiring masquerade") + f" -j {MASQ}")
    nat.chain(SETMARK).rules.append(_comment("CNI portfwd masquerade mark") + f" -j MARK --set-xmark {_MASKED}")
    nat.chain(MASQ).rules.append(f"-m mark --mark {_MASKED} -j MASQUERADE")
    dispatch = nat.chain(DNAT).rules
    for pod in sorted(forwards):
        chain = POD_PREFIX + hashlib.sha256(pod.encode()).hexdigest()[:21].upper()  # names have 28 characters at most
        some = sorted(forwards[pod], key=lambda each: (each.protocol, each.host_port, each.host_ip))
        nat.chain(chain).rules += [rule for each in some for rule in _forward(family, each)]
        dispatch += _dispatch(pod, chain, some)
    return ruleset


def _comment(text: str) -> str:
    return f"-m comment --comment {quote(text)}"


def _dispatch(pod: str, chain: str, forwards: Iterable[Forward]) -> Iterator[str]:
    """To the pod's chain, which gives back what is for another address: pods may share a port that way."""
    note = _comment(f'dnat name: "cbr0" id: "{pod}"')
    for protocol, port in sorted({(each.protocol, each.host_port) for each in forwards}):
        yield f"-p {protocol.lower()} {note} -m multiport --dports {port} -j {chain}"


def _forward(family: Family, each: Forward) -> Iterator[str]:
    protocol = each.protocol.lower()
    at = "" if each.host_ip in _ANY else f"-d {_whole(each.host_ip)} "
    match = f"{at}-p {protocol} -m {protocol} --dport {each.host_port}"
    for source in (_whole(each.pod_ip), _LOOPBACK[family]):
        yield f"-s {source} {match} -j {SETMARK}"
    yield f"{match} -j DNAT --to-destination {host_port(each.pod_ip, each.pod_port)}"


def _whole(address: str) -> str:
    return f"{address}/{32 if family_of(address) is Family.IPV4 else 128}"
