"""Rules of a node for objects, as files for the command line."""

from __future__ import annotations

from pathlib import Path

from fairway.assemble import rendering
from fairway.assemble.proxyflags import Mode, RuleFlags
from fairway.packet import Family

OBJECTS = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.20
  clusterIPs: [10.96.0.20]
  ipFamilies: [IPv4]
  externalTrafficPolicy: Local
  healthCheckNodePort: 31000
  loadBalancerSourceRanges: [192.0.2.0/24]
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080, protocol: TCP}]
status: {loadBalancer: {ingress: [{ip: 203.0.113.7}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-abcde, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.244.2.7], nodeName: node-b, conditions: {ready: true}, targetRef: {kind: Pod, name: web-1}}
- {addresses: [10.244.2.8], nodeName: node-b, conditions: {ready: true}, targetRef: {kind: Pod, name: web-2}}
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: default}
spec:
  type: ClusterIP
  clusterIP: 10.96.0.21
  clusterIPs: [10.96.0.21]
  ipFamilies: [IPv4]
  selector: {app: nothing}
  ports: [{port: 80, protocol: TCP}]
---
apiVersion: v1
kind: Service
metadata: {name: slow, namespace: default}
spec:
  type: ClusterIP
  clusterIP: 10.96.0.22
  clusterIPs: [10.96.0.22]
  ipFamilies: [IPv4]
  selector: {app: slow}
  ports: [{port: 80, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: slow-abcde, namespace: default, labels: {kubernetes.io/service-name: slow}}
addressType: IPv4
ports: [{name: "", port: 80, protocol: TCP}]
endpoints:
- {addresses: [10.244.2.9], nodeName: node-b, conditions: {ready: false}, targetRef: {kind: Pod, name: slow-1}}
"""

ADDRESSES = (
    "2: eth0: <UP>\n    inet 10.0.0.11/24 scope global eth0\n3: cni0: <UP>\n    inet 10.244.1.1/24 scope global\n"
)
ROUTES = "default via 10.0.0.1 dev eth0\n10.0.0.0/24 dev eth0\n10.244.1.0/24 dev cni0\n10.244.0.0/16 dev flannel.1\n"


def write(folder: Path, mode: Mode) -> list[str]:
    """The files in `folder`, as the options that name them."""
    question = rendering.Question("objects", "node-a", "10.0.0.11/24")
    flags = RuleFlags(cluster_cidr="10.244.0.0/16")
    wanted, _ = rendering.desired(question, OBJECTS.encode(), mode, flags)
    contents = {
        "--rules": rendering.rules(wanted, mode, Family.IPV4, False),
        "--ip-addr": ADDRESSES,
        "--ip-route": ROUTES,
        "--objects": OBJECTS,
    }
    options: list[str] = []
    for option, content in contents.items():
        path = folder / option.strip("-")
        path.write_text(content)
        options += [option, str(path)]
    return [*options, "--node", "node-a"]
