"""What proxies' chain names and comments say: which Service, port and endpoint a rule is about.

Knows the chains of every kube-proxy from Kubernetes 1.5 on. Before 1.15 the colon of a port without a name was kept
in comments ("default/httpd-svc: cluster IP").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fairway.ruleset.iptables_match import understand
from fairway.trace.steps import Step

CHAINS: Mapping[str, str] = {
    "KUBE-SERVICES": "every Service address is looked up here",
    "KUBE-EXTERNAL-SERVICES": "refuses node ports and external addresses that nobody serves",
    "KUBE-NODEPORTS": "node ports",
    "KUBE-MARK-MASQ": "marks the packet: on its way out its source will become the node's",
    "KUBE-MARK-DROP": "marks the packet to be dropped",
    "KUBE-POSTROUTING": "masquerades what was marked",
    "KUBE-FORWARD": "lets forwarded Service traffic through",
    "KUBE-FIREWALL": "guards loopback addresses, and drops what was marked to be dropped",
    "KUBE-PROXY-FIREWALL": "drops what loadBalancerSourceRanges do not let in",
    "KUBE-PROXY-CANARY": "empty; its absence tells the proxy that its rules were flushed",
    "KUBE-KUBELET-CANARY": "empty; its absence tells the kubelet that its rules were flushed",
    "KUBE-LOAD-BALANCER": "load-balancer addresses",
}
"""What the chains are for that exist once."""

KINDS: Mapping[str, str] = {
    "SVC": "all endpoints of a Service port",
    "SVL": "the endpoints on this node",
    "SEP": "one endpoint",
    "EXT": "a Service port's external addresses",
    "FW": "loadBalancerSourceRanges",
    "XLB": "the endpoints on this node (the name until Kubernetes 1.23)",
}
"""What the chains are for that exist per Service port or endpoint, by the word after `KUBE-`."""

_HASHED = re.compile(r"KUBE-(SVC|SVL|SEP|EXT|FW|XLB)-[A-Z2-7]{16}")
_NAME = r"(?P<namespace>[a-z0-9]([-a-z0-9]*[a-z0-9])?)/(?P<service>[a-z0-9]([-a-z0-9]*[a-z0-9])?)"
_SUBJECT = re.compile(rf"(^|\s){_NAME}(:(?P<port>[a-z0-9]([-a-z0-9]*[a-z0-9])?)?)?(?=$|\s)(?P<rest>.*)")
_ENDPOINT = re.compile(r"^\s*->\s*(?P<endpoint>\S+)$")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a comment is about. `port` is "" for a port without a name, `role` the words around the name ("cluster
    IP"), `endpoint` "address:port" where the comment names one."""

    namespace: str
    service: str
    port: str = ""
    role: str = ""
    endpoint: str = ""

    def __str__(self) -> str:
        """`default/web` or `default/web:http`."""
        return f"{self.namespace}/{self.service}" + (f":{self.port}" if self.port else "")


def chain_kind(chain: str) -> str:
    """ "SVC", "SEP" ... for a chain that belongs to one Service port or endpoint, "" for others."""
    match = _HASHED.fullmatch(chain)
    return match[1] if match else ""


def chain_purpose(chain: str) -> str:
    """What a chain is for in a few words; "" for chains of others."""
    return CHAINS.get(chain) or KINDS.get(chain_kind(chain), "")


def subject(comment: str) -> Subject | None:
    """What a rule's comment is about, or None when it names no Service."""
    match = _SUBJECT.search(comment)
    if match is None:
        return None
    rest = match["rest"]
    endpoint = _ENDPOINT.match(rest)
    before = comment[: match.start("namespace")]
    role = "" if endpoint else " ".join(f"{before} {rest}".split())
    return Subject(
        match["namespace"], match["service"], match["port"] or "", role, endpoint["endpoint"] if endpoint else ""
    )


def named(step: Step) -> Subject | None:
    """What the comment of a step's rule is about."""
    return subject(step.comment or understand(step.rule).comment)
