"""What explanations of names and environments need, gathered from a cluster: objects, and in a lab the pod itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import dns.exception
import dns.message
import dns.query
import dns.rcode
import msgspec

from fairway.client.base import ApiError, Client
from fairway.client.kubeconfig import connect, load
from fairway.dns import explain as telling
from fairway.dns import view
from fairway.dns.explain import Explanation
from fairway.dns.origin import Facts
from fairway.dns.walk import Candidate, Library, Reply, Settings, walk
from fairway.dns.zone import Zone
from fairway.kernel.linux import netns
from fairway.lab.state import StateDir
from fairway.objects import kinds
from fairway.pods import exec as pod_exec
from fairway.pods import links, resolv
from fairway.pods import view as pods_view
from fairway.pods.errors import NotFound
from fairway.pods.links import Links
from fairway.pods.records import connect as connect_pod
from fairway.pods.records import peer_pid

DNS_SERVICE = ("kube-system", "kube-dns")
"""Where clusters keep their DNS, whatever serves it."""
UNKNOWN = "unknown"
DEFAULT_NDOTS = 1
ASK_SECONDS = 5.0


KUBELETS = (
    "a kubelet tells a container of the Services there are when it starts: restarted ones know younger Services, too"
)


class InquiryError(Exception):
    """The question names something that is not there, or cannot be asked so; the message says what."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which cluster: a kubeconfig's, and the lab's when it is a lab ("" and None: as kubectl finds it)."""

    kubeconfig: str = ""
    lab: StateDir | None = None

    @classmethod
    def chosen(cls, kubeconfig: str, lab: StateDir) -> Cluster:
        """The cluster of the kubeconfig if one is named, else the lab if it is there, else kubectl's."""
        if kubeconfig or not lab.usable():
            return cls(kubeconfig)
        return cls(str(lab.kubeconfig), lab)

    def client(self) -> Client:
        """A client of its API server. Raises KubeconfigError."""
        return connect(load(self.kubeconfig or None))


@dataclass(frozen=True, slots=True)
class Question:
    """What `fairway dns explain` is asked. `source` is a pod, NAME or NAMESPACE/NAME ("": any of `namespace`);
    `server` is ADDRESS[:PORT] to put the queries to ("": in a lab the pod's own, elsewhere none)."""

    name: str
    source: str = ""
    namespace: str = "default"
    types: tuple[str, ...] = ("A", "AAAA")
    library: Library = "glibc"
    domain: str = "cluster.local"
    server: str = ""


@dataclass(frozen=True, slots=True)
class _Asker:
    """Who asks: how to call it, its resolver, where its sockets are, and what is worth a note."""

    who: str
    settings: Settings
    inside: Callable[[], AbstractContextManager[None]] = nullcontext
    here: bool = False
    remarks: tuple[str, ...] = ()


def ask(cluster: Cluster, question: Question) -> Explanation:
    """Walk the name. Raises InquiryError, BadName, and what the client raises."""
    objects, pod = asyncio.run(_gather(cluster, question))
    zone, facts = objects
    asker = _asker(cluster, question, pod, facts)
    server = question.server or (next(iter(asker.settings.nameservers), "") if asker.here else "")
    reply = _from_server(server, asker) if server else telling.from_objects(zone)
    walked = walk(question.name, asker.settings, reply, question.types, question.library)
    remarks = asker.remarks
    if not server:
        remarks = (*remarks, "answers are what the cluster's objects say; no server was asked (--server asks one)")
    return telling.explain(walked, asker.who, zone, facts, remarks, live=bool(server))


async def _gather(cluster: Cluster, question: Question) -> tuple[tuple[Zone, Facts], pods_view.Pod | None]:
    client = cluster.client()
    try:
        pod = await find_pod(client, question.source, question.namespace) if question.source else None
        return await _objects(client, question.domain), pod
    finally:
        await client.close()


async def find_pod(client: Client, said: str, namespace: str) -> pods_view.Pod:
    """The pod called NAME or NAMESPACE/NAME. Raises InquiryError when there is none."""
    there, _, name = said.removeprefix("pod/").rpartition("/")
    try:
        found = await client.get(kinds.POD, name, there or namespace)
    except ApiError as error:
        raise InquiryError(f"pod {there or namespace}/{name}: {error.message}") from error
    return pods_view.decode_pod(msgspec.json.encode(found))


def environment(cluster: Cluster, source: str, namespace: str, container: str = "") -> Links:
    """The Service variables of a pod's container (its first by default), explained. Raises InquiryError."""
    return asyncio.run(_environment(cluster, source, namespace, container))


async def _environment(cluster: Cluster, source: str, namespace: str, container: str) -> Links:
    client = cluster.client()
    try:
        pod = await find_pod(client, source, namespace)
        services = [pods_view.decode_service(raw) for raw in (await client.list(kinds.SERVICE)).items]
    finally:
        await client.close()
    named = {each.name: each for each in (*pod.spec.containers, *pod.spec.init_containers)}
    if container and container not in named:
        raise InquiryError(f"pod {pod} has no container {container!r}; it has {', '.join(named)}")
    told = links.explain(services, pod, named[container or next(iter(named))])
    return told if cluster.lab is not None else replace(told, remarks=(*told.remarks, KUBELETS))


async def _objects(client: Client, domain: str) -> tuple[Zone, Facts]:
    """All that names come from, as a zone and as facts. Addresses are looked up in any range."""
    services = [view.decode_service(raw) for raw in (await client.list(kinds.SERVICE)).items]
    slices = [view.decode_slice(raw) for raw in (await client.list(kinds.ENDPOINT_SLICE)).items]
    namespaces = [view.decode_namespace(raw) for raw in (await client.list(kinds.NAMESPACE)).items]
    pods = [view.decode_pod(raw) for raw in (await client.list(kinds.POD)).items]
    zone = Zone(domain)
    for each in services:
        zone.set_service(each)
    for piece in slices:
        zone.set_slice(piece)
    for namespace in namespaces:
        zone.set_namespace(namespace)
    for pod in pods:
        zone.set_pod(pod)
    return zone, Facts.of(services, slices, namespaces, pods)


def _asker(cluster: Cluster, question: Question, pod: pods_view.Pod | None, facts: Facts) -> _Asker:
    if pod is None:
        pod = pods_view.Pod(pods_view.Metadata(namespace=question.namespace))
        return _computed(f"any pod of namespace {question.namespace}", pod, question, facts)
    if cluster.lab is not None:
        return _in_lab(cluster.lab, pod)
    note = "the pod's resolv.conf is worked out from its spec; search domains of its node are not in it"
    return _computed(f"pod {pod}", pod, question, facts, note)


def _computed(who: str, pod: pods_view.Pod, question: Question, facts: Facts, *remarks: str) -> _Asker:
    """A pod by its spec alone, with the address of the Service that clusters give their DNS."""
    dns_service = facts.services.get(DNS_SERVICE)
    servers = dns_service.addresses if dns_service else ()
    if not servers:
        remarks = (*remarks, f"there is no Service {'/'.join(DNS_SERVICE)}: which server pods ask is not known")
    settings = settings_of(resolv.resolver(pod, resolv.Resolver(), servers or (UNKNOWN,), question.domain))
    return _Asker(who, settings, remarks=remarks)


def _in_lab(lab: StateDir, pod: pods_view.Pod) -> _Asker:
    """The pod as it runs: its own resolv.conf, and sockets in its own network namespace."""
    try:
        found = pod_exec.find_pod(lab.path, pod.metadata.namespace, pod.metadata.name)
        text = (found.directory.etc / "resolv.conf").read_text()
    except (NotFound, FileNotFoundError) as error:
        raise InquiryError(f"pod {pod} does not run in this lab (now)") from error
    handle = connect_pod(found.directory)
    if handle is None:
        raise InquiryError(f"pod {pod} does not run in this lab (now)")
    with handle:
        process = peer_pid(handle)
    return _Asker(
        f"pod {pod}",
        settings_of(resolv.parse(text)),
        inside=lambda: netns.entered(f"/proc/{process}/ns/net"),
        here=True,
    )


def settings_of(resolver: resolv.Resolver) -> Settings:
    """What a walk needs of a resolv.conf. An `ndots` that is no number is 1, as clients have it, and 15 at most."""
    ndots = DEFAULT_NDOTS
    for option in resolver.options:
        name, _, value = option.partition(":")
        if name == "ndots" and value.isdigit():
            ndots = min(int(value), 15)
    return Settings(resolver.nameservers, resolver.searches, ndots)


def _from_server(server: str, asker: _Asker) -> Callable[[Candidate, str], Reply]:
    """Replies as the server gives them, asked over UDP, and over TCP when they do not fit, from where the asker is."""
    address, port = _server(server)

    def put(candidate: Candidate, type: str) -> Reply:
        query = dns.message.make_query(candidate.name, type, use_edns=0, payload=1232)
        with asker.inside():
            began = time.perf_counter()
            try:
                reply, _ = dns.query.udp_with_fallback(query, address, ASK_SECONDS, port)
            except dns.exception.Timeout:
                return Reply("TIMEOUT", seconds=time.perf_counter() - began)
            except (OSError, dns.exception.DNSException) as error:
                raise InquiryError(f"asking {address} port {port}: {error}") from error
            taken = time.perf_counter() - began
        lines = tuple(line for rrset in reply.answer for line in rrset.to_text().splitlines())
        return Reply(dns.rcode.to_text(reply.rcode()), lines, taken)

    return put


def _server(said: str) -> tuple[str, int]:
    """ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT."""
    address, colon, port = said.rpartition(":")
    if not colon or (":" in address and not address.startswith("[")):
        address, port = said, "53"
    if not port.isdigit():
        raise InquiryError(f"--server {said}: needs ADDRESS or ADDRESS:PORT")
    return address.strip("[]"), int(port)
