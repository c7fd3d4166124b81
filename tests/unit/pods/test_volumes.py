"""Volumes: which files, with which modes, until when."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairway.client.base import Object
from fairway.objects.kinds import CONFIG_MAP, SECRET, Kind
from fairway.pods.env import Place
from fairway.pods.errors import ConfigProblem
from fairway.pods.view import Pod
from fairway.pods.volumes import LOOK_SECONDS, Volumes
from tests.unit.pods.fake_api import FakeApi

PLACE = Place("node-a", ("10.0.0.11",), ("10.244.0.5",), "web", {})
NOW = 1_900_000_000.0
TOKEN = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}
CA = {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
NAMESPACE = {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}


class Issuer(FakeApi):
    """An API that hands out tokens for an hour."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str, Object]] = []

    async def post(self, kind: Kind, name: str, namespace: str, subresource: str, body: Object) -> Object:
        self.asked.append((f"{kind.plural}/{subresource}", f"{namespace}/{name}", body["spec"]))
        return {"status": {"token": "signed", "expirationTimestamp": "2030-03-17T18:46:40Z"}}


def pod(*sources: Any, security: Any = None, **volume: Any) -> Pod:
    spec = {
        "serviceAccountName": "robot",
        "volumes": [{"name": "v", **({"projected": {"sources": list(sources)}} if sources else volume)}],
        "containers": [{"name": "c", "resources": {"limits": {"cpu": "250m"}}}],
        "securityContext": security or {},
    }
    labels = {"tier": 'say "hi"', "app": "web"}
    metadata = {"name": "web", "namespace": "shop", "uid": "u1", "labels": labels}
    return msgspec.convert({"metadata": metadata, "spec": spec}, Pod)


class Bench:
    """The volumes of a pod in a folder, over an API with what the tests want of it."""

    def __init__(self, pod: Pod, folder: Path) -> None:
        self.api, self.pod, self.folder = Issuer(), pod, folder
        self.volumes = Volumes(self.api, folder)

    def fill(self, *, refresh: float | None = None, config: str = "PEM") -> dict[str, str]:
        """Fill (or, at a time, refresh) the volumes; the files of volume `v` afterwards."""

        async def work() -> None:
            self.api.put(CONFIG_MAP, named("kube-root-ca.crt", data={"ca.crt": config}))
            binary = {"key.bin": base64.b64encode(b"\xff\x00").decode()}
            self.api.put(CONFIG_MAP, named("settings", data={"one": config, "two": "2"}, binaryData=binary))
            self.api.put(SECRET, named("s", data={"password": base64.b64encode(b"hush").decode()}))
            if refresh is None:
                await self.volumes.fill(self.pod, PLACE, NOW)
            else:
                await self.volumes.refresh(self.pod, PLACE, refresh)

        asyncio.run(work())
        return self.files()

    def files(self) -> dict[str, str]:
        top = self.folder / "v"
        names = [path for path in sorted(top.rglob("*")) if not path.relative_to(top).parts[0].startswith("..")]
        names += [p for n in names if n.is_dir() for p in sorted(n.rglob("*"))]
        return {str(path.relative_to(top)): path.read_bytes().decode("latin-1") for path in names if path.is_file()}

    def mode(self, name: str) -> int:
        return (self.folder / "v" / name).stat().st_mode & 0o7777


def named(name: str, **fields: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "shop"}, **fields}


def test_a_pods_identity_is_three_files_and_a_time_to_renew(tmp_path: Path) -> None:
    bench = Bench(pod(TOKEN, CA, NAMESPACE), tmp_path)
    assert bench.fill() == {"token": "signed", "ca.crt": "PEM", "namespace": "shop"}
    assert bench.api.asked == [
        (
            "serviceaccounts/token",
            "shop/robot",
            {
                "audiences": [],
                "expirationSeconds": 3600,
                "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "u1"},
            },
        )
    ]
    assert bench.volumes.due == NOW + 0.8 * (1_900_003_600 - NOW)


def test_what_does_not_end_needs_no_renewal(tmp_path: Path) -> None:
    bench = Bench(pod(NAMESPACE), tmp_path)
    assert bench.fill() == {"namespace": "shop"}
    assert bench.volumes.due is None


def test_config_maps_and_secrets_are_files_with_modes(tmp_path: Path) -> None:
    bench = Bench(pod(configMap={"name": "settings"}), tmp_path / "a")
    assert bench.fill() == {"one": "PEM", "two": "2", "key.bin": "\xff\x00"}
    assert bench.mode("one") == 0o644
    items = [{"key": "password", "path": "deep/er/pw", "mode": 0o400}]
    bench = Bench(pod(secret={"secretName": "s", "items": items, "defaultMode": 0o600}), tmp_path / "b")
    assert bench.fill() == {"deep/er/pw": "hush"}
    assert bench.mode("deep/er/pw") == 0o400
    both = Bench(pod({"secret": {"name": "s"}}, {"configMap": {"name": "settings", "items": []}}), tmp_path / "c")
    assert sorted(both.fill()) == ["key.bin", "one", "password", "two"]


def test_an_update_replaces_all_files_at_once_and_keeps_the_token(tmp_path: Path) -> None:
    bench = Bench(pod(TOKEN, {"configMap": {"name": "settings"}}), tmp_path)
    bench.fill()
    before = (tmp_path / "v/..data").readlink()
    assert bench.fill(refresh=NOW + LOOK_SECONDS - 1, config="new")["one"] == "PEM"
    assert bench.fill(refresh=NOW + LOOK_SECONDS, config="new")["one"] == "new"
    assert (tmp_path / "v/..data").readlink() != before
    assert str((tmp_path / "v/one").readlink()) == "..data/one"
    assert not (tmp_path / "v" / before).exists()
    assert len(bench.api.asked) == 1
    assert bench.volumes.due == NOW + 2 * LOOK_SECONDS


def test_what_has_not_changed_is_not_written_again(tmp_path: Path) -> None:
    bench = Bench(pod(configMap={"name": "settings"}), tmp_path)
    bench.fill()
    before = (tmp_path / "v/..data").readlink()
    bench.fill(refresh=NOW + LOOK_SECONDS)
    assert (tmp_path / "v/..data").readlink() == before


def test_the_downward_api_tells_labels_and_limits(tmp_path: Path) -> None:
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu", "divisor": "1m"}},
    ]
    bench = Bench(pod(downwardAPI={"items": items}), tmp_path)
    assert bench.fill() == {"labels": 'app="web"\ntier="say \\"hi\\""', "cpu": "250"}
    changed = msgspec.structs.replace(bench.pod.metadata, labels={"app": "new"})
    bench.pod = msgspec.structs.replace(bench.pod, metadata=changed)
    bench.volumes.look_again(bench.pod, NOW + 5)
    assert bench.fill(refresh=NOW + 5)["labels"] == 'app="new"'


def test_an_empty_dir_is_anybodys_and_with_a_group_the_groups(tmp_path: Path) -> None:
    bench = Bench(pod(emptyDir={}), tmp_path / "a")
    bench.fill()
    assert (tmp_path / "a/v").stat().st_mode & 0o7777 == 0o777
    bench = Bench(pod(emptyDir={}, security={"fsGroup": os.getgid()}), tmp_path / "b")
    bench.fill()
    assert (tmp_path / "b/v").stat().st_mode & 0o7777 == 0o2777


@pytest.mark.parametrize(
    ("kind", "name", "complaint"),
    [
        ("Directory", "nothing", "No such file or directory"),
        ("File", "folder", "is not a File"),
        ("Directory", "file", "is not a Directory"),
        ("Socket", "file", "is not a Socket"),
        ("", "nothing", "No such file or directory"),
    ],
)
def test_a_host_path_must_be_what_it_says(tmp_path: Path, kind: str, name: str, complaint: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigProblem, match=f'volume "v" : .*{complaint}'):
        Bench(pod(hostPath={"path": str(tmp_path / name), "type": kind}), tmp_path / "volumes").fill()


def test_a_host_path_is_made_when_its_type_asks_for_that(tmp_path: Path) -> None:
    for kind, name in (("DirectoryOrCreate", "deep/folder"), ("FileOrCreate", "file")):
        Bench(pod(hostPath={"path": str(tmp_path / name), "type": kind}), tmp_path / "volumes").fill()
    assert (tmp_path / "deep/folder").is_dir()
    assert (tmp_path / "file").is_file()


def test_a_key_or_object_that_is_not_there_is_a_problem_of_the_pods_writer(tmp_path: Path) -> None:
    other = {"configMap": {"name": "settings", "items": [{"key": "nothing", "path": "x"}]}}
    with pytest.raises(ConfigProblem, match="has no key 'nothing'"):
        Bench(pod(other), tmp_path).fill()
    with pytest.raises(ConfigProblem, match='volume "v" : secret "other" not found'):
        Bench(pod(secret={"secretName": "other"}), tmp_path).fill()
    other["configMap"]["optional"] = True
    assert Bench(pod(other, {"secret": {"name": "other", "optional": True}}), tmp_path).fill() == {}


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x"])
def test_no_file_leads_out_of_its_volume(path: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigProblem, match="leads out"):
        Bench(pod({"serviceAccountToken": {"path": path}}), tmp_path).fill()
