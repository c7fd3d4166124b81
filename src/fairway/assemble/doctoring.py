"""`fairway doctor`: what it looks at, gathered from the API server and from kernels."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fairway.assemble import processes, tracing
from fairway.assemble.catalogue import Catalogue
from fairway.assemble.doctor import affinity, flows, objects, rules, surroundings, told
from fairway.assemble.doctor.findings import Finding, Severity, ordered
from fairway.assemble.doctor.told import Told
from fairway.client.base import ApiError, Client
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
from fairway.kernel.linux import netns, observed, recent
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
    """A cluster's objects at one moment: as a proxy sees them, and as they are. `proxy` is the ConfigMap of
    kube-proxy's settings."""

    catalogue: Catalogue
    namespaces: tuple[str, ...]
    services: tuple[bytes, ...]
    slices: tuple[bytes, ...]
    nodes: tuple[bytes, ...]
    cidrs: tuple[bytes, ...]
    proxy: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A node to look at: its name, its network namespace (None: this thread's), and what its proxy was told: known, or
    to be read from the cluster. `inside` is what commands begin with that are to run there."""

    name: str
    namespace: str | None
    told: ProxyOptions | Told
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
    def here(cls, node: str, kubeconfig: str, told: Told) -> Place:
        """This machine as a node of a cluster, with what its proxy was told."""
        return cls(kubeconfig, (Member(node, None, told),))


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
            await _proxy_settings(client),
        )
    finally:
        await client.close()


async def _proxy_settings(client: Client) -> Mapping[str, Any] | None:
    """What kube-proxy was told, where the cluster keeps it and lets us read it."""
    try:
        return await client.get(kinds.CONFIG_MAP, told.NAME, told.NAMESPACE)
    except ApiError as error:
        if error.code not in (403, 404):
            raise
        return None


async def _list(client: Client, kind: kinds.Kind, selector: str = "") -> Sequence[bytes]:
    return (await client.list(kind, label_selector=selector)).items


def connections(place: Place) -> dict[str, list[flows.Row]]:
    """The connections to Services that each node's kernel knows. Raises what the client and the kernel raise."""
    if not observed.shows_connections():
        raise KernelError("conntrack is not installed: it prints the connections that the kernel knows")
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
    about_proxy: tuple[Finding, ...] = ()

    @classmethod
    def at(cls, member: Member, snapshot: Snapshot, connections: bool) -> Looked:
        """Read a node's kernel. Raises KernelError, EvidenceError."""
        gathered = tracing.live(member.namespace, member.name, connections)
        scene = gathered.scene(Family.IPV4)
        settings = _settings(member, snapshot, gathered)
        node, desired = desired_of(replace(scene.node, name=member.name), snapshot, settings.options)
        return cls(member, gathered, node, desired, snapshot.catalogue.names(), settings.findings)

    def findings(self) -> Iterator[Finding]:
        """What is wrong with the node, with the commands that show it where they must be run."""
        for each in self._findings():
            yield replace(each, command="; ".join(self.member.inside + one for one in each.command.split("; ") if one))

    def _findings(self) -> Iterator[Finding]:
        yield from self.about_proxy
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


def _settings(member: Member, snapshot: Snapshot, gathered: Gathered) -> told.Settings:
    """What a member's proxy was told. Raises OptionError."""
    if isinstance(member.told, ProxyOptions):
        return told.Settings(member.told)
    return told.settled(member.told, snapshot.proxy, member.name, gathered.values, os.cpu_count() or 1)


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
