"""Pods: what a pod spec may say, and the few things an update may change."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from fairway.objects import names
from fairway.objects.errors import FieldError, duplicate, forbidden, invalid, required, show, too_many
from fairway.objects.qos import qos_class
from fairway.objects.validate.affinity import validate_affinity, validate_spread, validate_tolerations
from fairway.objects.validate.container import Surroundings, validate_containers, validate_resources
from fairway.objects.validate.meta import IMMUTABLE
from fairway.objects.validate.volume import validate_volumes

Object = dict[str, Any]

MAX_NAMESERVERS = 3
MAX_SEARCHES = 32
MAX_SEARCH_CHARACTERS = 2048

_MUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, "
    "`spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to existing tolerations), "
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate_pod(pod: Object) -> Iterator[FieldError]:
    """A whole pod."""
    spec = pod.get("spec")
    if spec is None:
        yield required("spec.containers")
        return
    yield from validate_pod_spec(spec, "spec")
    if spec.get("ephemeralContainers"):
        yield forbidden("spec.ephemeralContainers", "cannot be set on create")


def validate_pod_spec(spec: Object, path: str) -> Iterator[FieldError]:
    """The rules that relate fields of a pod spec (also a template's) to each other."""
    volumes = spec.get("volumes") or []
    yield from validate_volumes(volumes, f"{path}.volumes")
    known = frozenset(volume.get("name") or "" for volume in volumes)
    yield from validate_containers(spec, path, Surroundings(known, bool(spec.get("hostNetwork"))))
    yield from validate_resources(spec.get("resources") or {}, f"{path}.resources")
    yield from _dns(spec, path)
    yield from _host(spec, path)
    yield from validate_affinity(spec.get("affinity") or {}, f"{path}.affinity")
    yield from validate_tolerations(spec.get("tolerations") or [], f"{path}.tolerations")
    yield from validate_spread(spec.get("topologySpreadConstraints") or [], f"{path}.topologySpreadConstraints")
    gates: set[str] = set()
    for index, gate in enumerate(spec.get("schedulingGates") or []):
        if gate.get("name") in gates:
            yield duplicate(f"{path}.schedulingGates[{index}]", gate.get("name"))
        gates.add(gate.get("name") or "")
    if spec.get("schedulingGates") and spec.get("nodeName"):
        yield forbidden(f"{path}.nodeName", "cannot be set until all schedulingGates have been cleared")


def validate_pod_update(new: Object, old: Object) -> Iterator[FieldError]:
    """Only images, deadlines and tolerations of a pod may change, and its scheduling gates may go."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    if after == before:
        return
    for field in ("containers", "initContainers"):
        if len(after.get(field) or []) != len(before.get(field) or []):
            yield forbidden(f"spec.{field}", "pod updates may not add or remove containers")
            return
    yield from _deadline(after.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    yield from _more_tolerations(after.get("tolerations") or [], before.get("tolerations") or [])
    if _fixed(after, before) != before:
        changed = sorted(key for key in {*after, *before} if _fixed(after, before).get(key) != before.get(key))
        yield forbidden("spec", f"{_MUTABLE}; changed: {', '.join(changed)}")


def validate_ephemeral_update(new: Object, old: Object) -> Iterator[FieldError]:
    """Ephemeral containers are added; those that are there stay as they are (KEP-277)."""
    now = {each.get("name"): each for each in (new.get("spec") or {}).get("ephemeralContainers") or []}
    for had in (old.get("spec") or {}).get("ephemeralContainers") or []:
        name = had.get("name")
        if name not in now:
            yield forbidden(
                "spec.ephemeralContainers", f"existing ephemeral containers {show(name)} may not be removed"
            )
        elif now[name] != had:
            yield forbidden(
                "spec.ephemeralContainers", f"existing ephemeral containers {show(name)} may not be changed"
            )


def validate_resize(new: Object, old: Object) -> Iterator[FieldError]:
    """CPU and memory may change as long as the pod keeps its class of service (KEP-1287)."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    if qos_class(after) != qos_class(before):
        yield invalid("spec", qos_class(after), "Pod QOS Class may not change as a result of resizing")
    for field in ("initContainers", "containers"):
        for index, (now, had) in enumerate(zip(after.get(field) or [], before.get(field) or [], strict=True)):
            if _others(now) != _others(had):
                yield forbidden(f"spec.{field}[{index}].resources", "only cpu and memory resources are mutable")


def _others(container: Object) -> Object:
    """What a container asks for besides CPU and memory."""
    resources = container.get("resources") or {}
    return {
        part: {name: amount for name, amount in (resources.get(part) or {}).items() if name not in ("cpu", "memory")}
        for part in ("limits", "requests")
    } | {"claims": resources.get("claims") or []}


def _fixed(after: Object, before: Object) -> Object:
    """The new spec with everything that may change put back: it must equal the old one."""
    fixed = deepcopy(after)
    for field in ("containers", "initContainers"):
        for container, had in zip(fixed.get(field) or [], before.get(field) or [], strict=False):
            _put_back(container, had, "image")
    for name in ("activeDeadlineSeconds", "tolerations"):
        _put_back(fixed, before, name)
    if (before.get("terminationGracePeriodSeconds") or 0) < 0 and after.get("terminationGracePeriodSeconds") == 1:
        _put_back(fixed, before, "terminationGracePeriodSeconds")
    gates = before.get("schedulingGates") or []
    if all(gate in gates for gate in fixed.get("schedulingGates") or []):
        _put_back(fixed, before, "schedulingGates")
        if gates:
            _put_back(fixed, before, "nodeSelector")
            _put_back(fixed, before, "affinity")
    return fixed


def _put_back(fixed: Object, before: Object, name: str) -> None:
    if name in before:
        fixed[name] = before[name]
    else:
        fixed.pop(name, None)


def _deadline(after: int | None, before: int | None) -> Iterator[FieldError]:
    if before is not None and (after is None or after > before):
        detail = "must be less than or equal to previous value" if after is not None else IMMUTABLE
        yield invalid("spec.activeDeadlineSeconds", after, detail)


def _more_tolerations(after: list[Object], before: list[Object]) -> Iterator[FieldError]:
    def timeless(toleration: Object) -> Object:
        return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}

    kept = [timeless(toleration) for toleration in after]
    if any(timeless(toleration) not in kept for toleration in before):
        yield forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")


def _dns(spec: Object, path: str) -> Iterator[FieldError]:
    config = spec.get("dnsConfig") or {}
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if spec.get("dnsPolicy") == "None" and not servers:
        yield required(
            f"{path}.dnsConfig.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"
        )
    if len(servers) > MAX_NAMESERVERS:
        yield too_many(f"{path}.dnsConfig.nameservers", len(servers), MAX_NAMESERVERS)
    if len(searches) > MAX_SEARCHES:
        yield too_many(f"{path}.dnsConfig.searches", len(searches), MAX_SEARCHES)
    if len(" ".join(searches)) > MAX_SEARCH_CHARACTERS:
        detail = f"must not have more than {MAX_SEARCH_CHARACTERS} characters (including spaces) in the search list"
        yield invalid(f"{path}.dnsConfig.searches", searches, detail)
    for index, domain in enumerate(searches):
        for detail in _search(domain):
            yield invalid(f"{path}.dnsConfig.searches[{index}]", domain, detail)
    for index, option in enumerate(config.get("options") or []):
        if not option.get("name"):
            yield required(f"{path}.dnsConfig.options[{index}]", "must not be empty")


def _search(domain: str) -> list[str]:
    """A search domain; underscores and the lone dot were allowed in 1.34."""
    bare = domain.removesuffix(".").replace("_", "a")
    return [] if domain == "." else names.subdomain(bare)


def _host(spec: Object, path: str) -> Iterator[FieldError]:
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        yield invalid(f"{path}.shareProcessNamespace", True, "shareProcessNamespace and hostPID cannot both be enabled")
    if spec.get("hostUsers") is False:
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(name):
                yield forbidden(f"{path}.{name}", "when `hostUsers` is false")
