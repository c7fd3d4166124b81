"""Services: each rule by the manifest that breaks it."""

# ruff: noqa: E501  (a message stands on one line, as users read it)

from typing import Any

import pytest

from fairway.objects.kinds import SERVICE
from tests.unit.objects.people import faults

PORT = [{"port": 80}]
LB_ONLY = "Forbidden: may only be used when `type` is 'LoadBalancer'"
PORTS = "must be between 1 and 65535, inclusive"

CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["spec.ports: Required value"]),
    ({"ports": [{}]}, ["spec.ports[0].port: Required value"]),
    ({"ports": [{"port": 70000, "targetPort": 80}]}, [f"spec.ports[0].port: Invalid value: 70000: {PORTS}"]),
    ({"ports": [{"port": 0, "targetPort": 80}]}, [f"spec.ports[0].port: Invalid value: 0: {PORTS}"]),
    ({"ports": [{"port": 80, "targetPort": 70000}]}, [f"spec.ports[0].targetPort: Invalid value: 70000: {PORTS}"]),
    (
        {"ports": [{"port": 80, "targetPort": "HTTP"}]},
        ['spec.ports[0].targetPort: Invalid value: "HTTP": must contain only lower case letters, digits and hyphens (-)',
         'spec.ports[0].targetPort: Invalid value: "HTTP": must contain at least one letter (a-z)'],
    ),
    (
        {"ports": [{"port": 80, "protocol": "tcp"}]},
        ['spec.ports[0].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"'],
    ),
    (
        {"ports": [{"port": 80}, {"port": 81, "name": "b"}]},
        ["spec.ports[0].name: Required value: must be given when there is more than one port"],
    ),
    (
        {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]},
        ['spec.ports[1].name: Duplicate value: "a"'],
    ),
    (
        {"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]},
        ['spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}'],
    ),
    ({"ports": [{"port": 53, "name": "a"}, {"port": 53, "name": "b", "protocol": "UDP"}]}, []),
    (
        {"ports": [{"port": 80, "nodePort": 30000}]},
        ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    ),
    (
        {"type": "NodePort", "ports": [{"port": 80, "name": "a", "nodePort": 30000}, {"port": 81, "name": "b", "nodePort": 30000}]},
        ["spec.ports[1].nodePort: Duplicate value: 30000"],
    ),
    (
        {"type": "NodePort",
         "ports": [{"port": 53, "name": "a", "nodePort": 30000}, {"port": 53, "name": "b", "nodePort": 30000, "protocol": "UDP"}]},
        [],
    ),
    ({"ports": [{"port": 80, "appProtocol": "kubernetes.io/h2c"}]}, []),
    (
        {"type": "LoadBalancer", "ports": [{"port": 10250}]},
        ["spec.ports[0].port: Invalid value: 10250: may not expose port 10250 externally since it is used by kubelet"],
    ),
    (
        {"type": "ClusterIp", "ports": PORT},
        ['spec.type: Unsupported value: "ClusterIp": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'],
    ),
    ({"clusterIP": "None"}, []),
    ({"clusterIP": "None", "ports": PORT}, []),
    (
        {"clusterIP": "None", "type": "NodePort", "ports": PORT},
        ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
    ),
    (
        {"clusterIP": "10.96.0.300", "ports": PORT},
        ['spec.clusterIPs[0]: Invalid value: "10.96.0.300": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'],
    ),
    (
        {"clusterIP": "010.96.0.1", "ports": PORT},
        ['spec.clusterIPs[0]: Invalid value: "010.96.0.1": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'],
    ),
    (
        {"clusterIP": "::ffff:10.0.0.1", "ports": PORT},
        ['spec.clusterIPs[0]: Invalid value: "::ffff:10.0.0.1": must not be an IPv4-mapped IPv6 address'],
    ),
    (
        {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.2"], "ports": PORT},
        ['spec.clusterIPs: Invalid value: ["10.96.0.2"]: first value must match `clusterIP`'],
    ),
    (
        {"clusterIPs": ["10.96.0.2"], "ports": PORT},
        ['spec.clusterIPs: Invalid value: ["10.96.0.2"]: must be empty when `clusterIP` is not specified'],
    ),
    (
        {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "10.96.0.2"], "ports": PORT},
        ['spec.clusterIPs: Invalid value: ["10.96.0.1","10.96.0.2"]: may specify no more than one IP for each IP family'],
    ),
    (
        {"clusterIP": "fd00::1", "ipFamilies": ["IPv4"], "ports": PORT},
        ['spec.clusterIPs[0]: Invalid value: "fd00::1": expected an IPv4 value as indicated by `ipFamilies[0]`'],
    ),
    (
        {"ipFamilies": ["IPv4", "IPv4"], "ports": PORT},
        ['spec.ipFamilies[1]: Duplicate value: "IPv4"'],
    ),
    (
        {"ipFamilies": ["IPv5"], "ports": PORT},
        ['spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"'],
    ),
    (
        {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "SingleStack", "ports": PORT},
        ['spec.ipFamilyPolicy: Invalid value: "SingleStack": must be dual stack when more than one of `ipFamilies` is given'],
    ),
    ({"type": "ExternalName"}, ["spec.externalName: Required value"]),
    ({"type": "ExternalName", "externalName": "example.com."}, []),
    (
        {"type": "ExternalName", "externalName": "example.com", "clusterIP": "10.96.0.1", "ipFamilyPolicy": "SingleStack"},
        ['spec.clusterIPs: Invalid value: ["10.96.0.1"]: may not be set for ExternalName services',
         "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services"],
    ),
    (
        {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}, "ports": PORT},
        ["spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be between 1 and 86400, inclusive"],
    ),
    (
        {"sessionAffinity": "Client", "ports": PORT},
        ['spec.sessionAffinity: Unsupported value: "Client": supported values: "ClientIP", "None"'],
    ),
    (
        {"externalIPs": ["127.0.0.1"], "ports": PORT},
        ['spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'],
    ),
    ({"externalIPs": ["0.0.0.0"], "ports": PORT}, ['spec.externalIPs[0]: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)']),
    (
        {"externalIPs": ["fe80::1"], "ports": PORT},
        ['spec.externalIPs[0]: Invalid value: "fe80::1": may not be in the link-local range (169.254.0.0/16, fe80::/10)'],
    ),
    (
        {"externalIPs": ["224.0.0.1"], "ports": PORT},
        ['spec.externalIPs[0]: Invalid value: "224.0.0.1": may not be in the multicast range (224.0.0.0/4, ff00::/8)'],
    ),
    (
        {"externalIPs": ["example.com"], "ports": PORT},
        ['spec.externalIPs[0]: Invalid value: "example.com": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'],
    ),
    (
        {"allocateLoadBalancerNodePorts": True, "loadBalancerClass": "a.b/c", "loadBalancerSourceRanges": ["10.0.0.0/8"], "ports": PORT},
        [f"spec.allocateLoadBalancerNodePorts: {LB_ONLY}", f"spec.loadBalancerClass: {LB_ONLY}",
         f"spec.loadBalancerSourceRanges: {LB_ONLY}"],
    ),
    (
        {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8", "10.0.0.1/8", "10.0.0.0"], "ports": PORT},
        ['spec.loadBalancerSourceRanges[1]: Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length; '
         "did you mean 10.0.0.0/8?",
         'spec.loadBalancerSourceRanges[2]: Invalid value: "10.0.0.0": must be a valid CIDR value, '
         "(e.g. 10.9.8.0/24 or 2001:db8::/64)"],
    ),
    (
        {"externalTrafficPolicy": "Local", "ports": PORT},
        ['spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services'],
    ),
    (
        {"type": "NodePort", "externalTrafficPolicy": "Locale", "ports": PORT},
        ['spec.externalTrafficPolicy: Unsupported value: "Locale": supported values: "Cluster", "Local"'],
    ),
    (
        {"internalTrafficPolicy": "Locale", "ports": PORT},
        ['spec.internalTrafficPolicy: Unsupported value: "Locale": supported values: "Cluster", "Local"'],
    ),
    (
        {"type": "LoadBalancer", "healthCheckNodePort": 32000, "ports": PORT},
        ["spec.healthCheckNodePort: Invalid value: 32000: may only be set when `type` is 'LoadBalancer' and "
         "`externalTrafficPolicy` is 'Local'"],
    ),
    ({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000, "ports": PORT}, []),
    (
        {"trafficDistribution": "PreferNear", "ports": PORT},
        ['spec.trafficDistribution: Unsupported value: "PreferNear": supported values: "PreferClose", "PreferSameNode", '
         '"PreferSameZone"'],
    ),
    (
        {"selector": {"a b": "c"}, "ports": PORT},
        ['spec.selector: Invalid value: "a b": name part must consist of letters, digits, \'-\', \'_\' or \'.\', and must start '
         "and end with a letter or digit (such as 'MyName' or 'my.name'; regex '[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?')"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "expected"), CASES)
def test_rules(spec: dict[str, Any], expected: list[str]) -> None:
    assert faults(SERVICE, {"spec": spec}) == expected


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("web", True),
        ("1web", True),
        ("web-1", True),
        ("Web", False),
        ("web.a", False),
        ("-web", False),
        ("a" * 64, False),
    ],
)
def test_names_may_start_with_a_digit(name: str, valid: bool) -> None:
    found = faults(SERVICE, {"metadata": {"name": name}, "spec": {"ports": PORT}})
    assert (found == []) is valid
    assert all(fault.startswith("metadata.name: Invalid value: ") for fault in found)


def test_source_ranges_in_the_annotation_are_held_to_the_same_rules() -> None:
    key = "service.beta.kubernetes.io/load-balancer-source-ranges"
    obj = {"metadata": {"annotations": {key: "10.0.0.0/8, x"}}, "spec": {"type": "LoadBalancer", "ports": PORT}}
    assert faults(SERVICE, obj) == [
        f'metadata.annotations[{key}]: Invalid value: " x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'
    ]
