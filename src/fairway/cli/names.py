"""Commands that explain names: how one is resolved, which variables a pod gets."""

from __future__ import annotations

import json
import sys
from typing import cast

import click

from fairway.cli.base import EXIT_NOT_FOUND, LAB_OPTION, OUTPUT_OPTION, lab_if_up

KUBECONFIG_OPTION = click.option(
    "--kubeconfig", default="", metavar="FILE", help="Which cluster. Default: the lab, if it is up; else as kubectl."
)
NAMESPACE_OPTION = click.option(
    "--namespace", "-n", default="default", show_default=True, help="The pod's namespace, where it names none."
)


@click.command(short_help="How a pod finds a name, query by query.")
@click.argument("name")
@click.option("--from", "source", default="", metavar="[NAMESPACE/]POD", help="Who asks. Default: any pod.")
@NAMESPACE_OPTION
@click.option(
    "--type",
    "types",
    multiple=True,
    type=click.Choice(["A", "AAAA", "CNAME", "NS", "PTR", "SOA", "SRV", "TXT"], case_sensitive=False),
    default=["A", "AAAA"],
    show_default=True,
    help="What is asked of each name; several travel together.",
)
@click.option(
    "--library",
    type=click.Choice(["glibc", "musl"]),
    default="glibc",
    show_default=True,
    help="By whose rules the search list is walked.",
)
@click.option(
    "--server",
    default="",
    metavar="ADDRESS[:PORT]",
    help="Put the queries to this server. Default: in a lab the pod's own; elsewhere the objects are asked.",
)
@click.option("--domain", default="cluster.local", show_default=True, help="The cluster's zone.")
@KUBECONFIG_OPTION
@LAB_OPTION
@OUTPUT_OPTION
def explain(
    name: str,
    source: str,
    namespace: str,
    types: tuple[str, ...],
    library: str,
    server: str,
    domain: str,
    kubeconfig: str,
    lab: str,
    output: str,
) -> None:
    """Walk NAME through a pod's search list, query by query: each answer, the object it comes from, what the walk
    costs, what would make it shorter, and what stands in its way.

    \b
    fairway dns explain httpd-svc --from httpd-5d8f7c9b6-abcde
    fairway dns explain www.example.com --from shop/web-1 --library musl
    fairway dns explain httpd-svc.default --kubeconfig ~/.kube/config --server 10.96.0.10

    Exit code 0: the name has records; 3: it has none.
    """
    from fairway.assemble import inquiring
    from fairway.dns import explain as telling
    from fairway.dns.walk import Library

    question = inquiring.Question(name, source, namespace, types, cast("Library", library), domain, server)
    told = inquiring.ask(inquiring.Cluster.chosen(kubeconfig, lab_if_up(lab, kubeconfig)), question)
    click.echo(json.dumps(telling.as_json(told), indent=2) if output == "json" else telling.text(told))
    sys.exit(0 if told.walk.found else EXIT_NOT_FOUND)


@click.command(short_help="The Service variables that a pod gets.")
@click.argument("pod")
@NAMESPACE_OPTION
@click.option("--container", "-c", default="", help="Which container (default: the first).")
@KUBECONFIG_OPTION
@LAB_OPTION
@OUTPUT_OPTION
def env(pod: str, namespace: str, container: str, kubeconfig: str, lab: str, output: str) -> None:
    """The Service variables that POD ([NAMESPACE/]NAME) gets, from which Service each is, and why others are not told.

    \b
    fairway env web-1
    fairway env shop/web-1 --container sidecar --output json
    """
    from fairway.assemble import inquiring
    from fairway.pods import links

    cluster = inquiring.Cluster.chosen(kubeconfig, lab_if_up(lab, kubeconfig))
    told = inquiring.environment(cluster, pod, namespace, container)
    click.echo(json.dumps(links.as_json(told), indent=2) if output == "json" else links.text(told))
