"""Service variables in a container's environment, and why a pod gets them or not (pure).

Which Services a pod hears of and under what names is Kubernetes' documented contract ("Discovering services",
environment variables): those with a cluster IP in its own namespace that are no younger than itself, and
`default/kubernetes` always; `enableServiceLinks: false` leaves only the latter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fairway.packet import host_port
from fairway.pods.view import Container, Pod, Service, seconds_of

MASTER = ("default", "kubernetes")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a pod is told of a Service, and why."""

    service: Service
    told: bool
    why: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable, the Service (namespace/name) it tells of, and what its value is. `loses` says to whom, when the
    process sees another value under this name."""

    name: str
    value: str
    service: str
    meaning: str
    loses: str = ""


@dataclass(frozen=True, slots=True)
class Links:
    """All there is to say about a container's Service variables. `verdicts` are those of the Services that the pod
    might have been told of."""

    pod: Pod
    container: str
    variables: tuple[Variable, ...]
    verdicts: tuple[Verdict, ...]
    remarks: tuple[str, ...] = ()


def verdicts(services: Iterable[Service], pod: Pod) -> list[Verdict]:
    """On each Service of the pod's namespace, and on `default/kubernetes`, by name. Others are never told of."""
    near = {
        _key(service): service
        for service in services
        if service.metadata.namespace == pod.metadata.namespace or _key(service) == MASTER
    }
    judged = {key: _judge(service, pod) for key, service in sorted(near.items())}
    own = (pod.metadata.namespace, MASTER[1])
    if own != MASTER and MASTER in judged and own in judged and judged[own].told and judged[MASTER].told:
        why = f"Service {'/'.join(own)} of the pod's own namespace has the same name and is told instead"
        judged[MASTER] = Verdict(near[MASTER], False, why)
    return sorted(judged.values(), key=lambda each: each.service.metadata.name)


def visible(services: Iterable[Service], pod: Pod) -> list[Service]:
    """The Services whose variables `pod` gets, by name."""
    return [each.service for each in verdicts(services, pod) if each.told]


def _judge(service: Service, pod: Pod) -> Verdict:
    if service.spec.type == "ExternalName":
        return Verdict(service, False, "an ExternalName Service has no address")
    if service.spec.cluster_ip in ("", "None"):
        lacks = "headless: it has no address of its own" if service.spec.cluster_ip else "no address is allocated yet"
        return Verdict(service, False, lacks)
    if _key(service) == MASTER:
        return Verdict(service, True, "the API server's Service is told to every pod")
    if not pod.spec.enable_service_links:
        return Verdict(service, False, "the pod has enableServiceLinks: false")
    younger = _seconds_younger(service, pod)
    if younger > 0:
        why = f"made {younger:.0f} s after the pod; a new pod is told of it"
        return Verdict(service, False, why)
    return Verdict(service, True, "in the pod's namespace, and no younger than the pod")


def _seconds_younger(service: Service, pod: Pod) -> float:
    """How long after the pod the Service was made (0 or less: not after it); unknown times count as before."""
    made, started = service.metadata.creation_timestamp, pod.metadata.creation_timestamp
    return seconds_of(made) - seconds_of(started) if made and started else 0.0


def _key(service: Service) -> tuple[str, str]:
    return service.metadata.namespace, service.metadata.name


def variables(services: Iterable[Service]) -> dict[str, str]:
    """The variables of Services that have a cluster IP, in both forms: `X_SERVICE_HOST` and docker's `X_PORT...`. Of
    two Services that claim one name the later one wins."""
    return {each.name: each.value for service in services for each in _variables_of(service)}


def _variables_of(service: Service) -> Iterator[Variable]:
    of, prefix, address = "/".join(_key(service)), _upper(service.metadata.name), service.spec.cluster_ip
    yield Variable(f"{prefix}_SERVICE_HOST", address, of, "cluster IP")
    for index, port in enumerate(service.spec.ports):
        number, protocol = str(port.port), port.protocol.lower()
        url = f"{protocol}://{host_port(address, port.port)}"
        if index == 0:
            yield Variable(f"{prefix}_SERVICE_PORT", number, of, "first port")
            yield Variable(f"{prefix}_PORT", url, of, "docker link, first port")
        if port.name:
            yield Variable(f"{prefix}_SERVICE_PORT_{_upper(port.name)}", number, of, f"port {port.name}")
        link, said = f"{prefix}_PORT_{number}_{protocol.upper()}", f"docker link, port {number}/{protocol.upper()}"
        yield Variable(link, url, of, said)
        yield Variable(f"{link}_PROTO", protocol, of, said)
        yield Variable(f"{link}_PORT", number, of, said)
        yield Variable(f"{link}_ADDR", address, of, said)


def _upper(name: str) -> str:
    return name.upper().replace("-", "_")


def explain(services: Sequence[Service], pod: Pod, container: Container) -> Links:
    """The Service variables of a container of the pod, and what becomes of each."""
    judged = verdicts(services, pod)
    claimed = [each for verdict in judged if verdict.told for each in _variables_of(verdict.service)]
    winner = {each.name: each.service for each in claimed}
    own = {each.name for each in container.env}
    told = tuple(_with_loss(each, winner[each.name], own) for each in claimed)
    remarks = []
    if container.env_from:
        remarks.append(
            f"container {container.name} has envFrom: keys of those ConfigMaps and Secrets win over Services"
        )
    return Links(pod, container.name, told, tuple(judged), tuple(remarks))


def _with_loss(each: Variable, winner: str, own: set[str]) -> Variable:
    loses = "the container's own env" if each.name in own else f"Service {winner}" if winner != each.service else ""
    return Variable(each.name, each.value, each.service, each.meaning, loses)


def text(links: Links) -> str:
    """For people: variables as a shell reads them, with the reasons as comments."""
    return "\n".join(_lines(links))


def _lines(links: Links) -> Iterator[str]:
    yield f"# Service variables of pod {links.pod}, container {links.container}"
    for verdict in links.verdicts:
        name = "/".join(_key(verdict.service))
        if verdict.told:
            yield ""
            yield f"# Service {name}: {verdict.why}"
            yield from map(_line, (each for each in links.variables if each.service == name))
    untold = [each for each in links.verdicts if not each.told]
    if untold:
        yield ""
    for verdict in untold:
        yield f"# not told: Service {'/'.join(_key(verdict.service))}: {verdict.why}"
    yield from (f"# note: {remark}" for remark in links.remarks)


def _line(each: Variable) -> str:
    assignment = f"{each.name}={each.value}"
    return f"# {assignment}  (lost to {each.loses})" if each.loses else f"{assignment}  # {each.meaning}"


def as_json(links: Links) -> dict[str, Any]:
    """For programs. `environment` is what the process sees of Services; `variables` is all that they claim."""
    return {
        "pod": str(links.pod),
        "container": links.container,
        "environment": {each.name: each.value for each in links.variables if not each.loses},
        "variables": [
            {"name": each.name, "value": each.value, "service": each.service, "meaning": each.meaning}
            | ({"lostTo": each.loses} if each.loses else {})
            for each in links.variables
        ],
        "services": [
            {"service": "/".join(_key(each.service)), "told": each.told, "why": each.why} for each in links.verdicts
        ],
        "notes": list(links.remarks),
    }
