"""Commands of the lab: bring it up and down, look at it, break it, run programs inside."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from typing import Any

import click

from fairway.cli.base import LAB_OPTION, OUTPUT_OPTION, fail, lab_if_up, need_root
from fairway.cli.names import KUBECONFIG_OPTION


@click.command(short_help="Bring up a lab.")
@click.option("--nodes", default=3, show_default=True, help="How many nodes.")
@click.option("--api-port", default=0, help="Loopback port of the API server (0: any free one).")
@click.option(
    "--store",
    default="sqlite",
    show_default=True,
    metavar="STORE",
    help="Where the cluster is kept: sqlite (gone with the lab), or etcd://HOST:PORT[,HOST:PORT...] (found again).",
)
@click.option(
    "--proxy-mode",
    type=click.Choice(["iptables", "nftables"]),
    default="iptables",
    show_default=True,
    help="In which of the kernel's languages the node proxies program Services.",
)
@click.option(
    "--dns-forward",
    multiple=True,
    metavar="ADDRESS[:PORT]",
    help="Whom cluster DNS asks for names outside (default: nobody, they are refused).",
)
@click.option(
    "--load-balancer-pool",
    multiple=True,
    metavar="CIDR|FIRST-LAST",
    help="Addresses for Services of type LoadBalancer (default: .200 to .250 of the segment).",
)
@click.option(
    "--load-balancer-style",
    type=click.Choice(["addresses", "nodes"]),
    default="addresses",
    show_default=True,
    help="What such Services get unless their loadBalancerClass says: an address of the pool, or the nodes' own.",
)
@click.option(
    "--ip-family",
    type=click.Choice(["ipv4", "dual"]),
    default="ipv4",
    show_default=True,
    help="Families of the segment, of pods and of Services.",
)
@click.option("--router", is_flag=True, help="A second segment behind a router, with a client `far` on it.")
@LAB_OPTION
def up(
    lab: str,
    nodes: int,
    api_port: int,
    store: str,
    ip_family: str,
    router: bool,
    load_balancer_pool: tuple[str, ...],
    **choices: Any,
) -> None:
    """Bring up a lab: API server, controllers, nodes with proxy and overlay, cluster DNS, an outside client."""
    need_root()
    from fairway.assemble import cluster, stores
    from fairway.lab.state import StateDir
    from fairway.lab.topology import plan

    state = StateDir.named(lab)
    choice = stores.parse(store, state.database)
    if not choice.endpoints and choice.file != state.database:
        fail(f"--store {store}: a lab is kept in sqlite or etcd://HOST:PORT[,HOST:PORT...]")
    topology = plan(lab, nodes, api_port, dual=ip_family == "dual", router=router)
    pool = load_balancer_pool or topology.load_balancer_pool
    topology = replace(topology, etcd=choice.endpoints, load_balancer_pool=pool, **choices)
    seconds = cluster.up(topology, state, _tell)
    click.echo(click.style(f"lab {lab!r} is up ({seconds:.2f} s)", bold=True) + ". Now:\n")
    click.echo(f"  export KUBECONFIG={state.kubeconfig}")
    click.echo("  kubectl get nodes -o wide")


@click.command()
@LAB_OPTION
def down(lab: str) -> None:
    """End a lab and remove everything it made."""
    need_root()
    from fairway.assemble import cluster
    from fairway.lab.state import StateDir

    cluster.down(StateDir.named(lab))
    click.echo(f"lab {lab!r} is gone")


@click.command()
@LAB_OPTION
@OUTPUT_OPTION
def status(lab: str, output: str) -> None:
    """The lab's processes: pid, state, restarts."""
    need_root()
    from fairway.lab import supervise
    from fairway.lab.state import StateDir

    state = StateDir.named(lab)
    topology = state.topology()
    answer = supervise.request(state, "status")
    if output == "json":
        return click.echo(json.dumps({**answer, "kubeconfig": str(state.kubeconfig)}, indent=2))
    click.echo(f"lab {topology.name}: {len(topology.nodes)} nodes, supervisor pid {answer['supervisor']}")
    for name, unit in answer["units"].items():
        click.echo(f"  {name:<20} {unit['state']:<8} pid {unit['pid'] or '-':<8} restarts {unit['restarts']}")
    return None


@click.command("kill-node", short_help="Power a node off.")
@click.argument("node")
@LAB_OPTION
def kill_node(node: str, lab: str) -> None:
    """Power a node off: its processes and pods die at once, its cable is out."""
    _order(lab, "kill-node", node=node)
    click.echo(f"{node} is off")


@click.command("start-node")
@click.argument("node")
@LAB_OPTION
def start_node(node: str, lab: str) -> None:
    """Power a node on again."""
    _order(lab, "start-node", node=node)
    click.echo(f"{node} is on")


def _order(lab: str, order: str, **arguments: Any) -> None:
    need_root()
    from fairway.lab import supervise
    from fairway.lab.state import StateDir

    state = StateDir.named(lab)
    state.topology()
    answer = supervise.request(state, order, **arguments)
    if "error" in answer:
        fail(str(answer["error"]))


@click.group(invoke_without_command=True, short_help="Who holds which load-balancer address, and why others wait.")
@KUBECONFIG_OPTION
@LAB_OPTION
@OUTPUT_OPTION
@click.option("--if-dead", default="", metavar="NODE", help="Who would announce this node's addresses if it died.")
@click.pass_context
def lb(context: click.Context, kubeconfig: str, lab: str, output: str, if_dead: str) -> None:
    """Who holds which load-balancer address and which node announces it, since when and why; why other Services wait
    for one."""
    if context.invoked_subcommand:
        return
    from fairway.assemble import balancing, inquiring

    told = balancing.ask(inquiring.Cluster.chosen(kubeconfig, lab_if_up(lab, kubeconfig)), if_dead)
    click.echo(json.dumps(balancing.as_json(told), indent=2) if output == "json" else balancing.text(told))


@lb.command(short_help="Configuration for FRR, which tells routers (BGP).")
@KUBECONFIG_OPTION
@LAB_OPTION
@click.option("--node", required=True, metavar="NAME", help="Whose FRR.")
@click.option("--apply", is_flag=True, help="Keep bgpd in step instead of printing, until ended.")
@click.option("--vtysh", default="vtysh", show_default=True, metavar="COMMAND", help="How to speak to FRR's daemons.")
def frr(kubeconfig: str, lab: str, node: str, apply: bool, vtysh: str) -> None:
    """Configuration for FRR by which a node tells routers (BGP) of the load-balancer addresses that it may serve, as
    the settings' `bgp` says.

    \b
    fairway lb frr --node node-a >> /etc/frr/frr.conf
    fairway lb frr --node node-a --apply --kubeconfig /etc/kubernetes/kubelet.conf
    """
    from fairway.assemble import inquiring, peering
    from fairway.kernel.linux.vtysh import Vtysh

    cluster = inquiring.Cluster.chosen(kubeconfig, lab_if_up(lab, kubeconfig))
    if apply:
        return peering.apply(cluster.client, node, Vtysh(shlex.split(vtysh)))
    return click.echo(peering.show(cluster, node), nl=False)


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    short_help="Run a command in a pod, on a node or as the outside client.",
)
@LAB_OPTION
@click.option("--namespace", "-n", default="default", show_default=True, help="The pod's namespace.")
@click.option("--container", "-c", default="", help="Which container's environment (default: the first).")
@click.argument("target")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(lab: str, namespace: str, container: str, target: str, command: tuple[str, ...]) -> None:
    """Run COMMAND inside TARGET: a pod ([NAMESPACE/]NAME), a node's name, `client` (outside), `control`, and where the
    lab has a second segment `router` and `far` (the client there).

    \b
    fairway exec httpd-5d8f7c9b6-abcde -- curl -s http://httpd-svc:8080/
    fairway exec node-a -- iptables-save -t nat
    fairway exec client -- curl -s http://10.0.0.11:30000/
    """
    need_root()
    from fairway.assemble import inside
    from fairway.lab.state import StateDir

    words = list(command[1:] if command[0] == "--" else command)
    sys.exit(inside.run(StateDir.named(lab), target, words, namespace=namespace, container=container))


def _tell(text: str, seconds: float) -> None:
    click.echo(f"  {click.style('✓', fg='green')} {text:<58} {seconds:6.2f} s")
