"""Commands of the node proxy."""

from __future__ import annotations

import functools
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.base import fail, warn

if TYPE_CHECKING:
    from fairway.assemble.proxyconfig import KubeProxyConfiguration


def _switch(name: str, default: bool | None, help_: str) -> Callable[[Any], Any]:
    """A boolean flag as kube-proxy takes it: `--flag`, `--flag=true`, `--flag=false`."""
    return click.option(
        name, type=bool, is_flag=False, flag_value="true", default=default, metavar="[=true|false]", help=help_
    )


_RULE_FLAGS: tuple[Callable[[Any], Any], ...] = (
    click.option("--cluster-cidr", default="", metavar="CIDR[,CIDR]", help="Where pods' addresses come from."),
    click.option(
        "--detect-local-mode",
        default="",
        metavar="MODE",
        help="ClusterCIDR (default), NodeCIDR, BridgeInterface or InterfaceNamePrefix.",
    ),
    click.option("--pod-bridge-interface", default="", metavar="NAME", help="For --detect-local-mode BridgeInterface."),
    click.option(
        "--pod-interface-name-prefix", default="", metavar="PREFIX", help="For --detect-local-mode InterfaceNamePrefix."
    ),
    _switch("--masquerade-all", False, "Hide the source of all traffic to cluster IPs."),
    click.option("--iptables-masquerade-bit", default=14, show_default=True, help="0 to 31, in both modes."),
    click.option(
        "--nodeport-addresses",
        default="",
        metavar="CIDR[,CIDR]|primary",
        help="Where node ports are served. Default: all addresses; in nftables mode the primary ones.",
    ),
    _switch(
        "--iptables-localhost-nodeports",
        None,
        "Node ports on 127.0.0.1 by rules, which needs route_localnet=1 (iptables mode).",
    ),
    click.option(
        "--allow-external-cidrs",
        default=None,
        metavar="CIDR[,CIDR]",
        help="External and load-balancer addresses outside are not programmed. Default: all are.",
    ),
    click.option(
        "--service-cluster-ip-range",
        default="",
        metavar="CIDR[,CIDR]",
        help="In nftables mode, packets to addresses of these ranges that no Service has are dropped.",
    ),
)


def rule_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that decide rules, for a command that takes them as keyword arguments."""
    for option in reversed(_RULE_FLAGS):
        command = option(command)
    return command


@click.command(short_help="Print what a node's proxy would program.")
@click.option("--mode", type=click.Choice(["iptables", "nftables"]), default="iptables", show_default=True)
@click.option("--family", type=click.Choice(["ipv4", "ipv6"]), default="ipv4", show_default=True)
@click.option("--objects", "-f", required=True, metavar="FILE", help="Services and EndpointSlices; - for stdin.")
@click.option("--node-name", required=True, metavar="NAME", help="Which node's rules.")
@click.option("--node-ip", default="", metavar="CIDR[,CIDR]", help="The node's addresses: 10.0.0.11/24.")
@click.option("--node-labels", default="", metavar="KEY=VALUE[,...]", help="The zone label decides over hints.")
@click.option("--pod-cidr", default="", metavar="CIDR[,CIDR]", help="The node's own pod range (NodeCIDR).")
@rule_flags
@_switch("--nfacct", True, "Count into the accounting objects kube-proxy makes where the kernel has them.")
@click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Input for iptables-restore or nft -f, or the desired model.",
)
def render(mode: str, family: str, objects: str, nfacct: bool, output: str, **words: Any) -> None:
    """Print what a node's proxy would program, without touching a kernel.

    \b
    kubectl get services,endpointslices -A -o json > cluster.json
    fairway render -f cluster.json --node-name node-a --node-ip 10.0.0.11/24 --cluster-cidr 10.244.0.0/16

    Flags that are not given have kube-proxy's defaults.
    """
    from fairway.assemble import rendering
    from fairway.assemble.proxyflags import Mode, RuleFlags
    from fairway.packet import Family

    node = {name: words.pop(name) for name in ("node_name", "node_ip", "node_labels", "pod_cidr")}
    question = rendering.Question(objects="stdin" if objects == "-" else objects, **node)
    chosen = {"ipv4": Family.IPV4, "ipv6": Family.IPV6}[family]
    wanted, remarks = rendering.desired(question, _read(objects), Mode(mode), RuleFlags(**words))
    for remark in remarks:
        warn(remark)
    if output == "json":
        click.echo(rendering.as_json(wanted, chosen))
    else:
        click.echo(rendering.rules(wanted, Mode(mode), chosen, nfacct), nl=False)


class _Configured(click.Command):
    """A command with a flag for each setting of the configuration, and those of kube-proxy that say nothing here; read
    when they are first needed, as other commands need not pay for them."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *_config_flags()]


@functools.cache
def _config_flags() -> list[click.Parameter]:
    from fairway.assemble.proxyconfig import SETTINGS

    found: list[click.Parameter] = []
    for setting in SETTINGS:
        flag = f"--{setting.flag}"
        if setting.type is bool:
            found.append(click.Option([flag], type=bool, is_flag=False, flag_value="true", help=setting.help))
        else:
            form = setting.type if setting.type in (int, float) else str
            found.append(click.Option([flag], type=form, metavar="VALUE", help=setting.help))
    return found + [click.Option([f"--{name}"], hidden=True) for name in _WITHOUT_EFFECT]


_WITHOUT_EFFECT = (
    "feature-gates",
    "ipvs-exclude-cidrs",
    "ipvs-min-sync-period",
    "ipvs-scheduler",
    "ipvs-strict-arp",
    "ipvs-sync-period",
    "ipvs-tcp-timeout",
    "ipvs-tcpfin-timeout",
    "ipvs-udp-timeout",
    "log-flush-frequency",
    "logging-format",
    "vmodule",
)
"""Flags of kube-proxy that say nothing here."""


@click.command(cls=_Configured, short_help="Serve a node's Services in the place of kube-proxy.")
@click.option("--config", default="", metavar="FILE", help="A KubeProxyConfiguration, which takes the flags' place.")
@click.option("--write-config-to", default="", metavar="FILE", help="Write the flags as a configuration, and end.")
@click.option("--master", default="", metavar="URL", help="The API server, whatever the kubeconfig says.")
@click.option("--cleanup", is_flag=True, help="Remove the rules of this proxy or of kube-proxy, in any mode, and end.")
@click.option(
    "--hand-over",
    is_flag=True,
    help="Remove what only this proxy has, once a kube-proxy's rules stand beside it, and end: no packet is lost.",
)
@click.option("--init-only", is_flag=True, help="Set kernel settings, which needs privileges, and end.")
@click.option("--v", "-v", "verbosity", type=int, default=0, metavar="LEVEL", help="Has no effect.")
@click.option(
    "--allow-external-cidrs",
    default=None,
    metavar="CIDR[,CIDR]",
    help="External and load-balancer addresses outside are not programmed. Default: all are.",
)
@click.option(
    "--service-cluster-ip-range",
    default="",
    metavar="CIDR[,CIDR]",
    help="In nftables mode, packets to addresses of these ranges that no Service has are dropped. "
    "Default: what the server's ServiceCIDRs say.",
)
@_switch("--service-counters", None, "Count each Service's packets and bytes (nftables mode; default true there).")
def proxy(
    config: str,
    write_config_to: str,
    master: str,
    cleanup: bool,
    hand_over: bool,
    init_only: bool,
    verbosity: int,
    **words: Any,
) -> None:
    """Serve a node's Services for an API server, in the place of kube-proxy.

    \b
    fairway proxy --kubeconfig /var/lib/kube-proxy/kubeconfig.conf --cluster-cidr 10.244.0.0/16
    fairway proxy --config /var/lib/kube-proxy/config.conf --hostname-override node-a

    Flags are kube-proxy's. Rules stay when it ends; --cleanup removes them, --hand-over leaves them to kube-proxy.
    """
    from fairway.assemble import proxyconfig, proxying
    from fairway.assemble.configwatch import Configured

    if cleanup or hand_over:
        if not proxying.may_program():
            fail("rules are removed by root, or with CAP_NET_ADMIN")
        return proxying.clean() if cleanup else proxying.hand_over()
    own = {name: words.pop(name) for name in ("allow_external_cidrs", "service_cluster_ip_range", "service_counters")}
    given = {name.replace("_", "-"): value for name, value in words.items() if value is not None}
    content = _read(config, "--config") if config else b""
    wanted = _configured(config, content, given)
    if write_config_to:
        proxyconfig.check(wanted)
        Path(write_config_to).write_text(proxyconfig.dump(wanted))
        return None
    plan = proxying.plan(wanted, **own, cores=os.cpu_count() or 1, host=socket.gethostname())
    if init_only:
        return proxying.prepare(plan)
    if not proxying.may_program():
        fail("rules are programmed by those who may administer the network: run it as root, or with CAP_NET_ADMIN")
    watched = Configured(config, content) if config not in ("", "-") else None
    return proxying.proxy(plan, lambda: proxying.connection(wanted.client_connection.kubeconfig, master), watched)


def _configured(file: str, content: bytes, given: dict[str, Any]) -> KubeProxyConfiguration:
    """What the file, whose content this is, configures, or the flags where there is none."""
    from fairway.assemble import proxyconfig

    idle = {setting.flag for setting in proxyconfig.SETTINGS if setting.help.startswith("Has no effect")}
    for flag in sorted(given.keys() & {*idle, *_WITHOUT_EFFECT}):
        warn(f"--{flag} has no effect")
        del given[flag]
    lists = {setting.flag for setting in proxyconfig.SETTINGS if setting.type is list}
    given = {flag: value.split(",") if flag in lists and value else value for flag, value in given.items()}
    if not file:
        return proxyconfig.with_flags(proxyconfig.KubeProxyConfiguration(), given)
    ignored = sorted(given.keys() - proxyconfig.BESIDE_A_FILE)
    if ignored:
        warn(f"--config takes the place of {', '.join('--' + flag for flag in ignored)}")
    beside = {flag: value for flag, value in given.items() if flag in proxyconfig.BESIDE_A_FILE}
    return proxyconfig.with_flags(proxyconfig.load(content, file), beside)


def _read(file: str, flag: str = "--objects") -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        fail(f"{flag} {file}: {error.strerror}")


@click.command(short_help="Answer for load-balancer addresses on this node's segments.")
@click.option(
    "--kubeconfig", default="", metavar="FILE", help="Default: in a pod its service account; else as kubectl."
)
@click.option("--master", default="", metavar="URL", help="The API server, whatever the kubeconfig says.")
@click.option("--node-name", default="", metavar="NAME", help="Default: the host's name.")
@click.option(
    "--interface",
    "devices",
    multiple=True,
    metavar="NAME",
    help="Speak on this device, whatever the address. Default: on those on whose network an address lies.",
)
@click.option(
    "--lapse-seconds",
    default=1.2,
    show_default=True,
    type=float,
    help="A node that says nothing for so long is taken for dead. It says something each quarter of that.",
)
@click.option(
    "--metrics-address",
    default="127.0.0.1:10260",
    show_default=True,
    metavar="ADDRESS:PORT",
    help='Where /metrics is ("": nowhere).',
)
def announce(
    kubeconfig: str, master: str, node_name: str, devices: tuple[str, ...], lapse_seconds: float, metrics_address: str
) -> None:
    """Answer for load-balancer addresses on this node's segments, by turns with the other nodes.

    \b
    fairway announce --kubeconfig /etc/kubernetes/kubelet.conf --node-name node-a
    """
    from fairway.announce.member import Timing
    from fairway.assemble import announcing, proxying
    from fairway.assemble.proxyconfig import host_and_port

    try:
        timing = Timing.of(lapse_seconds)
        page = host_and_port(metrics_address, "metrics-address", 10260) if metrics_address else None
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    node = (node_name or socket.gethostname()).strip().lower()
    plan = announcing.Plan(node, devices, timing, page)
    announcing.announce(plan, lambda: proxying.connection(kubeconfig, master))
