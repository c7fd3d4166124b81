"""`fairway ui`: what the page looks at (a lab, a cluster, files), and the server on loopback that shows it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias, TypeVar

from fairway import __version__
from fairway.api.http import Site
from fairway.assemble import balancing, computed, dropped, inquiring, tracing
from fairway.assemble.catalogue import Catalogue
from fairway.assemble.destinations import QuestionError, Wanted
from fairway.assemble.doctor import objects
from fairway.assemble.doctor.findings import ordered
from fairway.assemble.dropped import Ground
from fairway.assemble.lookout import Lookout
from fairway.assemble.proxyflags import split
from fairway.assemble.tracing import Answer, Question
from fairway.client.base import ApiError, Unreachable
from fairway.client.kubeconfig import KubeconfigError, load
from fairway.kernel.base import KernelError
from fairway.lab.state import StateDir, StateError
from fairway.packet import Family, Protocol
from fairway.trace import chinese
from fairway.trace.evidence.gathered import Gathered
from fairway.trace.steps import Trace, TraceError
from fairway.trace.walk import Rules
from fairway.web import files, story
from fairway.web.door import Door
from fairway.web.events import Board
from fairway.web.pages import Asked, Pages, Unanswerable

Row: TypeAlias = dict[str, Any]
T = TypeVar("T")

DOMAIN = "cluster.local"
MAX_GROUNDS = 4
"""Sets of files that are kept; the oldest goes first."""

_AT_FAULT = (QuestionError, TraceError, StateError, KernelError, ApiError, Unreachable, inquiring.InquiryError)
"""What a question can fail with by no fault of ours."""


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at. `cluster` None: files alone. `node` is what this machine is in the cluster ("": none of its
    nodes); in a lab every node is read. `files` are there from the beginning."""

    cluster: inquiring.Cluster | None = None
    name: str = ""
    node: str = ""
    cluster_cidrs: tuple[str, ...] = ()
    files: Mapping[str, bytes] | None = None

    @property
    def reads(self) -> str:
        """Whose rules are followed: of the "lab", of "here", or such as are "computed" from objects."""
        if self.cluster is None:
            return ""
        if self.cluster.lab is not None:
            return "lab"
        return "here" if self.node else "computed"


def choose(kubeconfig: str, lab: str, node: str, cluster_cidr: str, given: Mapping[str, bytes]) -> View:
    """What the words of the command line ask to look at: with files and no kubeconfig, the files alone. Raises
    KubeconfigError for one that is named and cannot be used."""
    if given and not kubeconfig:
        return View(name=", ".join(given), files=given)
    cluster = inquiring.Cluster.chosen(kubeconfig, StateDir.named(lab))
    cidrs = split(cluster_cidr)
    if cluster.lab is not None:
        return View(cluster, f"lab {lab}", files=given)
    try:
        info = load(kubeconfig or None)
    except KubeconfigError:
        if kubeconfig or node:
            raise
        return View()
    return View(cluster, info.server.partition("://")[2], node, cidrs, given)


class Desk:
    """Answers the page's questions."""

    def __init__(self, view: View, lookout: Lookout | None, ground: Ground | None = None) -> None:
        self._view = view
        self._lookout = lookout
        self._grounds: dict[str, Ground] = {}
        self._given = 0
        self._last: tuple[tuple[str, int], Gathered] | None = None
        if ground is not None:
            self._keep(ground)

    @property
    def board(self) -> Board | None:
        """What pages follow."""
        return self._lookout.board if self._lookout else None

    def about(self) -> Row:
        """What is looked at, and the files that are kept."""
        return {
            "version": __version__,
            "name": self._view.name,
            "reads": self._view.reads,
            "node": self._view.node,
            "grounds": [{"id": name, **ground.as_json()} for name, ground in self._grounds.items()],
        }

    async def take(self, given: Mapping[str, bytes]) -> Row:
        """Read files and keep what they say. Raises Unanswerable."""
        ground = await _apart(lambda: dropped.read(given))
        return {"id": self._keep(ground), **ground.as_json()}

    def _keep(self, ground: Ground) -> str:
        self._given += 1
        name = f"files-{self._given}"
        self._grounds[name] = ground
        while len(self._grounds) > MAX_GROUNDS:
            del self._grounds[next(iter(self._grounds))]
        return name

    async def trace(self, asked: Asked) -> Row:
        """Follow a packet. Raises Unanswerable."""
        answer = self._answerer(asked)
        return await _apart(lambda: tell(answer(), asked.language))

    def _answerer(self, asked: Asked) -> Callable[[], Answer]:
        """The work, for another thread; what changes meanwhile is copied first."""
        question = _question(asked)
        if asked.ground:
            ground = self._grounds.get(asked.ground)
            if ground is None:
                raise Unanswerable("These files are not kept any more: drop them again.")
            node = asked.node or ground.gathered.name
            world = computed.world(ground.catalogue) if ground.computed else None
            return lambda: tracing.ask_of(dropped.scene_of(ground, node), ground.catalogue, question, world)
        if self._lookout is None or self._view.cluster is None:
            raise Unanswerable("There is no cluster to look at: drop a dump of rules on the page.")
        if not self._lookout.synced:
            raise Unanswerable("The cluster has not answered yet.")
        catalogue, lab, view = self._lookout.catalogue(), self._view.cluster.lab, self._view
        if lab is not None:
            return lambda: tracing.ask(lab, question, catalogue)
        if view.node:
            return lambda: tracing.ask_here(question, view.node, "", catalogue)
        worked_out = self._worked_out(catalogue, _node_of(catalogue, asked), self._lookout.changes)
        world = computed.world(catalogue, view.cluster_cidrs)
        return lambda: tracing.ask_of(worked_out(), catalogue, question, world)

    def _worked_out(self, catalogue: Catalogue, node: str, changes: int) -> Callable[[], Gathered]:
        """A node's rules, worked out again only when the objects have changed."""

        def work() -> Gathered:
            if self._last is None or self._last[0] != (node, changes):
                gathered = computed.gathered(catalogue, node, self._view.cluster_cidrs)
                self._last = (node, changes), gathered
            return self._last[1]

        return work

    async def findings(self, service: str) -> Row:
        """What the doctor finds in a Service's objects. Raises Unanswerable."""
        around = self._lookout.around(service) if self._lookout else None
        if around is None:
            raise Unanswerable(f"There is no Service {service}.")
        found = await _apart(lambda: ordered(objects.examine(around, (), DOMAIN)))
        return {"findings": [asdict(each) for each in found]}

    async def balancers(self) -> Row:
        """Who holds which load-balancer address. Raises Unanswerable."""
        cluster = self._view.cluster
        if cluster is None:
            raise Unanswerable("There is no cluster to look at.")
        return await _apart(lambda: balancing.as_json(balancing.ask(cluster)))


async def _apart(work: Callable[[], T]) -> T:
    """Work in a thread, so that the page's other requests are answered meanwhile."""
    try:
        return await asyncio.to_thread(work)
    except _AT_FAULT as error:
        raise Unanswerable(str(error)) from error


def _question(asked: Asked) -> Question:
    family = Family(asked.family) if asked.family else None
    return Question(
        asked.source.strip(),
        asked.destination.strip(),
        asked.protocol,
        asked.namespace or "default",
        max(0, min(asked.source_port, 65535)),
        asked.in_interface.strip(),
        family,
    )


def _node_of(catalogue: Catalogue, asked: Asked) -> str:
    """On which node a packet meets rules first, as far as objects tell: the source's own, the one it is sent to, the
    one asked for, or the first."""
    owners = {address: name for name, own in catalogue.node_addresses().items() for address in own}
    source, host = asked.source.strip(), Wanted.read(asked.destination, Protocol(asked.protocol)).host
    there, _, name = source.removeprefix("pod/").rpartition("/")
    pod = catalogue.pods.get((there or asked.namespace or "default", name)) or catalogue.pod_at(source)
    home = ((pod or {}).get("spec") or {}).get("nodeName") or ""
    for place in (source, home, host, asked.node):
        found = owners.get(place, place)
        if ("", found) in catalogue.nodes:
            return found
    return next((name for _, name in sorted(catalogue.nodes)), "")


def tell(answer: Answer, language: str) -> Row:
    """The answer as the page wants it: one part for each node on the way."""
    parts: list[tuple[Trace, Rules]] = [(answer.trace, answer.rules)]
    if answer.then is not None:
        parts.append((answer.then, answer.then_rules))
    say = chinese.translate if language == "zh" else str
    told = [
        story.tell(part, story.Telling(rules, answer.names, answer.causes(part), say, answer.journeys_of(part)))
        for part, rules in parts
    ]
    return {"delivered": answer.delivered, "parts": told}


@contextlib.asynccontextmanager
async def shown(view: View, port: int) -> AsyncIterator[str]:
    """Serve the page on loopback; the value is its address, token and all. Raises OSError, EvidenceError,
    KubeconfigError."""
    ground = await asyncio.to_thread(dropped.read, view.files) if view.files else None
    client = view.cluster.client() if view.cluster else None
    lookout = Lookout(client) if client else None
    listener = socket.create_server(("127.0.0.1", port))
    door = Door(secrets.token_urlsafe(24), listener.getsockname()[1])
    site = Site(Pages(door, files.load(), Desk(view, lookout, ground)).app(), None)
    await site.open([listener])
    following = asyncio.create_task(lookout.run()) if lookout else None
    try:
        yield f"http://127.0.0.1:{door.port}/?token={door.token}"
    finally:
        if following:
            following.cancel()
        await site.close()
        if client:
            await client.close()


async def serve(view: View, port: int, tell_address: Callable[[str], None], stop: asyncio.Event) -> None:
    """Serve until `stop` is set; what `shown` raises."""
    async with shown(view, port) as address:
        tell_address(address)
        await stop.wait()
