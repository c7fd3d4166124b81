"""Namespaces: what each one has from the start, and how one that goes is emptied and let go. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from fairway.client.base import Object
from fairway.control import pods
from fairway.control.times import stamp
from fairway.control.writes import Create, Delete, Plan, Update, Write
from fairway.objects.kinds import CONFIG_MAP, NAMESPACE, SERVICE_ACCOUNT, Kind

FINALIZER = "kubernetes"
ROOT_CA = "kube-root-ca.crt"
ROOT_CA_KEY = "ca.crt"
DEFAULT_ACCOUNT = "default"


def furnish(namespace: Object, account: Object | None, root: Object | None, root_ca: str) -> Plan:
    """What a living namespace lacks: the ServiceAccount `default` (`account` is the present one), and the ConfigMap
    with the CA certificate (`root` is the present one; nothing when `root_ca`, PEM text, is "")."""
    if pods.is_going(namespace):
        return Plan()
    name = namespace["metadata"]["name"]
    writes: list[Write] = []
    if account is None:
        writes.append(Create(SERVICE_ACCOUNT, _named(SERVICE_ACCOUNT, name, DEFAULT_ACCOUNT)))
    data = {ROOT_CA_KEY: root_ca}
    if root_ca and root is None:
        writes.append(Create(CONFIG_MAP, {**_named(CONFIG_MAP, name, ROOT_CA), "data": data}))
    elif root_ca and root is not None and root.get("data") != data:
        writes.append(Update(CONFIG_MAP, {**root, "data": data}))
    return Plan(writes)


def _named(kind: Kind, namespace: str, name: str) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": name, "namespace": namespace}}


def empty(contents: Mapping[Kind, Sequence[Object]]) -> Plan:
    """Delete what is left in a namespace that goes, except what is on its way already."""
    return Plan(
        [
            Delete(kind, obj["metadata"]["namespace"], obj["metadata"]["name"], obj["metadata"]["uid"])
            for kind, objects in contents.items()
            for obj in objects
            if not pods.is_going(obj)
        ]
    )


def report(namespace: Object, left: Mapping[Kind, Sequence[Object]], now: float) -> Plan:
    """Say in the status of a namespace that goes what is `left` in it, and whose finalizers hold that. `now` is in
    seconds since 1970."""
    counts = {kind.resource: len(objects) for kind, objects in left.items() if objects}
    holders = Counter(
        holder for objects in left.values() for obj in objects for holder in obj["metadata"].get("finalizers") or ()
    )
    told = pods.with_condition(namespace, _remains("Content", "resources", counts, "ContentRemoved"), stamp(now))
    held = _remains("Finalizers", "finalizers", holders, "ContentHasNoFinalizers")
    told = pods.with_condition(told, held, stamp(now))
    return Plan() if told == namespace else Plan([Update(NAMESPACE, told, "status")])


def _remains(what: str, words: str, counts: Mapping[str, int], none: str) -> Mapping[str, str]:
    """A condition that users look at when a namespace does not go; types and reasons are those of the API reference."""
    listed = ", ".join(f"{name} ({counts[name]})" for name in sorted(counts))
    return {
        "type": f"Namespace{what}Remaining",
        "status": "True" if counts else "False",
        "reason": f"Some{words.capitalize()}Remain" if counts else none,
        "message": f"Some {words} are remaining: {listed}" if counts else f"No {words} are remaining",
    }


def let_go(namespace: Object) -> Plan:
    """Take our finalizer from an emptied namespace."""
    spec = namespace.get("spec", {})
    finalizers = spec.get("finalizers") or []
    if not pods.is_going(namespace) or FINALIZER not in finalizers:
        return Plan()
    kept = [each for each in finalizers if each != FINALIZER]
    return Plan([Update(NAMESPACE, {**namespace, "spec": {**spec, "finalizers": kept}}, "finalize")])
