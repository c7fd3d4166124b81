"""What one family's rules must know of the node: its addresses, its pods' traffic, where node ports are served."""

from __future__ import annotations

from fairway.desired import addresses
from fairway.desired.model import NodeFacts, PodTraffic
from fairway.desired.options import PRIMARY, DetectLocal, ProxyOptions
from fairway.node import Node
from fairway.packet import Family, family_of

_EVERYWHERE = {Family.IPV4: "0.0.0.0/0", Family.IPV6: "::/0"}
_LOOPBACK = "127.0.0.1"


def node_facts(family: Family, node: Node, options: ProxyOptions) -> NodeFacts:
    """The node as the rules of `family` see it."""
    own = tuple(str(a) for a in node.addresses() if family_of(str(a)) is family and not a.is_link_local)
    primary = tuple(str(a) for a in node.primary if family_of(str(a)) is family)
    return NodeFacts(
        pods=_pod_traffic(family, node, options),
        addresses=own,
        node_ports_on=_served(family, own, (primary or own)[:1], options),
        localhost_node_ports=family is Family.IPV4 and serves_loopback(options),
        drops_invalid=not options.tcp_be_liberal,
    )


def _served(
    family: Family, own: tuple[str, ...], primary: tuple[str, ...], options: ProxyOptions
) -> tuple[str, ...] | None:
    """The node's addresses that node ports listen on; None for all. A family that the option does not mention is
    served on all of its addresses, as the reference does."""
    if options.nodeport_addresses == (PRIMARY,):
        return primary or None
    cidrs = addresses.networks(options.nodeport_addresses, family)
    if not cidrs or _EVERYWHERE[family] in cidrs:
        return None
    loopback = (_LOOPBACK,) if family is Family.IPV4 and options.localhost_nodeports else ()
    return tuple(sorted(address for address in (*own, *loopback) if addresses.within(address, cidrs)))


def serves_loopback(options: ProxyOptions) -> bool:
    """Whether node ports are served at 127.0.0.1: asked for, and within the addresses chosen for node ports."""
    wanted = options.nodeport_addresses
    within = not wanted or (wanted != (PRIMARY,) and addresses.within(_LOOPBACK, wanted))
    return options.localhost_nodeports and within


def _pod_traffic(family: Family, node: Node, options: ProxyOptions) -> PodTraffic:
    match options.detect_local:
        case DetectLocal.BRIDGE_INTERFACE:
            return PodTraffic(interface=options.bridge_interface)
        case DetectLocal.INTERFACE_NAME_PREFIX:
            return PodTraffic(interface=options.interface_prefix + "+")
        case DetectLocal.NODE_CIDR:
            cidrs = addresses.networks((str(cidr) for cidr in node.pod_cidrs), family)
        case DetectLocal.CLUSTER_CIDR:
            cidrs = addresses.networks(options.cluster_cidrs, family)
    return PodTraffic(source=cidrs[0]) if cidrs else PodTraffic()
