"""EDGE. Projected volumes: a pod's token, the cluster's CA, its own metadata, as files that are kept fresh.

The files lie in the pod's directory and are shown where the pod wants them when its sandbox is made. A file is
replaced as a whole, so that a reader sees the old or the new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fairway.client.base import Client
from fairway.objects.kinds import CONFIG_MAP, SERVICE_ACCOUNT
from fairway.pods.env import Place, field
from fairway.pods.errors import ConfigProblem
from fairway.pods.view import ConfigMapProjection, Pod, ProjectedSource, TokenProjection, Volume, seconds_of

FRESH = 0.8
"""The part of its life after which a token is replaced, as the kubelet does it."""


@dataclass(frozen=True, slots=True)
class Projection:
    """The files of a volume by name, and when the first of them must be made anew (seconds since 1970; None for
    never)."""

    files: Mapping[str, str]
    renew_at: float | None


def projected(pod: Pod) -> Iterator[Volume]:
    """The volumes that can be shown: those all of whose sources are known here."""
    for volume in pod.spec.volumes:
        if volume.projected is not None and all(_known(source) for source in volume.projected.sources):
            yield volume


def mounts(pod: Pod) -> list[tuple[str, str]]:
    """(volume, path) of everything that is to be shown. A pod's containers share their view of the files, so the
    first of two volumes that want one path has it."""
    shown = {volume.name for volume in projected(pod)}
    wanted = {
        mount.mount_path: mount.name
        for container in reversed(pod.all_containers)
        for mount in container.volume_mounts
        if mount.name in shown and not mount.sub_path
    }
    return sorted((name, path) for path, name in wanted.items())


def _known(source: ProjectedSource) -> bool:
    return any((source.service_account_token, source.config_map, source.downward_api))


async def project(client: Client, pod: Pod, volume: Volume, place: Place, now: float) -> Projection:
    """Gather a volume's files. Raises ConfigProblem, ApiError, Unreachable."""
    files: dict[str, str] = {}
    renewals: list[float] = []
    for source in volume.projected.sources if volume.projected else ():
        if source.service_account_token is not None:
            text, expires = await _token(client, pod, source.service_account_token)
            files[source.service_account_token.path] = text
            renewals.append(now + (expires - now) * FRESH)
        if source.config_map is not None:
            files |= await _config(client, pod, source.config_map)
        if source.downward_api is not None:
            for item in source.downward_api.items:
                if item.field_ref is not None:
                    files[item.path] = field(item.field_ref.field_path, pod, place)
    for path in files:
        if path.startswith("/") or ".." in path.split("/"):
            raise ConfigProblem(f"volume {volume.name}: {path!r} leads out of the volume")
    return Projection(files, min(renewals, default=None))


async def _token(client: Client, pod: Pod, wanted: TokenProjection) -> tuple[str, float]:
    """A token bound to the pod, and when it ends."""
    spec = {
        "audiences": [wanted.audience] if wanted.audience else [],
        "expirationSeconds": wanted.expiration_seconds,
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": pod.metadata.name, "uid": pod.uid},
    }
    body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}
    account = pod.spec.service_account_name or "default"
    answer = await client.post(SERVICE_ACCOUNT, account, pod.metadata.namespace, "token", body)
    return answer["status"]["token"], seconds_of(answer["status"]["expirationTimestamp"])


async def _config(client: Client, pod: Pod, wanted: ConfigMapProjection) -> dict[str, str]:
    found = await client.get(CONFIG_MAP, wanted.name, pod.metadata.namespace)
    data: dict[str, str] = found.get("data") or {}
    if not wanted.items:
        return data
    missing = [item.key for item in wanted.items if item.key not in data]
    if missing and not wanted.optional:
        raise ConfigProblem(f"ConfigMap {pod.metadata.namespace}/{wanted.name} has no key {missing[0]!r}")
    return {item.path: data[item.key] for item in wanted.items if item.key in data}
