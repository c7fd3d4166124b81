"""KubeProxyConfiguration and the flags that spell it."""

from __future__ import annotations

import pytest

from fairway.assemble import proxyconfig
from fairway.assemble.proxyconfig import ConfigError, KubeProxyConfiguration
from fairway.assemble.proxyflags import Mode
from fairway.desired.options import DetectLocal, OptionError

# as kubeadm writes it (1.31)
KUBEADM = b"""
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel: {enableDSR: false, forwardHealthCheckVip: false, networkName: "", rootHnsEndpointName: "", sourceVip: ""}
"""


def test_the_file_that_kubeadm_writes() -> None:
    config = proxyconfig.load(KUBEADM, "config.conf")

    proxyconfig.check(config)
    assert config.client_connection.kubeconfig == "/var/lib/kube-proxy/kubeconfig.conf"
    assert proxyconfig.mode(config) is Mode.IPTABLES
    assert config.healthz_bind_address == "0.0.0.0:10256"
    assert (config.iptables.sync_period, config.iptables.min_sync_period) == ("30s", "1s")
    assert (config.conntrack.min, config.conntrack.tcp_established_timeout) == (131072, "24h0m0s")
    assert proxyconfig.rule_flags(config).options(Mode.IPTABLES).cluster_cidrs == ("10.244.0.0/16",)


def test_what_is_written_is_read_back() -> None:
    config = proxyconfig.with_flags(KubeProxyConfiguration(), {"proxy-mode": "nftables", "cluster-cidr": "10.0.0.0/8"})

    assert proxyconfig.load(proxyconfig.dump(config).encode(), "f") == config


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("modes: iptables", 'unknown field "modes"'),
        ("iptables: {masqBit: 3}", 'unknown field "iptables.masqBit"'),
        ("conntrack: {min: many}", "`conntrack.min`"),
        ("mode: ipvs", "proxy-mode: 'ipvs' is not served"),
        ("conntrack: {udpTimeout: 3 minutes}", "conntrack-udp-timeout: '3 minutes' is not a duration"),
        ("healthzBindAddress: 10256", "`healthzBindAddress`"),
        ("metricsBindAddress: nowhere", "metrics-bind-address: 'nowhere' is not ADDRESS:PORT"),
        ("clusterCIDR: 10.244.0.0/33", "cluster-cidr: "),
        ("oomScoreAdj: 2000", "oom-score-adj: 2000"),
        ("iptables: {masqueradeBit: 40}", "iptables-masquerade-bit: 40"),
        ("a: [", "line"),
    ],
)
def test_what_cannot_be_is_named(line: str, says: str) -> None:
    text = f"apiVersion: {proxyconfig.GROUP_VERSION}\nkind: {proxyconfig.KIND}\n{line}\n".encode()

    with pytest.raises((ConfigError, OptionError)) as refused:
        proxyconfig.check(proxyconfig.load(text, "proxy.yaml"))

    assert says in str(refused.value)


def test_another_kind_of_file() -> None:
    with pytest.raises(ConfigError, match="apiVersion is 'v1'"):
        proxyconfig.load(b"apiVersion: v1\nkind: Service\n", "web.yaml")


def test_every_flag_has_a_field() -> None:
    values = {bool: True, int: 7, float: 1.5, str: "x", list: ["10.0.0.0/8"]}
    given = {setting.flag: values[setting.type] for setting in proxyconfig.SETTINGS}

    config = proxyconfig.with_flags(KubeProxyConfiguration(), given)

    for setting in proxyconfig.SETTINGS:
        assert proxyconfig._value(config, setting.path) == given[setting.flag]


def test_modes_have_their_own_defaults() -> None:
    flags = proxyconfig.rule_flags(KubeProxyConfiguration())

    assert flags.options(Mode.IPTABLES).nodeport_addresses == ()
    assert flags.options(Mode.NFTABLES).nodeport_addresses == ("primary",)
    assert flags.options(Mode.IPTABLES).guarded_cidrs is None
    assert flags.options(Mode.NFTABLES).guarded_cidrs == ()
    assert flags.options(Mode.IPTABLES).localhost_nodeports is False
    assert flags.options(Mode.IPTABLES).detect_local is DetectLocal.CLUSTER_CIDR


def test_nftables_has_settings_of_its_own() -> None:
    nftables = proxyconfig.Nftables(masquerade_bit=5, masquerade_all=True)
    config = KubeProxyConfiguration(mode="nftables", nftables=nftables)

    flags = proxyconfig.rule_flags(config)

    assert (flags.iptables_masquerade_bit, flags.masquerade_all) == (5, True)


@pytest.mark.parametrize(
    ("text", "expected"), [("30s", 30), ("1m30s", 90), ("24h0m0s", 86400), ("500ms", 0.5), ("0", 0), ("", 0), (None, 0)]
)
def test_durations(text: str | None, expected: float) -> None:
    assert proxyconfig.seconds(text, "x") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0.0.0:10256", ("0.0.0.0", 10256)),
        ("[::]:1", ("::", 1)),
        ("127.0.0.1", ("127.0.0.1", 99)),
        ("::1", ("::1", 99)),
        ("", None),
    ],
)
def test_addresses_to_listen_on(text: str, expected: tuple[str, int] | None) -> None:
    assert proxyconfig.host_and_port(text, "x", 99) == expected
