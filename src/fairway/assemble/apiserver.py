"""An API server by itself: its options, and its life as a process. Several on one etcd serve one cluster."""

from __future__ import annotations

import asyncio
import csv
import datetime
import ipaddress
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fairway.api.allocate import address_range
from fairway.api.http import serve
from fairway.api.server import Api, ApiConfig
from fairway.api.users import User
from fairway.assemble import stores
from fairway.assemble.life import run
from fairway.lab.authority import ServingFiles, admin_kubeconfig, checked, own_files
from fairway.packet import host_port
from fairway.store.etcd_rpc import Tls

BACKLOG = 512
SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")

Tell = Callable[[str], None]


class OptionError(ValueError):
    """An option cannot be; the message names it."""


@dataclass(frozen=True, slots=True)
class Options:
    """The command line's words, as kube-apiserver spells them; "" is what was not said."""

    store: str
    listen: str
    service_cluster_ip_range: str
    service_node_port_range: str
    advertise_address: str = ""
    cert_dir: str = ""
    tls_cert_file: str = ""
    tls_private_key_file: str = ""
    client_ca_file: str = ""
    token_auth_file: str = ""
    etcd_prefix: str = ""
    etcd_cafile: str = ""
    etcd_certfile: str = ""
    etcd_keyfile: str = ""


def api(options: Options, tell: Tell) -> None:
    """Serve until SIGTERM. `tell` hears where, once the server is ready. Raises OptionError, CertificateError,
    StoreError, OSError."""
    directory = Path(options.cert_dir) if options.cert_dir else _default_directory()
    address, port = parse_listen(options.listen)
    config = parse_config(options, address)
    choice = stores.parse(options.store, directory / "store.db")
    listener = _bind(address, port)
    config = replace(config, advertise_port=listener.getsockname()[1])
    own = not options.tls_cert_file
    files = _own(options, directory, config) if own else _named(options)

    async def main(stop: asyncio.Event) -> None:
        store = stores.open_store(choice, options.etcd_prefix, _etcd_tls(options))
        try:
            server = Api(store, config)
            await server.start()
            url = f"https://{host_port(_reachable(address), config.advertise_port)}"
            listener.listen(BACKLOG)
            tell(f"serving at {url}" + (f"; kubeconfig {admin_kubeconfig(directory, url)}" if own else ""))
            authority = str(files.client_ca) if files.client_ca else None
            pair = {"certfile": str(files.certificate), "keyfile": str(files.key)}
            await serve(server, [listener], **pair, client_ca=authority, stop=stop)
            await server.stop()
        finally:
            await store.close()

    run(main)


def parse_config(options: Options, listen_address: str) -> ApiConfig:
    """The server's configuration; the port it advertises is not known yet. Raises OptionError."""
    cidrs = tuple(part.strip() for part in options.service_cluster_ip_range.split(","))
    try:
        families = [address_range(cidr).family for cidr in cidrs]
    except ValueError as error:
        raise OptionError(f"--service-cluster-ip-range {options.service_cluster_ip_range}: {error}") from error
    if len(families) > 2 or len(set(families)) < len(families):
        raise OptionError("--service-cluster-ip-range: one range, or one IPv4 and one IPv6 range")
    tokens = parse_tokens(Path(options.token_auth_file)) if options.token_auth_file else {}
    return ApiConfig(
        cidrs,
        node_ports=parse_ports(options.service_node_port_range),
        advertise_address=_advertised(options.advertise_address, listen_address),
        advertise_port=0,
        tokens=tokens,
        audit=True,
    )


def parse_listen(text: str) -> tuple[str, int]:
    """`ADDRESS:PORT`, `[ADDRESS]:PORT`. Raises OptionError."""
    address, _, port = text.rpartition(":")
    try:
        return str(ipaddress.ip_address(address.strip("[]"))), _port(port)
    except ValueError as error:
        raise OptionError(f"--listen {text}: needs ADDRESS:PORT") from error


def parse_ports(text: str) -> tuple[int, int]:
    """`FIRST-LAST`, both included. Raises OptionError."""
    first, _, last = text.partition("-")
    try:
        ports = _port(first), _port(last)
    except ValueError as error:
        raise OptionError(f"--service-node-port-range {text}: needs FIRST-LAST") from error
    if not 0 < ports[0] <= ports[1]:
        raise OptionError(f"--service-node-port-range {text}: the first must be at least 1 and not above the last")
    return ports


def parse_tokens(path: Path) -> dict[str, User]:
    """A token file: lines of token, user, uid and, quoted, the groups. Raises OptionError."""
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file, skipinitialspace=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"--token-auth-file {path}: {error}") from error
    tokens: dict[str, User] = {}
    for number, row in enumerate(rows, 1):
        if len(row) < 3 or not row[0] or not row[1]:
            raise OptionError(f'--token-auth-file {path}, record {number}: needs token,user,uid[,"group,group"]')
        if row[0] in tokens:
            raise OptionError(f"--token-auth-file {path}, record {number}: the token stands there twice")
        groups = tuple(group.strip() for group in ",".join(row[3:]).split(",") if group.strip())
        tokens[row[0]] = User(row[1], groups, row[2])
    return tokens


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise ValueError(f"{text!r} is no port")
    return int(text)


def _advertised(asked: str, listening: str) -> str:
    """Where the server says it is: where it listens, unless that is everywhere."""
    address = asked or listening
    try:
        if ipaddress.ip_address(address).is_unspecified:
            raise OptionError(f"--listen {listening} is every address: say with --advertise-address which one is told")
    except ValueError as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(f"--advertise-address {asked}: not an address") from error
    return address


def _reachable(listening: str) -> str:
    """An address of this machine at which a listener is found."""
    address = ipaddress.ip_address(listening)
    if not address.is_unspecified:
        return listening
    return "127.0.0.1" if address.version == 4 else "::1"


def _bind(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise OptionError(f"--listen {host_port(address, port)}: {error.strerror}") from error
    return listener


def _own(options: Options, directory: Path, config: ApiConfig) -> ServingFiles:
    if options.tls_private_key_file:
        raise OptionError("--tls-private-key-file needs --tls-cert-file")
    address, _ = parse_listen(options.listen)
    first = address_range(config.service_cidrs[0])
    names = ["localhost", "127.0.0.1", "::1", _reachable(address), config.advertise_address]
    service = [first.show(first.span.first), *SERVICE_NAMES]
    files = own_files(directory, [*names, *service], datetime.datetime.now(datetime.UTC))
    return replace(files, client_ca=Path(options.client_ca_file)) if options.client_ca_file else files


def _named(options: Options) -> ServingFiles:
    if not options.tls_private_key_file:
        raise OptionError("--tls-cert-file needs --tls-private-key-file")
    authority = Path(options.client_ca_file) if options.client_ca_file else None
    return checked(ServingFiles(Path(options.tls_cert_file), Path(options.tls_private_key_file), authority))


def _etcd_tls(options: Options) -> Tls | None:
    if not options.etcd_cafile:
        if options.etcd_certfile or options.etcd_keyfile:
            raise OptionError("--etcd-certfile and --etcd-keyfile need --etcd-cafile")
        return None
    pair: Sequence[Path | None] = [
        Path(name) if name else None for name in (options.etcd_certfile, options.etcd_keyfile)
    ]
    return Tls(Path(options.etcd_cafile), *pair)


def _default_directory() -> Path:
    """Where root's servers, and everybody's own, keep what they need again."""
    if os.geteuid() == 0:
        return Path("/var/lib/fairway")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "fairway"
