"""The node proxy's settings as words: what kube-proxy's flags mean, in each mode."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fairway.desired.options import PRIMARY, DetectLocal, OptionError, ProxyOptions


class Mode(enum.StrEnum):
    """Which language of the kernel the proxy speaks (kube-proxy's --proxy-mode)."""

    IPTABLES = "iptables"
    NFTABLES = "nftables"


_FLAG_OF: Mapping[str, str] = {
    "cluster_cidrs": "cluster-cidr",
    "allow_external_cidrs": "allow-external-cidrs",
    "guarded_cidrs": "service-cluster-ip-range",
    "nodeport_addresses": "nodeport-addresses",
    "masquerade_bit": "iptables-masquerade-bit",
    "detect_local": "detect-local-mode",
    "bridge_interface": "pod-bridge-interface",
    "interface_prefix": "pod-interface-name-prefix",
}
"""By which flag each option is told that its errors name."""
_NAMED = re.compile(rf"(?<!')\b({'|'.join(_FLAG_OF)})\b")


@dataclass(frozen=True, slots=True)
class RuleFlags:
    """The flags that decide rules, under kube-proxy's names with underscores. Lists are separated by commas; ""
    stands for a flag that was not given."""

    cluster_cidr: str = ""
    detect_local_mode: str = ""
    pod_bridge_interface: str = ""
    pod_interface_name_prefix: str = ""
    masquerade_all: bool = False
    iptables_masquerade_bit: int = 14
    nodeport_addresses: str = ""
    iptables_localhost_nodeports: bool | None = None
    allow_external_cidrs: str | None = None
    service_cluster_ip_range: str = ""

    def options(self, mode: Mode, localhost_nodeports: bool = False) -> ProxyOptions:
        """What the data plane is told; `localhost_nodeports` is the default of the flag of that name. Raises
        OptionError naming the flag.

        In nftables mode node ports are served on the node's primary addresses unless told otherwise, never on
        loopback, and cluster IPs are guarded, as kube-proxy does (KEP-3866).
        """
        try:
            return self._options(mode is Mode.NFTABLES, localhost_nodeports)
        except OptionError as error:
            raise OptionError(_NAMED.sub(lambda found: _FLAG_OF[found[0]], str(error))) from None

    def _options(self, nftables: bool, localhost_nodeports: bool) -> ProxyOptions:
        node_ports = split(self.nodeport_addresses)
        localhost = self.iptables_localhost_nodeports
        return ProxyOptions(
            cluster_cidrs=split(self.cluster_cidr),
            detect_local=_detect_local(self.detect_local_mode),
            bridge_interface=self.pod_bridge_interface,
            interface_prefix=self.pod_interface_name_prefix,
            masquerade_all=self.masquerade_all,
            masquerade_bit=self.iptables_masquerade_bit,
            nodeport_addresses=node_ports or ((PRIMARY,) if nftables else ()),
            localhost_nodeports=not nftables and (localhost_nodeports if localhost is None else localhost),
            allow_external_cidrs=None if self.allow_external_cidrs is None else split(self.allow_external_cidrs),
            guarded_cidrs=split(self.service_cluster_ip_range) if nftables else None,
        )


def split(text: str) -> tuple[str, ...]:
    """The parts of a list as flags write it, separated by commas; empty ones are none."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _detect_local(word: str) -> DetectLocal:
    try:
        return DetectLocal(word) if word else DetectLocal.CLUSTER_CIDR
    except ValueError:
        known = ", ".join(DetectLocal)
        raise OptionError(f"detect-local-mode: {word!r} is not one of {known}") from None
