"""What containers are shown of volumes, and what their root may do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fairway.pods import mounts
from fairway.pods.errors import ConfigProblem
from fairway.pods.mounts import CAPABILITIES
from fairway.pods.view import Container, Pod

VOLUMES: list[Any] = [
    {"name": "scratch", "emptyDir": {}},
    {"name": "ram", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    {"name": "settings", "configMap": {"name": "settings"}},
    {"name": "logs", "hostPath": {"path": "/var/log"}},
    {"name": "claim", "persistentVolumeClaim": {"claimName": "mine"}},
    {"name": "odd", "projected": {"sources": [{"clusterTrustBundle": {"path": "x"}}]}},
]


def requests(*wanted: dict[str, Any], **values: str) -> list[dict[str, Any]]:
    container = {"name": "c", "volumeMounts": list(wanted)}
    pod = msgspec.convert({"metadata": {}, "spec": {"containers": [container], "volumes": VOLUMES}}, Pod)
    return mounts.requests(pod, pod.spec.containers[0], values)


def mount(name: str, path: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **more}


def test_each_kind_of_volume_has_its_source() -> None:
    scratch, ram, settings, logs = requests(
        mount("scratch", "/a"), mount("ram", "/b"), mount("settings", "/c"), mount("logs", "/d", readOnly=True)
    )
    assert scratch == {"source": "volumes/scratch", "path": "/a", "sub": "", "read_only": False}
    assert ram == {"source": "volumes/ram", "path": "/b", "sub": "", "read_only": False, "memory": "1048576"}
    assert settings == {"source": "volumes/settings", "path": "/c", "sub": "", "read_only": True}
    assert logs == {"source": "/var/log", "path": "/d", "sub": "", "read_only": True}


def test_what_lies_above_is_mounted_first() -> None:
    found = requests(mount("ram", "/a/b/c"), mount("settings", "/a-b"), mount("scratch", "/a"))
    assert [request["path"] for request in found] == ["/a", "/a/b/c", "/a-b"]


def test_sub_paths_may_name_variables() -> None:
    [found] = requests(mount("scratch", "/a", subPathExpr="of/$(POD)"), POD="web-1")
    assert found["sub"] == "of/web-1"
    with pytest.raises(ConfigProblem, match="names a variable that the container does not have"):
        requests(mount("scratch", "/a", subPathExpr="of/$(POD)"))
    with pytest.raises(ConfigProblem, match="leads out of volume scratch"):
        requests(mount("scratch", "/a", subPathExpr="$(POD)"), POD="../../etc")


def test_what_is_not_known_here_is_left_out_and_told() -> None:
    assert requests(mount("claim", "/a"), mount("odd", "/b")) == []
    container = {"name": "c", "volumeMounts": [mount("claim", "/a"), mount("scratch", "/b")]}
    pod = msgspec.convert({"metadata": {}, "spec": {"containers": [container], "volumes": VOLUMES}}, Pod)
    assert [each.name for each in mounts.missing(pod, pod.spec.containers[0])] == ["claim"]


def rights(**security: Any) -> dict[str, Any]:
    return mounts.rights(msgspec.convert({"name": "c", "securityContext": security}, Container))


def test_a_containers_root_may_little_unless_it_is_privileged() -> None:
    plain = rights()["capabilities"]
    assert [CAPABILITIES[number] for number in plain][:3] == ["CHOWN", "DAC_OVERRIDE", "FOWNER"]
    assert not {CAPABILITIES.index(name) for name in ("SYS_ADMIN", "SYS_PTRACE", "MKNOD", "NET_ADMIN")} & set(plain)
    assert rights(privileged=True)["capabilities"] is None
    assert rights(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN", "cap_net_raw"]})["capabilities"] == [12, 13]
    assert len(rights(capabilities={"add": ["ALL"]})["capabilities"]) == 41
    with pytest.raises(ConfigProblem, match="unknown capability 'FLY'"):
        rights(capabilities={"add": ["FLY"]})
