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

# What a lab of both families has beside these, and what is behind its router.
SEGMENT_V6 = "fd00:a::/64"
NODES_V6 = {"node-a": "fd00:a::11", "node-b": "fd00:a::12", "node-c": "fd00:a::13"}
OUTSIDE_CLIENT_V6 = "fd00:a::100"
POD_RANGE_V6 = "fd00:10:244::/48"
SERVICE_RANGE_V6 = "fd00:10:96::/112"
ROUTER = {4: "10.0.0.2", 6: "fd00:a::2"}
FAR_SEGMENT = {4: "10.1.0.0/24", 6: "fd00:b::/64"}
FAR_CLIENT = {4: "10.1.0.100", 6: "fd00:b::100"}
