"""What roles cannot say about a node's agent: it acts for its own node and the pods there, and for nobody else.

Rules: the Kubernetes documentation ("Using Node Authorization", "NodeRestriction"). Unlike there, every agent may read
all Nodes: it lays the routes to the pods of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from fairway.api import incoming, render, status
from fairway.api.audit import READING
from fairway.api.auth import refusal
from fairway.api.bodies import TokenRequest, read
from fairway.api.keys import key_of, prefix_of
from fairway.api.requests import Request
from fairway.api.users import User
from fairway.objects.kinds import CONFIG_MAP, LEASE, NODE, POD, SECRET, SERVICE_ACCOUNT, Kind
from fairway.objects.selectors import parse_fields
from fairway.store.base import Store

Object = dict[str, Any]

LEASES = "kube-node-lease"
MIRROR = "kubernetes.io/config.mirror"
MACHINE_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
MACHINE_LABELS = frozenset(
    [f"{prefix}kubernetes.io/{name}" for prefix in ("", "beta.") for name in ("arch", "os")]
    + [f"{prefix}.kubernetes.io/instance-type" for prefix in ("beta", "node")]
    + [
        f"{prefix}.kubernetes.io/{name}"
        for prefix in ("failure-domain.beta", "topology")
        for name in ("region", "zone")
    ]
    + ["kubernetes.io/hostname"]
)
_SOURCES = {SECRET: ("secretRef", "secretKeyRef"), CONFIG_MAP: ("configMapRef", "configMapKeyRef")}


class NodeGate:
    """Holds the requests of agents against what is on their nodes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def hold(self, user: User, request: Request, body: bytes) -> None:
        """Let the agent of a node do it or raise 403. Its roles have been asked already."""
        node, target = user.node, request.target
        if target.kind in (NODE, LEASE) and request.verb not in READING and target.name:
            _own(node, target.kind, target.namespace, target.name)
        elif target.kind is POD:
            await self._pod(user, request, body)
        elif target.kind in (SECRET, CONFIG_MAP):
            name = target.name or _exact(request, "metadata.name")
            if not await self._is_referred_to(node, target.kind, target.namespace, name):
                raise _refused(user, request, f"no relationship found between node '{node}' and this object")
        elif target.kind is SERVICE_ACCOUNT and target.subresource == "token":
            await self._token(node, request, body)

    async def _pod(self, user: User, request: Request, body: bytes) -> None:
        if request.verb in ("list", "watch") and not request.target.name:
            if _exact(request, "spec.nodeName") != user.node:
                raise _refused(user, request, "can only list/watch pods with spec.nodeName field selector")
        elif request.verb == "create" and not request.target.name:
            _mirror(user.node, incoming.decode(body, request.content_type)[0])
        else:
            await self._running(user, request)

    async def _running(self, user: User, request: Request) -> None:
        """The pod is one of the node's, or is not there: the answer will say that."""
        pod = await self._load(request.target.namespace, request.target.name)
        if pod is not None and pod["spec"].get("nodeName") != user.node:
            what = request.target.subresource or request.verb
            why = f'node "{user.node}" can only {what} pods with spec.nodeName set to itself'
            raise status.forbidden(POD, request.target.name, why)

    async def _token(self, node: str, request: Request, body: bytes) -> None:
        """A token is for a pod of the node, of that account."""
        target = request.target
        asked = read(incoming.decode(body, request.content_type)[0], TokenRequest) if body else TokenRequest()
        bound = asked.spec.boundObjectRef
        if bound is None or bound.kind != POD.name:
            raise status.forbidden(SERVICE_ACCOUNT, target.name, "node requested token not bound to a pod")
        pod = await self._load(target.namespace, bound.name)
        if pod is None or pod["spec"].get("nodeName") != node:
            why = "node requested token bound to a pod scheduled on a different node"
            raise status.forbidden(SERVICE_ACCOUNT, target.name, why)
        if pod["spec"].get("serviceAccountName") != target.name:
            why = "node requested token bound to a pod with a different service account"
            raise status.forbidden(SERVICE_ACCOUNT, target.name, why)

    async def _load(self, namespace: str, name: str) -> Object | None:
        entry = await self._store.get(key_of(POD, namespace, name))
        return render.load(entry.value, entry.modified) if entry else None

    async def _is_referred_to(self, node: str, kind: Kind, namespace: str, name: str) -> bool:
        """Whether a pod of the node refers to the object. Most pods are passed over by their bytes: decoding all pods
        of a namespace for each file of each pod would be slow."""
        if not name or not namespace:
            return False
        marks = [msgspec.json.encode(text) for text in (node, name)]
        page = await self._store.range(prefix_of(POD, namespace))
        for entry in page.entries:
            if all(mark in entry.value for mark in marks):
                spec = msgspec.json.decode(entry.value)["spec"]
                if spec.get("nodeName") == node and (kind, name) in set(references(spec)):
                    return True
        return False


def guard(user: User, kind: Kind, namespace: str, obj: Object, old: Object | None) -> None:
    """Hold an object that an agent writes against its node, and against the `old` one if there is one. Raises 403."""
    if kind in (NODE, LEASE):
        _own(user.node, kind, namespace, obj["metadata"].get("name") or "")
    if kind is NODE:
        _restrained(user.node, obj, old)


def _restrained(node: str, obj: Object, old: Object | None) -> None:
    """Where pods go is decided by labels and taints that an agent taken over could turn to its advantage: it may set
    its taints at the beginning only, and of Kubernetes' labels those that describe the machine."""
    labels, before = (each["metadata"].get("labels") or {} for each in (obj, old or {"metadata": {}}))
    changed = {name for name in {*labels, *before} if labels.get(name) != before.get(name)}
    if refused := sorted(filter(_reserved, changed)):
        what = "modify labels" if old else "set the following labels"
        raise status.forbidden(NODE, node, f'node "{node}" is not allowed to {what}: {", ".join(refused)}')
    if old and _taints(obj) != _taints(old):
        raise status.forbidden(NODE, node, f'node "{node}" is not allowed to modify taints')


def _taints(node: Object) -> list[Any]:
    return (node.get("spec") or {}).get("taints") or []


def _reserved(label: str) -> bool:
    """Whether a label is Kubernetes' own and none of those that agents set."""
    domain, slash, _ = label.partition("/")
    if not slash or label in MACHINE_LABELS or _within(domain, MACHINE_DOMAINS):
        return False
    return _within(domain, ("kubernetes.io", "k8s.io"))


def _within(domain: str, domains: Iterable[str]) -> bool:
    return any(domain == one or domain.endswith(f".{one}") for one in domains)


def references(spec: Mapping[str, Any]) -> Iterator[tuple[Kind, str]]:
    """The Secrets and ConfigMaps that a pod spec refers to."""
    for volume in spec.get("volumes") or []:
        for source in [volume, *((volume.get("projected") or {}).get("sources") or [])]:
            secret = source.get("secret") or {}
            yield SECRET, str(secret.get("secretName") or secret.get("name") or "")
            yield CONFIG_MAP, str((source.get("configMap") or {}).get("name") or "")
    for pull in spec.get("imagePullSecrets") or []:
        yield SECRET, str(pull.get("name") or "")
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(part) or []:
            given = [(variable.get("valueFrom") or {}) for variable in container.get("env") or []]
            for source in [*given, *(container.get("envFrom") or [])]:
                for kind, fields in _SOURCES.items():
                    for field in fields:
                        yield kind, str((source.get(field) or {}).get("name") or "")


def _mirror(node: str, pod: Object) -> None:
    """A pod that an agent makes tells of one that its node runs by itself."""
    meta = pod.get("metadata") or {}
    name = str(meta.get("name") or "")
    if MIRROR not in (meta.get("annotations") or {}):
        why = f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
        raise status.forbidden(POD, name, why)
    if (pod.get("spec") or {}).get("nodeName") != node:
        raise status.forbidden(POD, name, f'node "{node}" can only create pods with spec.nodeName set to itself')


def _own(node: str, kind: Kind, namespace: str, name: str) -> None:
    if kind is LEASE and namespace != LEASES:
        raise status.forbidden(LEASE, name, f'can only access leases in the "{LEASES}" system namespace')
    if name != node:
        what = f'{kind.singular} "{name}"'
        raise status.forbidden(kind, name, f'node "{node}" is not allowed to modify {what}')


def _exact(request: Request, field: str) -> str:
    """What the request's field selector narrows a collection to. Raises SelectorError."""
    return parse_fields(request.options.field_selector).exact(field) or ""


def _refused(user: User, request: Request, why: str) -> status.Failure:
    failure = refusal(user, request)
    return status.Failure(failure.code, failure.reason, f"{failure.message}: {why}", failure.details)
