"""Commands that explain."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.base import EXIT_NOT_DELIVERED, LAB_OPTION, READING_NEEDS_ROOT, fail, lab_if_up, need_root, warn

if TYPE_CHECKING:
    from fairway.assemble.tracing import Answer, Question

_FILES: tuple[tuple[str, str, str], ...] = (
    ("--rules", "rules", "iptables-save, ip6tables-save, iptables -L -v -n, nft list ruleset (or JSON), ipset save."),
    ("--ip-addr", "addresses", "Output of ip addr."),
    ("--ip-route", "routes", "Output of ip route (show table all)."),
    ("--ip-rule", "policy", "Output of ip rule."),
    ("--conntrack", "connections", "Output of conntrack -L."),
    ("--sysctl", "settings", "Output of sysctl -a."),
    ("--objects", "objects", "Services, EndpointSlices, Pods, Nodes (YAML or JSON), for names."),
)


def _file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for flag, name, what in reversed(_FILES):
        command = click.option(flag, name, multiple=True, metavar="FILE", help=f"{what} Repeatable.")(command)
    return command


@click.command(short_help="Follow one packet through a node's rules, and say why.")
@click.option("--from", "source", required=True, help="Pod, node, `node` (whose rules are read), `client`, address.")
@click.option("--to", "destination", required=True, help="SERVICE[.NS]:PORT, POD:PORT, NODE:PORT or ADDRESS:PORT.")
@click.option("--protocol", type=click.Choice(["tcp", "udp", "sctp"]), default="tcp", show_default=True)
@click.option("--family", type=click.Choice(["IPv4", "IPv6"]), help="Of a name with several addresses.")
@click.option("--source-port", type=click.IntRange(1, 65535), help="Of a connection that the kernel may know.")
@click.option("--in-interface", default="", metavar="DEVICE", help="The device it comes in by. Default: found out.")
@click.option("--namespace", "-n", default="default", show_default=True, help="Namespace of names without one.")
@_file_options
@click.option("--bundle", default="", metavar="FILE", help="What `fairway collect` made on a node.")
@click.option("--node", default="", metavar="NAME", help="Read this machine's kernel (or the files) as node NAME.")
@click.option("--kubeconfig", default="", metavar="FILE", help="Where names are looked up, with this machine's rules.")
@click.option("--colour/--no-colour", default=None, help="Default: only on a terminal.")
@click.option("--why", is_flag=True, help="One paragraph: the end, what caused it, what would change it.")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Of all sentences.")
@LAB_OPTION
@click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json", "dot", "mermaid", "svg", "html"]),
    default="text",
    show_default=True,
    help="A note, data, or a picture (svg and html need no other program and load nothing).",
)
def trace(output: str, colour: bool | None, lab: str, bundle: str, node: str, kubeconfig: str, **words: Any) -> None:
    """Follow one packet through a node's rules, hook by hook, and say why it ends where it ends: in the lab, if it is
    up (a packet to another node's address is followed there, too); else by the rules of this machine; or by files that
    somebody saved on a node.

    \b
    fairway trace --from web-1 --to httpd-svc:8080
    fairway trace --from 10.244.1.5 --to 10.96.203.6:8080 --rules rules.txt
    fairway trace --from 203.0.113.9 --to node:30000 --bundle node-a.tar.gz --objects objects.yaml
    fairway trace --node worker-3 --kubeconfig ~/.kube/config --from shop/web-1 --to db.shop:5432

    Exit code 0: some branch delivers it to an endpoint or to the address it names; 3: none does.
    """
    from fairway.assemble.saved import Files
    from fairway.assemble.tracing import Question
    from fairway.packet import Family

    language = words.pop("lang")
    form = "why" if words.pop("why") else output
    files = Files(bundle=bundle, **{name: words.pop(name) for _, name, _ in _FILES})
    words |= {"protocol": words["protocol"].upper(), "source_port": words["source_port"] or 0}
    words["family"] = Family(words["family"]) if words["family"] else None
    question = Question(**words)
    answer = _ask(question, files, node, kubeconfig, lab)
    _tell(answer, form, language, sys.stdout.isatty() if colour is None else colour)
    sys.exit(0 if answer.delivered else EXIT_NOT_DELIVERED)


def _ask(question: Question, files: Any, node: str, kubeconfig: str, lab: str) -> Answer:
    """From files if some are given, else from the lab if it is up, else from this machine."""
    from fairway.assemble import saved, tracing

    if files.given:
        return tracing.ask_of(*saved.gather(files, node), question)
    for _, name, _ in _FILES:
        if name != "objects" and getattr(files, name):
            fail("files of a node need its rules, too: --rules FILE or --bundle FILE")
    need_root(READING_NEEDS_ROOT)
    state = lab_if_up(lab, node or kubeconfig)
    if not node and not kubeconfig and state.usable():
        return tracing.ask(state, question)
    return tracing.ask_here(question, node, kubeconfig, saved.objects_of(files))


def _tell(answer: Answer, form: str, language: str, colour: bool) -> None:
    from fairway.trace import chinese, drawing, explain
    from fairway.trace.graph import dot, graph, joined, mermaid
    from fairway.trace.why import why

    say: explain.Tongue = chinese.translate if language == "zh" else str
    names = answer.names
    parts = [
        (part, answer.causes(part), answer.journeys_of(part)) for part in filter(None, (answer.trace, answer.then))
    ]
    if form == "json":
        told = [explain.as_json(part, names, causes, ways) for part, causes, ways in parts]
        click.echo(json.dumps({**told[0], "then": told[1] if len(told) > 1 else None}, indent=2))
        return
    if form == "html":
        pages = [
            (
                graph(part, names, causes, say, ways),
                why(part, names, causes, say, ways),
                explain.text(part, names=names, causes=causes, journeys=ways, say=say),
            )
            for part, causes, ways in parts
        ]
        click.echo(drawing.page(pages, language), nl=False)
        return
    if form in ("dot", "mermaid", "svg"):
        draw = {"dot": dot, "mermaid": mermaid, "svg": drawing.svg}[form]
        click.echo(draw(joined([graph(part, names, causes, say, ways) for part, causes, ways in parts])), nl=False)
        return
    for part, causes, ways in parts:
        if form == "why":
            click.echo("\n".join(explain.wrapped(why(part, names, causes, say, ways))))
        else:
            click.echo(explain.text(part, colour=colour, names=names, causes=causes, journeys=ways, say=say))


@click.command(short_help="Save a node's rules, addresses and routes into one file.")
@click.option("--file", "-f", "file", default="", metavar="FILE", help="Default: NODE.tar.gz; - for stdout.")
@click.option("--node", default="", metavar="NAME", help="The node's name in the cluster. Default: the host's name.")
@click.option("--conntrack/--no-conntrack", default=True, show_default=True, help="With the table of connections.")
@click.option("--objects", default="", metavar="FILE", help="kubectl get svc,endpointslices,pods,nodes -A -o json.")
def collect(file: str, node: str, conntrack: bool, objects: str) -> None:
    """Save what this machine's kernel holds of rules, addresses, routes and settings into one file, for
    `fairway trace --bundle FILE` elsewhere. Only reads; what is in the file is as secret as the rules and addresses of
    the node.
    """
    from fairway.assemble import saved
    from fairway.trace.evidence.bundle import pack

    if os.geteuid() != 0:
        fail("rules are shown to root alone: run it as root (sudo)")
    made = saved.collect(node, conntrack, saved.read_file(objects) if objects else b"")
    for name, why in made.failures.items():
        warn(f"{name}: {why}")
    raw = pack(made)
    if file == "-":
        sys.stdout.buffer.write(raw)
        return
    target = Path(file or f"{made.node}.tar.gz")
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as sink:
        sink.write(raw)
    click.echo(f"{target}: {len(made.files)} texts, {len(raw)} bytes")
