"""What a Service's status says of its load balancer: ingress, condition, the mark of an address taken back. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from fairway.client.base import Object
from fairway.control import pods
from fairway.control.loadbalancer import Reason
from fairway.control.loadbalancer_claims import NODES, Claim
from fairway.control.loadbalancer_pools import Settings
from fairway.control.loadbalancer_requests import Request, ingress
from fairway.control.times import stamp
from fairway.control.writes import Note, Update
from fairway.objects.kinds import SERVICE

CONDITION = "fairway.io/LoadBalancer"
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
_WITHDRAWN = "Withdrawn"
_MARK = re.compile(r"\(record (\S+)\)$")


def condition(service: Object) -> Mapping[str, str] | None:
    """Our condition on a Service."""
    return pods.condition(service, CONDITION)


def granted(service: Object) -> bool:
    """Whether the controller says that it gave what the status shows."""
    said = condition(service)
    return said is not None and said.get("status") == "True"


def mark(service: Object) -> str:
    """The version of the record from which an address of this Service is being taken back; "" without such a mark."""
    said = condition(service)
    found = _MARK.search(said.get("message", "")) if said is not None and said.get("reason") == _WITHDRAWN else None
    return found[1] if found else ""


def withdrawal(service: Object, addresses: Mapping[str, Reason], version: str, now: float) -> Update | None:
    """Take `addresses` out of the status and mark it; None when that is done. Every such write changes the object,
    so that nobody who has read it before can put the addresses back."""
    left = [] if NODES in addresses else [each for each in ingress(service) if each.get("ip") not in addresses]
    told = "; ".join(f"{address}: {why.text}" for address, why in addresses.items())
    said = _said("True" if left else "False", _WITHDRAWN, f"taken back: {told} (record {version})")
    if mark(service) == version and left == ingress(service):
        return None
    return _update(service, left, said, now, Note(SERVICE, service, "Warning", "AddressWithdrawn", told))


def cleaning(service: Object, now: float) -> Update | None:
    """Take our condition from a Service that is not ours any more; None when it has none."""
    if condition(service) is None:
        return None
    return _update(service, ingress(service), None, now, None)


def settled(
    service: Object, claim: Claim | None, reason: Reason | None, own: Sequence[str], settings: Settings, now: float
) -> Update | None:
    """Show what the Service holds and why it lacks the rest; None when the status says so. `own` are the addresses of
    the nodes that serve it, if it holds ports of theirs."""
    held = claim.addresses if claim is not None else ()
    shown = list(own) if NODES in held else list(held)
    if NODES in held and not own:
        reason = reason or Reason("NoNodes", "no node that is ready and may serve it has an address of its families")
    points = [{"ip": address, "ipMode": "VIP"} for address in shown]
    if reason is None:
        said = _said("True", "Assigned", _origin(shown, NODES in held, settings))
    else:
        text = f"{_origin(shown, NODES in held, settings)}; {reason.text}" if shown else reason.text
        said = _said("True" if shown else "False", reason.word, text)
    had = [{"ip": each.get("ip"), "ipMode": each.get("ipMode", "VIP")} for each in ingress(service)]
    if had == points and _same(condition(service), said):
        return None
    note = Note(SERVICE, service, "Warning" if reason else "Normal", said["reason"], said["message"])
    return _update(service, points, said, now, note)


def serving(request: Request, nodes: Iterable[Object], local: frozenset[str], settings: Settings) -> tuple[str, ...]:
    """The addresses of the nodes that serve a Service by their own: ready ones with the settings' labels that are not
    excluded, and under policy Local only those in `local`, which have a ready endpoint."""
    found: list[str] = []
    for node in sorted(nodes, key=lambda each: str(each["metadata"]["name"])):
        labels = pods.labels(node)
        if not pods.is_ready(node) or EXCLUDED in labels:
            continue
        if any(labels.get(name) != value for name, value in settings.node_labels.items()):
            continue
        if request.terms.local and node["metadata"]["name"] not in local:
            continue
        for version in request.versions:
            of_family = (each for each in addresses_of(node) if ipaddress.ip_address(each).version == version)
            found.extend(one for one in [next(of_family, None)] if one)
    return tuple(found)


def addresses_of(node: Object) -> list[str]:
    """A node's addresses in canonical spelling, external ones first. What is none is left out: a node may write into
    its own status what it likes."""
    said = (node.get("status") or {}).get("addresses") or []
    texts = [
        each.get("address", "") for kind in ("ExternalIP", "InternalIP") for each in said if each.get("type") == kind
    ]
    found: list[str] = []
    for text in texts:
        with suppress(ValueError):
            found.append(str(ipaddress.ip_address(text)))
    return found


def ranges_of(node: Object) -> list[str]:
    """Where the addresses of a node's pods come from."""
    spec = node.get("spec") or {}
    return list(spec.get("podCIDRs") or filter(None, [spec.get("podCIDR")]))


def _origin(shown: Sequence[str], of_nodes: bool, settings: Settings) -> str:
    if of_nodes:
        return "the addresses of the nodes that serve it"
    words = []
    for address in shown:
        pool = settings.pool_of(ipaddress.ip_address(address))
        words.append(f"{address} of pool {pool.name!r}" if pool else address)
    return ", ".join(words)


def _said(state: str, reason: str, message: str) -> dict[str, str]:
    return {"type": CONDITION, "status": state, "reason": reason, "message": message}


def _same(had: Mapping[str, str] | None, said: Mapping[str, str]) -> bool:
    return had is not None and all(had.get(name) == said[name] for name in ("status", "reason", "message"))


def _update(
    service: Object, points: Sequence[Object], said: Mapping[str, str] | None, now: float, told: Note | None
) -> Update:
    status = {**(service.get("status") or {}), "loadBalancer": {"ingress": list(points)} if points else {}}
    if said is not None:
        return Update(SERVICE, pods.with_condition({**service, "status": status}, said, stamp(now)), "status", told)
    others = [each for each in status.pop("conditions", None) or [] if each.get("type") != CONDITION]
    if others:
        status["conditions"] = others
    return Update(SERVICE, {**service, "status": status}, "status", told)
