"""What the operator sets of a node proxy: values with the reference's defaults, checked once."""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass


class OptionError(ValueError):
    """A setting that cannot be. The message names the option, the value and what is accepted."""


class DetectLocal(enum.StrEnum):
    """How the traffic of pods is told from other traffic (kube-proxy's --detect-local-mode)."""

    CLUSTER_CIDR = "ClusterCIDR"
    NODE_CIDR = "NodeCIDR"
    BRIDGE_INTERFACE = "BridgeInterface"
    INTERFACE_NAME_PREFIX = "InterfaceNamePrefix"


PRIMARY = "primary"


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """Settings that decide what is programmed. CIDRs are text; one per family counts, the first.

    `nodeport_addresses`: () for every address of the node, ("primary",) for its main one, else CIDRs.
    `localhost_nodeports` needs net.ipv4.conf.all.route_localnet=1, which lets neighbours reach loopback unless the
    guard rule stands (CVE-2020-8558): off unless asked for.
    `allow_external_cidrs`: external and load-balancer addresses outside these ranges are not programmed
    (CVE-2020-8554); None programs all of them, as the reference does. `trusted_status`: load-balancer addresses are
    programmed wherever they lie, since they stand in a status, which is written by whoever grants them.
    `guarded_cidrs`: the cluster-IP ranges to guard (see `desired.model.Settings`), in nftables mode only.
    `tcp_be_liberal`: the kernel takes packets out of window for valid, so that none need be dropped as invalid.
    `service_counters`: count the packets and bytes of each Service, in nftables mode only.
    """

    cluster_cidrs: tuple[str, ...] = ()
    detect_local: DetectLocal = DetectLocal.CLUSTER_CIDR
    bridge_interface: str = ""
    interface_prefix: str = ""
    masquerade_all: bool = False
    masquerade_bit: int = 14
    nodeport_addresses: tuple[str, ...] = ()
    localhost_nodeports: bool = False
    allow_external_cidrs: tuple[str, ...] | None = None
    trusted_status: bool = False
    guarded_cidrs: tuple[str, ...] | None = None
    service_counters: bool = False
    tcp_be_liberal: bool = False

    def __post_init__(self) -> None:
        _check_cidrs("cluster_cidrs", self.cluster_cidrs)
        _check_cidrs("allow_external_cidrs", self.allow_external_cidrs or ())
        _check_cidrs("guarded_cidrs", self.guarded_cidrs or ())
        if self.nodeport_addresses != (PRIMARY,):
            _check_cidrs("nodeport_addresses", self.nodeport_addresses)
        if not 0 <= self.masquerade_bit <= 31:
            raise OptionError(f"masquerade_bit: {self.masquerade_bit} is not within 0 to 31")
        if self.detect_local is DetectLocal.BRIDGE_INTERFACE and not self.bridge_interface:
            raise OptionError("detect_local BridgeInterface needs bridge_interface, the bridge's name")
        if self.detect_local is DetectLocal.INTERFACE_NAME_PREFIX and not self.interface_prefix:
            raise OptionError("detect_local InterfaceNamePrefix needs interface_prefix")


def _check_cidrs(option: str, cidrs: tuple[str, ...]) -> None:
    for cidr in cidrs:
        try:
            ipaddress.ip_network(cidr, strict=False)
        except ValueError as error:
            raise OptionError(f"{option}: {error}; write an address range such as 10.244.0.0/16") from None
