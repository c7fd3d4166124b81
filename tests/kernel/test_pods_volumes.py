"""Containers' roots and volumes on the real kernel: what a pod writes is its own, what it shares it shares."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.pods_bench import Node

pytestmark = pytest.mark.kernel


def container(name: str, script: str = "", **mounts: str | dict[str, Any]) -> dict[str, Any]:
    """A shell container; each mount is a path or a whole volumeMount."""
    wanted = [{"name": volume, **({"mountPath": m} if isinstance(m, str) else m)} for volume, m in mounts.items()]
    command = ["sh", "-c", script or "exec sleep 1000"]
    return {"name": name, "image": "busybox", "command": command, "volumeMounts": wanted}


def config(node: Node, **data: str) -> None:
    node.order(put={"kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default"}, "data": data})


def test_what_a_container_writes_is_its_own_and_gone_with_it(node: Node) -> None:
    mark = f"/etc/fairway-{node.name}"
    writing = f"test ! -e {mark} && echo mine > {mark} && echo x > /tmp/{node.name} && mkdir /data && sleep 1000"
    node.create("a", containers=[container("one", writing), container("two", "sleep 1000")])
    node.create("b", containers=[container("web")])
    node.until(lambda: node.ready("a", "b"))
    node.seen("a", "cat", mark, says="mine\n")
    assert node.run("b", "cat", mark)[0] == 1
    assert node.run("a", "cat", mark, container="two")[0] == 1
    assert not Path(mark).exists() and not Path("/data").exists() and not Path(f"/tmp/{node.name}").exists()
    node.run("a", "sh", "-c", "kill -9 $(pgrep -f 'sleep 100[0]')")
    node.until(lambda: node.container("a")["restartCount"] == 1 and node.ready("a"))
    node.seen("a", "cat", mark, says="mine\n")  # its first act was to see that there is none


def test_a_pod_sees_neither_the_nodes_state_nor_other_pods_files(node: Node) -> None:
    node.create("a", containers=[container("web")])
    node.create("b", containers=[container("web")])
    node.until(lambda: node.ready("a", "b"))
    assert node.run("a", "ls", "-A", str(node.state_dir / "pods")) == (0, "")
    assert node.run("a", "ls", "-A", "/run") == (0, "")
    assert "Permission denied" in node.run("a", "ls", "/proc/1/root/")[1]
    assert node.run("a", "mount", "-t", "tmpfs", "x", "/mnt")[0] != 0
    assert node.run("a", "mknod", "/tmp/disk", "b", "254", "0")[0] != 0
    assert node.run("a", "sh", "-c", "echo x > /dev/null && head -c1 /dev/zero | wc -c && ls /dev/pts/ptmx") == (
        0,
        "1\n/dev/pts/ptmx\n",
    )


def test_a_privileged_container_may_mount(node: Node) -> None:
    node.create("a", containers=[{**container("web"), "securityContext": {"privileged": True}}])
    node.until(lambda: node.ready("a"))
    assert node.run("a", "mount", "-t", "tmpfs", "x", "/mnt") == (0, "")


def test_a_read_only_root_leaves_volumes_writable(node: Node) -> None:
    web = {**container("web", data="/data"), "securityContext": {"readOnlyRootFilesystem": True, "runAsUser": 1000}}
    node.create("a", containers=[web], volumes=[{"name": "data", "emptyDir": {}}])
    node.until(lambda: node.ready("a"))
    assert "Read-only file system" in node.run("a", "touch", "/tmp/x")[1]
    assert node.run("a", "sh", "-c", "touch /data/x && stat -c %u /data/x") == (0, "1000\n")


def test_empty_dirs_are_shared_by_a_pods_containers(node: Node) -> None:
    node.create(
        "a",
        containers=[container("one", data="/data", ram="/ram"), container("two", data="/other/data", ram="/var/ram")],
        volumes=[
            {"name": "data", "emptyDir": {}},
            {"name": "ram", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        ],
    )
    node.until(lambda: node.ready("a"))
    node.run("a", "sh", "-c", "echo disk > /data/x; echo ram > /ram/x")
    assert node.run("a", "cat", "/other/data/x", "/var/ram/x", container="two") == (0, "disk\nram\n")
    assert node.run("a", "stat", "-f", "-c", "%T", "/ram") == (0, "tmpfs\n")
    assert "No space left" in node.run("a", "sh", "-c", "head -c 2M /dev/zero > /ram/y")[1]
    assert not Path("/other").exists()


def test_config_maps_and_secrets_are_files_that_follow_their_object(node: Node) -> None:
    hush = {"kind": "Secret", "metadata": {"name": "hush", "namespace": "default"}}
    node.order(put={**hush, "data": {"password": base64.b64encode(b"pssst").decode()}})
    config(node, word="one")
    mounts: dict[str, Any] = {
        "settings": "/etc/settings",
        "hush": {"mountPath": "/hush", "subPath": "secret/pw"},
    }
    web = container("web", **mounts)
    web["volumeMounts"].append({"name": "settings", "mountPath": "/etc/word", "subPath": "word"})
    node.create(
        "a",
        containers=[web],
        volumes=[
            {"name": "settings", "configMap": {"name": "settings"}},
            {
                "name": "hush",
                "secret": {"secretName": "hush", "items": [{"key": "password", "path": "secret/pw", "mode": 256}]},
            },
        ],
    )
    node.until(lambda: node.ready("a"))
    assert node.run("a", "cat", "/etc/settings/word", "/etc/word", "/hush") == (0, "oneonepssst")
    assert node.run("a", "stat", "-Lc", "%a", "/hush") == (0, "400\n")
    assert "Read-only file system" in node.run("a", "touch", "/etc/settings/x")[1]
    config(node, word="two")
    node.seen("a", "cat", "/etc/settings/word", says="two")
    assert node.run("a", "cat", "/etc/word") == (0, "one")


def test_a_pod_waits_for_what_its_volumes_need(node: Node) -> None:
    node.create(
        "a",
        containers=[container("web", settings="/settings")],
        volumes=[{"name": "settings", "configMap": {"name": "settings"}}],
    )
    node.until(lambda: any(event["reason"] == "FailedMount" for event in node.events))
    [said] = {event["message"] for event in node.events if event["reason"] == "FailedMount"}
    assert said == 'MountVolume.SetUp failed for volume "settings" : configmap "settings" not found'
    config(node, word="late")
    node.until(lambda: node.ready("a"))
    assert node.run("a", "cat", "/settings/word") == (0, "late")


def test_host_paths_and_sub_paths(node: Node, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    volume = {"name": "host", "hostPath": {"path": str(shared), "type": "DirectoryOrCreate"}}
    whole, part = (
        {"mountPath": "/whole", "readOnly": True},
        {"mountPath": "/part", "subPathExpr": "of/$(NAME)"},
    )
    web = container("web", host=whole)
    web["volumeMounts"].append({"name": "host", **part})
    web["env"] = [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    node.create("a", containers=[web], volumes=[volume])
    node.until(lambda: node.ready("a"))
    node.run("a", "sh", "-c", "echo hello > /part/x")
    assert (shared / "of/a/x").read_text() == "hello\n"
    assert node.run("a", "cat", "/whole/of/a/x") == (0, "hello\n")
    assert "Read-only file system" in node.run("a", "touch", "/whole/y")[1]


def test_a_link_in_a_volume_does_not_lead_out_of_it(node: Node, tmp_path: Path) -> None:
    (tmp_path / "trap").symlink_to("/etc")
    web = container("web", host={"mountPath": "/x", "subPath": "trap"})
    volume = {"name": "host", "hostPath": {"path": str(tmp_path)}}
    node.create("a", containers=[web], volumes=[volume], restartPolicy="Never")
    node.until(lambda: node.pods.get("a", {}).get("status", {}).get("phase") == "Failed")
    message = node.container("a")["state"]["terminated"]["message"]
    assert message == "subPath 'trap' of the volume at /x: Invalid cross-device link", json.dumps(node.pods["a"])
