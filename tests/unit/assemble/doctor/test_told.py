"""What a proxy was told, out of the ConfigMap that kubeadm writes and the words of the command line."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.assemble.doctor.told import Settings, Told, settled
from fairway.desired.options import PRIMARY, DetectLocal

KUBEADM = """
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
clientConnection:
  acceptContentTypes: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
clusterCIDR: 10.244.0.0/16
conntrack:
  maxPerCore: 1000
  min: 2000
  tcpCloseWaitTimeout: 0s
detectLocalMode: ""
iptables:
  masqueradeAll: true
  masqueradeBit: null
kind: KubeProxyConfiguration
mode: MODE
nodePortAddresses: null
winkernel:
  enableDSR: false
"""


def config_map(text: str) -> dict[str, Any]:
    return {"metadata": {"name": "kube-proxy"}, "data": {"config.conf": text, "kubeconfig.conf": "..."}}


def read(text: str, told: Told | None = None, limit: str = "8000") -> Settings:
    values = {"net.netfilter.nf_conntrack_max": limit}
    return settled(told or Told(), config_map(text), "node-a", values, cpus=4)


def codes(settings: Settings) -> list[tuple[str, str]]:
    return [(each.code, each.severity.value) for each in settings.findings]


def test_what_kubeadm_writes_is_what_the_proxy_was_told() -> None:
    settings = read(KUBEADM.replace("MODE", '""'))
    assert settings.options.cluster_cidrs == ("10.244.0.0/16",)
    assert (settings.options.masquerade_all, settings.options.masquerade_bit) == (True, 14)
    assert settings.options.detect_local is DetectLocal.CLUSTER_CIDR
    assert settings.options.localhost_nodeports  # the reference's default
    assert codes(settings) == [("proxy-settings", "note")]
    assert "cluster_cidr: 10.244.0.0/16" in settings.findings[0].evidence


def test_nftables_mode_serves_node_ports_at_the_main_address_and_guards_cluster_ips() -> None:
    options = read(KUBEADM.replace("MODE", "nftables")).options
    assert (options.nodeport_addresses, options.localhost_nodeports, options.guarded_cidrs) == ((PRIMARY,), False, ())


def test_the_command_line_counts_first() -> None:
    told = Told(proxy_mode="nftables", cluster_cidr="10.1.0.0/16", nodeport_addresses="10.0.0.0/24,10.9.0.0/24")
    options = read(KUBEADM.replace("MODE", "iptables"), told).options
    assert (options.cluster_cidrs, options.nodeport_addresses) == (("10.1.0.0/16",), ("10.0.0.0/24", "10.9.0.0/24"))
    assert options.guarded_cidrs == ()


def test_without_a_config_map_defaults_hold_and_nothing_is_said() -> None:
    settings = settled(Told(), None, "node-a", {}, cpus=4)
    assert settings.findings == ()
    assert (settings.options.cluster_cidrs, settings.options.localhost_nodeports) == ((), False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (KUBEADM.replace("MODE", "ipvs"), "mode ipvs"),
        ("kind: Something", "cannot be read"),
        (KUBEADM.replace("MODE", "iptables") + "surprise: true\n", "surprise"),
    ],
)
def test_what_cannot_be_followed_is_a_warning(text: str, words: str) -> None:
    (finding,) = [each for each in read(text).findings if each.severity == "warning"]
    assert words in finding.message
    assert finding.command == "kubectl get configmap -n kube-system kube-proxy -o yaml"


def test_a_table_of_connections_that_is_smaller_than_the_proxy_was_told_is_noted() -> None:
    assert ("conntrack-limit", "note") in codes(read(KUBEADM.replace("MODE", "iptables"), limit="3999"))
    assert ("conntrack-limit", "note") not in codes(read(KUBEADM.replace("MODE", "iptables"), limit="4000"))
