"""What a sender's address says about it: whether a Service lets it in, and whether it is an insider."""

from __future__ import annotations

import ipaddress

from fairway.desired.addresses import within
from fairway.desired.model import NodeFacts, ServicePort


def allowed_sources(facts: NodeFacts, port: ServicePort) -> tuple[str, ...]:
    """Whom a port with source ranges lets in, as CIDRs: its loadBalancerSourceRanges; where one holds a node's address
    also packets that bear an address of the load balancer, which are the node's to itself."""
    node = any(within(address, port.source_ranges) for address in facts.addresses)
    return (*port.source_ranges, *port.load_balancer_ips) if node else port.source_ranges


def insider(facts: NodeFacts, source: str) -> bool | None:
    """Whether a sender is a pod or the node itself, as far as its address tells. None: it does not, as pods are told by
    the device they come in by, or as the address is one of a link, which may be the node's own."""
    address = ipaddress.ip_address(source)
    if source in facts.addresses or address.is_loopback:
        return True
    if facts.pods.source and within(source, (facts.pods.source,)):
        return True
    return None if facts.pods.interface or address.is_link_local else False
