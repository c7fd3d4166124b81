"""What a fresh lab's cluster holds of itself: the DNS Deployment and the Service `kube-system/kube-dns` before it."""

from __future__ import annotations

from typing import Any

from fairway.lab.topology import Topology
from fairway.objects.kinds import RBAC

DNS_IMAGE = "fairway-dns"
DNS_ACCOUNT = "fairway-dns"
_LABELS = {"k8s-app": "kube-dns"}


def dns_service(topology: Topology) -> dict[str, Any]:
    """`kube-dns`, under the name and address that kubeadm users know."""
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {**_LABELS, "kubernetes.io/name": "CoreDNS"},
        },
        "spec": {"clusterIP": topology.dns_address, "selector": _LABELS, "ports": ports},
    }


def dns_account() -> list[dict[str, Any]]:
    """Who the DNS server is, and the right to read what names are made of."""
    metadata = {"name": DNS_ACCOUNT, "namespace": "kube-system", "labels": _LABELS}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:fairway-dns", "labels": _LABELS},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "system:kube-dns"},
            "subjects": [{"kind": "ServiceAccount", "name": DNS_ACCOUNT, "namespace": "kube-system"}],
        },
    ]


def load_balancer_settings(topology: Topology) -> dict[str, Any]:
    """What the controller of load balancers goes by: like everything it reads, there to be changed with kubectl."""
    nodes = {node.name for node in topology.nodes}
    others = [each for name, addresses in topology.on_segment().items() if name not in nodes for each in addresses]
    config = [f"style: {topology.load_balancer_style}", "reserved:"]
    config += [*(f"- {each}" for each in (*topology.gateways, *others)), "pools:"]
    config += ["- name: default", "  addresses:", *(f"  - {each}" for each in topology.load_balancer_pool)]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "fairway-loadbalancer", "namespace": "kube-system"},
        "data": {"config": "\n".join(config) + "\n"},
    }


def dns_deployment(topology: Topology) -> dict[str, Any]:
    """The DNS server as a Deployment like any other, so that it moves when its node dies."""
    container = {
        "name": "dns",
        "image": DNS_IMAGE,
        "args": [
            *("--domain", topology.domain),
            *(word for each in (*topology.service_ranges, *topology.pod_ranges) for word in ("--reverse", each)),
            *("--health-address", "$(POD_IP):8080"),
            *("--metrics-address", "$(POD_IP):9153"),
            *("--resolv-conf", ""),  # the host's servers are no part of the lab
            *(word for server in topology.dns_forward for word in ("--forward", server)),
        ],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "initialDelaySeconds": 10},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "fairway-dns", "namespace": "kube-system", "labels": _LABELS},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": _LABELS},
            "template": {
                "metadata": {"labels": _LABELS},
                "spec": {
                    "serviceAccountName": DNS_ACCOUNT,
                    "containers": [container],
                    "dnsPolicy": "Default",
                    "terminationGracePeriodSeconds": 1,
                },
            },
        },
    }
