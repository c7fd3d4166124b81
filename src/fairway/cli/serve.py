"""Commands that serve: the API, cluster DNS."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click


@click.group(invoke_without_command=True, short_help="Serve cluster DNS, or explain how a name is found.")
@click.option(
    "--kubeconfig", default="", metavar="FILE", help="Default: in a pod its service account; else as kubectl."
)
@click.option("--domain", default="cluster.local", show_default=True, help="The cluster's zone.")
@click.option(
    "--listen", "addresses", multiple=True, metavar="ADDRESS:PORT", help="Default: port 53 of all IPv4 addresses."
)
@click.option(
    "--node-local",
    multiple=True,
    metavar="ADDRESS",
    help="Put this address on the node, without connection tracking, and listen there on port 53.",
)
@click.option("--reverse", multiple=True, metavar="CIDR", help="Ranges whose reverse names are ours (Services, pods).")
@click.option("--ttl", default=5, show_default=True, help="Seconds that answers may be kept.")
@click.option(
    "--pods",
    type=click.Choice(["verified", "insecure", "disabled"]),
    default="verified",
    show_default=True,
    help="Names of pods by address: of pods that are, of any address, none.",
)
@click.option("--shuffle/--no-shuffle", default=True, show_default=True, help="Begin at another address each time.")
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes that share the ports."
)
@click.option(
    "--metrics-address",
    default="127.0.0.1:9153",
    show_default=True,
    metavar="ADDRESS:PORT",
    help='Where /metrics is ("": nowhere); each further worker has the next port.',
)
@click.option(
    "--health-address",
    default="127.0.0.1:8080",
    show_default=True,
    metavar="ADDRESS:PORT",
    help='Where /health and /ready are ("": nowhere); each further worker has the next port.',
)
@click.option("--rate-limit", default=0.0, metavar="N", help="Queries a second that one client may ask; 0 for any.")
@click.option("--cookies", is_flag=True, help="Give DNS cookies to clients that send one (RFC 7873, RFC 9018).")
@click.option("--log-queries", is_flag=True, help="Write a line for each query.")
@click.option(
    "--autopath", is_flag=True, help="Answer a pod's walk through its search list in one trip (watches pods)."
)
@click.option(
    "--forward", multiple=True, metavar="ADDRESS[:PORT]", help="Whom to ask for other names (default: --resolv-conf)."
)
@click.option(
    "--resolv-conf",
    default="/etc/resolv.conf",
    show_default=True,
    metavar="FILE",
    help='The file that names whom to ask; "" to refuse other names.',
)
@click.option(
    "--stub", multiple=True, metavar="DOMAIN=ADDRESS[,...]", help="Whom to ask for the names in a domain instead."
)
@click.option(
    "--upstream-policy",
    type=click.Choice(["random", "round_robin", "sequential"]),
    default="random",
    show_default=True,
    help="Which of several servers is asked first.",
)
@click.option(
    "--cache-size",
    default=10_000,
    show_default=True,
    type=click.IntRange(0),
    help="Answers of others kept; 0 for none.",
)
@click.option(
    "--serve-stale",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    metavar="SECONDS",
    help="How long past their time answers are given when nobody else answers.",
)
@click.option(
    "--prefetch",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="Ask anew for answers used N times before they expire; 0 for never.",
)
@click.pass_context
def dns(context: click.Context, /, **words: Any) -> None:
    """Serve cluster DNS for the Services of an API server; with a command, look at names instead."""
    if context.invoked_subcommand is not None:
        return
    from fairway.assemble import naming
    from fairway.assemble.forwarding import Forwarding

    forwarding = Forwarding(**{each.name: words.pop(each.name) for each in fields(Forwarding)})
    try:
        naming.dns(naming.Flags(**words, forwarding=forwarding))
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@click.command(short_help="Serve the Kubernetes API by itself.")
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
