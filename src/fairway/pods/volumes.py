"""EDGE. A pod's volumes: folders of its own, and files from ConfigMaps, Secrets, tokens and its own metadata that are
kept fresh.

They lie in the pod's directory; its containers are shown them where they want them (pods/mounts.py).
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fairway.client.base import ApiError, Client, Object
from fairway.objects.kinds import CONFIG_MAP, SECRET, SERVICE_ACCOUNT, Kind
from fairway.pods import env, mounts
from fairway.pods.env import Place
from fairway.pods.errors import ConfigProblem
from fairway.pods.files import File, fill
from fairway.pods.view import (
    DownwardProjection,
    HostPath,
    KeyProjection,
    Pod,
    ProjectedSource,
    SecretVolume,
    TokenProjection,
    Volume,
    seconds_of,
)

FRESH = 0.8
"""The part of its life after which a token is replaced, as the kubelet does it."""

LOOK_SECONDS = 10.0
"""How often ConfigMaps and Secrets are looked at for changes; the kubelet takes about a minute."""

ROOT_CA = "kube-root-ca.crt"  # in every pod, and as lasting as the cluster: not worth looking at

_HOST_TYPES: Mapping[str, Callable[[int], bool]] = {
    "Directory": stat.S_ISDIR,
    "DirectoryOrCreate": stat.S_ISDIR,
    "File": stat.S_ISREG,
    "FileOrCreate": stat.S_ISREG,
    "Socket": stat.S_ISSOCK,
    "CharDevice": stat.S_ISCHR,
    "BlockDevice": stat.S_ISBLK,
}


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    renew_at: float


class Volumes:
    """The volumes of one pod, in `folder`. `due` is when one of them must be looked at again (seconds since 1970; None
    for never)."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self._due: dict[str, float] = {}
        self._tokens: dict[tuple[str, TokenProjection], _Token] = {}

    @property
    def due(self) -> float | None:
        return min(self._due.values(), default=None)

    def look_again(self, pod: Pod, now: float) -> None:
        """The pod's own metadata changed, or nobody knows when the volumes were filled last."""
        for volume in pod.spec.volumes:
            if _sources(volume):
                self._due[volume.name] = now

    async def fill(self, pod: Pod, place: Place, now: float) -> None:
        """Make all volumes. Raises ConfigProblem, Unreachable."""
        for volume in filter(mounts.known, pod.spec.volumes):
            try:
                if volume.empty_dir is not None:
                    self._make_empty(volume.name, pod.spec.security_context.fs_group)
                elif volume.host_path is not None:
                    check_host_path(volume.host_path)
                else:
                    await self._refill(pod, volume, place, now)
            except (ConfigProblem, ApiError) as error:
                raise ConfigProblem(f'volume "{volume.name}" : {error}') from error

    async def refresh(self, pod: Pod, place: Place, now: float) -> None:
        """Bring those up to date that are due. What fails is as it was, and due again soon. Raises ConfigProblem,
        ApiError, Unreachable."""
        for volume in pod.spec.volumes:
            if self._due.get(volume.name, now + 1) <= now:
                self._due[volume.name] = now + LOOK_SECONDS
                await self._refill(pod, volume, place, now)

    def _make_empty(self, name: str, group: int | None) -> None:
        """A folder any user may write in; one in memory gets its file system in the sandbox."""
        folder = self._folder / name
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o777 if group is None else 0o2777)
            if group is not None:
                os.chown(folder, -1, group)

    async def _refill(self, pod: Pod, volume: Volume, place: Place, now: float) -> None:
        files: dict[str, File] = {}
        renewals: list[float] = []
        mode = _mode(volume)
        for source in _sources(volume):
            if source.service_account_token is not None:
                token = await self._token(pod, volume.name, source.service_account_token, now)
                files[source.service_account_token.path] = File(token.text.encode(), mode)
                renewals.append(token.renew_at)
            for kind, wanted in ((CONFIG_MAP, source.config_map), (SECRET, source.secret)):
                if wanted is not None:
                    files |= await _keys(self._client, kind, wanted, pod.metadata.namespace, mode)
                    renewals += [now + LOOK_SECONDS] if wanted.name != ROOT_CA else []
            if source.downward_api is not None:
                files |= _downward(source.downward_api, pod, place, mode)
        for path in files:
            if path.startswith("/") or ".." in path.split("/"):
                raise ConfigProblem(f"{path!r} leads out of the volume")
        fill(self._folder / volume.name, files, pod.spec.security_context.fs_group)
        self._due.pop(volume.name, None)
        if renewals:
            self._due[volume.name] = min(renewals)

    async def _token(self, pod: Pod, volume: str, wanted: TokenProjection, now: float) -> _Token:
        """A token bound to the pod: the one there is while it is fresh."""
        token = self._tokens.get((volume, wanted))
        if token is None or token.renew_at <= now:
            text, expires = await _request_token(self._client, pod, wanted)
            token = self._tokens[volume, wanted] = _Token(text, now + (expires - now) * FRESH)
        return token


def _sources(volume: Volume) -> tuple[ProjectedSource, ...]:
    """Where a volume's files come from: each kind of them is a projected one with a single source; () for folders."""
    if volume.projected is not None:
        return volume.projected.sources
    if volume.secret is not None:
        return (ProjectedSource(secret=_secret_keys(volume.secret)),)
    if volume.config_map is not None:
        return (ProjectedSource(config_map=volume.config_map),)
    if volume.downward_api is not None:
        return (ProjectedSource(downward_api=volume.downward_api),)
    return ()


def _secret_keys(secret: SecretVolume) -> KeyProjection:
    return KeyProjection(name=secret.secret_name, items=secret.items, optional=secret.optional)


def _mode(volume: Volume) -> int:
    kinds = (volume.projected, volume.secret, volume.config_map, volume.downward_api)
    return next(kind.default_mode for kind in kinds if kind is not None)


async def _request_token(client: Client, pod: Pod, wanted: TokenProjection) -> tuple[str, float]:
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


async def _keys(client: Client, kind: Kind, wanted: KeyProjection, namespace: str, mode: int) -> dict[str, File]:
    try:
        data = _data(kind, await client.get(kind, wanted.name, namespace))
    except ApiError as error:
        if error.code != 404:
            raise
        if not wanted.optional:
            raise ConfigProblem(f'{kind.name.lower()} "{wanted.name}" not found') from None
        return {}
    if not wanted.items:
        return {key: File(content, mode) for key, content in data.items()}
    absent = [item.key for item in wanted.items if item.key not in data]
    if absent and not wanted.optional:
        raise ConfigProblem(f"{kind.name} {namespace}/{wanted.name} has no key {absent[0]!r}")
    items = [item for item in wanted.items if item.key in data]
    return {item.path: File(data[item.key], mode if item.mode is None else item.mode) for item in items}


def _data(kind: Kind, found: Object) -> dict[str, bytes]:
    encoded = (found.get("data") if kind is SECRET else found.get("binaryData")) or {}
    plain = {} if kind is SECRET else found.get("data") or {}
    decoded = {key: base64.b64decode(text) for key, text in encoded.items()}
    return {key: text.encode() for key, text in plain.items()} | decoded


def _downward(wanted: DownwardProjection, pod: Pod, place: Place, mode: int) -> dict[str, File]:
    files: dict[str, File] = {}
    for item in wanted.items:
        if item.field_ref is not None:
            text = env.file_field(item.field_ref.field_path, pod, place)
        elif item.resource_field_ref is not None:
            text = env.resource(item.resource_field_ref, None, pod, place)
        else:
            continue
        files[item.path] = File(text.encode(), mode if item.mode is None else item.mode)
    return files


def check_host_path(wanted: HostPath) -> None:
    """See that what a hostPath volume names is of the type it says, and make it where the type asks for that. Raises
    ConfigProblem."""
    path = Path(wanted.path)
    try:
        if not path.exists():
            _create(path, wanted.type)
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigProblem(f"hostPath {path}: {error.strerror}") from None
    of_its_type = _HOST_TYPES.get(wanted.type)
    if of_its_type is not None and not of_its_type(mode):
        what = wanted.type.removesuffix("OrCreate")
        raise ConfigProblem(f"hostPath type check failed: {path} is not a {what}")


def _create(path: Path, kind: str) -> None:
    """Only what the volume's own type says; a file's folder must be there."""
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, mode=0o755)
    elif kind == "FileOrCreate":
        path.touch(mode=0o644)
