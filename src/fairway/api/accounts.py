"""Every pod acts as a service account: the files of its identity are added to the pod that is created, as a projected
volume of a token, the cluster's CA and the namespace, where clients in pods look for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from fairway.api import status
from fairway.api.keys import key_of
from fairway.objects.kinds import POD, SERVICE_ACCOUNT
from fairway.store.base import Store

Object = dict[str, Any]

PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_SECONDS = 3607
"""An hour and seven seconds: the odd number tells tokens that nobody asked for from those that somebody did."""
ROOT_CA, ROOT_CA_KEY = "kube-root-ca.crt", "ca.crt"
DEFAULT = "default"


class _Account(msgspec.Struct, frozen=True, rename="camel"):
    automount_service_account_token: bool | None = None


async def equip(store: Store, pod: Object, namespace: str, suffix: Callable[[], str]) -> None:
    """Add the volume and its mounts to a pod that is about to be created, in place, unless pod or account say no.
    Containers that mount something there themselves are left alone. Raises 403 for an account that does not exist
    (`default` is made by a controller and may come a moment later)."""
    spec = pod.get("spec")
    if not isinstance(spec, dict) or not spec.get("containers"):
        return  # validation will say what is missing
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or DEFAULT
    entry = await store.get(key_of(SERVICE_ACCOUNT, namespace, name))
    if entry is None and name != DEFAULT:
        why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise status.forbidden(POD, pod["metadata"].get("name") or "", why)
    account = msgspec.json.decode(entry.value, type=_Account) if entry else _Account()
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.automount_service_account_token
    if wanted is not False:
        _add_volume(spec, f"kube-api-access-{suffix()}")


def _add_volume(spec: Object, name: str) -> None:
    containers = [*(spec.get("initContainers") or []), *spec["containers"]]
    without = [one for one in containers if not any(m.get("mountPath") == PLACE for m in one.get("volumeMounts") or [])]
    for container in without:
        mounts = container.get("volumeMounts") or []
        container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": PLACE}]
    if without:
        spec["volumes"] = [*(spec.get("volumes") or []), {"name": name, "projected": _projection()}]


def _projection() -> Object:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": ROOT_CA, "items": [{"key": ROOT_CA_KEY, "path": ROOT_CA_KEY}]}},
            {"downwardAPI": {"items": [namespace]}},
        ],
    }
