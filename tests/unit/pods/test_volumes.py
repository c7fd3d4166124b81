"""Projected volumes: which files, until when, shown where."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from fairway.client.base import Object
from fairway.objects.kinds import CONFIG_MAP, Kind
from fairway.pods.env import Place
from fairway.pods.errors import ConfigProblem
from fairway.pods.view import Pod
from fairway.pods.volumes import mounts, project, projected
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


def pod(*sources: Any, **volume: Any) -> Pod:
    mount = {"name": "v", "mountPath": "/var/run/secrets/v"}
    spec = {
        "serviceAccountName": "robot",
        "volumes": [{"name": "v", **({"projected": {"sources": list(sources)}} if sources else volume)}],
        "containers": [{"name": "c", "volumeMounts": [mount]}],
    }
    return msgspec.convert({"metadata": {"name": "web", "namespace": "shop", "uid": "u1"}, "spec": spec}, Pod)


def filled(wanted: Pod, api: Issuer) -> tuple[dict[str, str], float | None]:
    async def fill() -> tuple[dict[str, str], float | None]:
        api.put(CONFIG_MAP, {"metadata": {"name": "kube-root-ca.crt", "namespace": "shop"}, "data": {"ca.crt": "PEM"}})
        (volume,) = projected(wanted)
        found = await project(api, wanted, volume, PLACE, NOW)
        return dict(found.files), found.renew_at

    return asyncio.run(fill())


def test_a_pods_identity_is_three_files_and_a_time_to_renew() -> None:
    api = Issuer()
    files, renew_at = filled(pod(TOKEN, CA, NAMESPACE), api)
    assert files == {"token": "signed", "ca.crt": "PEM", "namespace": "shop"}
    assert api.asked == [
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
    assert renew_at == NOW + 0.8 * (1_900_003_600 - NOW)


def test_what_does_not_end_needs_no_renewal() -> None:
    assert filled(pod(NAMESPACE), Issuer()) == ({"namespace": "shop"}, None)


def test_a_key_that_is_not_there_is_a_problem_of_the_pods_writer() -> None:
    other = {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "nothing", "path": "x"}]}}
    with pytest.raises(ConfigProblem, match="has no key 'nothing'"):
        filled(pod(other), Issuer())
    other["configMap"]["optional"] = True
    assert filled(pod(other), Issuer()) == ({}, None)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x"])
def test_no_file_leads_out_of_its_volume(path: str) -> None:
    with pytest.raises(ConfigProblem, match="leads out"):
        filled(pod({"serviceAccountToken": {"path": path}}), Issuer())


def test_only_what_can_be_filled_is_shown() -> None:
    assert mounts(pod(TOKEN)) == [("v", "/var/run/secrets/v")]
    assert mounts(pod({"secret": {"name": "s"}})) == []
    assert mounts(pod(emptyDir={})) == []
