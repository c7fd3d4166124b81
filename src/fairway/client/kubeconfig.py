"""Where the cluster is and who we are: kubeconfig files, or the service account that every pod is given.

The search is kubectl's: a path given, `KUBECONFIG` (several files, the first to define a name wins), `~/.kube/config`,
then the files of a service account.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fairway.client.http import HttpClient

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KubeconfigError(Exception):
    """No way to a cluster can be read; the message names the file and the entry."""


@dataclass(frozen=True, slots=True)
class ConnectInfo:
    """How to reach an API server, and as whom. `*_data` are PEM texts, `*_file` paths; empty means none."""

    server: str
    ca_file: str = ""
    ca_data: str = ""
    cert_file: str = ""
    cert_data: str = ""
    key_file: str = ""
    key_data: str = ""
    token: str = ""
    token_file: str = ""
    insecure: bool = False
    tls_name: str = ""
    namespace: str = "default"


def connect(info: ConnectInfo) -> HttpClient:
    """A client for the server that `info` describes. Raises KubeconfigError when its files cannot be used."""
    try:
        return HttpClient(
            info.server,
            ca_file=info.ca_file,
            ca_data=info.ca_data,
            cert_file=info.cert_file,
            cert_data=info.cert_data,
            key_file=info.key_file,
            key_data=info.key_data,
            token=info.token,
            token_file=info.token_file,
            insecure=info.insecure,
            tls_name=info.tls_name,
        )
    except (OSError, ValueError) as error:
        raise KubeconfigError(f"no connection to {info.server} can be set up: {error}") from error


def load(path: str | None = None, context: str = "") -> ConnectInfo:
    """The connection of `context` (the current one when ""). Raises KubeconfigError."""
    files = [Path(path)] if path else _files(os.environ)
    if path and not files[0].is_file():
        raise KubeconfigError(f"{path} is no file")
    present = [file for file in files if file.is_file()]
    if present:
        return choose([(file, _read(file)) for file in present], context)
    return in_cluster(os.environ, SERVICE_ACCOUNT)


def _files(environment: Mapping[str, str]) -> list[Path]:
    listed = [Path(each) for each in environment.get("KUBECONFIG", "").split(os.pathsep) if each]
    return listed or [Path.home() / ".kube" / "config"]


def _read(file: Path) -> Mapping[str, Any]:
    try:
        content = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise KubeconfigError(f"{file} cannot be read: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise KubeconfigError(f"{file} is no kubeconfig: it holds no mapping")
    return content


def choose(files: Sequence[tuple[Path, Mapping[str, Any]]], context: str) -> ConnectInfo:
    """The connection of `context` in files already read, in order of precedence. Raises KubeconfigError."""
    names = ", ".join(str(file) for file, _ in files)
    current = next((str(content["current-context"]) for _, content in files if content.get("current-context")), "")
    wanted = context or current
    if not wanted:
        raise KubeconfigError(f"{names}: no current-context is set; name a context")
    _, chosen = _entry(files, "contexts", "context", wanted, names)
    base, cluster = _entry(files, "clusters", "cluster", str(chosen.get("cluster", "")), names)
    where = _server(cluster, base, names)
    who: dict[str, Any] = {}
    if chosen.get("user"):
        home, user = _entry(files, "users", "user", str(chosen["user"]), names)
        who = _user(user, str(chosen["user"]), home)
    return ConnectInfo(**where, **who, namespace=str(chosen.get("namespace") or "default"))


def _entry(
    files: Sequence[tuple[Path, Mapping[str, Any]]], section: str, field: str, name: str, names: str
) -> tuple[Path, Mapping[str, Any]]:
    """(folder of the file, entry) for `name` in a section: the first file that has it wins."""
    for file, content in files:
        for each in content.get(section) or ():
            if isinstance(each, dict) and each.get("name") == name:
                return file.parent, each.get(field) or {}
    raise KubeconfigError(f"{names}: no {field} is named {name!r}")


def _server(cluster: Mapping[str, Any], base: Path, names: str) -> dict[str, Any]:
    if not cluster.get("server"):
        raise KubeconfigError(f"{names}: the cluster has no server address")
    if cluster.get("proxy-url"):
        raise KubeconfigError(f"{names}: proxy-url is not supported")
    return {
        "server": str(cluster["server"]),
        "ca_file": _path(cluster, "certificate-authority", base),
        "ca_data": _data(cluster, "certificate-authority-data", names),
        "insecure": bool(cluster.get("insecure-skip-tls-verify")),
        "tls_name": str(cluster.get("tls-server-name") or ""),
    }


def _user(user: Mapping[str, Any], name: str, base: Path) -> dict[str, Any]:
    for field, meant in (("exec", "an exec plugin"), ("auth-provider", "an auth provider"), ("username", "a password")):
        if user.get(field):
            raise KubeconfigError(f"user {name!r} logs in by {meant}; use a token or a client certificate instead")
    where = f"user {name!r}"
    return {
        "cert_file": _path(user, "client-certificate", base),
        "cert_data": _data(user, "client-certificate-data", where),
        "key_file": _path(user, "client-key", base),
        "key_data": _data(user, "client-key-data", where),
        "token": str(user.get("token") or ""),
        "token_file": "" if user.get("token") else _path(user, "tokenFile", base),
    }


def _path(entry: Mapping[str, Any], field: str, base: Path) -> str:
    """A path in a kubeconfig is relative to the file's folder; inline data wins over it."""
    return str(base / entry[field]) if entry.get(field) and not entry.get(f"{field}-data") else ""


def _data(entry: Mapping[str, Any], field: str, where: str) -> str:
    try:
        return base64.b64decode(str(entry.get(field) or ""), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise KubeconfigError(f"{where}: {field} is not base64 of PEM: {error}") from error


def in_cluster(environment: Mapping[str, str], account: Path) -> ConnectInfo:
    """The connection of a pod's service account, whose files are in `account`. Raises KubeconfigError."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (account / "token").is_file():
        raise KubeconfigError("no cluster is configured: set KUBECONFIG or give the path of a kubeconfig")
    namespace = account / "namespace"
    return ConnectInfo(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        ca_file=str(account / "ca.crt"),
        token_file=str(account / "token"),
        namespace=namespace.read_text().strip() if namespace.is_file() else "default",
    )
