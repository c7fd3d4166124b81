"""Objects and a node become Desired.

`build` takes everything at once; a long-running proxy keeps what `service_ports` gives for each Service, so that one
change costs one Service.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from fairway.desired import addresses
from fairway.desired.choose import Candidate, choose
from fairway.desired.facts import node_facts
from fairway.desired.model import Desired, Endpoint, HealthCheck, Policy, PortName, ServicePort, Settings
from fairway.desired.options import ProxyOptions
from fairway.desired.view import (
    Conditions,
    Hints,
    Labels,
    Meta,
    ServicePortView,
    ServiceView,
    SliceEndpoint,
    SliceView,
)
from fairway.node import Node
from fairway.packet import Family, Protocol, family_of

FAMILIES = (Family.IPV4, Family.IPV6)
DEFAULT_AFFINITY_SECONDS = 10800

# Names are written into rule comments: what is no DNS label or subdomain never gets that far.
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")

ServiceKey = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Built:
    """What one Service asks for: its ports in every family, and its health check if it has one."""

    ports: tuple[ServicePort, ...] = ()
    health_check: HealthCheck | None = None


NOTHING = Built()
UNSAID = Conditions()
UNHINTED = Hints()
NOWHERE: frozenset[str] = frozenset()


def build(services: Iterable[ServiceView], slices: Iterable[SliceView], node: Node, options: ProxyOptions) -> Desired:
    """Everything the node should do. Objects may come in any order; the result is sorted."""
    by_service: defaultdict[ServiceKey, list[SliceView]] = defaultdict(list)
    for piece in slices:
        by_service[slice_key(piece)].append(piece)
    return assemble(
        (
            service_ports(service, by_service.get(service_key(service), ()), node.name, node.zone, options)
            for service in services
        ),
        node,
        options,
    )


def assemble(built: Iterable[Built], node: Node, options: ProxyOptions) -> Desired:
    """Put the parts together: sort the ports, add what the rules must know of the node."""
    parts = list(built)
    return Desired(
        ports=tuple(sorted((port for part in parts for port in part.ports), key=lambda port: port.key)),
        health_checks=tuple(sorted(part.health_check for part in parts if part.health_check is not None)),
        settings=settings(node, options),
    )


def settings(node: Node, options: ProxyOptions) -> Settings:
    """What the rules must know of the node and of the operator's wishes."""
    return Settings(
        facts={family: node_facts(family, node, options) for family in FAMILIES},
        masquerade_all=options.masquerade_all,
        masquerade_bit=options.masquerade_bit,
        guarded_cidrs=options.guarded_cidrs,
        counted=options.service_counters,
    )


def service_key(service: ServiceView) -> ServiceKey:
    return (service.metadata.namespace, service.metadata.name)


def slice_key(piece: SliceView) -> ServiceKey:
    """The Service a slice belongs to; its name is "" for a slice that belongs to none."""
    labels = piece.metadata.labels
    return (piece.metadata.namespace, (labels.service_name if labels else None) or "")


def service_ports(
    service: ServiceView, slices: Sequence[SliceView], node_name: str, zone: str, options: ProxyOptions
) -> Built:
    """One Service with its slices, as the node `node_name` in `zone` should serve it."""
    if not _is_ours(service):
        return NOTHING
    ports = tuple(
        port
        for family, cluster_ip in _cluster_ips(service)
        for view in service.spec.ports or ()
        if (port := _port(service, view, family, cluster_ip, slices, node_name, zone, options)) is not None
    )
    return Built(ports, _health_check(service, slices, node_name) if ports else None)


def _is_ours(service: ServiceView) -> bool:
    """Not ExternalName, not headless, not handed to another proxy, and named as objects are named."""
    meta, spec = service.metadata, service.spec
    labels = meta.labels or Labels()
    return (
        spec.type != "ExternalName"
        and spec.cluster_ip not in ("", "None")
        and labels.proxy_name is None
        and labels.headless is None
        and _is_named(meta)
    )


def _is_named(meta: Meta) -> bool:
    return bool(_NAME.fullmatch(meta.namespace) and _NAME.fullmatch(meta.name))


def _cluster_ips(service: ServiceView) -> Iterator[tuple[Family, str]]:
    """One cluster IP per family."""
    given = service.spec.cluster_ips or (service.spec.cluster_ip,)
    for family in FAMILIES:
        for address in addresses.of_family(given, family)[:1]:
            yield family, address


def _port(
    service: ServiceView,
    view: ServicePortView,
    family: Family,
    cluster_ip: str,
    slices: Sequence[SliceView],
    node_name: str,
    zone: str,
    options: ProxyOptions,
) -> ServicePort | None:
    """One port in one family; None when it is not one that can be programmed."""
    if view.protocol not in Protocol.__members__ or (view.name and not _NAME.fullmatch(view.name)):
        return None
    spec = service.spec
    described = partial(
        ServicePort,
        name=PortName(service.metadata.namespace, service.metadata.name, view.name),
        family=family,
        protocol=Protocol(view.protocol),
        cluster_ip=cluster_ip,
        port=view.port,
        node_port=view.node_port,
        external_ips=_allowed(addresses.of_family(spec.external_ips, family), options),
        load_balancer_ips=_granted(service, family, options),
        source_ranges=addresses.networks(spec.load_balancer_source_ranges, family),
        affinity_seconds=_affinity_seconds(service),
        internal_policy=_policy(spec.internal_traffic_policy),
        external_policy=_policy(spec.external_traffic_policy),
        health_check_node_port=_health_check_port(service),
    )
    bare = described()
    chosen = choose(
        _candidates(bare, slices, node_name),
        node_name,
        zone,
        uses_cluster=bare.uses_cluster,
        uses_local=bare.uses_local,
    )
    return described(cluster=chosen.cluster, local=chosen.local, reachable=chosen.reachable)


def _policy(word: str) -> Policy:
    return Policy.LOCAL if word == Policy.LOCAL else Policy.CLUSTER


def _vips(service: ServiceView) -> Sequence[str]:
    """Load-balancer addresses that reach the node as packets' destination. ipMode Proxy ones do not (KEP-1860)."""
    balancer = service.status.load_balancer if service.status else None
    if service.spec.type != "LoadBalancer" or not balancer:
        return ()
    return [ingress.ip for ingress in balancer.ingress or () if ingress.ip and ingress.ip_mode != "Proxy"]


def _granted(service: ServiceView, family: Family, options: ProxyOptions) -> tuple[str, ...]:
    claimed = addresses.of_family(_vips(service), family)
    return claimed if options.trusted_status else _allowed(claimed, options)


def _allowed(claimed: tuple[str, ...], options: ProxyOptions) -> tuple[str, ...]:
    allow = options.allow_external_cidrs
    return claimed if allow is None else tuple(a for a in claimed if addresses.within(a, allow))


def _affinity_seconds(service: ServiceView) -> int:
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    client = config.client_ip if config else None
    return (client.timeout_seconds if client else None) or DEFAULT_AFFINITY_SECONDS


def _health_check_port(service: ServiceView) -> int:
    spec = service.spec
    wanted = spec.type == "LoadBalancer" and spec.external_traffic_policy == Policy.LOCAL
    return spec.health_check_node_port if wanted else 0


def _health_check(service: ServiceView, slices: Sequence[SliceView], node_name: str) -> HealthCheck | None:
    """Ready endpoints of this node, counted by address: several ports of one pod are one endpoint, and so are its
    addresses of both families (a load balancer weighs nodes by the count)."""
    port = _health_check_port(service)
    if not port:
        return None
    here = {
        address
        for piece in slices
        for view in piece.endpoints or ()
        if view.node_name == node_name and _ready(view.conditions) and (address := _address(view))
    }
    count = max(sum(family_of(address) is family for address in here) for family in FAMILIES)
    return HealthCheck(service.metadata.namespace, service.metadata.name, port, count)


def _candidates(port: ServicePort, slices: Sequence[SliceView], node_name: str) -> Iterator[Candidate]:
    """The endpoints that slices of the port's family offer under its name and protocol."""
    for piece in slices:
        if piece.address_type != port.family:
            continue
        for offered in piece.ports or ():
            same = (offered.name or "") == port.name.port and (offered.protocol or "TCP") == port.protocol
            if same and offered.port:
                yield from _offers(piece.endpoints or (), offered.port, port.family, node_name)


def _offers(views: Sequence[SliceEndpoint], port: int, family: Family, node_name: str) -> Iterator[Candidate]:
    for view in views:
        address = _address(view)
        if address and family_of(address) is family:
            yield _candidate(view, Endpoint(address, port, bool(node_name) and view.node_name == node_name))


def _candidate(view: SliceEndpoint, endpoint: Endpoint) -> Candidate:
    """Missing conditions read as the API defines them: ready unless said otherwise, serving like ready."""
    given, hints = view.conditions or UNSAID, view.hints or UNHINTED
    ready = given.ready is not False
    return Candidate(
        endpoint,
        ready,
        serving=ready if given.serving is None else given.serving,
        terminating=bool(given.terminating),
        zones=frozenset([hint.name for hint in hints.for_zones]) if hints.for_zones else NOWHERE,
        nodes=frozenset([hint.name for hint in hints.for_nodes]) if hints.for_nodes else NOWHERE,
    )


def _ready(conditions: Conditions | None) -> bool:
    return conditions is None or conditions.ready is not False


def _address(view: SliceEndpoint) -> str:
    """The first address; further ones of an endpoint have no meaning (discovery/v1). "" when it may not be used."""
    return addresses.usable(view.addresses[0]) if view.addresses else ""
