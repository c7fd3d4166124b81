"""Objects against each other: Services that lead nowhere, claims that clash, slices that point astray."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fairway.assemble.catalogue import Catalogue, Object, addresses_of
from fairway.assemble.doctor.findings import Finding, Severity
from fairway.control import backends, pods, whynot
from fairway.control.loadbalancer_status import granted
from fairway.desired.addresses import usable
from fairway.dns import advice, names
from fairway.node import ZONE_LABEL

_SHOWN = 5
_INGRESS = "status.loadBalancer.ingress"
_NEAR = ("PreferClose", "PreferSameZone", "PreferSameNode")


def examine(catalogue: Catalogue, namespaces: Sequence[str], domain: str) -> Iterator[Finding]:
    """The findings that need no look at any node. `domain` is the zone of cluster DNS."""
    for key, service in sorted(catalogue.services.items()):
        if (service["spec"] or {}).get("type") == "ExternalName":
            continue
        slices = catalogue.slices_of(*key)
        yield from _backends(catalogue, dict(service), slices)
        yield from _local(catalogue, dict(service), slices)
        yield from _hints(catalogue, dict(service), slices)
        yield from _claimed(dict(service))
    yield from _collisions(catalogue)
    yield from _slices(catalogue)
    for said in advice.collisions(namespaces, names.parse(domain)):
        namespace = said.split()[1]
        command = f"fairway dns explain SERVICE.{namespace}"
        yield Finding(
            Severity.WARNING, "namespace-name", said, f"Namespace {namespace}", "metadata.name", command=command
        )


def _key(item: Object) -> str:
    return f"{item['metadata'].get('namespace') or 'default'}/{item['metadata']['name']}"


def _about(item: dict[str, Any], code: str, message: str, where: str, **more: Any) -> Finding:
    """A warning about a Service, with the command that shows it."""
    namespace, _, name = _key(item).partition("/")
    more.setdefault("severity", Severity.WARNING)
    more.setdefault("command", f"kubectl describe service -n {namespace} {name}")
    return Finding(code=code, message=f"{_key(item)}: {message}", object=f"Service {_key(item)}", field=where, **more)


def _backends(catalogue: Catalogue, service: dict[str, Any], slices: Sequence[Object]) -> Iterator[Finding]:
    """Selectors that match nothing, target ports that nobody has, pods none of which is ready."""
    if not backends.selects(service):
        if not any(piece.get("endpoints") for piece in slices):
            message = "it has no selector and no EndpointSlice with endpoints: nobody serves it"
            yield _about(service, "no-endpoints", message, "spec.selector")
        return
    selector = service["spec"]["selector"]
    namespace = _key(service).partition("/")[0]
    members = [
        dict(pod)
        for (there, _), pod in sorted(catalogue.pods.items())
        if there == namespace and selector.items() <= dict(pods.labels(dict(pod))).items()
    ]
    running = [pod for pod in members if not pods.is_finished(pod)]
    said = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    if not running:
        message = f"its selector {said} matches no pod" + (" that still runs" if members else "")
        command = f"kubectl get pods -n {namespace} -l {said}"
        yield _about(service, "selector", message, "spec.selector", command=command)
        return
    yield from _ports(service, running)
    verdicts = [whynot.why_not(whynot.Case(pod, service, [dict(piece) for piece in slices])) for pod in running]
    if not any(verdict.serves for verdict in verdicts):
        first = verdicts[0]
        reasons = tuple(
            f"{verdict.pod}: {reason.message}"
            for verdict in verdicts[:_SHOWN]
            for reason in verdict.reasons[:1]
            if reason.code != "target-port"
        )
        if reasons:
            message = f"none of its {len(running)} pods serves"
            command = f"fairway why-not {first.pod} {first.service}"
            yield _about(
                service,
                "none-ready",
                message,
                "spec.selector",
                evidence=reasons,
                command=command,
                severity=Severity.ERROR,
            )


def _ports(service: dict[str, Any], members: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """Named target ports that no container of some pods has."""
    for port in service["spec"].get("ports") or ():
        alone = {**service, "spec": {**service["spec"], "ports": [port]}}
        lost = [pod for pod in members if not backends.ports_of(alone, pod)]
        if lost:
            named = port.get("targetPort")
            who = "none of its pods has" if len(lost) == len(members) else f"{len(lost)} of its pods do not have"
            message = f"{who} a container port named {named} ({port.get('protocol') or 'TCP'})"
            severity = Severity.ERROR if len(lost) == len(members) else Severity.WARNING
            evidence = tuple(f"{_key(pod)}: {_declared(pod)}" for pod in lost[:_SHOWN])
            command = f"fairway why-not {_key(lost[0])} {_key(service)}"
            where = f"spec.ports[{port.get('name') or port['port']}].targetPort"
            yield _about(service, "target-port", message, where, severity=severity, evidence=evidence, command=command)


def _declared(pod: dict[str, Any]) -> str:
    found = [f"{name or 'unnamed'} {number}/{protocol}" for name, number, protocol in whynot.declared_ports(pod)]
    return ", ".join(found) or "declares no ports"


def _serving(slices: Sequence[Object]) -> list[Mapping[str, Any]]:
    """The endpoints that proxies use, by their conditions alone."""
    every = [entry for piece in slices for entry in piece.get("endpoints") or ()]
    ready = [entry for entry in every if (entry.get("conditions") or {}).get("ready") is not False]
    return ready or [
        entry
        for entry in every
        if (entry.get("conditions") or {}).get("serving") and (entry.get("conditions") or {}).get("terminating")
    ]


def _local(catalogue: Catalogue, service: dict[str, Any], slices: Sequence[Object]) -> Iterator[Finding]:
    """Nodes on which policy Local drops what arrives though others have endpoints."""
    spec = service["spec"]
    serving = _serving(slices)
    here = {entry.get("nodeName") for entry in serving}
    without = sorted(name for _, name in catalogue.nodes if name not in here)
    if not serving or not without or backends.is_headless(service):
        return
    evidence = (f"endpoints on: {', '.join(sorted(filter(None, here))) or 'no known node'}",)
    on = ", ".join(without[:_SHOWN]) + (f" and {len(without) - _SHOWN} more" if len(without) > _SHOWN else "")
    if spec.get("internalTrafficPolicy") == "Local":
        message = f"pods and processes on {on} get no answer: no endpoint there, and internalTrafficPolicy is Local"
        yield _about(service, "local-internal", message, "spec.internalTrafficPolicy", evidence=evidence)
    if spec.get("externalTrafficPolicy") == "Local":
        balanced = bool(spec.get("healthCheckNodePort"))
        message = f"what arrives from outside at {on} is dropped: no endpoint there, and externalTrafficPolicy is Local"
        if balanced:
            message += "; load balancers that ask the health check port know"
        severity = Severity.NOTE if balanced else Severity.WARNING
        yield _about(
            service, "local-external", message, "spec.externalTrafficPolicy", evidence=evidence, severity=severity
        )


def _hints(catalogue: Catalogue, service: dict[str, Any], slices: Sequence[Object]) -> Iterator[Finding]:
    """Why proxies do not keep traffic near though hints are there, or asked for."""
    ready = [entry for entry in _serving(slices) if (entry.get("conditions") or {}).get("ready") is not False]
    wish = service["spec"].get("trafficDistribution")
    zones = [entry for entry in ready if (entry.get("hints") or {}).get("forZones")]
    hosts = [entry for entry in ready if (entry.get("hints") or {}).get("forNodes")]
    if wish in _NEAR and ready and not zones and not hosts:
        bare = sorted(name for (_, name), node in catalogue.nodes.items() if not _zone(node))
        why = f"nodes without the label {ZONE_LABEL}: {', '.join(bare)}" if bare else "no endpoint has a hint"
        message = f"trafficDistribution is {wish}, and traffic goes everywhere: {why}"
        yield _about(service, "no-hints", message, "spec.trafficDistribution", severity=Severity.NOTE)
    if zones and len(zones) < len(ready):
        lacking = [entry for entry in ready if entry not in zones]
        evidence = tuple(f"no hint: {', '.join(entry.get('addresses') or ())}" for entry in lacking[:_SHOWN])
        message = f"topology hints are ignored everywhere: {len(lacking)} of {len(ready)} ready endpoints have none"
        yield _about(service, "hints-dropped", message, "EndpointSlices: endpoints[].hints", evidence=evidence)
    elif zones and len(hosts) < len(ready):
        served = {hint.get("name") for entry in zones for hint in entry["hints"]["forZones"]}
        for (_, name), node in sorted(catalogue.nodes.items()):
            if _zone(node) not in served:
                zone = f"its zone {_zone(node)} has no endpoint" if _zone(node) else f"it has no label {ZONE_LABEL}"
                message = f"topology hints do not count on {name}: {zone}"
                where = "EndpointSlices: endpoints[].hints"
                yield _about(service, "hints-dropped", message, where, node=name, severity=Severity.NOTE)


def _zone(node: Object) -> str:
    return pods.labels(dict(node)).get(ZONE_LABEL, "")


def _external(service: Object) -> list[tuple[str, str]]:
    """(address, field) of what a Service claims of the world outside."""
    spec = service["spec"]
    found = [(address, "spec.externalIPs") for address in spec.get("externalIPs") or ()]
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    if spec.get("type") == "LoadBalancer":
        vips = [each["ip"] for each in ingress if each.get("ip") and each.get("ipMode", "VIP") != "Proxy"]
        found += [(address, _INGRESS) for address in vips]
    return found


def _claimed(service: dict[str, Any]) -> Iterator[Finding]:
    """Every address that a Service claims: whoever may write it draws in what is meant for that address. What the
    controller of load balancers granted is no claim."""
    for address, where in _external(service):
        if where == _INGRESS and granted(service):
            continue
        message = f"it claims {address}: nodes that program it lead what is sent there to its endpoints (CVE-2020-8554)"
        yield _about(service, "claims", message, where, severity=Severity.NOTE, evidence=(address,))


def _collisions(catalogue: Catalogue) -> Iterator[Finding]:
    """Addresses and ports that two Services claim, or that are somebody else's."""
    claims: defaultdict[tuple[str, str, int], list[tuple[dict[str, Any], str]]] = defaultdict(list)
    nodes = {address: name for name, own in catalogue.node_addresses().items() for address in own}
    cluster = {
        address: _key(service)
        for service in catalogue.services.values()
        for address in service["spec"].get("clusterIPs") or ()
        if address != "None"
    }
    for _, service in sorted(catalogue.services.items()):
        for address, where in _external(service):
            taken = f"node {nodes[address]}" if address in nodes else cluster.get(address, "")
            if where == _INGRESS and address in nodes and granted(dict(service)):
                continue  # of the style "nodes"
            if taken and taken != _key(service):
                message = f"it claims {address}, which is that of {taken}"
                yield _about(dict(service), "takes-address", message, where, evidence=(address,))
            for port in service["spec"].get("ports") or ():
                claims[address, port.get("protocol") or "TCP", port["port"]].append((dict(service), where))
    for (address, protocol, number), claimants in claims.items():
        distinct = dict.fromkeys(_key(service) for service, _ in claimants)
        if len(distinct) > 1:
            others = " and ".join(list(distinct)[1:])
            message = f"it and {others} claim {address} port {number}/{protocol}: a sender reaches only one of them"
            first, where = claimants[0]
            evidence = tuple(distinct)
            yield _about(first, "collision", message, where, severity=Severity.ERROR, evidence=evidence)


def _slices(catalogue: Catalogue) -> Iterator[Finding]:
    """Slices that no Service has, and endpoints that are no pods of their namespace (CVE-2021-25740)."""
    owners: dict[str, str] = {}
    for pod in catalogue.pods.values():
        if not pod["spec"].get("hostNetwork"):
            owners.update(dict.fromkeys(addresses_of(pod), _key(pod)))
    nodes = {address: name for name, own in catalogue.node_addresses().items() for address in own}
    for (namespace, name), piece in sorted(catalogue.slices.items()):
        service = pods.labels(dict(piece)).get("kubernetes.io/service-name", "")
        if service and (namespace, service) not in catalogue.services:
            message = f"{namespace}/{name} belongs to a Service {service} that is not there"
            yield _slice(namespace, name, "orphan-slice", message, "metadata.labels", Severity.NOTE)
        if (namespace, service) == ("default", "kubernetes") or piece.get("addressType") == "FQDN":
            continue  # the API servers themselves, which need not be pods; names, which no proxy uses
        for number, entry in enumerate(piece.get("endpoints") or ()):
            for address in entry.get("addresses") or ():
                found = _pointing(namespace, address, entry, owners, nodes)
                if found:
                    where = f"endpoints[{number}].addresses"
                    message = f"{namespace}/{name} {found[1]}"
                    yield _slice(namespace, name, found[0], message, where, found[2], address)


def _pointing(
    namespace: str, address: str, entry: Mapping[str, Any], owners: Mapping[str, str], nodes: Mapping[str, str]
) -> tuple[str, str, Severity] | None:
    """(code, what, severity) of an address that is not that of a pod of the slice's own namespace."""
    if not usable(address):
        what = f"points to {address}, which no endpoint may have: proxies pass it over"
        return "slice-refused", what, Severity.WARNING
    reference = entry.get("targetRef") or {}
    owner = owners.get(address, "")
    if owner and owner.partition("/")[0] != namespace:
        what = f"points to {address}, which is pod {owner} of another namespace (CVE-2021-25740)"
        return "slice-outside", what, Severity.WARNING
    if owner or (address in nodes and reference.get("kind") == "Pod"):
        return None
    if reference.get("kind") == "Pod":
        what = f"points to {address} as pod {reference.get('name')}, and no pod has that address"
        return "slice-stale", what, Severity.WARNING
    if address in nodes:
        return "slice-outside", f"points to {address}, the address of node {nodes[address]}", Severity.NOTE
    return "slice-outside", f"points out of the cluster, to {address}", Severity.NOTE


def _slice(
    namespace: str, name: str, code: str, message: str, where: str, severity: Severity, *evidence: str
) -> Finding:
    command = f"kubectl get endpointslice -n {namespace} {name} -o yaml"
    return Finding(
        severity, code, message, f"EndpointSlice {namespace}/{name}", where, evidence=evidence, command=command
    )
