"""Certificates of a standalone API server: made at its first start, kept in one private directory, found again."""

from __future__ import annotations

import datetime
import fcntl
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509

from fairway.lab import pki

ADMIN = "kubernetes-admin"


class CertificateError(ValueError):
    """The certificates at hand do not serve; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class ServingFiles:
    """What a TLS listener needs. Without `client_ca` nobody is asked for a certificate."""

    certificate: Path
    key: Path
    client_ca: Path | None


def own_files(directory: Path, names: Iterable[str], now: datetime.datetime) -> ServingFiles:
    """The server's files in `directory`; the first server that starts there makes them, with an administrator's. Its
    certificate must hold for `names`. Raises CertificateError."""
    wanted = list(dict.fromkeys(names))
    files = ServingFiles(directory / "apiserver.crt", directory / "apiserver.key", directory / "ca.crt")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(directory):
        if not (directory / "ca.crt").exists():
            _make(directory, wanted, now)
    held = _names(files.certificate.read_bytes())
    if missing := [name for name in wanted if name not in held]:
        raise CertificateError(
            f"{files.certificate} does not hold for {', '.join(missing)}: name other files "
            f"(--tls-cert-file, --tls-private-key-file), or another --cert-dir for a new authority"
        )
    return files


def admin_kubeconfig(directory: Path, url: str) -> Path:
    """The administrator's kubeconfig for the server at `url`: `admin.kubeconfig`, or one named by the port as well when
    that leads to another server of the same directory."""
    path = directory / "admin.kubeconfig"
    with _alone(directory):
        if path.exists() and yaml.safe_load(path.read_text())["clusters"][0]["cluster"]["server"] != url:
            path = directory / f"admin-{url.rpartition(':')[2]}.kubeconfig"
        pair = pki.KeyPair((directory / "admin.crt").read_bytes(), (directory / "admin.key").read_bytes())
        pki.write_private(path, pki.kubeconfig("fairway", url, (directory / "ca.crt").read_bytes(), ADMIN, pair))
    return path


def checked(files: ServingFiles) -> ServingFiles:
    """Files that somebody named, once they are known to load. Raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files.certificate, files.key)
        if files.client_ca:
            context.load_verify_locations(files.client_ca)
    except OSError as error:
        named = ", ".join(str(path) for path in (files.certificate, files.key, files.client_ca) if path)
        raise CertificateError(f"cannot use the certificates {named}: {error}") from error
    return files


def _make(directory: Path, names: list[str], now: datetime.datetime) -> None:
    authority = pki.Authority("fairway", now)
    authority.server("kube-apiserver", names).write(directory, "apiserver")
    authority.client(ADMIN, ("system:masters",)).write(directory, "admin")
    pki.write_private(directory / "ca.crt", authority.certificate)  # last: it says that all are there


def _names(certificate: bytes) -> set[str]:
    """The DNS names and addresses of a certificate."""
    extension = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    found = extension.value
    return {*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))}


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other servers of the same directory waiting."""
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
