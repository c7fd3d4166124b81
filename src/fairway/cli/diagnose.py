"""Commands that find out what is wrong."""

from __future__ import annotations

import json
import sys

import click

from fairway.cli.base import EXIT_NOT_FOUND, LAB_OPTION, OUTPUT_OPTION
from fairway.cli.names import KUBECONFIG_OPTION


@click.command("why-not")
@click.argument("pod")
@click.argument("service")
@click.option("--namespace", "-n", default="default", show_default=True, help="Namespace of names without one.")
@KUBECONFIG_OPTION
@LAB_OPTION
@OUTPUT_OPTION
def why_not(pod: str, service: str, namespace: str, kubeconfig: str, lab: str, output: str) -> None:
    """Why POD is no endpoint of SERVICE (each NAME or NAMESPACE/NAME): every condition that keeps it out, the object
    and field that says so, and what would change it.

    \b
    fairway why-not web-1 httpd-svc
    fairway why-not shop/web-1 shop/web --output json

    Exit code 0: it is an endpoint that new connections are led to; 3: it is not.
    """
    from fairway.assemble import diagnosing
    from fairway.assemble.inquiring import Cluster
    from fairway.control import whynot
    from fairway.lab.state import StateDir

    verdict = diagnosing.why_not(Cluster.chosen(kubeconfig, StateDir.named(lab)), pod, service, namespace)
    click.echo(json.dumps(whynot.as_json(verdict), indent=2) if output == "json" else whynot.text(verdict))
    sys.exit(0 if verdict.serves else EXIT_NOT_FOUND)
