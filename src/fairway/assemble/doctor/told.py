"""What a node's proxy was told, as far as the cluster shows it: kube-proxy's settings are in a ConfigMap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fairway.assemble.doctor.findings import Finding, Severity
from fairway.assemble.proxyconfig import ConfigError, KubeProxyConfiguration, load, mode, rule_flags
from fairway.assemble.proxyflags import Mode, split
from fairway.desired.options import ProxyOptions

NAMESPACE, NAME, FIELD = "kube-system", "kube-proxy", "config.conf"
"""Where kubeadm keeps them."""

WHERE = f"ConfigMap {NAMESPACE}/{NAME}"
_SHOWN = ("mode", "cluster_cidr", "detect_local_mode", "node_port_addresses")


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody said on the command line, None for what nobody did: it counts before the ConfigMap."""

    proxy_mode: str | None = None
    cluster_cidr: str | None = None
    nodeport_addresses: str | None = None
    allow_external_cidrs: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """A proxy's settings: `options` decide rules; `findings` say where they are from, and what cannot be examined."""

    options: ProxyOptions
    findings: tuple[Finding, ...] = ()


def settled(
    told: Told, config_map: Mapping[str, Any] | None, node: str, values: Mapping[str, str], cpus: int
) -> Settings:
    """The settings of a node's proxy. `values` are the node's kernel settings, `cpus` its processors. Raises
    OptionError for words on the command line that mean nothing."""
    text = ((config_map or {}).get("data") or {}).get(FIELD)
    found: list[Finding] = []
    config = KubeProxyConfiguration()
    if text is not None:
        try:
            config = load(text.encode(), WHERE)
            found += _about(config, node, values, cpus)
        except ConfigError as error:
            message = f"what the proxy was told cannot be read, and is taken to be the default: {error}"
            found.append(_finding(Severity.WARNING, "proxy-settings", message, node))
    config = _said(config, told)
    try:
        chosen = mode(config)
    except ConfigError:
        message = f"the proxy is told to work in mode {config.mode}, whose rules are not examined as such"
        found.append(_finding(Severity.WARNING, "proxy-settings", message, node))
        config, chosen = msgspec.structs.replace(config, mode=""), Mode.IPTABLES
    flags = rule_flags(config, allow_external_cidrs=told.allow_external_cidrs)
    return Settings(flags.options(chosen, localhost_nodeports=text is not None), tuple(found))


def _said(config: KubeProxyConfiguration, told: Told) -> KubeProxyConfiguration:
    given: dict[str, Any] = {}
    if told.proxy_mode is not None:
        given["mode"] = told.proxy_mode
    if told.cluster_cidr is not None:
        given["cluster_cidr"] = told.cluster_cidr
    if told.nodeport_addresses is not None:
        given["node_port_addresses"] = list(split(told.nodeport_addresses))
    return msgspec.structs.replace(config, **given)


def _about(config: KubeProxyConfiguration, node: str, values: Mapping[str, str], cpus: int) -> Iterator[Finding]:
    shown = [f"{name}: {value}" for name in _SHOWN if (value := getattr(config, name))]
    shown += ["masqueradeAll: true"] * (config.iptables.masquerade_all or config.nftables.masquerade_all)
    message = f"what the node's proxy was told is read from {WHERE}"
    yield _finding(Severity.NOTE, "proxy-settings", message, node, tuple(shown))
    wanted = max((config.conntrack.max_per_core or 0) * cpus, config.conntrack.min or 0)
    limit = int(values.get("net.netfilter.nf_conntrack_max") or 0)
    if config.conntrack.max_per_core and 0 < limit < wanted:
        message = f"the table of connections holds {limit}, and the proxy was told to see to {wanted}"
        evidence = (f"net.netfilter.nf_conntrack_max = {limit}",)
        yield _finding(Severity.NOTE, "conntrack-limit", message, node, evidence)


def _finding(severity: Severity, code: str, message: str, node: str, evidence: tuple[str, ...] = ()) -> Finding:
    command = f"kubectl get configmap -n {NAMESPACE} {NAME} -o yaml"
    return Finding(severity, code, message, WHERE, FIELD, node, evidence, command)
