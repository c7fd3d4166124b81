"""`kill -9` of a node proxy in the middle of an apply: what stands is a correct state, and a new process ends it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from fairway.dataplane.base import Update
from fairway.dataplane.nft_affinity import MAPS
from fairway.dataplane.nft_layout import table_name
from fairway.kernel.linux.netfilter import Backend, LinuxNetfilter
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.packet import Family
from tests.kernel import killed
from tests.kernel.killed import Services, address, desired, first, second
from tests.kernel.proxy_scene import REFUSED, Scene, scene

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not (shutil.which("iptables-restore") and shutil.which("nft")), reason="no iptables or no nft"),
]


@pytest.fixture(scope="module")
def world() -> Iterator[Scene]:
    with scene() as built:
        yield built


def proxy(world: Scene, mode: str, before: str, after: str, point: str = "") -> subprocess.Popen[str]:
    """One that has done BEFORE and is about to do AFTER."""
    words = [sys.executable, "-m", "tests.kernel.killed", mode, world.paths["node"], before, after, point]
    started = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "now\n"
    return started


def end(started: subprocess.Popen[str]) -> str:
    said, _ = started.communicate(timeout=60)
    return said


def answers(world: Scene, services: Services) -> dict[int, str]:
    """Who serves each, or REFUSED or SILENT."""
    return {n: world.ask("pod-7", address(n), 80).split()[0] for n in services}


def wrong(found: dict[int, str], *states: Services) -> dict[int, str]:
    """Those that are not served as one of the states says, where all say that they are."""
    return {
        n: answer
        for n, answer in found.items()
        if answer not in {e for state in states for e in (state[n] or (REFUSED,))}
    }


def restart(world: Scene, mode: str) -> None:
    """A new process brings it right, whatever stood; nothing is there twice, nothing is left over."""
    rules, kernel = killed.programmer(mode, world.paths["node"])
    rules.sync(Update.of(desired(second())))
    assert rules.unchanged()
    assert wrong(answers(world, second()), second()) == {}
    continued = dump(world, mode)
    rules.clean()
    assert dump(world, mode) == []
    rules.sync(Update.of(desired(second())))
    assert continued == dump(world, mode)
    rules.clean()
    if isinstance(kernel, LinuxNftables):
        kernel.close()


def dump(world: Scene, mode: str) -> object:
    """Every rule and element that stands; what packets wrote (affinity) aside."""
    if mode != "nftables":
        netfilter = LinuxNetfilter(world.paths["node"], Backend.LEGACY if mode == "legacy" else Backend.NFT)
        return sorted(line for family in Family for line in netfilter.save(family).splitlines() if "KUBE-" in line)
    kernel = LinuxNftables(world.paths["node"])
    found = [table for family in Family if (table := kernel.read(table_name(family)))]
    kernel.close()
    return [
        (
            {name: sorted(kept.elements.items()) for name, kept in table.sets.items() if name not in MAPS},
            {name: (chain.hook, [rule.statements for rule in chain.rules]) for name, chain in table.chains.items()},
        )
        for table in found
    ]


def transactions(world: Scene, mode: str) -> int:
    """How many there are from the first state to the second."""
    count = int(end(proxy(world, mode, "first", "second")))
    rules, _ = killed.programmer(mode, world.paths["node"])
    rules.clean()
    return count


@pytest.mark.parametrize("mode", ["nftables", "iptables", "legacy"])
def test_a_proxy_killed_between_any_two_transactions_leaves_every_service_served(world: Scene, mode: str) -> None:
    count = transactions(world, mode)
    points = [f"{number}{side}" for number in range(1, count + 1) for side in "-+"]
    for point in points[:: len(points) // 6 | 1]:
        end(proxy(world, mode, "first", "second", point))

        both = first().keys() & second().keys()
        assert wrong(answers(world, {n: first()[n] for n in both}), first(), second()) == {}, point
        restart(world, mode)


@pytest.mark.parametrize("mode", ["nftables", "iptables", "legacy"])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_proxy_killed_at_any_moment_leaves_every_service_served(world: Scene, mode: str, share: float) -> None:
    """In the middle of a program or of a message, too: each is a transaction, which the kernel does whole or not."""
    begun = time.monotonic()
    started = proxy(world, mode, "first", "second")
    begun = time.monotonic()
    end(started)
    took = time.monotonic() - begun
    killed.programmer(mode, world.paths["node"])[0].clean()

    started = proxy(world, mode, "first", "second")
    time.sleep(took * share)
    started.kill()
    end(started)

    both = first().keys() & second().keys()
    assert wrong(answers(world, {n: first()[n] for n in both}), first(), second()) == {}
    restart(world, mode)


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_a_proxy_killed_at_its_first_load_leaves_nothing_that_a_new_one_does_not_end(world: Scene, mode: str) -> None:
    for point in ("1-", "1+", "2-", "3+"):
        end(proxy(world, mode, "", "second", point))
        found = answers(world, {n: e for n, e in second().items() if e and n % 5 == 0})
        assert set(wrong(found, second()).values()) <= {"silent", REFUSED}, point
        restart(world, mode)
