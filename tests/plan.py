"""One address plan for tests, README and lab: who is who when a test or a page names an address."""

from __future__ import annotations

SEGMENT = "10.0.0.0/24"  # the common segment of nodes, control plane and the outside client
GATEWAY = "10.0.0.1"  # leads nowhere else
CONTROL_PLANE = "10.0.0.10"
NODES = {"node-a": "10.0.0.11", "node-b": "10.0.0.12", "node-c": "10.0.0.13"}
OUTSIDE_CLIENT = "10.0.0.100"
POD_RANGE = "10.244.0.0/16"  # a /24 per node: node-a 10.244.0.0/24, node-b 10.244.1.0/24, ...
SERVICE_RANGE = "10.96.0.0/12"
KUBERNETES_IP = "10.96.0.1"
DNS_IP = "10.96.0.10"
NODE_PORTS = range(30000, 32768)
