"""Service ranges: ready from their first moment, and kept while an address of theirs is held (KEP-1880). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from fairway.client.base import Object
from fairway.control import pods
from fairway.control.times import stamp
from fairway.control.writes import Note, Plan, Update
from fairway.objects.kinds import SERVICE_CIDR

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
READY = "Kubernetes Service CIDR is ready"
HELD = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
LOOK_AGAIN_SECONDS = 5.0


def plan(cidr: Object, others: Iterable[Object], addresses: Iterable[str], now: float) -> Plan:
    """What a ServiceCIDR lacks. `others` are the further ones, `addresses` the names of all IPAddresses."""
    finalizers = cidr["metadata"].get("finalizers") or []
    if not pods.is_going(cidr):
        if FINALIZER not in finalizers:
            return Plan([_with_finalizers(cidr, [*finalizers, FINALIZER])])
        return Plan() if _condition(cidr) else Plan([_said(cidr, "True", "", READY, now)])
    if FINALIZER not in finalizers:
        return Plan()
    living = [each for each in others if not pods.is_going(each)]
    if not is_held(cidr, living, addresses):
        return Plan([_with_finalizers(cidr, [name for name in finalizers if name != FINALIZER])])
    condition = _condition(cidr)
    if condition is not None and condition.get("reason") == "Terminating":
        return Plan(again=LOOK_AGAIN_SECONDS)
    told = Note(SERVICE_CIDR, cidr, "Warning", "KubernetesServiceCIDRHeld", HELD)
    return Plan([_said(cidr, "False", "Terminating", HELD, now, told)], LOOK_AGAIN_SECONDS)


def is_held(cidr: Object, living: Iterable[Object], addresses: Iterable[str]) -> bool:
    """Whether an address lies in one of the ranges and in none of the `living` ServiceCIDRs' ranges."""
    own = _ranges(cidr)
    rest = [found for each in living for found in _ranges(each)]
    for text in addresses:
        address = ip_address(text)
        if any(address in found for found in own) and not any(address in found for found in rest):
            return True
    return False


def _ranges(cidr: Object) -> list[IPv4Network | IPv6Network]:
    return [ip_network(text) for text in (cidr.get("spec") or {}).get("cidrs") or []]


def _condition(cidr: Object) -> Object | None:
    conditions = (cidr.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each.get("type") == "Ready"), None)


def _with_finalizers(cidr: Object, finalizers: list[str]) -> Update:
    return Update(SERVICE_CIDR, {**cidr, "metadata": {**cidr["metadata"], "finalizers": finalizers}})


def _said(cidr: Object, state: str, reason: str, message: str, now: float, told: Note | None = None) -> Update:
    ready = {"type": "Ready", "status": state, "reason": reason, "message": message, "lastTransitionTime": stamp(now)}
    status = cidr.get("status") or {}
    others = [each for each in status.get("conditions") or [] if each.get("type") != "Ready"]
    return Update(SERVICE_CIDR, {**cidr, "status": {**status, "conditions": [*others, ready]}}, "status", told)
