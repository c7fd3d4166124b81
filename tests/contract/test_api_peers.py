"""Several API servers on one store: `default/kubernetes` leads to all that are there, and to no other."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

from fairway.api.server import Api
from fairway.store.base import Put
from fairway.store.memory import MemoryStore
from tests.contract.session import CONFIG, Object, Session

ENDPOINTS = "/api/v1/namespaces/default/endpoints/kubernetes"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
FIRST, SECOND = "10.0.0.10", "10.0.0.20"


def server(store: MemoryStore, address: str, port: int = 6443, lease: float = 15.0) -> Api:
    config = dataclasses.replace(CONFIG, advertise_address=address, advertise_port=port, lease_seconds=lease)
    return Api(store, dataclasses.replace(config, publish_seconds=lease / 5))


async def kill(api: Api) -> None:
    """End a server without a word."""
    for chore in api._chores:
        chore.cancel()
    await asyncio.gather(*api._chores, return_exceptions=True)
    api._attendance = None
    await api.stop()


async def reached(me: Session) -> tuple[list[tuple[int, list[str]]], list[tuple[str, int, list[str]]]]:
    """Where Endpoints and slices lead."""
    subsets = (await me.ok("GET", ENDPOINTS))["subsets"]
    slices = (await me.ok("GET", f"{SLICES}?labelSelector=kubernetes.io/service-name=kubernetes"))["items"]

    def addresses(slice_: Object) -> list[str]:
        return [address for endpoint in slice_["endpoints"] for address in endpoint["addresses"]]

    return (
        [(each["ports"][0]["port"], [address["ip"] for address in each["addresses"]]) for each in subsets],
        [(each["metadata"]["name"], each["ports"][0]["port"], addresses(each)) for each in slices],
    )


def everywhere(*addresses: str) -> tuple[list[tuple[int, list[str]]], list[tuple[str, int, list[str]]]]:
    return [(6443, [*addresses])], [("kubernetes", 6443, [*addresses])]


def told(story: Callable[[MemoryStore], Awaitable[None]]) -> None:
    async def tell() -> None:
        await story(MemoryStore())

    asyncio.run(tell())


async def until(me: Session, wanted: object) -> None:
    async with me.watch(ENDPOINTS.rpartition("/")[0]) as watch:
        while await reached(me) != wanted:
            await watch.next()


def test_a_server_that_stops_leaves_and_the_last_one_is_not_struck_out() -> None:
    async def story(store: MemoryStore) -> None:
        one, two = server(store, FIRST), server(store, SECOND)
        await one.start()
        await two.start()
        assert await reached(Session(one)) == everywhere(FIRST, SECOND)
        await one.stop()
        assert await reached(Session(two)) == everywhere(SECOND)
        await two.stop()
        assert await reached(Session(two)) == everywhere(SECOND)

    told(story)


def test_a_server_that_dies_leaves_when_its_lease_is_over() -> None:
    async def story(store: MemoryStore) -> None:
        one, two = server(store, FIRST, lease=0.5), server(store, SECOND, lease=0.5)
        await one.start()
        await two.start()
        await kill(one)
        assert await reached(Session(two)) == everywhere(FIRST, SECOND)
        await until(Session(two), everywhere(SECOND))
        back = server(store, FIRST, lease=0.5)
        await back.start()
        assert await reached(Session(two)) == everywhere(FIRST, SECOND)
        await back.stop()
        await two.stop()

    told(story)


def test_a_record_that_nobody_renews_goes() -> None:
    async def story(store: MemoryStore) -> None:
        one = server(store, FIRST, lease=0.5)
        await one.start()
        await store.commit([], [Put("/apiservers/10.0.0.99:6443", b"{}")])
        await until(Session(one), everywhere(FIRST, "10.0.0.99"))
        await until(Session(one), everywhere(FIRST))
        await one.stop()

    told(story)


def test_servers_of_another_port_have_a_slice_of_their_own_as_long_as_they_are_there() -> None:
    async def story(store: MemoryStore) -> None:
        one, two, six = server(store, FIRST), server(store, FIRST, 7443), server(store, "fd00::1")
        for each in (one, two, six):
            await each.start()
        assert await reached(Session(one)) == (
            [(6443, [FIRST, "fd00::1"]), (7443, [FIRST])],
            [
                ("kubernetes", 6443, [FIRST]),
                ("kubernetes-ipv4-7443", 7443, [FIRST]),
                ("kubernetes-ipv6-6443", 6443, ["fd00::1"]),
            ],
        )
        await two.stop()
        await six.stop()
        assert await reached(Session(one)) == everywhere(FIRST)
        await one.stop()

    told(story)


def test_a_server_that_pods_cannot_reach_is_in_no_endpoints() -> None:
    async def story(store: MemoryStore) -> None:
        api = server(store, "127.0.0.1")
        await api.start()
        assert (await Session(api).refused("GET", ENDPOINTS))[0] == 404
        one = server(store, FIRST)
        await one.start()
        await api._attendance.renew(1.0)  # type: ignore[union-attr]
        assert await reached(Session(api)) == everywhere(FIRST)
        for each in (api, one):
            await each.stop()

    told(story)
