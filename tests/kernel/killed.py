"""A node proxy that is to be killed at work: `python -m tests.kernel.killed MODE NAMESPACE BEFORE AFTER POINT`.

It takes over what stands with the state BEFORE, says so, and goes on to AFTER. At POINT ("3-": before the third
transaction, "3+": after it, "": nowhere) it kills itself as `kill -9` would.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from fairway.dataplane.base import Programmer, Update
from fairway.dataplane.isolate import Isolating
from fairway.dataplane.nft_sync import NftSync
from fairway.dataplane.sync import RuleSync
from fairway.desired.build import build
from fairway.desired.model import Desired
from fairway.kernel.linux.conntrack import LinuxConntrack
from fairway.kernel.linux.netfilter import Backend, LinuxNetfilter
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.node import Node
from fairway.packet import Family
from fairway.ruleset import nft
from tests.kernel.proxy_scene import PODS, PORT
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, service

FIVE, SIX, SEVEN = (four for four, _ in PODS.values())
COUNT = 40

Services = dict[int, tuple[str, ...]]
"""The endpoints of each Service, by number."""


def first() -> Services:
    """Forty Services."""
    return {n: (FIVE, SIX) if n % 2 else (FIVE,) for n in range(COUNT)}


def second() -> Services:
    """A fourth of them are as they were; others have moved, grown or shrunk, or are gone; and some are new."""
    changes: list[tuple[str, ...]] = [(), (SEVEN,), (FIVE, SIX, SEVEN)]
    stay = {n: endpoints for n, endpoints in first().items() if n % 4 == 0}
    moved = {n: changes[n % 3] for n in range(COUNT) if n % 4 in (1, 2)}
    return {**stay, **moved, **dict.fromkeys(range(COUNT, COUNT + 10), (SEVEN,))}


STATES = {"first": first, "second": second}


def address(number: int) -> str:
    """The cluster IP of a Service."""
    return f"10.96.2.{number}"


def desired(services: Services) -> Desired:
    """What a node should do. A third of the Services have affinity, and a third a node port."""
    made, slices = [], []
    for n, endpoints in services.items():
        spec: dict[str, Any] = {"sessionAffinity": "ClientIP"} if n % 3 == 0 else {}
        if n % 3 == 1:
            spec |= {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000 + n}]}
        made.append(service(f"s{n}", address(n), **spec))
        slices.append(endpoint_slice(f"s{n}", *(endpoint(a) for a in endpoints), port=PORT))
    return build(made, slices, Node("node-a"), OPTIONS)


class Point:
    """Where to die."""

    def __init__(self, text: str) -> None:
        self._number = int(text[:-1]) if text else 0
        self._after = text.endswith("+")
        self.count = 0

    def before(self) -> None:
        self.count += 1
        if self.count == self._number and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)

    def after(self) -> None:
        if self.count == self._number and self._after:
            os.kill(os.getpid(), signal.SIGKILL)


class Tables(LinuxNftables):
    point = Point("")

    def apply(self, changes: Sequence[nft.Change]) -> None:
        self.point.before()
        super().apply(changes)
        self.point.after()


class Rules(LinuxNetfilter):
    point = Point("")

    def restore(self, family: Family, text: str) -> None:
        self.point.before()
        super().restore(family, text)
        self.point.after()


def programmer(mode: str, path: str) -> tuple[Programmer, Tables | Rules]:
    """The mode's rules in a namespace, and the handle on the kernel that counts its transactions."""
    if mode == "nftables":
        tables = Tables(path)
        return Isolating(NftSync(tables, LinuxConntrack(path))), tables
    rules = Rules(path, Backend.LEGACY if mode == "legacy" else Backend.NFT)
    return Isolating(RuleSync(rules, LinuxConntrack(path))), rules


def main(mode: str, path: str, before: str, after: str, point: str) -> None:
    rules, kernel = programmer(mode, path)
    if before:
        rules.sync(Update.of(desired(STATES[before]())))
    kernel.point = Point(point)
    print("now", flush=True)
    rules.sync(Update.of(desired(STATES[after]())))
    print(kernel.point.count, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
