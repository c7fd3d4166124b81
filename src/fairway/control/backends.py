"""Which pods stand behind a Service, at which addresses and ports: what slices and Endpoints have in common. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fairway.client.base import Object
from fairway.control import pods

Family = Literal["IPv4", "IPv6"]
HEADLESS_LABEL = "service.kubernetes.io/headless"
TRIGGER_ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """A port of a Service as one pod serves it."""

    name: str
    port: int
    protocol: str
    app_protocol: str = ""

    def as_object(self) -> dict[str, Any]:
        """The API's EndpointPort; the name is left out when empty only where `Endpoints` wants that."""
        entry: dict[str, Any] = {"name": self.name, "port": self.port, "protocol": self.protocol}
        return {**entry, "appProtocol": self.app_protocol} if self.app_protocol else entry


def selects(service: Object) -> bool:
    """Whether the Service's endpoints follow its selector; others are written by hand or live outside."""
    spec = service.get("spec", {})
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName"


def is_headless(service: Object) -> bool:
    """Whether the Service has no cluster address on purpose."""
    return bool(service.get("spec", {}).get("clusterIP") == "None")


def publishes_not_ready(service: Object) -> bool:
    """Whether readiness shall not matter."""
    return bool(service.get("spec", {}).get("publishNotReadyAddresses"))


def families(service: Object) -> list[Family]:
    """The address families of the Service, the primary one first; where it names none, that of its address, or
    IPv4."""
    spec = service.get("spec", {})
    named: list[Family] = [each for each in spec.get("ipFamilies") or () if each in ("IPv4", "IPv6")]
    if named:
        return named
    found = family_of(spec.get("clusterIP") or "")
    return [found or "IPv4"]


def family_of(address: str) -> Family | None:
    """The family of an address; None when the text is no address ("None", "")."""
    try:
        return "IPv6" if ipaddress.ip_address(address).version == 6 else "IPv4"
    except ValueError:
        return None


def address_of(pod: Object, family: Family) -> str | None:
    """The pod's address of that family."""
    status = pod.get("status", {})
    known = [each.get("ip", "") for each in status.get("podIPs") or ()] or [status.get("podIP") or ""]
    return next((address for address in known if family_of(address) == family), None)


def ports_of(service: Object, pod: Object) -> tuple[Port, ...]:
    """The Service's ports on this pod, sorted; a named target port that the pod does not have is left out."""
    found = []
    for port in service["spec"].get("ports") or ():
        protocol = port.get("protocol") or "TCP"
        number = _target(port, protocol, pod)
        if number is not None:
            found.append(Port(port.get("name") or "", number, protocol, port.get("appProtocol") or ""))
    return tuple(sorted(found))


def _target(port: Mapping[str, Any], protocol: str, pod: Object) -> int | None:
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    for container in _containers(pod):
        for each in container.get("ports") or ():
            if each.get("name") == target and (each.get("protocol") or "TCP") == protocol:
                return int(each["containerPort"])
    return None


def _containers(pod: Object) -> Iterable[Mapping[str, Any]]:
    """Containers that run as long as the pod does: the ordinary ones and sidecars (KEP-753)."""
    spec = pod.get("spec", {})
    yield from spec.get("containers") or ()
    yield from (each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always")


def hostname_of(service: Object, pod: Object) -> str:
    """The pod's own name under a headless Service, "" when the Service is not the subdomain it asked for."""
    spec = pod.get("spec", {})
    return str(spec.get("hostname") or "") if spec.get("subdomain") == service["metadata"]["name"] else ""


def target_ref(pod: Object) -> dict[str, str]:
    """The reference from an endpoint to its pod."""
    metadata = pod["metadata"]
    return {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}


def copied_labels(service: Object, own: Sequence[str]) -> dict[str, str]:
    """The Service's labels without those that the controller itself sets (`own`)."""
    return {key: value for key, value in pods.labels(service).items() if key not in own}
