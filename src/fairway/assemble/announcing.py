"""`fairway announce`: a node's announcer of load-balancer addresses as a program, and what stands around it.

`serve` is its life, which a lab's nodes share.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.announce.announcer import Announcer, Observer, Place
from fairway.announce.member import DEFAULT, Mine, Timing
from fairway.assemble.life import run
from fairway.assemble.wished import Wished
from fairway.client.base import Client
from fairway.control.events import Recorder
from fairway.control.times import micro_stamp
from fairway.control.writes import Note
from fairway.objects.kinds import SERVICE
from fairway.observe import exposition
from fairway.observe.answer import Answer
from fairway.observe.pages import keep_listening

COMPONENT = "fairway-announcer"
SOLE_SECONDS = 0.2
"""How often a second announcer on a node looks whether the first has ended."""

_log = logging.getLogger("fairway.announce")


@dataclass(frozen=True, slots=True)
class Plan:
    """What an announcer is told. `metrics` is an address and a port."""

    node: str
    devices: tuple[str, ...] = ()
    timing: Timing = DEFAULT
    metrics: tuple[str, int] | None = None


def announce(plan: Plan, client: Callable[[], Client]) -> None:
    """Run until SIGTERM or SIGINT."""

    async def main(stop: asyncio.Event) -> None:
        asked = client()
        try:
            await serve(asked, plan, stop)
        finally:
            await asked.close()

    run(main)


async def serve(client: Client, plan: Plan, stop: asyncio.Event) -> None:
    """The announcer's life: one to a node at a time."""
    from fairway.kernel.linux.links import LinuxLinks

    with _alone_on(plan.node) as alone:
        if not await alone(stop):
            return
        view = Wished(client, plan.node)
        metrics = Metrics()
        recorder = Recorder(lambda _: client, time.time)
        announcer = Announcer(
            client,
            Place(plan.node, _machine(), plan.devices),
            lambda: LinuxLinks().interfaces(),
            view.node_uid,
            stamp=lambda: micro_stamp(time.time()),
            timing=plan.timing,
            observer=_Told(view, metrics, recorder, plan.node),
        )
        view.listen(lambda: announcer.wish(view.wishes))
        beside: list[Coroutine[Any, Any, None]] = [view.follow(), recorder.run()]
        if plan.metrics:
            beside.append(
                keep_listening(lambda path: _page(path, metrics, announcer), *plan.metrics, "metrics-address")
            )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in beside]
            await announcer.run(stop)
            for task in tasks:
                task.cancel()


class Metrics:
    """What an announcer counts."""

    def __init__(self) -> None:
        self.addresses = exposition.gauge("fairway_announcer_addresses", "Addresses that this node announces.")
        self.takeovers = exposition.counter("fairway_announcer_takeovers_total", "Addresses taken by this node.")
        self.renewals = exposition.counter(
            "fairway_announcer_lease_writes_total", "Writes of the node's Lease.", "result"
        )
        self.disputes = exposition.counter(
            "fairway_announcer_disputes_total", "Times that somebody else claimed an address of this node."
        )
        self.seconds = exposition.Histogram(
            "fairway_announcer_lease_write_seconds",
            "How long writes of the Lease take.",
            (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
        )

    def all(self, announcer: Announcer) -> Iterator[exposition.Metric]:
        """Every metric, as it is now."""
        alone = exposition.gauge(
            "fairway_announcer_addresses_alone", "Addresses announced while the server does not answer."
        )
        alone.set(len(announcer.member.alone))
        answers = exposition.counter(
            "fairway_announcer_answers_total", "Questions for an address answered.", "ip_family"
        )
        for version, count in announcer.answered.items():
            answers.set(count, f"IPv{version}")
        yield from (self.addresses, alone, self.takeovers, answers, self.disputes, self.renewals, self.seconds)


class _Told(Observer):
    """Counts, and makes Events of what users want to know."""

    def __init__(self, view: Wished, metrics: Metrics, recorder: Recorder, node: str) -> None:
        self._view = view
        self._metrics = metrics
        self._recorder = recorder
        self._node = node

    def began(self, address: str, claim: Mine) -> None:
        """See `Observer`."""
        self._metrics.addresses.add(1)
        self._metrics.takeovers.add(1)
        self._tell(address, "Normal", "Announced", f"{self._node} announces {address}: {claim.why}")

    def ceased(self, address: str) -> None:
        """See `Observer`."""
        self._metrics.addresses.add(-1)

    def renewed(self, seconds: float, error: str) -> None:
        """See `Observer`."""
        self._metrics.renewals.add(1, "error" if error else "success")
        if not error:
            self._metrics.seconds.observe(seconds)

    def disputed(self, address: str, device: str, mac: bytes) -> None:
        """See `Observer`."""
        self._metrics.disputes.add(1)
        message = f"{address}, which {self._node} announces, is claimed by {mac.hex(':')} on its {device}, too"
        _log.warning("%s", message)
        self._tell(address, "Warning", "AddressDisputed", message)

    def _tell(self, address: str, type_: Any, reason: str, message: str) -> None:
        wish = self._view.wishes.get(address)
        for who in wish.services if wish is not None else ():
            namespace, _, name = who.partition("/")
            service = self._view.services.items.get((namespace, name))
            if service is not None:
                self._recorder.tell(Note(SERVICE, service, type_, reason, message), COMPONENT)


def _page(path: str, metrics: Metrics, announcer: Announcer) -> Answer:
    if path != "/metrics":
        return Answer(404, b"not found\n", {"Content-Type": "text/plain"})
    text = exposition.text(metrics.all(announcer))
    return Answer(200, text.encode(), {"Content-Type": exposition.CONTENT_TYPE})


def _machine() -> str:
    """This machine since its last start."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@contextmanager
def _alone_on(node: str) -> Iterator[Callable[[asyncio.Event], Any]]:
    """Hold what one process of a network namespace can hold for a node: an abstract socket's name. It ends with the
    process, however that ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as handle:

        async def alone(stop: asyncio.Event) -> bool:
            told = False
            while not stop.is_set():
                try:
                    handle.bind(f"\0fairway-announce-{node}")
                    return True
                except OSError:
                    if not told:
                        _log.warning("another announcer of node %s runs here: this one waits for its end", node)
                    told = True
                    await asyncio.sleep(SOLE_SECONDS)
            return False

        yield alone
