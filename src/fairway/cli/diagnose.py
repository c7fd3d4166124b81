"""Commands that find out what is wrong."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.base import (
    EXIT_NOT_FOUND,
    LAB_OPTION,
    OUTPUT_OPTION,
    READING_NEEDS_ROOT,
    fail,
    lab_if_up,
    need_root,
    warn,
)
from fairway.cli.names import KUBECONFIG_OPTION

if TYPE_CHECKING:
    from fairway.assemble.doctoring import Place

EXIT_FINDINGS = 4


@click.command("why-not", short_help="Why a pod is no endpoint of a Service.")
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

    verdict = diagnosing.why_not(Cluster.chosen(kubeconfig, lab_if_up(lab, kubeconfig)), pod, service, namespace)
    click.echo(json.dumps(whynot.as_json(verdict), indent=2) if output == "json" else whynot.text(verdict))
    sys.exit(0 if verdict.serves else EXIT_NOT_FOUND)


TOLD = "As the node's proxy was told (with --node). Default: what ConfigMap kube-system/kube-proxy says."


def _read_here(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that look at a lab's nodes, or at this machine as a node of a cluster."""
    options = (
        click.option("--node", default="", metavar="NAME", help="Look at this machine as node NAME of the cluster."),
        KUBECONFIG_OPTION,
        click.option("--cluster-cidr", default=None, help=TOLD),
        click.option("--proxy-mode", type=click.Choice(["iptables", "nftables"]), default=None, help=TOLD),
        click.option("--nodeport-addresses", default=None, help=TOLD),
        click.option("--allow-external-cidrs", default=None, help="As the node's proxy was told (with --node)."),
        LAB_OPTION,
        OUTPUT_OPTION,
    )
    for option in reversed(options):
        command = option(command)
    return command


def _place(node: str, kubeconfig: str, lab: str, **told: Any) -> Place:
    """The lab with all its nodes, or this machine."""
    from fairway.assemble.doctor.told import Told
    from fairway.assemble.doctoring import Place

    need_root(READING_NEEDS_ROOT)
    state = lab_if_up(lab, node or kubeconfig)
    if not node and not kubeconfig and state.usable():
        return Place.lab(state)
    return Place.here(node or os.uname().nodename, kubeconfig, Told(**told))


@click.command(short_help="Find what is wrong with Services, in objects and kernels.")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Of all sentences.")
@_read_here
def doctor(lang: str, output: str, **where: Any) -> None:
    """Find what is wrong with Services: objects that contradict each other, and, on every node of a lab (elsewhere on
    this machine), what the kernel does with packets to each Service address against what it should do, in whatever
    language the rules are; rules of others that decide first, kernel settings, connections that lead nowhere.

    \b
    fairway doctor
    fairway doctor --node worker-3 --kubeconfig ~/.kube/config --cluster-cidr 10.244.0.0/16

    Exit code 0: nothing but notes; 4: errors or warnings.
    """
    from fairway.assemble import doctoring
    from fairway.assemble.doctor import chinese, findings

    place = _place(**where)
    found = doctoring.examine(place)
    looked_at = [member.name for member in place.members]
    if output == "json":
        click.echo(json.dumps(findings.as_json(found, looked_at), indent=2))
    else:
        say = chinese.translate if lang == "zh" else str
        click.echo(findings.text(found, f"The cluster's objects, and the kernels of {', '.join(looked_at)}", say))
    sys.exit(0 if findings.clean(found) else EXIT_FINDINGS)


@click.command(short_help="The connections to Services that kernels know.")
@click.argument("service", default="")
@click.option("--stale", is_flag=True, help="Only connections that lead where they should not.")
@_read_here
def conntrack(service: str, stale: bool, output: str, **where: Any) -> None:
    """The connections to Services that kernels know, on every node of a lab (elsewhere on this machine), with the names
    of Service and endpoint, the time left, and what is wrong with those that lead where they should not. SERVICE
    ([NAMESPACE/]NAME) shows those to one.

    \b
    fairway conntrack httpd-svc
    fairway conntrack --stale --output json
    """
    from fairway.assemble import doctoring

    columns = ("protocol", "client", "destination", "service", "endpoint", "pod", "state", "seconds", "stale")
    _rows(doctoring.connections(_place(**where)), columns, service, stale, output)


@click.command(short_help="Which clients are remembered at which endpoints.")
@click.argument("service", default="")
@click.option("--stale", is_flag=True, help="Only clients that should not be followed any more.")
@_read_here
def affinity(service: str, stale: bool, output: str, **where: Any) -> None:
    """Which clients are remembered at which endpoints (sessionAffinity: ClientIP), on every node of a lab (elsewhere on
    this machine), in iptables and nftables mode, with the time left. SERVICE ([NAMESPACE/]NAME) shows those of one.

    \b
    fairway affinity
    fairway affinity shop/web --output json
    """
    from fairway.assemble import doctoring

    columns = ("client", "service", "endpoint", "pod", "seconds", "stale")
    _rows(doctoring.remembered(_place(**where)), columns, service, stale, output)


def _rows(found: Mapping[str, Sequence[Any]], columns: Sequence[str], service: str, stale: bool, output: str) -> None:
    """Rows of each node as a table or as data."""
    wanted = f"{service if '/' in service else f'default/{service}'}" if service else ""
    rows = [
        {"node": node} | {column: getattr(row, column) for column in columns}
        for node, kept in found.items()
        for row in kept
        if (row.stale or not stale) and (not wanted or wanted in (row.service, row.service.partition(":")[0]))
    ]
    if output == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    heads = ["node", *columns]
    lines = [[head.upper() for head in heads], *([_cell(row[head]) for head in heads] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        click.echo("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    return "-" if value in (None, "") else str(value)


@click.command(short_help="Replace addresses and names in dumps that others will see.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--into", default="", metavar="FOLDER", help="Where the new files go. Default: one text, to the terminal."
)
@click.option(
    "--secret", envvar="FAIRWAY_SECRET", default="", help="Replace as another run with it did ($FAIRWAY_SECRET)."
)
def anonymise(files: tuple[str, ...], into: str, secret: str) -> None:
    """Replace addresses, names and comments in dumps (iptables-save, iptables -L, nft list ruleset, ip, conntrack,
    sysctl, and bundles of `fairway collect`), so that they can be shown to others: the same by the same in all files,
    networks stay networks, and what becomes of a packet stays the same. Ports, marks and names of programs' own chains
    and of devices stay.

    \b
    iptables-save | fairway anonymise - > rules.txt
    fairway anonymise --into shown worker-3.tar.gz
    """
    from fairway.assemble import anonymising

    if not into and len(files) > 1:
        fail("several files need a folder to go to: --into FOLDER")
    made = anonymising.replaced(files, secret)
    if not into and sys.stdout.isatty() and any(b"\0" in content for content in made.files.values()):
        fail("a bundle is nothing for a terminal: --into FOLDER, or lead it to a file")
    for remark in made.remarks:
        warn(remark)
    for name, content in made.files.items():
        if not into:
            sys.stdout.buffer.write(content)
            continue
        target = Path(into) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        click.echo(f"{target}: {len(content)} bytes")
