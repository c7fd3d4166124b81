"""EDGE. A node's announcer at work: tells `member` what happens, and does what it says.

Three loops: the Leases are followed; rounds decide, write the own Lease and look at all of them, one after the other;
a ticker notices the time that passes and repeats what is announced, so that switches do not forget where the node is
and hosts that missed the first announcement hear a later one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from fairway.announce import bulletin as leases
from fairway.announce import responder
from fairway.announce.bulletin import Bulletin, Posted
from fairway.announce.election import Wish
from fairway.announce.member import DEFAULT, Member, Mine, Timing, Turn
from fairway.announce.packets import Heard, Tells
from fairway.announce.responder import Responder
from fairway.client.base import ApiError, Client, Listing, Unreachable, WatchEvent
from fairway.client.follow import follow
from fairway.client.informer import Cache, Change, as_dict
from fairway.kernel.base import KernelError
from fairway.node import Interface
from fairway.objects.kinds import LEASE, Kind

TICK_SECONDS = 0.1
RETRY_SECONDS = (0.05, 0.1, 0.2, 0.3)
BURST = (0.0, 0.1, 0.3, 0.7, 1.5)
"""When an address is announced after a take-over."""
SLOW_SECONDS = 3.0
"""How often later: sooner than the shortest time after which switches in use forget where a MAC is (5 s)."""
ALONE_SECONDS = 0.3
"""How often a node that has lost the server asks whether another has its addresses by now."""
PROBES, PROBE_SECONDS = 2, 0.02
"""How a node asks whether anybody still has the address of a node that died, before it takes it."""
DEVICE_SECONDS = 1.0
"""How often it is looked what devices there are, and whether they carry frames."""
LEAVE_SECONDS = 1.0
"""How long a node that leaves waits for others to ask for its addresses."""
LAST_WORD_SECONDS = 0.2
"""How long the server may take to hear that a node has left: it may be ending itself."""
DEFENCE_SECONDS = 1.0
"""How often an address that somebody else claims is announced again, at most."""

_log = logging.getLogger("fairway.announce")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an announcer is: the node, what tells its machine from others, and the devices to speak on (none: those on
    whose segment an address lies)."""

    node: str
    host: str
    devices: tuple[str, ...] = ()


class Observer:
    """Hears what an announcer does; does nothing about it unless it is derived from. Nothing here may raise or
    block."""

    def began(self, address: str, claim: Mine) -> None:
        """The node announces the address from now on."""

    def ceased(self, address: str) -> None:
        """It does not any more."""

    def renewed(self, seconds: float, error: str) -> None:
        """The Lease was written in this time, or could not be."""

    def disputed(self, address: str, device: str, mac: bytes) -> None:
        """Somebody else says that an address of ours is at this MAC."""


@dataclass(slots=True)
class _Schedule:
    """When an address is announced next: the burst's turn, and the time."""

    turn: int
    due: float


class _Following:
    """The server as `follow` asks it. `broken` is told when that breaks off: at once, not when a Lease is due."""

    def __init__(self, client: Client, broken: Callable[[str], None]) -> None:
        self._client = client
        self._broken = broken

    async def list(self, kind: Kind, namespace: str = "", **scope: Any) -> Listing:
        try:
            return await self._client.list(kind, namespace, **scope)
        except Unreachable as error:
            self._broken(str(error))
            raise

    async def watch(self, kind: Kind, namespace: str = "", **scope: Any) -> AsyncIterator[WatchEvent]:
        try:
            async for event in self._client.watch(kind, namespace, **scope):
                yield event
        except Unreachable as error:
            self._broken(str(error))
            raise


class Announcer:
    """`interfaces` tells the node's devices (it may block for a moment), `node_uid` its Node's uid ("": not known),
    `stamp` the time for people, `carries` whether frames can leave a device. The default clock goes on while a machine
    is suspended."""

    def __init__(
        self,
        client: Client,
        place: Place,
        interfaces: Callable[[], Sequence[Interface]],
        node_uid: Callable[[], str],
        *,
        stamp: Callable[[], str],
        timing: Timing = DEFAULT,
        observer: Observer | None = None,
        clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        carries: Callable[[str], bool] = responder.carries,
    ) -> None:
        self.member = Member(place.node, place.host, timing, clock())
        self.answering: dict[str, Mine] = {}
        self._client = client
        self._place = place
        self._look_at_devices = interfaces
        self._carries = carries
        self._interfaces: Sequence[Interface] = ()
        self._node_uid = node_uid
        self._timing = timing
        self._observer = observer or Observer()
        self._clock = clock
        self._stamp = stamp
        self._leases: Cache[Posted] = Cache(lambda raw: leases.posted(as_dict(raw)))
        self._own = (leases.NAMESPACE, leases.name_of(place.node))
        self._version = ""
        self._foreign: tuple[str, float] | None = None
        """A Lease of this node's name that another machine wrote: its version, and when that was first seen."""
        self._contact = clock()
        """When the server was heard of last."""
        self._lost = False
        self._failures = 0
        self._listed = asyncio.Event()
        self._bell = asyncio.Event()
        self._awake = asyncio.Event()
        self._schedule: dict[str, _Schedule] = {}
        self._defended: dict[str, float] = {}
        self._taking: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        self._responder = Responder(self._may_answer, self._heard, loop.add_reader, loop.remove_reader)

    @property
    def answered(self) -> Mapping[int, int]:
        """Questions answered, by IP version."""
        return self._responder.answers

    def wish(self, wishes: Mapping[str, Wish]) -> None:
        """What is to be announced, and by whom, is this now."""
        self.member.wish(wishes)
        self._wake()

    async def run(self, stop: asyncio.Event) -> None:
        """Announce until `stop` is set, then hand over and be silent."""
        jobs = [asyncio.create_task(job) for job in (self._follow(), self._tick(), self._rounds(stop))]
        try:
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            for job in done:
                job.result()
        finally:
            for task in (*jobs, *self._taking):
                task.cancel()
            await asyncio.gather(*jobs, *self._taking, return_exceptions=True)
            self._obey(self.member.quit())
            self._responder.close()

    # - what happens

    async def _follow(self) -> None:
        await follow(
            cast("Client", _Following(self._client, self._cut_off)),
            LEASE,
            self._leases,
            namespace=leases.NAMESPACE,
            label_selector=leases.SELECTOR,
            on_change=self._leases_changed,
            on_synced=self._listed.set,
        )

    def _leases_changed(self, changes: Sequence[Change[Posted]]) -> None:
        now, news = self._clock(), False
        if not self._lost:
            self._contact = now
        for change in changes:
            if change.new is not None:
                news |= self.member.saw(change.new.bulletin, change.new.version, now)
            elif change.old is not None:
                self.member.missed(change.old.bulletin.node, now)
        if news:
            self._wake()

    def _heard(self, device: str, said: Heard) -> None:
        """Others on the segment speak of an address that is ours."""
        address = str(said.address)
        claimed = isinstance(said, Tells)
        now = self._clock()
        self._obey(self.member.heard(address, said.mac.hex(":"), claimed, now))
        if not claimed or not self._may_answer(address):
            return
        if now - self._defended.get(address, now - DEFENCE_SECONDS) >= DEFENCE_SECONDS:
            self._defended[address] = now
            self._observer.disputed(address, device, said.mac)
            self._responder.announce(address)

    def _may_answer(self, address: str) -> bool:
        return address in self.answering and self.member.answers(address, self._clock())

    def _wake(self) -> None:
        self._bell.set()
        self._awake.set()

    # - what time does

    async def _tick(self) -> None:
        looked = 0.0
        while True:
            if not self.member.busy:
                self._awake.clear()
                await self._awake.wait()
            now = self._clock()
            if now - looked >= DEVICE_SECONDS:
                looked = now
                await self._look()
                now = self._clock()
            self._obey(self.member.beat(now))
            self._repeat(now)
            self._bell.set()
            await asyncio.sleep(TICK_SECONDS)

    async def _look(self) -> None:
        """Find out what devices and networks the node has. One without its cable reaches nobody: others who do are to
        announce."""
        try:
            found = [each for each in await asyncio.to_thread(self._look_at_devices) if self._carries(each.name)]
        except KernelError as error:
            _log.error("the node's devices cannot be listed: %s", error)
            return
        if found != self._interfaces:
            self._interfaces = found
            devices = responder.speakers(found, self._place.devices)
            self.member.reach(responder.reach(found, self._place.devices), responder.macs(devices))
            self._attend()
        if self._responder.check():
            self._schedule = {address: _Schedule(0, 0.0) for address in self._schedule}

    def _repeat(self, now: float) -> None:
        """Announce what is due. What is announced without the API is not pressed on anybody: it is asked whether
        another has it."""
        alone = frozenset(self.member.alone)
        for address, when in self._schedule.items():
            if address in alone:
                if when.turn <= len(BURST) or now >= when.due:
                    self._responder.probe(address)
                    when.turn, when.due = len(BURST) + 1, now + ALONE_SECONDS
            elif now >= when.due and self._may_answer(address):
                self._responder.announce(address)
                steps = BURST[when.turn : when.turn + 2]
                when.turn = min(when.turn + 1, len(BURST))
                when.due = now + (steps[1] - steps[0] if len(steps) == 2 else SLOW_SECONDS)

    # - rounds

    async def _rounds(self, stop: asyncio.Event) -> None:
        ending, listed = asyncio.create_task(stop.wait()), asyncio.create_task(self._listed.wait())
        ending.add_done_callback(lambda _: self._bell.set())
        try:
            await asyncio.wait([ending, listed], return_when=asyncio.FIRST_COMPLETED)
            self._begin_with(self._leases.items.get(self._own))
            deadline = None
            while deadline is None or (self.member.mine and not self._lost and self._clock() < deadline):
                await self._round()
                await self._bell.wait()
                self._bell.clear()
                if stop.is_set() and deadline is None:
                    self.member.leave()
                    deadline = self._clock() + LEAVE_SECONDS
            await self._last_word()
        finally:
            ending.cancel()
            listed.cancel()

    def _begin_with(self, left: Posted | None) -> None:
        """Take up the Lease that is there. That of a process before this one on the same machine is ours at once."""
        if left is None:
            return
        self._version = left.version
        if self._is_strange(left.bulletin):
            self._foreign = (left.version, self._clock())
        else:
            self.member.inherit(left.bulletin)

    def _is_strange(self, said: Bulletin) -> bool:
        """Whether another machine of this node's name may be announcing."""
        return said.host != self._place.host and bool(said.claims) and not said.leaving

    async def _round(self) -> None:
        now = self._clock()
        if self._foreign is not None and not self._is_orphaned(self._foreign, now):
            return
        turn = self.member.plan(now)
        self._obey(turn)
        try:
            if turn.bulletin is not None:
                await self._post(turn.bulletin)
            if self.member.should_look(self._clock()):
                await self._look_around()
        except (ApiError, Unreachable, TimeoutError) as error:
            await self._failed(error)

    def _is_orphaned(self, foreign: tuple[str, float], now: float) -> bool:
        """Whether the Lease of another machine of our name has stood still for long enough to be taken."""
        found = self._leases.items.get(self._own)
        if found is not None and self._is_strange(found.bulletin):
            if found.version != foreign[0]:
                _log.warning("another machine announces as node %s: this one waits", self._place.node)
                self._foreign = (found.version, now)
                return False
            if now - foreign[1] < found.bulletin.lapse:
                return False
        self._foreign, self._version = None, found.version if found is not None else ""
        return True

    async def _post(self, said: Bulletin) -> None:
        """Write the own Lease. Raises ApiError, Unreachable and TimeoutError."""
        lease = leases.lease(said, self._node_uid(), self._version, self._stamp())
        sent = self._clock()
        try:
            async with asyncio.timeout(self._timing.answer):
                if self._version:
                    answer = await self._client.update(LEASE, lease)
                else:
                    answer = await self._client.create(LEASE, lease, leases.NAMESPACE)
        except ApiError as error:
            if error.code in (404, 409):
                await self._find()
            raise
        now = self._clock()
        self._version = answer["metadata"]["resourceVersion"]
        self._succeeded()
        self._obey(self.member.wrote(said, sent, now))
        self._observer.renewed(now - sent, "")

    async def _find(self) -> None:
        """Somebody changed the Lease, or an earlier write of ours came through after all: go on from what is there."""
        try:
            async with asyncio.timeout(self._timing.answer):
                found = await self._client.get(LEASE, leases.name_of(self._place.node), leases.NAMESPACE)
        except ApiError as error:
            if error.code != 404:
                raise
            self._version = ""
            return
        try:
            there = leases.posted(found)
        except ValueError:
            self._version = found["metadata"]["resourceVersion"]
            return
        self._version = there.version
        if self._is_strange(there.bulletin):
            self._foreign = (there.version, self._clock())

    async def _look_around(self) -> None:
        """Read all Leases and confirm what is claimed. Raises ApiError, Unreachable and TimeoutError."""
        async with asyncio.timeout(self._timing.answer):
            listing = await self._client.list(LEASE, leases.NAMESPACE, label_selector=leases.SELECTOR)
        now, there = self._clock(), set()
        for raw in listing.items:
            try:
                found = leases.posted(as_dict(raw))
            except ValueError:
                continue
            there.add(found.bulletin.node)
            self.member.saw(found.bulletin, found.version, now)
        for node in self.member.others.keys() - there:
            self.member.missed(node, now)
        self._obey(self.member.looked(now, self._stamp()))
        self._bell.set()

    async def _failed(self, error: Exception) -> None:
        text = str(error) or f"no answer in {self._timing.answer:.1f} s"
        self._observer.renewed(0.0, text)
        conflict = isinstance(error, ApiError) and error.code in (404, 409)
        if not conflict:
            self._cut_off(text)
        await asyncio.sleep(RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)])
        self._failures += 1
        self._bell.set()

    def _cut_off(self, why: str) -> None:
        """The server does not answer. What is not heard from now on says nothing of the other nodes."""
        if not self._lost:
            self._lost = True
            self.member.lost()
            _log.warning("the server is lost: %s", why)
            self._wake()

    def _succeeded(self) -> None:
        now = self._clock()
        if self._lost:
            _log.info("the server is there again, %.1f s after it was heard of last", now - self._contact)
            self.member.regained(self._contact, now)
        self._contact, self._lost, self._failures = now, False, 0

    async def _last_word(self) -> None:
        """Say that this node announces nothing any more, if that can be said at once."""
        turn = self.member.quit()
        self._obey(turn)
        if turn.bulletin is not None and self._foreign is None and not self._lost:
            try:
                async with asyncio.timeout(LAST_WORD_SECONDS):
                    await self._post(turn.bulletin)
            except (ApiError, Unreachable, TimeoutError) as error:
                _log.info("the Lease is left to lapse: %s", error)

    # - what is done

    def _obey(self, turn: Turn) -> None:
        for address in turn.cease:
            self._stop(address)
        for address, careful in turn.begin.items():
            task = asyncio.create_task(self._take(address, careful))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)
        if turn.cease or turn.begin:
            self._attend()

    async def _take(self, address: str, careful: bool) -> None:
        """Begin to answer. A node that died may be cut off from the server alone: it hears this, and falls silent."""
        for _ in range(PROBES if careful else 0):
            self._responder.probe(address)
            await asyncio.sleep(PROBE_SECONDS)
        claim = self.member.mine.get(address)
        if claim is None or address in self.answering or not self.member.answers(address, self._clock()):
            return
        self.answering[address] = claim
        self._schedule[address] = _Schedule(0, 0.0)
        self._repeat(self._clock())
        _log.info("%s is announced: %s", address, claim.why)
        self._observer.began(address, claim)

    def _stop(self, address: str) -> None:
        self._schedule.pop(address, None)
        if self.answering.pop(address, None) is not None:
            _log.info("%s is not announced any more", address)
            self._observer.ceased(address)

    def _attend(self) -> None:
        """Listen for what this node claims."""
        addresses: Collection[str] = self.member.mine
        self._responder.watch(responder.places(self._interfaces, self._place.devices, addresses))
