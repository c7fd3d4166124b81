"""`fairway render`: what a node's proxy would program for objects in a file, without a kernel or an API server."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from fairway.assemble.proxyflags import Mode, RuleFlags, split
from fairway.desired import view
from fairway.desired.build import build
from fairway.desired.model import Desired, ServicePort
from fairway.node import Interface, InterfaceAddress, Network, Node
from fairway.objects import codec, kinds
from fairway.objects.errors import ObjectError
from fairway.packet import Family

MAX_FILE_BYTES = 256 * 1024 * 1024
"""A cluster of 40,000 Services with five endpoints each is about 100 MB of indented JSON."""

DEVICE = "eth0"


class RenderError(ValueError):
    """Something of the question cannot be. The message names the flag, or the file with the object and the field."""


@dataclass(frozen=True, slots=True)
class Question:
    """Words of the command line. `node_ip` are the node's addresses, "10.0.0.11/24,fd00::11/64"."""

    objects: str
    node_name: str
    node_ip: str = ""
    node_labels: str = ""
    pod_cidr: str = ""


class Objects(NamedTuple):
    services: list[view.ServiceView]
    slices: list[view.SliceView]


def desired(question: Question, text: bytes, mode: Mode, flags: RuleFlags) -> tuple[Desired, list[str]]:
    """What the node should do, and what the asker should know beside it. `text` is what the objects' file holds.

    A flag that is not given has kube-proxy's default, that of `--iptables-localhost-nodeports` included, so that the
    answer can be held against a node that kube-proxy serves. Raises RenderError, OptionError.
    """
    found = read_objects(text, question.objects)
    wanted = build(found.services, found.slices, node(question), flags.options(mode, localhost_nodeports=True))
    return wanted, [*_unserved(found), *_not_loadable(wanted, mode)]


def node(question: Question) -> Node:
    """The node of the question: one device with its addresses."""
    return Node(
        name=question.node_name,
        interfaces=(Interface(DEVICE, tuple(_addresses(question.node_ip))),),
        pod_cidrs=tuple(_networks(question.pod_cidr)),
        labels=dict(_labels(question.node_labels)),
    )


def rules(wanted: Desired, mode: Mode, family: Family, accounting: bool) -> str:
    """The text: for `iptables-restore` (or `ip6tables-restore`), or for `nft -f`. `accounting` says whether the node
    has the accounting objects (nfacct) that two iptables rules count into."""
    if mode is Mode.NFTABLES:
        from fairway.dataplane import nft
        from fairway.ruleset import nft_print

        return nft_print.text([nft.render(wanted, family)])
    from fairway.dataplane import iptables
    from fairway.ruleset.iptables import dump

    return dump(iptables.render(wanted, family, iptables.ACCOUNTS if accounting else ()))


def as_json(wanted: Desired, family: Family) -> bytes:
    """The desired model of one family as indented JSON."""
    facts = wanted.node(family)
    value = {
        "family": family,
        "node": facts,
        "masqueradeAll": wanted.masquerade_all,
        "masqueradeMark": wanted.masquerade_mark,
        "guardedCIDRs": wanted.settings.guarded_cidrs,
        "healthChecks": wanted.health_checks,
        "ports": [_port(port) for port in wanted.of(family)],
    }
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


def _port(port: ServicePort) -> dict[str, Any]:
    told: dict[str, Any] = {"namespace": port.name.namespace, "service": port.name.service, "name": port.name.port}
    fields: dict[str, Any] = msgspec.to_builtins(port)
    return told | {name: value for name, value in fields.items() if name not in ("name", "family")}


def read_objects(text: bytes, file: str) -> Objects:
    """Services and EndpointSlices of a manifest, as an API server returns them or as users write them; objects of
    other kinds are passed over. Raises RenderError."""
    try:
        documents = codec.decode_all(text, MAX_FILE_BYTES)
    except ObjectError as error:
        raise RenderError(f"{file}: {error}") from error
    found = Objects([], [])
    for number, document in enumerate(documents, 1):
        if not isinstance(document, dict) or not document.get("kind"):
            raise RenderError(f"{file}: object {number} has no kind")
        if document["kind"] == kinds.SERVICE.name:
            found.services.append(view.service(_checked(kinds.SERVICE, document, file, number)))
        elif document["kind"] == kinds.ENDPOINT_SLICE.name:
            found.slices.append(view.endpoint_slice(_checked(kinds.ENDPOINT_SLICE, document, file, number)))
    return found


def _checked(kind: kinds.Kind, document: dict[str, Any], file: str, number: int) -> bytes:
    """The object's bytes with its namespace, once its values are known to be of the right types."""
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    where = f"{file}: object {number}, {kind.name} {name or 'without a name'}"
    if not name:
        raise RenderError(f"{where}: metadata.name: Required value")
    problems = [problem.message() for problem in codec.check(kind, document).problems]
    problems += [f"{path}: {value} is not a port: 1 to 65535" for path, value in _bad_ports(document)]
    if problems:
        raise RenderError(f"{where}: {'; '.join(problems)}")
    return msgspec.json.encode({**document, "metadata": {"namespace": "default"} | _without_nulls(metadata)})


def _without_nulls(metadata: Any) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if value is not None}


def _bad_ports(document: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Numbers that are no ports: a Service's `port` and `nodePort`, a slice's `port`."""
    within = "spec.ports" if document["kind"] == kinds.SERVICE.name else "ports"
    holder = document.get("spec") or {} if within == "spec.ports" else document
    for index, port in enumerate(holder.get("ports") or ()):
        for name in ("port", "nodePort"):
            value = port.get(name) if isinstance(port, dict) else None
            if isinstance(value, int) and not (1 if name == "port" else 0) <= value <= 65535:
                yield f"{within}[{index}].{name}", value


def _unserved(found: Objects) -> Iterator[str]:
    """Services for which nothing can be programmed, though their authors expect it."""
    for service in found.services:
        spec, name = service.spec, f"{service.metadata.namespace}/{service.metadata.name}"
        if spec.type != "ExternalName" and not spec.cluster_ip and not spec.cluster_ips:
            yield f"Service {name} has no spec.clusterIP, which an API server would give it: nothing is programmed"
        elif spec.type == "NodePort" and any(not port.node_port for port in spec.ports or ()):
            yield f"Service {name} has a port without nodePort, which an API server would give it"


def _not_loadable(wanted: Desired, mode: Mode) -> Iterator[str]:
    """nft 1.0.6 runs into an assertion of its own (netlink_linearize.c) where a map with an IPv6 address and a port in
    its key is updated by a rule; the proxy, which speaks netlink, does not need it."""
    sticky = any(port.affinity_seconds for port in wanted.of(Family.IPV6))
    if mode is Mode.NFTABLES and sticky:
        yield "the IPv6 rules hold ClientIP affinity, which nft 1.0.6 cannot load (the proxy does not use nft for it)"


def _addresses(text: str) -> Iterator[InterfaceAddress]:
    for part in split(text):
        try:
            yield ipaddress.ip_interface(part)
        except ValueError as error:
            raise RenderError(f"--node-ip {part}: {error}; write an address with its prefix: 10.0.0.11/24") from None


def _networks(text: str) -> Iterator[Network]:
    for part in split(text):
        try:
            yield ipaddress.ip_network(part, strict=False)
        except ValueError as error:
            raise RenderError(f"--pod-cidr {part}: {error}; write a range: 10.244.1.0/24") from None


def _labels(text: str) -> Iterator[tuple[str, str]]:
    for part in split(text):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise RenderError(f"--node-labels {part}: write KEY=VALUE[,KEY=VALUE...]")
        yield key, value
