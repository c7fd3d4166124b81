"""Commands that explain."""

from __future__ import annotations

import json
import sys

import click

from fairway.cli.base import EXIT_NOT_DELIVERED, LAB_OPTION, OUTPUT_OPTION, need_root


@click.command()
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
    need_root()
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
