"""The book: whatever happened before, what stands is what a fresh rendering of the same ports says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.dataplane.nft import Elements, render
from fairway.dataplane.nft_book import SPARE, Book, Delta
from fairway.desired.model import Desired, Endpoint, Policy, PortKey, PortName, ServicePort, Settings
from fairway.packet import Family, Protocol

ADDRESSES = [f"10.244.0.{n}" for n in range(2, 7)]
SETTINGS = Settings(guarded_cidrs=("10.96.0.0/12",))


@st.composite
def ports(draw: st.DrawFn) -> ServicePort:
    """A Service port; external addresses and node ports are few, so that Services meet at them."""
    name = draw(st.integers(0, 5))
    cluster = tuple(
        Endpoint(a, 8080, draw(st.booleans())) for a in draw(st.lists(st.sampled_from(ADDRESSES), unique=True))
    )
    local = tuple(e for e in cluster if e.local)
    return ServicePort(
        name=PortName("default", f"web-{name}"),
        family=Family.IPV4,
        protocol=Protocol.TCP,
        cluster_ip=f"10.96.0.{name // 2}",  # two ports of one Service
        port=80 + name % 2,
        node_port=draw(st.sampled_from([0, 30080, 30081])),
        external_ips=tuple(draw(st.lists(st.sampled_from(["198.51.100.7", "198.51.100.8"]), unique=True))),
        load_balancer_ips=tuple(draw(st.lists(st.sampled_from(["203.0.113.7", "198.51.100.8"]), unique=True))),
        source_ranges=tuple(draw(st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16"]), unique=True))),
        affinity_seconds=draw(st.sampled_from([0, 0, 60])),
        internal_policy=draw(st.sampled_from(Policy)),
        external_policy=draw(st.sampled_from(Policy)),
        cluster=cluster,
        local=local,
        reachable=bool(cluster),
    )


HISTORIES = st.lists(st.lists(st.tuples(st.integers(0, 5), st.none() | ports()), max_size=4), max_size=6)


def key(number: int) -> PortKey:
    return (PortName("default", f"web-{number}"), Protocol.TCP, Family.IPV4)


def applied(held: Elements, delta: Delta) -> Elements:
    """What the kernel holds after the deletions and then the additions; each must be possible."""
    for name, kept in delta.removed.items():
        for at, element in kept.items():
            assert held[name].pop(at) == element
    for name, kept in delta.added.items():
        assert not held.setdefault(name, {}).keys() & kept.keys()
        held[name].update(kept)
    return {name: kept for name, kept in held.items() if kept}


@settings(max_examples=200, deadline=None)
@given(HISTORIES)
def test_changes_lead_to_what_a_fresh_rendering_says(history: list[list[tuple[int, ServicePort | None]]]) -> None:
    book, held, wanted = Book(Family.IPV4, SETTINGS), Elements(), dict[PortKey, ServicePort]()
    for step in history:
        changes = {(port.key if port else key(number)): port for number, port in step}
        held = applied(held, book.change(changes))
        wanted = {k: p for k, p in {**wanted, **changes}.items() if p is not None}

        fresh = render(Desired(tuple(sorted(wanted.values(), key=lambda p: p.key)), (), SETTINGS), Family.IPV4)
        assert held == {name: made.elements for name, made in fresh.sets.items() if made.elements}
        assert held == {name: kept for name, kept in book.content().items() if kept}
        loaded = Book(Family.IPV4, SETTINGS)
        assert held == {name: kept for name, kept in loaded.load(wanted).items() if kept}
        assert loaded.shape <= book.shape
        assert {name for name in fresh.sets if name in book.shape} >= {name for name in held if name in book.shape}


def service(number: int, endpoints: int, **more: int) -> ServicePort:
    found = tuple(Endpoint(f"10.244.1.{n + 1}", 8080) for n in range(endpoints))
    return ServicePort(
        PortName("default", f"web-{number}"), Family.IPV4, Protocol.TCP, f"10.96.1.{number}", 80, cluster=found, **more
    )


def test_a_change_touches_its_own_elements_only() -> None:
    book = Book(Family.IPV4, Settings())
    everything = {port.key: port for port in (service(n, 2) for n in range(100))}
    book.change({**everything})

    delta = book.change({**everything, key(7): service(7, 3)})

    assert len(delta.removed["endpoints-2"]) == 2
    assert len(delta.added["endpoints-3"]) == 3
    assert len(delta.added["hairpin"]) == 1
    assert len(delta) == 6
    assert len(book.change({**everything, key(7): service(7, 3)})) == 0


def test_an_endpoint_s_address_stays_as_long_as_somebody_uses_it() -> None:
    book = Book(Family.IPV4, Settings())
    book.change({key(n): service(n, 1) for n in range(2)})

    assert "hairpin" not in book.change({key(0): None}).removed
    assert len(book.change({key(1): None}).removed["hairpin"]) == 1


def test_maps_of_sizes_that_are_no_longer_used_stay_for_a_while() -> None:
    book = Book(Family.IPV4, Settings())
    for size in range(1, SPARE + 2):
        book.change({key(0): service(0, size)})
    assert {f"endpoints-{size}" for size in range(1, SPARE + 2)} == book.shape

    book.change({key(0): service(0, SPARE + 2)})

    assert book.shape == {f"endpoints-{SPARE + 2}"}
