"""Objects as the API writes them, and questions as people put them, for the tests of names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from fairway.dns import names, view
from fairway.dns.records import Answer, Question, Type
from fairway.dns.zone import Zone

Object = dict[str, Any]


def service(name: str, namespace: str = "default", *ips: str, ports: Iterable[str] = (), **spec: Any) -> Object:
    """A Service; `ips` are its cluster IPs ("None" for headless), ports are written `http:80/TCP` or `80/TCP`."""
    if ips:
        spec |= {"clusterIP": ips[0], "clusterIPs": list(ips)}
    spec |= {"ports": [_port(each) for each in ports]}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


def external(name: str, target: str, namespace: str = "default") -> Object:
    """An ExternalName Service."""
    return service(name, namespace, type="ExternalName", externalName=target)


def endpoints(
    of: str, *addresses: str | Mapping[str, Any], name: str = "", namespace: str = "default", ports: Iterable[str] = ()
) -> Object:
    """An EndpointSlice of the Service `of`: ready addresses, or whole endpoints."""
    return {
        "metadata": {"name": name or f"{of}-1", "namespace": namespace, "labels": {"kubernetes.io/service-name": of}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [each]} if isinstance(each, str) else each for each in addresses],
        "ports": [_port(each) for each in ports],
    }


def host(hostname: str, *addresses: str, ready: bool = True) -> Object:
    """One endpoint with a hostname."""
    return {"addresses": list(addresses), "conditions": {"ready": ready}, "hostname": hostname}


def unready(*addresses: str) -> Object:
    """One endpoint that is not ready."""
    return {"addresses": list(addresses), "conditions": {"ready": False}}


def pod(name: str, ip: str, namespace: str = "default", phase: str = "Running") -> Object:
    """A Pod with an address."""
    status = {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}]}
    return {"metadata": {"name": name, "namespace": namespace}, "status": status}


def namespace(name: str) -> Object:
    """A Namespace."""
    return {"metadata": {"name": name}}


def put(zone: Zone, *objects: Object) -> Zone:
    """Set objects of any kind, read from their JSON."""
    for each in objects:
        raw = json.dumps(each).encode()
        if "addressType" in each:
            zone.set_slice(view.decode_slice(raw))
        elif "status" in each:
            zone.set_pod(view.decode_pod(raw))
        elif "spec" in each:
            zone.set_service(view.decode_service(raw))
        else:
            zone.set_namespace(view.decode_namespace(raw))
    return zone


def answer(zone: Zone, question: str) -> Answer:
    """The answer to a question written `name TYPE`."""
    name, type = question.split()
    return zone.answer(Question(names.parse(name), Type[type] if type in Type.__members__ else int(type)))


def ask(zone: Zone, question: str) -> list[str]:
    """The answer section as zone-file lines, or the rcode alone when the answer section is empty."""
    given = answer(zone, question)
    return [str(each) for each in given.answer] or [given.rcode.name]


def _port(written: str) -> Object:
    name, _, rest = written.rpartition(":")
    number, _, protocol = rest.partition("/")
    return {"name": name, "port": int(number), "protocol": protocol}
