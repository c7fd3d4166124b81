"""Which object a name comes from, or which one it misses, in words. Pure; read from the objects, not from the zone.

The zone says what a name holds; this says why, for people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fairway.dns import grammar, names
from fairway.dns.names import Name
from fairway.dns.view import EndpointSlice, Namespace, Pod, Service

Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The objects that the names of a cluster come from."""

    services: Mapping[Key, Service] = field(default_factory=dict)
    slices: Mapping[Key, Sequence[EndpointSlice]] = field(default_factory=dict)
    namespaces: frozenset[str] = frozenset()
    pods: Sequence[Pod] = ()

    @classmethod
    def of(
        cls,
        services: Iterable[Service],
        slices: Iterable[EndpointSlice],
        namespaces: Iterable[Namespace],
        pods: Iterable[Pod] = (),
    ) -> Facts:
        """The facts in lists of objects; slices are filed under the Service they belong to."""
        filed: dict[Key, list[EndpointSlice]] = {}
        for piece in slices:
            filed.setdefault((piece.metadata.namespace, piece.service), []).append(piece)
        return cls(
            {(each.metadata.namespace, each.metadata.name): each for each in services},
            filed,
            frozenset(each.metadata.name for each in namespaces),
            tuple(pods),
        )


def origin(name: Name, domain: Name, facts: Facts) -> str:
    """Where the records of `name` come from, or why it has none. Names outside `domain` are not ours to explain: ""."""
    name = names.lower(name)
    own = len(name) - len(domain)
    if own < 0 or name[own:] != domain:
        return ""
    meant = grammar.read(name[:own])
    if meant is None:
        return "no name of the zone has this form"
    meaning, labels = meant
    words = tuple(label.decode("latin-1") for label in labels)
    return _EXPLAIN[meaning](facts, *words)


def place(name: Name, domain: Name) -> Key | None:
    """Namespace and Service that a name below `svc` is about, existing or not; None for other names."""
    name = names.lower(name)
    own = len(name) - len(domain)
    meant = grammar.read(name[:own]) if own >= 0 and name[own:] == domain else None
    if meant is None or meant[0] not in ("service", "endpoint", "protocol", "port"):
        return None
    service, namespace = meant[1][-2:]
    return namespace.decode("latin-1"), service.decode("latin-1")


def _service(facts: Facts, name: str, namespace: str) -> str:
    service = facts.services.get((namespace, name))
    if service is None:
        return _no_service(facts, name, namespace)
    said = f"Service {namespace}/{name}"
    if service.external_name:
        return f"{said}: an alias of {service.external_name}"
    if not service.headless:
        return f"{said}: ClusterIP {', '.join(service.addresses) or '(none yet)'}"
    pieces = facts.slices.get((namespace, name), ())
    named = [each for piece in pieces for each in piece.endpoints if each.ready or service.publishes_unready]
    count = sum(len(each.endpoints) for each in pieces)
    if named:
        return f"{said}: headless, {len(named)} ready endpoints in {_listed(pieces)}"
    return f"{said}: headless, " + (f"and none of its {count} endpoints is ready" if count else "without endpoints")


def _endpoint(facts: Facts, host: str, name: str, namespace: str) -> str:
    service = facts.services.get((namespace, name))
    if service is None:
        return _no_service(facts, name, namespace)
    said = f"Service {namespace}/{name}"
    if not service.headless:
        return f"{said} is not headless: its endpoints have no names"
    for piece in facts.slices.get((namespace, name), ()):
        for each in piece.endpoints:
            if host in _labels_of(each.hostname, each.addresses):
                ready = "" if each.ready or service.publishes_unready else ", which is not ready"
                return f"endpoint {host} in EndpointSlice {namespace}/{piece.metadata.name} of {said}{ready}"
    return f'{said} has no endpoint named "{host}"'


def _protocol(facts: Facts, protocol: str, name: str, namespace: str) -> str:
    if (namespace, name) not in facts.services:
        return _no_service(facts, name, namespace)
    return f"the {protocol.removeprefix('_').upper()} ports of Service {namespace}/{name}, if it has named ones"


def _port(facts: Facts, port: str, protocol: str, name: str, namespace: str) -> str:
    service = facts.services.get((namespace, name))
    if service is None:
        return _no_service(facts, name, namespace)
    wanted = port.removeprefix("_"), protocol.removeprefix("_")
    said = f"Service {namespace}/{name}"
    for each in service.spec.ports or ():
        if (each.name.lower(), each.protocol.lower()) == wanted:
            return f"port {each.name} ({each.port}/{each.protocol}) of {said}"
    return f'{said} has no {wanted[1].upper()} port named "{wanted[0]}"'


def _pod(facts: Facts, address: str, namespace: str) -> str:
    packed = names.undashed(address.encode("latin-1"))
    for pod in facts.pods:
        if pod.metadata.namespace == namespace and packed in map(names.pack, pod.addresses):
            return f"Pod {namespace}/{pod.metadata.name}"
    return f"no Pod of namespace {namespace} has this address"


def _namespace(facts: Facts, namespace: str) -> str:
    if namespace in facts.namespaces:
        return f"Namespace {namespace}: a level of the tree, without records"
    return f'there is no Namespace "{namespace}"'


def _no_service(facts: Facts, name: str, namespace: str) -> str:
    if namespace not in facts.namespaces:
        return f'there is no Namespace "{namespace}"'
    return f'there is no Service "{name}" in namespace {namespace}'


def _level(_: Facts) -> str:
    return "a level of the tree, without records"


_EXPLAIN: dict[grammar.Meaning, Callable[..., str]] = {
    "apex": lambda _: "the zone itself",
    "version": lambda _: "the version of the DNS specification",
    "services": _level,
    "pods": _level,
    "namespace": _namespace,
    "pod namespace": _namespace,
    "service": _service,
    "endpoint": _endpoint,
    "protocol": _protocol,
    "port": _port,
    "pod": _pod,
}


def _labels_of(hostname: str | None, addresses: Iterable[str]) -> set[str]:
    if hostname:
        return {hostname.lower()}
    return {names.dashed(packed).decode() for text in addresses if (packed := names.pack(text)) is not None}


def _listed(pieces: Iterable[EndpointSlice]) -> str:
    return ", ".join(f"EndpointSlice {piece.metadata.name}" for piece in pieces)
