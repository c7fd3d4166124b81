"""The command that opens a page."""

from __future__ import annotations

import html
import tempfile
import webbrowser
from contextlib import ExitStack
from pathlib import Path

import click

from fairway.cli.base import LAB_OPTION, READING_NEEDS_ROOT, lab_if_up, need_root, warn
from fairway.cli.names import KUBECONFIG_OPTION


@click.command(short_help="Serve a page that shows Services, their rules and packets.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Of 127.0.0.1 (0: any free one).")
@click.option("--open", "opens", is_flag=True, help="Open it in the browser.")
@click.option(
    "--rules",
    "names",
    multiple=True,
    metavar="FILE",
    help="Files to go by, as if dropped on the page: dumps, bundles, objects. Repeatable.",
)
@click.option("--node", default="", metavar="NAME", help="Read this machine's kernel as node NAME of the cluster.")
@click.option("--cluster-cidr", default="", help="The pods' range, where rules are worked out from objects.")
@KUBECONFIG_OPTION
@LAB_OPTION
def ui(port: int, opens: bool, names: tuple[str, ...], node: str, cluster_cidr: str, kubeconfig: str, lab: str) -> None:
    """Serve a page on this machine's loopback: Services, endpoints and nodes as they are now, a Service's rules as a
    graph, and the way of a packet step by step. Of the lab, if it is up; else of the kubeconfig's cluster; without
    either of dumps that are dropped on the page. Whoever has the address it prints sees all that; nobody else does.

    \b
    fairway ui
    fairway ui --rules rules.txt
    fairway ui --kubeconfig ~/.kube/config --port 8090 --open
    """
    from fairway.assemble import saved, showing
    from fairway.assemble.life import run

    if node:
        need_root(READING_NEEDS_ROOT)
    given = {Path(name).name: saved.read_file(name) for name in names}
    lab_if_up(lab, node or kubeconfig or "".join(names))
    view = showing.choose(kubeconfig, lab, node, cluster_cidr, given)

    with ExitStack() as ending:

        def tell(address: str) -> None:
            click.echo(f"{view.name or 'no cluster; drop a dump on the page'}: {address}")
            if opens:
                folder = ending.enter_context(tempfile.TemporaryDirectory(prefix="fairway-"))
                if not webbrowser.open(_way(Path(folder), address).as_uri()):
                    warn("no browser was found; open the address yourself")

        run(lambda stop: showing.serve(view, port, tell, stop))


def _way(folder: Path, address: str) -> Path:
    """A file that leads to the address. Programs' arguments are seen by everybody on the machine, and the address bears
    the token; the folder is its owner's alone."""
    file = folder / "fairway.html"
    file.write_text(f'<!DOCTYPE html><meta http-equiv="refresh" content="0;url={html.escape(address)}">')
    return file
