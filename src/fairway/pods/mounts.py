"""What a container is shown of its pod's volumes, and what its root may do (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from fairway.objects import quantity
from fairway.objects.errors import QuantityError
from fairway.pods import env
from fairway.pods.errors import ConfigProblem
from fairway.pods.view import Container, Pod, Volume, VolumeMount

CAPABILITIES: Sequence[str] = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID"),
    *("KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE"),
    *("NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK"),
    *("IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE"),
    *("SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE"),
    *("SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE"),
    *("AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG"),
    *("WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
"""In the order of linux/capability.h."""

GRANTED = frozenset(
    {
        *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE"),
        *("NET_RAW", "SYS_CHROOT", "AUDIT_WRITE", "SETFCAP"),
    }
)
"""What runtimes leave a container's root by default, but for MKNOD: no device cgroup stands behind it here."""

_UNRESOLVED = re.compile(r"\$\([^)]*\)")


def known(volume: Volume) -> bool:
    """Whether this agent can show a volume: its kind, and all sources of a projected one, are known here."""
    if volume.projected is not None:
        sources = volume.projected.sources
        return all(s.service_account_token or s.config_map or s.secret or s.downward_api for s in sources)
    sources_of = (volume.empty_dir, volume.host_path, volume.config_map, volume.secret, volume.downward_api)
    return any(source is not None for source in sources_of)


def missing(pod: Pod, container: Container) -> list[VolumeMount]:
    """The mounts that a container must do without."""
    shown = {volume.name for volume in pod.spec.volumes if known(volume)}
    return [mount for mount in container.volume_mounts if mount.name not in shown]


def requests(pod: Pod, container: Container, values: Mapping[str, str]) -> list[dict[str, Any]]:
    """The mounts of a sandbox's start request (see pods/init.py), those above before those below them. `values` are
    the container's variables, for subPathExpr. Raises ConfigProblem."""
    volumes = {volume.name: volume for volume in pod.spec.volumes if known(volume)}
    shown = [mount for mount in container.volume_mounts if mount.name in volumes]
    return [
        _request(volumes[mount.name], mount, values)
        for mount in sorted(shown, key=lambda mount: PurePosixPath(mount.mount_path).parts)
    ]


def tools(programs: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """The mounts that show a container its image's programs (see `tool_name`)."""
    return [{"source": f"tools/{tool_name(path)}", "path": path, "sub": "", "read_only": True} for path in programs]


def tool_name(path: str) -> str:
    """The file that stands for a program at `path`, in the folder `tools` of the pod's directory."""
    return path.strip("/").replace("/", "-")


def _request(volume: Volume, mount: VolumeMount, values: Mapping[str, str]) -> dict[str, Any]:
    request: dict[str, Any] = {"source": f"volumes/{volume.name}", "path": mount.mount_path}
    if volume.host_path is not None:
        request["source"] = volume.host_path.path
    if volume.empty_dir is not None and volume.empty_dir.medium == "Memory":
        request["memory"] = _size(volume)
    writable = volume.empty_dir is not None or volume.host_path is not None
    return {**request, "sub": _sub_path(mount, values), "read_only": mount.read_only or not writable}


def _size(volume: Volume) -> str:
    """tmpfs's `size`: whole bytes, "" for its own default (half of the machine's memory)."""
    limit = volume.empty_dir.size_limit if volume.empty_dir is not None else None
    try:
        return str(int(quantity.parse(limit))) if limit else ""
    except QuantityError as error:
        raise ConfigProblem(f"sizeLimit of volume {volume.name}: {error}") from None


def _sub_path(mount: VolumeMount, values: Mapping[str, str]) -> str:
    path = env.expand(mount.sub_path_expr, values) if mount.sub_path_expr else mount.sub_path
    if mount.sub_path_expr and _UNRESOLVED.search(path):
        raise ConfigProblem(f"subPathExpr {mount.sub_path_expr!r} names a variable that the container does not have")
    if path.startswith("/") or ".." in path.split("/"):
        raise ConfigProblem(f"subPath {path!r} leads out of volume {mount.name}")
    return path


def rights(container: Container) -> dict[str, Any]:
    """The part of a start request about what the container's programs may do. Raises ConfigProblem."""
    own = container.security_context
    return {
        "privileged": own.privileged,
        "capabilities": None if own.privileged else sorted(_capabilities(container)),
        "no_new_privileges": not own.allow_privilege_escalation,
        "read_only_root": own.read_only_root_filesystem,
    }


def _capabilities(container: Container) -> Iterator[int]:
    add, drop = (_names(words) for words in _changes(container))
    everything = frozenset(CAPABILITIES)
    base = frozenset[str]() if "ALL" in drop else everything if "ALL" in add else GRANTED
    unknown = sorted((add | drop) - everything - {"ALL"})
    if unknown:
        raise ConfigProblem(f"container {container.name}: unknown capability {unknown[0]!r}")
    for name in (base - drop) | (add & everything):
        yield CAPABILITIES.index(name)


def _changes(container: Container) -> tuple[tuple[str, ...], tuple[str, ...]]:
    changes = container.security_context.capabilities
    return changes.add, changes.drop


def _names(words: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word.upper().removeprefix("CAP_") for word in words)
