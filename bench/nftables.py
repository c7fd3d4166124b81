"""What it costs to program nftables by netlink, as against the nft program, in a network namespace of its own.

    sudo python bench/nftables.py [SERVICES ...]        (default 1000 10000 44000; five endpoints each)

For each number of Services, with everything as elements of sets and maps: the transaction encoded and applied cold;
the same with somebody listening to notices; read back; one Service changed (an endpoint's data; a move between the
maps of four and of five endpoints; the same with a verdict element, which makes the kernel look at all of them), as
medians of many with the CPU time they take; and the same cold load and change by `nft -f`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from fairway.kernel.linux import netns
from fairway.kernel.linux.netlink import encode
from fairway.kernel.linux.nft_messages import batch, transaction
from fairway.kernel.linux.nft_notices import NftNotices
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.ruleset import nft_print
from fairway.ruleset.nft import (
    PRESENT,
    AddElements,
    AnonymousSet,
    Chain,
    Change,
    Concat,
    DeleteElements,
    DeleteTable,
    Element,
    Expression,
    Field,
    Hook,
    MapLookup,
    Match,
    Meta,
    Nat,
    Numgen,
    Payload,
    Rule,
    Set,
    SetName,
    Table,
    TableName,
    Type,
    Verdict,
    VerdictMap,
    creation,
)
from fairway.ruleset.nft_values import literal, pack, type_of

NAME = TableName("ip", "fairway")
ENDPOINTS = 5
CHANGES = 200
BY_NFT = 10
PLACE = (Payload("ip", "daddr"), Meta("l4proto"), Payload("th", "dport"))
PLACE_TYPES = (Type.IPV4, Type.PROTOCOL, Type.SERVICE)
ENDPOINT_TYPES = (Type.IPV4, Type.SERVICE)

Pairs = Sequence[tuple[bytes, Element]]


def fields(*expressions: Expression) -> tuple[Field, ...]:
    return tuple(Field(type_of(expression), expression) for expression in expressions)


def place(number: int) -> bytes:
    return pack(PLACE_TYPES, (f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", "tcp", 80))


def endpoint(service: int, number: int, generation: int = 0) -> Element:
    index = service * ENDPOINTS + number
    address = f"10.{128 + generation + (index >> 16)}.{index >> 8 & 255}.{index & 255}"
    return Element(pack(ENDPOINT_TYPES, (address, 8080)))


def endpoints(service: int, count: int, generation: int = 0) -> Pairs:
    before = place(service)
    return [
        (before + number.to_bytes(4, sys.byteorder), endpoint(service, number, generation)) for number in range(count)
    ]


def balanced(count: int) -> Set:
    return Set(f"endpoints-{count}", fields(*PLACE, Numgen("random", count)), fields(PLACE[0], PLACE[2]))


SERVED = Set("cluster-ips", fields(*PLACE))
FIVE, FOUR = balanced(ENDPOINTS), balanced(ENDPOINTS - 1)
VERDICTS = Set("verdicts", fields(*PLACE), "verdict")


def skeleton(verdicts: bool) -> Table:
    """Tables without elements: chains and rules do not depend on the number of Services."""
    transports = AnonymousSet(tuple(literal(Type.PROTOCOL, name) for name in ("tcp", "udp", "sctp")))
    rules = []
    for kept, count in ((FIVE, ENDPOINTS), (FOUR, ENDPOINTS - 1)):
        found = MapLookup(Concat((*PLACE, Numgen("random", count))), SetName(kept.name))
        rules.append(Rule((Match(PLACE[1], transports), Nat("dnat", found, family="ip", address_and_port=True))))
    ask = Match(Concat(PLACE), SetName(SERVED.name))
    begin: tuple[Rule, ...] = (Rule((ask, Verdict("goto", "balance"))),)
    sets = [SERVED, FIVE, FOUR]
    if verdicts:
        begin = (Rule((VerdictMap(Concat(PLACE), SetName(VERDICTS.name)),)),)
        sets.append(VERDICTS)
    chains = [Chain("balance", rules), Chain("prerouting", list(begin), Hook("nat", "prerouting", -100))]
    return Table(*NAME, {kept.name: kept for kept in sets}, {chain.name: chain for chain in chains})


def everything(services: int, verdicts: bool = False) -> list[Change]:
    """One transaction: the table and its elements, whatever was there before gone."""
    five = [pair for service in range(services) for pair in endpoints(service, ENDPOINTS)]
    changes = [DeleteTable(NAME), *creation(skeleton(verdicts))]
    changes.append(AddElements(NAME, SERVED, [(place(service), PRESENT) for service in range(services)]))
    changes.append(AddElements(NAME, FIVE, five))
    if verdicts:
        balance = Element(Verdict("goto", "balance"))
        changes.append(AddElements(NAME, VERDICTS, [(place(service), balance) for service in range(services)]))
    return changes


def replaced(service: int, generation: int) -> list[Change]:
    """Another address for one endpoint, there and back."""
    ((key, old),), ((_, new),) = (endpoints(service, 1, part) for part in (generation % 2, 1 - generation % 2))
    return [DeleteElements(NAME, FIVE, [(key, old)]), AddElements(NAME, FIVE, [(key, new)])]


def moved(service: int, generation: int) -> list[Change]:
    """One endpoint less, and one more again."""
    pairs = ((FIVE, endpoints(service, ENDPOINTS)), (FOUR, endpoints(service, ENDPOINTS - 1)))
    (source, gone), (target, come) = pairs if generation % 2 == 0 else reversed(pairs)
    return [DeleteElements(NAME, source, gone), AddElements(NAME, target, come)]


def with_verdict(service: int, generation: int) -> list[Change]:
    """`moved`, and the place's verdict anew."""
    pair = [(place(service), Element(Verdict("goto", "balance")))]
    return [*moved(service, generation), DeleteElements(NAME, VERDICTS, pair), AddElements(NAME, VERDICTS, pair)]


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds that pass, and seconds of CPU in user and kernel mode."""
    begun, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - used


def one_at_a_time(kernel: LinuxNftables, change: Callable[[int, int], list[Change]], services: int) -> str:
    """Median time and mean CPU of one small transaction, each on another Service, there and then back."""
    chosen = range(0, services, max(1, services // CHANGES))
    each = [change(service, turn) for turn in (0, 1) for service in chosen]
    times = [measured(partial(kernel.apply, changes)) for changes in each]
    wall = statistics.median(wall for wall, _ in times)
    cpu = statistics.mean(cpu for _, cpu in times)
    worst = sorted(wall for wall, _ in times)[-len(times) // 100 - 1]
    return f"{1000 * wall:7.3f} ms  cpu {1000 * cpu:.3f}  p99 {1000 * worst:.3f}"


def nft(path: str, text: str) -> None:
    with netns.entered(path):
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def by_nft(path: str, services: int) -> str:
    """The same cold load and change through the nft program: it reads the table before it changes it."""
    cold, _ = measured(lambda: nft(path, nft_print.changes(everything(services))))
    texts = [nft_print.changes(replaced(0, turn)) for turn in range(BY_NFT)]
    each = statistics.median(measured(partial(nft, path, text))[0] for text in texts)
    return f"cold {cold:.2f} s, one change {1000 * each:.1f} ms"


def cold(kernel: LinuxNftables, changes: list[Change]) -> str:
    """The parts of one whole load."""
    kept: list[bytes] = []
    encoded, _ = measured(lambda: kept.append(b"".join(encode(r, 1) for r in batch(transaction(changes, lambda _: 1)))))
    whole, cpu = measured(lambda: kernel.apply(changes))
    size = len(kept[0]) / 1e6
    return f"{whole:.3f} s (of which encoding {encoded:.3f} s, {size:.1f} MB; cpu {cpu:.3f} s)"


def bench(path: str, services: int) -> None:
    kernel = LinuxNftables(path)
    changes = everything(services)
    print(f"{services} Services of {ENDPOINTS} endpoints: {services * (ENDPOINTS + 1)} elements")
    print(f"  cold               {cold(kernel, changes)}")
    print(f"  the same again     {cold(kernel, changes)}")
    pairs: list[object] = []
    reading, _ = measured(lambda: pairs.extend(kernel.elements(NAME, FIVE)))
    print(f"  read back          {reading:.3f} s for {len(pairs)} elements")
    print(f"  one endpoint       {one_at_a_time(kernel, replaced, services)}")
    print(f"  between maps       {one_at_a_time(kernel, moved, services)}")
    notices = NftNotices(path, kernel.identity())
    print(f"  heard: cold        {cold(kernel, changes)}")
    print(f"  heard: between     {one_at_a_time(kernel, moved, services)}")
    notices.close()
    kernel.apply(everything(services, verdicts=True))
    print(f"  with a verdict     {one_at_a_time(kernel, with_verdict, services)}")
    kernel.apply([DeleteTable(NAME)])
    kernel.close()
    print(f"  by the nft program {by_nft(path, services)}")


def main(sizes: Sequence[int]) -> None:
    name = f"fwb-{os.getpid()}"
    path = netns.create(name)
    try:
        for services in sizes:
            bench(path, services)
    finally:
        netns.delete(name)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [1000, 10_000, 44_000])
