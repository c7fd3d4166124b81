"""The node proxy's whole configuration: KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1), and the flags that
spell its fields.

The table `SETTINGS` is the program: it says which flag stands for which field. As with kube-proxy, a configuration
file takes the place of the flags; only `--hostname-override` and the few flags that are ours count beside it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fairway.assemble.proxyflags import Mode, RuleFlags
from fairway.desired.options import OptionError
from fairway.objects import codec
from fairway.objects.errors import ObjectError

GROUP_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
KIND = "KubeProxyConfiguration"
HEALTHZ_PORT = 10256
METRICS_PORT = 10249

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class ConfigError(ValueError):
    """A configuration that cannot be. The message names the file or flag, the field and what is accepted."""


class _Part(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=False):
    """A piece of the configuration. Durations are Go's: 30s, 1m30s."""


class ClientConnection(_Part, frozen=True):
    kubeconfig: str = ""
    accept_content_types: str = ""
    content_type: str = ""
    qps: float = 0
    burst: int = 0


class Iptables(_Part, frozen=True):
    masquerade_bit: int | None = 14
    masquerade_all: bool = False
    localhost_node_ports: bool | None = None
    sync_period: str = "30s"
    min_sync_period: str = "1s"


class Nftables(_Part, frozen=True):
    masquerade_bit: int | None = 14
    masquerade_all: bool = False
    sync_period: str = "30s"
    min_sync_period: str = "1s"


class Ipvs(_Part, frozen=True):
    """Read for the sake of files that have it; this mode is not served."""

    sync_period: str = "0s"
    min_sync_period: str = "0s"
    scheduler: str = ""
    exclude_cidrs: list[str] | None = msgspec.field(default=None, name="excludeCIDRs")
    strict_arp: bool = msgspec.field(default=False, name="strictARP")
    tcp_timeout: str = "0s"
    tcp_fin_timeout: str = "0s"
    udp_timeout: str = "0s"


class Winkernel(_Part, frozen=True):
    network_name: str = ""
    source_vip: str = ""
    enable_dsr: bool = msgspec.field(default=False, name="enableDSR")
    root_hns_endpoint_name: str = ""
    forward_health_check_vip: bool = msgspec.field(default=False, name="forwardHealthCheckVip")


class DetectLocalConfiguration(_Part, frozen=True):
    bridge_interface: str = ""
    interface_name_prefix: str = ""


class Conntrack(_Part, frozen=True):
    """A duration of 0s, and a null, leave the kernel's own value."""

    max_per_core: int | None = 32768
    min: int | None = 131072
    tcp_established_timeout: str | None = "24h0m0s"
    tcp_close_wait_timeout: str | None = "1h0m0s"
    tcp_be_liberal: bool = False
    udp_timeout: str = "0s"
    udp_stream_timeout: str = "0s"


class KubeProxyConfiguration(_Part, frozen=True):
    api_version: str = GROUP_VERSION
    kind: str = KIND
    feature_gates: dict[str, bool] | None = None
    client_connection: ClientConnection = ClientConnection()
    logging: dict[str, Any] | None = None
    hostname_override: str = ""
    bind_address: str = "0.0.0.0"
    healthz_bind_address: str = "0.0.0.0:10256"
    metrics_bind_address: str = "127.0.0.1:10249"
    bind_address_hard_fail: bool = False
    enable_profiling: bool = False
    show_hidden_metrics_for_version: str = ""
    mode: str = ""
    iptables: Iptables = Iptables()
    ipvs: Ipvs = Ipvs()
    winkernel: Winkernel = Winkernel()
    nftables: Nftables = Nftables()
    detect_local_mode: str = ""
    detect_local: DetectLocalConfiguration = DetectLocalConfiguration()
    cluster_cidr: str = msgspec.field(default="", name="clusterCIDR")
    node_port_addresses: list[str] | None = None
    oom_score_adj: int | None = None
    conntrack: Conntrack = Conntrack()
    config_sync_period: str = "15m0s"
    port_range: str = ""
    windows_run_as_service: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """A flag and the field it stands for, as a path of attributes. `type` is bool, int, float, str or list (commas)."""

    flag: str
    path: str
    type: type
    help: str = ""


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "kubeconfig", "client_connection.kubeconfig", str, "Default: in a pod its service account, else kubectl's."
    ),
    Setting("kube-api-qps", "client_connection.qps", float, "Has no effect."),
    Setting("kube-api-burst", "client_connection.burst", int, "Has no effect."),
    Setting("kube-api-content-type", "client_connection.content_type", str, "Has no effect: JSON is spoken."),
    Setting("hostname-override", "hostname_override", str, "The node's name, where it is not the host's."),
    Setting("bind-address", "bind_address", str, "Which family comes first; 0.0.0.0 and :: let the node say."),
    Setting("healthz-bind-address", "healthz_bind_address", str, 'Where /healthz and /livez are; "" for nowhere.'),
    Setting("metrics-bind-address", "metrics_bind_address", str, 'Where /metrics is; "" for nowhere.'),
    Setting("bind-address-hard-fail", "bind_address_hard_fail", bool, "End when one of these cannot be listened on."),
    Setting("profiling", "enable_profiling", bool, "Has no effect."),
    Setting("show-hidden-metrics-for-version", "show_hidden_metrics_for_version", str, "Has no effect."),
    Setting("proxy-mode", "mode", str, "iptables (default) or nftables."),
    Setting("iptables-masquerade-bit", "iptables.masquerade_bit", int, "0 to 31, in both modes."),
    Setting("masquerade-all", "iptables.masquerade_all", bool, "Hide the source of all traffic to cluster IPs."),
    Setting(
        "iptables-localhost-nodeports",
        "iptables.localhost_node_ports",
        bool,
        "Serve node ports on 127.0.0.1 by rules, with route_localnet=1. Without it a listener serves them.",
    ),
    Setting(
        "iptables-sync-period",
        "iptables.sync_period",
        str,
        "How often the rules are looked after, in both modes.",
    ),
    Setting(
        "iptables-min-sync-period",
        "iptables.min_sync_period",
        str,
        "How long changes are gathered after one that went at once, in both modes. The default, 1s, stands for 20ms.",
    ),
    Setting(
        "detect-local-mode",
        "detect_local_mode",
        str,
        "ClusterCIDR (default), NodeCIDR, BridgeInterface or InterfaceNamePrefix.",
    ),
    Setting("pod-bridge-interface", "detect_local.bridge_interface", str, "For BridgeInterface."),
    Setting("pod-interface-name-prefix", "detect_local.interface_name_prefix", str, "For InterfaceNamePrefix."),
    Setting("cluster-cidr", "cluster_cidr", str, "Where pods' addresses come from."),
    Setting("nodeport-addresses", "node_port_addresses", list, "Where node ports are served: CIDRs, or primary."),
    Setting("oom-score-adj", "oom_score_adj", int, "-1000 to 1000."),
    Setting("conntrack-max-per-core", "conntrack.max_per_core", int, "0 leaves the kernel's limit."),
    Setting("conntrack-min", "conntrack.min", int, "The least number of entries, whatever the cores."),
    Setting("conntrack-tcp-timeout-established", "conntrack.tcp_established_timeout", str),
    Setting("conntrack-tcp-timeout-close-wait", "conntrack.tcp_close_wait_timeout", str),
    Setting("conntrack-tcp-be-liberal", "conntrack.tcp_be_liberal", bool, "Take packets out of window for valid."),
    Setting("conntrack-udp-timeout", "conntrack.udp_timeout", str),
    Setting("conntrack-udp-timeout-stream", "conntrack.udp_stream_timeout", str),
    Setting("config-sync-period", "config_sync_period", str, "Has no effect: watches do not go stale."),
)

_DEFAULTED = (
    *("bindAddress", "healthzBindAddress", "metricsBindAddress", "configSyncPeriod"),
    *(f"{mode}.{period}" for mode in ("iptables", "nftables", "ipvs") for period in ("syncPeriod", "minSyncPeriod")),
)
"""Fields of a file for which "" and 0s stand for the default."""

BESIDE_A_FILE = frozenset({"hostname-override"})
"""Flags that count beside a configuration file."""


def load(text: bytes, file: str) -> KubeProxyConfiguration:
    """Read a configuration file, YAML or JSON. Raises ConfigError naming the file and the field."""
    try:
        value = codec.parse(text, "application/yaml")
        if not isinstance(value, dict):
            raise ConfigError(f"--config {file}: must hold a {KIND}")
        _expect(value, "apiVersion", GROUP_VERSION, file)
        _expect(value, "kind", KIND, file)
        return msgspec.convert(_given(value), KubeProxyConfiguration)
    except ObjectError as error:
        raise ConfigError(f"--config {file}: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"--config {file}: {_worded(str(error))}") from error


def dump(config: KubeProxyConfiguration) -> str:
    """The configuration as the YAML that `load` reads."""
    return msgspec.yaml.encode(config).decode()


def with_flags(config: KubeProxyConfiguration, given: Mapping[str, Any]) -> KubeProxyConfiguration:
    """The configuration with these flags' values (by flag name) in their fields."""
    paths = {setting.flag: setting.path for setting in SETTINGS}
    for flag, value in given.items():
        config = _replaced(config, paths[flag].split("."), value)
    return config


def mode(config: KubeProxyConfiguration) -> Mode:
    """Which mode is asked for; iptables where none is. Raises ConfigError."""
    try:
        return Mode(config.mode or Mode.IPTABLES)
    except ValueError:
        raise ConfigError(f"proxy-mode: {config.mode!r} is not served; write {' or '.join(Mode)}") from None


def rule_flags(
    config: KubeProxyConfiguration, *, allow_external_cidrs: str | None = None, service_cluster_ip_range: str = ""
) -> RuleFlags:
    """The part that decides rules. The two others are flags of ours that the file has no fields for."""
    nftables = mode(config) is Mode.NFTABLES
    chosen = config.nftables if nftables and config.nftables != Nftables() else config.iptables
    bit = chosen.masquerade_bit
    return RuleFlags(
        cluster_cidr=config.cluster_cidr,
        detect_local_mode=config.detect_local_mode,
        pod_bridge_interface=config.detect_local.bridge_interface,
        pod_interface_name_prefix=config.detect_local.interface_name_prefix,
        masquerade_all=chosen.masquerade_all,
        iptables_masquerade_bit=14 if bit is None else bit,
        nodeport_addresses=",".join(config.node_port_addresses or ()),
        iptables_localhost_nodeports=config.iptables.localhost_node_ports,
        allow_external_cidrs=allow_external_cidrs,
        service_cluster_ip_range=service_cluster_ip_range,
    )


def seconds(text: str | None, field: str) -> float:
    """A Go duration in seconds ("1m30s", "0"); None and "" are 0. Raises ConfigError naming the field."""
    if not text or text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        raise ConfigError(f"{field}: {text!r} is not a duration; write 30s, 1m30s or 500ms")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def check(config: KubeProxyConfiguration) -> None:
    """Everything that can be said of a configuration without starting. Raises ConfigError or OptionError."""
    rule_flags(config).options(mode(config))
    for setting in SETTINGS:
        if setting.path.endswith(("timeout", "period")):
            seconds(_value(config, setting.path), setting.flag)
    host_and_port(config.healthz_bind_address, "healthz-bind-address", HEALTHZ_PORT)
    host_and_port(config.metrics_bind_address, "metrics-bind-address", METRICS_PORT)
    if config.oom_score_adj is not None and not -1000 <= config.oom_score_adj <= 1000:
        raise OptionError(f"oom-score-adj: {config.oom_score_adj} is not within -1000 to 1000")


def host_and_port(address: str, flag: str, default: int) -> tuple[str, int] | None:
    """`0.0.0.0:10256`, `[::]:10256`, or an address alone, which gets the default port; None for "". Raises
    ConfigError naming the flag."""
    if not address:
        return None
    if _is_ip(address.strip("[]")):
        return address.strip("[]"), default
    host, _, port = address.rpartition(":")
    if not _is_ip(host.strip("[]")) or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{flag}: {address!r} is not ADDRESS:PORT")
    return host.strip("[]"), int(port)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _expect(value: dict[str, Any], field: str, wanted: str, file: str) -> None:
    if value.get(field) != wanted:
        raise ConfigError(f"--config {file}: {field} is {value.get(field)!r}, not {wanted!r}")


def _given(value: Any, path: str = "") -> Any:
    """What a file says: a null, or a zero where zeros stand for the default, counts as a field that is not there."""
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, inner in value.items():
        within = f"{path}.{key}" if path else str(key)
        if inner is not None and not (within in _DEFAULTED and inner in ("", "0s", "0")):
            kept[key] = _given(inner, within)
    return kept


def _worded(message: str) -> str:
    """msgspec's "Object contains unknown field `x` - at `$.iptables`" as `unknown field "iptables.x"`."""
    unknown = re.fullmatch(r"Object contains unknown field `([^`]*)`(?: - at `\$\.?([^`]*)`)?", message)
    if unknown:
        return f'unknown field "{unknown[2]}.{unknown[1]}"' if unknown[2] else f'unknown field "{unknown[1]}"'
    return message.replace("`$.", "`")


def _replaced(config: Any, path: list[str], value: Any) -> Any:
    first, *rest = path
    inner = _replaced(getattr(config, first), rest, value) if rest else value
    return msgspec.structs.replace(config, **{first: inner})


def _value(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = getattr(config, name)
    return config
