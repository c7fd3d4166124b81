"""Commands of the node proxy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fairway.cli.base import fail, warn


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


@click.command()
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


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        fail(f"--objects {file}: {error.strerror}")
