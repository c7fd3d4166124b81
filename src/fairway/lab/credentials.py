"""Who may talk to a lab's API server: certificates and kubeconfigs, one per component, in the lab's directory."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fairway.api.users import ANNOUNCER
from fairway.lab import pki
from fairway.lab.build import API_PORT
from fairway.lab.state import StateDir
from fairway.lab.topology import Topology
from fairway.packet import host_port


@dataclass(frozen=True, slots=True)
class Identity:
    """A component's name in the file system, and its user and groups in the cluster."""

    name: str
    user: str
    groups: tuple[str, ...] = ()


def identities(topology: Topology) -> Iterator[Identity]:
    """Every component that asks the API server from inside the segment."""
    yield Identity("control", "system:kube-controller-manager")
    for node in topology.nodes:
        yield Identity(f"agent-{node.name}", f"system:node:{node.name}", ("system:nodes",))
        yield Identity(f"proxy-{node.name}", "system:kube-proxy", ("system:node-proxier",))
        yield Identity(f"announcer-{node.name}", ANNOUNCER)


def api_server_names(topology: Topology) -> list[str]:
    """Every name and address under which the API server's certificate must hold."""
    service = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{topology.domain}",
    ]
    return ["localhost", "127.0.0.1", topology.control_plane, topology.kubernetes_address, *service]


def inside_url(topology: Topology) -> str:
    """Where components on the segment reach the API server."""
    return f"https://{host_port(topology.control_plane, API_PORT)}"


def kubeconfig_of(state: StateDir, component: str) -> Path:
    """The kubeconfig file of a component."""
    return state.credentials / f"{component}.kubeconfig"


def issue(state: StateDir, topology: Topology, host_port_of_api: int, now: datetime.datetime) -> None:
    """Make the CA and everything it signs, and write the administrator's kubeconfig for the host last."""
    authority = pki.Authority(f"fairway-{topology.name}", now)
    ca = authority.certificate
    pki.write_private(state.credentials / "ca.crt", ca)
    authority.server("kube-apiserver", api_server_names(topology)).write(state.credentials, "api")
    authority.client("kube-apiserver-kubelet-client", ("system:masters",)).write(state.credentials, "api-to-node")
    for node in topology.nodes:
        names = [node.name, *node.addresses]
        authority.server(f"system:node:{node.name}", names).write(state.credentials, f"server-{node.name}")
    for identity in identities(topology):
        pair = authority.client(identity.user, identity.groups)
        content = pki.kubeconfig(topology.name, inside_url(topology), ca, identity.user, pair)
        pki.write_private(kubeconfig_of(state, identity.name), content)
    admin = authority.client("kubernetes-admin", ("system:masters",))
    server = f"https://127.0.0.1:{host_port_of_api}"
    pki.write_private(
        state.kubeconfig, pki.kubeconfig(f"fairway-{topology.name}", server, ca, "kubernetes-admin", admin)
    )
