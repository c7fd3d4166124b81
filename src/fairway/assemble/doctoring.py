"""`fairway doctor`: what it looks at, gathered from the API server and from kernels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from fairway.assemble import processes, tracing
from fairway.assemble.catalogue import Catalogue
from fairway.assemble.doctor import affinity, flows, objects, rules, surroundings
from fairway.assemble.doctor.findings import Finding, Severity, ordered
from fairway.assemble.proxyflags import Mode, RuleFlags
from fairway.client.base import Client
from fairway.client.informer import Change
from fairway.client.kubeconfig import connect, load
from fairway.dataplane.adopt import adopt
from fairway.dataplane.claims import claimed
from fairway.dataplane.nft_affinity import MAPS
from fairway.dataplane.nft_layout import declared, table_name
from fairway.dataplane.predecessors import table_claims
from fairway.dataplane.proxy import SERVICE_SELECTOR, SLICE_SELECTOR
from fairway.dataplane.tracker import Tracker
from fairway.desired import view
from fairway.desired.model import Claim, Desired
from fairway.desired.options import ProxyOptions
from fairway.kernel.base import KernelError
from fairway.kernel.linux import netns, recent
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.lab.state import StateDir
from fairway.node import Node
from fairway.objects import kinds
from fairway.packet import Family
from fairway.trace.connections import Entry
from fairway.trace.evidence.gathered import Gathered

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A cluster's objects at one moment: as a proxy sees them, and as they are."""

    catalogue: Catalogue
    namespaces: tuple[str, ...]
    services: tuple[bytes, ...]
    slices: tuple[bytes, ...]
    nodes: tuple[bytes, ...]
    cidrs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A node to look at: its name, its network namespace (None: this thread's), and what its proxy was told. `inside`
    is what commands begin with that are to run there."""

    name: str
    namespace: str | None
    options: ProxyOptions
    inside: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A cluster and those of its nodes whose kernels can be read from here."""

    kubeconfig: str
    members: tuple[Member, ...]
    domain: str = "cluster.local"

    @classmethod
    def lab(cls, state: StateDir) -> Place:
        """All nodes of a lab. Raises StateError."""
        topology = state.topology()
        members = []
        for node in topology.nodes:
            options = processes.plan_of_proxy(topology, node.name).options
            inside = f"fairway exec --lab {topology.name} {node.name} -- "
            members.append(Member(node.name, netns.path(topology.namespace(node.name)), options, inside))
        return cls(str(state.kubeconfig), tuple(members), topology.domain)

    @classmethod
    def here(
        cls,
        node: str,
        kubeconfig: str,
        *,
        proxy_mode: str,
        cluster_cidr: str,
        nodeport_addresses: str,
        allow_external_cidrs: str | None,
    ) -> Place:
        """This machine as a node of a cluster, with what its proxy was told. Raises OptionError."""
        flags = RuleFlags(
            cluster_cidr=cluster_cidr,
            nodeport_addresses=nodeport_addresses,
            allow_external_cidrs=allow_external_cidrs,
        )
        return cls(kubeconfig, (Member(node, None, flags.options(Mode(proxy_mode))),))


def examine(place: Place) -> list[Finding]:
    """Everything that is wrong, the worst first. Raises what the client and the kernel raise."""
    snapshot = asyncio.run(_snapshot(place.kubeconfig))
    found = list(objects.examine(snapshot.catalogue, snapshot.namespaces, place.domain))
    for member in place.members:
        found += Looked.at(member, snapshot, True).findings()
    return ordered(found)


async def _snapshot(kubeconfig: str) -> Snapshot:
    client = connect(load(kubeconfig or None))
    try:
        return Snapshot(
            await Catalogue.fetch(client),
            tuple(msgspec.json.decode(raw)["metadata"]["name"] for raw in await _list(client, kinds.NAMESPACE)),
            tuple(await _list(client, kinds.SERVICE, SERVICE_SELECTOR)),
            tuple(await _list(client, kinds.ENDPOINT_SLICE, SLICE_SELECTOR)),
            tuple(await _list(client, kinds.NODE)),
            tuple(await _list(client, kinds.SERVICE_CIDR)),
        )
    finally:
        await client.close()


async def _list(client: Client, kind: kinds.Kind, selector: str = "") -> Sequence[bytes]:
    return (await client.list(kind, label_selector=selector)).items


def connections(place: Place) -> dict[str, list[flows.Row]]:
    """The connections to Services that each node's kernel knows. Raises what the client and the kernel raise."""
    return {looked.member.name: list(looked.book().rows(entries_of(looked.gathered))) for looked in _look(place, True)}


def remembered(place: Place) -> dict[str, list[affinity.Remembered]]:
    """The clients that each node's kernel remembers. Raises what the client and the kernel raise."""
    return {looked.member.name: list(looked.remembered()) for looked in _look(place, False)}


def _look(place: Place, connections: bool) -> Iterator[Looked]:
    snapshot = asyncio.run(_snapshot(place.kubeconfig))
    for member in place.members:
        looked = Looked.at(member, snapshot, connections)
        yield looked


@dataclass(frozen=True, slots=True)
class Looked:
    """One node as it is, beside what its proxy should do."""

    member: Member
    gathered: Gathered
    node: Node
    desired: Desired
    names: dict[str, str]

    @classmethod
    def at(cls, member: Member, snapshot: Snapshot, connections: bool) -> Looked:
        """Read a node's kernel. Raises KernelError, EvidenceError."""
        gathered = tracing.live(member.namespace, member.name, connections)
        scene = gathered.scene(Family.IPV4)
        node, desired = desired_of(replace(scene.node, name=member.name), snapshot, member.options)
        return cls(member, gathered, node, desired, snapshot.catalogue.names())

    def findings(self) -> Iterator[Finding]:
        """What is wrong with the node, with the commands that show it where they must be run."""
        for each in self._findings():
            yield replace(each, command="; ".join(self.member.inside + one for one in each.command.split("; ") if one))

    def _findings(self) -> Iterator[Finding]:
        yield from surroundings.examine(self.gathered, _legacy_tables(self.member.namespace))
        for family in surroundings.families(self.gathered):
            scene = rules.forgetful(self.gathered.scene(family))
            held = rules.Held(self.desired, self.node, scene, family, frozenset(self._claimed(family)))
            yield from rules.compare(held)
        yield from flows.stale(self.book().rows(entries_of(self.gathered)), self.member.name)
        for note in self.gathered.notes:
            yield Finding(Severity.NOTE, "unread", note, node=self.member.name)

    def book(self) -> flows.Book:
        """Who answers where, for the tables of connections."""
        own = [str(address) for address in self.node.addresses()]
        return flows.Book(self.desired, own, self.names)

    def remembered(self) -> Iterator[affinity.Remembered]:
        """The clients that the kernel remembers for session affinity, in either mode."""
        book, namespace = self.book(), self.member.namespace
        yield from affinity.from_lists(
            book, [ruleset for _, _, ruleset in self.gathered.iptables], recent.lists(namespace)
        )
        for family in surroundings.families(self.gathered):
            for name in MAPS:
                kept = declared(family, name)
                try:
                    elements = LinuxNftables(namespace).elements(table_name(family), kept)
                except KernelError:
                    continue  # a kernel without nf_tables remembers nothing there
                yield from affinity.from_maps(book, kept, elements)

    def _claimed(self, family: Family) -> Iterator[Claim]:
        """The destinations that the rules of proxies claim, in either language."""
        for of, _, ruleset in self.gathered.iptables:
            if of in (None, family):
                yield from claimed(adopt(ruleset), family)
        try:
            yield from table_claims(LinuxNftables(self.member.namespace), family)
        except KernelError:
            return  # a kernel without nf_tables holds none


def entries_of(gathered: Gathered) -> list[Entry]:
    """Every connection once."""
    return [known.entry for known in gathered.connections.entries.values() if not known.answer]


def desired_of(node: Node, snapshot: Snapshot, options: ProxyOptions) -> tuple[Node, Desired]:
    """What the proxy of a node should do, by the objects, and the node as it knows it. Objects that it refuses are
    passed over, as it does."""
    tracker = Tracker(options)
    tracker.services_changed(_added(snapshot.services, view.service))
    tracker.slices_changed(_added(snapshot.slices, view.endpoint_slice))
    tracker.node_changed([change for change in _added(snapshot.nodes, view.node) if change.key[1] == node.name])
    tracker.cidrs_changed(_added(snapshot.cidrs, view.service_cidr))
    described = tracker.described(node)
    update = tracker.update(node)
    ports = tuple(update.ports[key] for key in sorted(update.ports))
    return described, Desired(ports, settings=update.settings)


class _Head(msgspec.Struct, frozen=True):
    metadata: view.Meta


_head = msgspec.json.Decoder(_Head)


def _added(listed: Sequence[bytes], decode: Callable[[bytes], T]) -> list[Change[T]]:
    found = []
    for raw in listed:
        try:
            meta = _head.decode(raw).metadata
            found.append(Change("added", (meta.namespace, meta.name), None, decode(raw)))
        except (view.Malformed, msgspec.MsgspecError):
            continue
    return found


def _legacy_tables(namespace: str | None) -> list[str]:
    """The tables that the old iptables has in a network namespace; it names them once they have been used."""
    if namespace is None:
        return _names_of_tables()
    with netns.entered(namespace):
        return _names_of_tables()


def _names_of_tables() -> list[str]:
    found = []
    for name in ("ip_tables_names", "ip6_tables_names"):
        try:
            found += Path(f"/proc/thread-self/net/{name}").read_text().split()
        except OSError:
            continue  # the kernel has no such tables
    return sorted(set(found))
