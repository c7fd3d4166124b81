"""The lab's certificates: what they say, who believes them, who may read the keys."""

import datetime
import socket
import ssl
import threading
from pathlib import Path

import pytest
import yaml

from fairway.lab import credentials, pki
from fairway.lab.state import StateDir
from fairway.lab.topology import plan

NOW = datetime.datetime.now(datetime.UTC)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> dict[str, object]:
    """Shake hands over a socket pair; returns the client's certificate as the server saw it."""
    left, right = socket.socketpair()
    seen: dict[str, object] = {}

    def serve() -> None:
        try:
            with server.wrap_socket(left, server_side=True) as connection:
                seen.update(connection.getpeercert() or {})
                connection.send(b"x")
        except OSError:
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(right, server_hostname=name) as connection:
            connection.recv(1)
    finally:
        thread.join()
    return seen


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = StateDir.named("lab", tmp_path)
    state.create(plan())
    credentials.issue(state, plan(), 7000, NOW)
    return state


def server_context(state: StateDir) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(state.credentials / "ca.crt"))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_cert_chain(state.credentials / "api.crt", state.credentials / "api.key")
    return context


@pytest.mark.parametrize(
    "name", ["127.0.0.1", "localhost", "10.0.0.10", "10.96.0.1", "kubernetes.default.svc", "kubernetes"]
)
def test_the_api_server_holds_under_every_name_it_is_reached_by(state: StateDir, name: str) -> None:
    client = ssl.create_default_context(cafile=str(state.credentials / "ca.crt"))
    client.load_cert_chain(state.credentials / "api-to-node.crt", state.credentials / "api-to-node.key")
    subject = dict(pair[0] for pair in handshake(server_context(state), client, name)["subject"])  # type: ignore[attr-defined]
    assert subject == {"organizationName": "system:masters", "commonName": "kube-apiserver-kubelet-client"}


def test_another_name_or_another_authority_is_not_believed(state: StateDir) -> None:
    client = ssl.create_default_context(cafile=str(state.credentials / "ca.crt"))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server_context(state), client, "example.com")
    stranger = ssl.create_default_context(cadata=pki.Authority("other", NOW).certificate.decode())
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server_context(state), stranger, "localhost")


def test_the_kubeconfig_names_the_hosts_loopback(state: StateDir) -> None:
    config = yaml.safe_load(state.kubeconfig.read_text())
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:7000"
    assert config["current-context"] == "fairway-lab"


def test_nobody_else_may_read_a_key(state: StateDir) -> None:
    readable = [path.name for path in (*state.credentials.iterdir(), state.kubeconfig) if path.stat().st_mode & 0o077]
    assert readable == []
