"""The command `fairway`: the only package that prints. What is heavy is imported inside the command that needs it."""

from __future__ import annotations

import click

from fairway import __version__
from fairway.cli import diagnose, explain, lab, look, names, proxy, serve
from fairway.cli.base import Cli


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fairway")
def main() -> None:
    """The Kubernetes Service system, whole: a lab of network namespaces, a node proxy, cluster DNS, explanations."""


for _command in (
    lab.up,
    lab.down,
    lab.status,
    lab.kill_node,
    lab.start_node,
    lab.exec_,
    lab.lb,
    explain.trace,
    explain.collect,
    diagnose.why_not,
    diagnose.doctor,
    diagnose.conntrack,
    diagnose.affinity,
    diagnose.anonymise,
    look.ui,
    proxy.proxy,
    proxy.announce,
    names.env,
    proxy.render,
    serve.dns,
    serve.api,
):
    main.add_command(_command)
serve.dns.add_command(names.explain)

__all__ = ["main"]
