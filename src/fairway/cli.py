"""The command `fairway`: the only module that prints. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from fairway import __version__

LAB_OPTION = click.option(
    "--lab", default="lab", envvar="FAIRWAY_LAB", show_default=True, metavar="NAME", help="Which lab ($FAIRWAY_LAB)."
)
OUTPUT_OPTION = click.option(
    "--output", "-o", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form of the answer."
)
EXIT_NOT_DELIVERED = 3


class Cli(click.Group):
    """Turns the errors that say who is at fault into one line and exit code 1."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if os.environ.get("FAIRWAY_DEBUG"):
                raise
            _fail(str(error) or type(error).__name__)


def _fail(message: str) -> NoReturn:
    click.echo(click.style("fairway: ", fg="red", bold=True) + message, err=True)
    sys.exit(1)


def _need_root() -> None:
    if os.geteuid() != 0:
        _fail("the lab makes network namespaces and loads rules into them, which needs root: run it as root (sudo)")


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fairway")
def main() -> None:
    """The Kubernetes Service system, whole: a lab of network namespaces, a node proxy, cluster DNS, explanations."""


@main.command()
@click.option("--nodes", default=3, show_default=True, help="How many nodes.")
@click.option("--api-port", default=0, help="Loopback port of the API server (0: any free one).")
@click.option(
    "--store",
    default="sqlite",
    show_default=True,
    metavar="STORE",
    help="Where the cluster is kept: sqlite (gone with the lab), or etcd://HOST:PORT[,HOST:PORT...] (found again).",
)
@LAB_OPTION
def up(lab: str, nodes: int, api_port: int, store: str) -> None:
    """Bring up a lab: API server, controllers, nodes with proxy and overlay, cluster DNS, an outside client."""
    _need_root()
    from fairway.assemble import cluster, stores
    from fairway.lab.state import StateDir
    from fairway.lab.topology import plan

    state = StateDir.named(lab)
    choice = stores.parse(store, state.database)
    if not choice.endpoints and choice.file != state.database:
        _fail(f"--store {store}: a lab is kept in sqlite or etcd://HOST:PORT[,HOST:PORT...]")
    seconds = cluster.up(replace(plan(lab, nodes, api_port), etcd=choice.endpoints), state, _tell)
    click.echo(click.style(f"lab {lab!r} is up ({seconds:.2f} s)", bold=True) + ". Now:\n")
    click.echo(f"  export KUBECONFIG={state.kubeconfig}")
    click.echo("  kubectl get nodes -o wide")


@main.command()
@LAB_OPTION
def down(lab: str) -> None:
    """End a lab and remove everything it made."""
    _need_root()
    from fairway.assemble import cluster
    from fairway.lab.state import StateDir

    cluster.down(StateDir.named(lab))
    click.echo(f"lab {lab!r} is gone")


@main.command()
@LAB_OPTION
@OUTPUT_OPTION
def status(lab: str, output: str) -> None:
    """The lab's processes: pid, state, restarts."""
    _need_root()
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


@main.command("kill-node")
@click.argument("node")
@LAB_OPTION
def kill_node(node: str, lab: str) -> None:
    """Power a node off: its processes and pods die at once, its cable is out."""
    _order(lab, "kill-node", node=node)
    click.echo(f"{node} is off")


@main.command("start-node")
@click.argument("node")
@LAB_OPTION
def start_node(node: str, lab: str) -> None:
    """Power a node on again."""
    _order(lab, "start-node", node=node)
    click.echo(f"{node} is on")


def _order(lab: str, order: str, **arguments: Any) -> None:
    _need_root()
    from fairway.lab import supervise
    from fairway.lab.state import StateDir

    state = StateDir.named(lab)
    state.topology()
    answer = supervise.request(state, order, **arguments)
    if "error" in answer:
        _fail(str(answer["error"]))


@main.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@LAB_OPTION
@click.option("--namespace", "-n", default="default", show_default=True, help="The pod's namespace.")
@click.option("--container", "-c", default="", help="Which container's environment (default: the first).")
@click.argument("target")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(lab: str, namespace: str, container: str, target: str, command: tuple[str, ...]) -> None:
    """Run COMMAND inside TARGET: a pod's name, a node's name, `client` (outside) or `control`.

    \b
    fairway exec httpd-5d8f7c9b6-abcde -- curl -s http://httpd-svc:8080/
    fairway exec node-a -- iptables-save -t nat
    fairway exec client -- curl -s http://10.0.0.11:30000/
    """
    _need_root()
    from fairway.assemble import inside
    from fairway.lab.state import StateDir

    words = list(command[1:] if command[0] == "--" else command)
    sys.exit(inside.run(StateDir.named(lab), target, words, namespace=namespace, container=container))


@main.command()
@click.option("--from", "source", required=True, help="Pod, node, `client`, or an address.")
@click.option("--to", "destination", required=True, help="SERVICE[.NS]:PORT, POD:PORT, NODE:PORT or ADDRESS:PORT.")
@click.option("--protocol", type=click.Choice(["tcp", "udp", "sctp"]), default="tcp", show_default=True)
@click.option("--namespace", "-n", default="default", show_default=True, help="Namespace of names without one.")
@click.option("--colour/--no-colour", default=None, help="Default: only on a terminal.")
@LAB_OPTION
@OUTPUT_OPTION
def trace(
    source: str, destination: str, protocol: str, namespace: str, colour: bool | None, lab: str, output: str
) -> None:
    """Follow one packet through a node's live rules, hook by hook, and say why it ends where it ends. A packet to
    another node's address is followed there, too.

    Exit code 0: some branch delivers it to an endpoint or to the address it names; 3: none does.
    """
    _need_root()
    from fairway.assemble import tracing
    from fairway.lab.state import StateDir
    from fairway.trace import explain

    question = tracing.Question(source, destination, protocol.upper(), namespace)
    answer = tracing.ask(StateDir.named(lab), question)
    if output == "json":
        told = explain.as_json(answer.trace, names=answer.names)
        told["then"] = explain.as_json(answer.then, names=answer.names) if answer.then else None
        click.echo(json.dumps(told, indent=2))
    else:
        paint = sys.stdout.isatty() if colour is None else colour
        for part in filter(None, (answer.trace, answer.then)):
            click.echo(explain.text(part, colour=paint, names=answer.names))
    sys.exit(0 if answer.delivered else EXIT_NOT_DELIVERED)


@main.command()
@click.option(
    "--kubeconfig", default="", metavar="FILE", help="Default: in a pod its service account; else as kubectl."
)
@click.option("--domain", default="cluster.local", show_default=True, help="The cluster's zone.")
@click.option("--listen", "addresses", multiple=True, default=["0.0.0.0:53"], show_default=True, metavar="ADDRESS:PORT")
@click.option("--reverse", multiple=True, metavar="CIDR", help="Ranges whose reverse names are ours (Services, pods).")
@click.option("--ttl", default=5, show_default=True, help="Seconds that answers may be kept.")
def dns(kubeconfig: str, domain: str, addresses: tuple[str, ...], reverse: tuple[str, ...], ttl: int) -> None:
    """Serve cluster DNS for the Services of an API server."""
    from fairway.assemble import naming

    naming.dns(kubeconfig, domain=domain, addresses=addresses, reverse=reverse, ttl=ttl)


@main.command()
@click.option(
    "--store",
    default="sqlite",
    show_default=True,
    metavar="STORE",
    help="sqlite[:FILE], memory, or etcd://HOST:PORT[,HOST:PORT...], which several servers may share.",
)
@click.option("--listen", default="127.0.0.1:6443", show_default=True, metavar="ADDRESS:PORT")
@click.option("--service-cluster-ip-range", default="10.96.0.0/12", show_default=True, metavar="CIDR[,CIDR]")
@click.option("--service-node-port-range", default="30000-32767", show_default=True, metavar="FIRST-LAST")
@click.option("--advertise-address", default="", metavar="ADDRESS", help="Default: the one listened on.")
@click.option("--cert-dir", default="", metavar="DIR", help="Where it keeps what it makes (root: /var/lib/fairway).")
@click.option("--tls-cert-file", default="", metavar="FILE", help="Default: one made at the first start.")
@click.option("--tls-private-key-file", default="", metavar="FILE")
@click.option("--client-ca-file", default="", metavar="FILE", help="Whose client certificates are believed.")
@click.option("--token-auth-file", default="", metavar="FILE", help='Lines of token,user,uid,"group,group".')
@click.option("--etcd-prefix", default="/fairway", show_default=True, help="Put before every key in etcd.")
@click.option("--etcd-cafile", default="", metavar="FILE", help="Speak TLS with etcd, and believe this authority.")
@click.option("--etcd-certfile", default="", metavar="FILE")
@click.option("--etcd-keyfile", default="", metavar="FILE")
def api(**words: str) -> None:
    """Serve the Kubernetes API by itself, on loopback unless told otherwise.

    At its first start it makes an authority, a server's certificate and an administrator's kubeconfig.
    """
    from fairway.assemble import apiserver

    apiserver.api(apiserver.Options(**words), click.echo)


def _tell(text: str, seconds: float) -> None:
    click.echo(f"  {click.style('✓', fg='green')} {text:<58} {seconds:6.2f} s")


Tell = Callable[[str, float], None]
__all__ = ["main"]

if __name__ == "__main__":
    main(prog_name=Path(sys.argv[0]).name)
