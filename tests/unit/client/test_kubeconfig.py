"""Kubeconfig files as users have them, and as they break."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml

from fairway.client.kubeconfig import ConnectInfo, KubeconfigError, in_cluster, load

CONFIG = {
    "current-context": "lab",
    "clusters": [
        {"name": "c", "cluster": {"server": "https://10.0.0.10:6443", "certificate-authority": "pki/ca.crt"}},
    ],
    "users": [
        {"name": "u", "user": {"client-certificate-data": base64.b64encode(b"PEM").decode(), "client-key": "/k.pem"}},
        {"name": "robot", "user": {"token": "t0ken", "tokenFile": "ignored"}},
        {"name": "cloud", "user": {"exec": {"command": "aws"}}},
        {"name": "broken", "user": {"client-key-data": "no base64!"}},
    ],
    "contexts": [
        {"name": "lab", "context": {"cluster": "c", "user": "u", "namespace": "web"}},
        {"name": "robot", "context": {"cluster": "c", "user": "robot"}},
        {"name": "cloud", "context": {"cluster": "c", "user": "cloud"}},
        {"name": "broken", "context": {"cluster": "c", "user": "broken"}},
        {"name": "lost", "context": {"cluster": "nowhere"}},
    ],
}


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(CONFIG))
    return str(path)


def test_paths_are_relative_to_the_file_and_inline_data_is_decoded(config: str) -> None:
    assert load(config) == ConnectInfo(
        server="https://10.0.0.10:6443",
        ca_file=str(Path(config).parent / "pki/ca.crt"),
        cert_data="PEM",
        key_file="/k.pem",
        namespace="web",
    )


def test_a_token_wins_over_a_token_file(config: str) -> None:
    info = load(config, "robot")
    assert (info.token, info.token_file, info.namespace) == ("t0ken", "", "default")


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("cloud", "user 'cloud' logs in by an exec plugin; use a token or a client certificate instead"),
        ("broken", "user 'broken': client-key-data is not base64 of PEM"),
        ("lost", "no cluster is named 'nowhere'"),
        ("none", "no context is named 'none'"),
    ],
)
def test_what_cannot_be_used_is_named(config: str, context: str, message: str) -> None:
    with pytest.raises(KubeconfigError, match=message):
        load(config, context)


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "cannot be read"), ("- x", "no mapping"), ("", "current-context")]
)
def test_a_file_that_is_no_kubeconfig(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(KubeconfigError, match=message):
        load(str(path))


def test_of_several_files_the_first_to_define_a_name_wins(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tmp_path / "first"
    first.write_text(yaml.safe_dump({"clusters": [{"name": "c", "cluster": {"server": "https://other:1"}}]}))
    monkeypatch.setenv("KUBECONFIG", f"{first}:{config}:{tmp_path / 'absent'}")
    info = load()
    assert (info.server, info.namespace) == ("https://other:1", "web")


def test_a_pod_finds_its_service_account(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    (tmp_path / "namespace").write_text("web\n")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    info = in_cluster(environment, tmp_path)
    assert (info.server, info.namespace) == ("https://[fd00::1]:443", "web")
    assert (info.token_file, info.ca_file) == (str(tmp_path / "token"), str(tmp_path / "ca.crt"))


def test_without_anything_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="set KUBECONFIG"):
        in_cluster({}, tmp_path)
