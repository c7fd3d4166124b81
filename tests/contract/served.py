"""An API server on loopback with TLS, in a thread of its own, and real kubectl pointed at it."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fairway.api.http import serve
from fairway.api.server import Api, ApiConfig
from fairway.api.subresources import NodeClient
from fairway.store.memory import MemoryStore
from tests.contract.session import CONFIG

KUBECTL = shutil.which("kubectl")
OLD_KUBECTL = str(Path(sys.prefix) / "debian/usr/bin/kubectl")
"""Debian's, which `setup.sh` lays beside the packages: in Debian 12 it is 1.20, the oldest that is served."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def save(self, folder: Path, name: str) -> None:
        """Write NAME.crt and NAME.key."""
        (folder / f"{name}.crt").write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def issue(name: str, authority: Pair | None = None, organisation: str = "") -> Pair:
    """A certificate for 127.0.0.1 and a day, signed by `authority` or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if organisation:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    subject = x509.Name(parts)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject if authority else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    )
    return Pair(builder.sign(authority.key if authority else key, hashes.SHA256()), key)


@dataclass(frozen=True)
class Served:
    """A running server: its port, its files (ca.crt, server.crt, client.crt, kubeconfig) and its loop."""

    port: int
    folder: Path
    api: Api

    def kubectl(
        self, *words: str, text: str = "", wait: float = 30, program: str | None = KUBECTL, editor: str = "false"
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl to its end."""
        assert program
        own = {"HOME": str(self.folder), "KUBECACHEDIR": str(self.folder / "cache"), "KUBE_EDITOR": editor}
        return subprocess.run(
            [program, "--kubeconfig", str(self.folder / "kubeconfig"), *words],
            input=text,
            capture_output=True,
            text=True,
            timeout=wait,
            env={**os.environ, **own},
        )


@contextmanager
def served(folder: Path, config: ApiConfig = CONFIG, nodes: NodeClient | None = None) -> Iterator[Served]:
    """Serve until the block ends."""
    authority = issue("ca")
    authority.save(folder, "ca")
    issue("server", authority).save(folder, "server")
    issue("admin", authority, "system:masters").save(folder, "client")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    (folder / "kubeconfig").write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        f"clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: ca.crt}}}}]\n"
        "users: [{name: u, user: {client-certificate: client.crt, client-key: client.key}}]\n"
        "contexts: [{name: c, context: {cluster: c, user: u}}]\n"
    )
    api = Api(MemoryStore(), replace(config, advertise_port=port), nodes)
    started = threading.Event()
    ending: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        stop = asyncio.Event()
        await api.start()
        ending.append((asyncio.get_running_loop(), stop))
        started.set()
        files = {"certfile": str(folder / "server.crt"), "keyfile": str(folder / "server.key")}
        await serve(api, [listener], **files, client_ca=str(folder / "ca.crt"), stop=stop)
        await api.stop()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert started.wait(10)
        yield Served(port, folder, api)
    finally:
        loop, stop = ending[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
