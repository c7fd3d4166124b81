"""However many controllers run, die in the middle of a round, or believe what is old: one address, one owner."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.client.base import ApiError, Object
from fairway.control.loadbalancer import Facts
from fairway.control.loadbalancer_claims import Claim, Record, conflict, read
from fairway.control.loadbalancer_pools import Settings
from fairway.control.loadbalancer_pools import read as read_settings
from fairway.control.loadbalancer_requests import ingress, request
from fairway.control.loadbalancer_round import Scene, settle
from fairway.control.writes import Update
from tests.unit.control.stage import service

POOLS = [
    read_settings(f"pools: [{{name: lan, addresses: [10.0.0.{first}-10.0.0.{last}]}}]", ())
    for first, last in ((1, 2), (2, 2), (1, 1))
]
NAMES = ("a", "b", "c")
WANTED = ("", "10.0.0.1", "10.0.0.2")


class Turn:
    """Awaited before each question to the server: somebody else may go on there."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class World:
    """The server's objects, changed by conditional writes, and every state they were in."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.services: dict[str, Object] = {}
        self.found: Object | None = None
        self.past: list[dict[str, Object]] = [{}]

    def put(self, name: str, obj: Object | None) -> None:
        if obj is None:
            self.services.pop(name, None)
        elif obj != self.services.get(name):
            obj["metadata"]["resourceVersion"] = str(next(self._numbers))
            self.services[name] = obj
        self.past.append(copy.deepcopy(self.services))

    def create(self, name: str, key: str, port: int) -> None:
        made = service(name, type="LoadBalancer", ports=[{"port": port, "protocol": "TCP"}])
        made["metadata"] |= {"uid": f"u{next(self._numbers)}", "creationTimestamp": "2026-01-01T00:00:00Z"}
        made["metadata"]["annotations"] = {"fairway.io/load-balancer-sharing-key": key}
        self.put(name, made)

    def change(self, name: str, **spec: Any) -> None:
        """A user's change; a Service of another type loses its ingress, as the API server has it."""
        changed = copy.deepcopy(self.services[name])
        changed["spec"] |= spec
        if changed["spec"]["type"] != "LoadBalancer":
            changed["status"] = {**changed.get("status", {}), "loadBalancer": {}}
        self.put(name, changed)

    def disorder(self) -> str:
        """One that shows an address it has no claim to, or two that show one they may not share; "" for none."""
        claims = {each.uid: each.addresses for each in read(self.found).claims}
        for each in self.services.values():
            for point in ingress(each):
                if point["ip"] not in claims.get(each["metadata"]["uid"], ()):
                    return f"{each['metadata']['name']} shows {point['ip']} and does not hold it"
        shown = [(each, request(each, "addresses")) for each in self.services.values()]
        for (one, mine), (other, theirs) in itertools.combinations(shown, 2):
            both = {each["ip"] for each in ingress(one)} & {each["ip"] for each in ingress(other)}
            for address in both:
                if mine is None or theirs is None or conflict(mine.terms, theirs.terms, address):
                    return f"{address}: {one['metadata']['name']} and {other['metadata']['name']}"
        return ""


class Controller:
    """A controller with a view that may be behind, doing its rounds one question at a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.pools: Settings = POOLS[0]
        self.behind = 0
        self._round: Coroutine[Any, Any, bool] | None = None
        self.done = False

    def _scene(self) -> Scene:
        past = self._world.past
        seen = past[max(len(past) - 1 - self.behind, 0)]
        services = {each["metadata"]["uid"]: each for each in copy.deepcopy(seen).values()}
        return Scene(services, self.pools, Facts(), lambda wish: (), 0.0)

    def step(self) -> None:
        """Go on until the next question."""
        if self._round is None:
            self._round = settle(self, self._scene)
            self.done = False
        try:
            self._round.send(None)
        except StopIteration as end:
            self._round, self.done = None, end.value
        except ApiError:
            self._round = None

    def crash(self) -> None:
        if self._round is not None:
            self._round.close()
            self._round = None

    async def record(self) -> Record:
        await Turn()
        found = read(copy.deepcopy(self._world.found))
        await Turn()  # the answer is on its way
        return found

    async def keep(self, record: Object) -> Record:
        await Turn()
        have = self._world.found["metadata"]["resourceVersion"] if self._world.found else None
        if record["metadata"].get("resourceVersion") != have:
            raise ApiError(409, "Conflict", "the record has changed")
        self._world.found = copy.deepcopy(record)
        self._world.found["metadata"]["resourceVersion"] = str(next(self._world._numbers))
        return read(copy.deepcopy(self._world.found))

    async def show(self, update: Update) -> bool:
        await Turn()
        name = update.obj["metadata"]["name"]
        present = self._world.services.get(name)
        if present is None or present["metadata"] != update.obj["metadata"]:
            return False
        self._world.put(name, copy.deepcopy({**present, "status": update.obj["status"]}))
        return True

    async def lives(self, claim: Claim) -> bool:
        await Turn()
        present = self._world.services.get(claim.name)
        return present is not None and present["metadata"]["uid"] == claim.uid


Act = Callable[[World, list[Controller]], None]
WHO = st.integers(0, 1)


def _user(name: str, choice: int, key: str, port: int) -> Act:
    def act(world: World, _: list[Controller]) -> None:
        if name not in world.services:
            world.create(name, key, port)
            if choice == 1:
                world.change(name, type="ClusterIP")
        elif choice == 0:
            world.put(name, None)
        elif choice == 1:
            there = world.services[name]["spec"]["type"]
            world.change(name, type="ClusterIP" if there == "LoadBalancer" else "LoadBalancer")
        else:
            world.change(name, loadBalancerIP=WANTED[choice % 3])

    return act


def _step(who: int, times: int) -> Act:
    def act(world: World, controllers: list[Controller]) -> None:
        for _ in range(times):
            controllers[who].step()
            assert not world.disorder()

    return act


def _round(who: int, pools: int) -> Act:
    """A whole round (and what it leaves to the next) of one who sees the present."""

    def act(world: World, controllers: list[Controller]) -> None:
        controller = controllers[who]
        controller.pools, controller.behind = POOLS[pools], 0
        controller.crash()
        for _ in range(40):
            controller.step()
            assert not world.disorder()
        controller.crash()

    return act


def _view(who: int, pools: int, behind: int) -> Act:
    def act(_: World, controllers: list[Controller]) -> None:
        controllers[who].pools, controllers[who].behind = POOLS[pools], behind

    return act


def _crash(who: int) -> Act:
    return lambda _, controllers: controllers[who].crash()


ACTS = st.one_of(
    st.builds(_step, WHO, st.integers(1, 9)),
    st.builds(_step, WHO, st.integers(1, 4)),
    st.builds(_round, WHO, st.integers(0, 2)),
    st.builds(_user, st.sampled_from(NAMES), st.integers(0, 4), st.sampled_from(["", "k"]), st.sampled_from([80, 81])),
    st.builds(_view, WHO, st.integers(0, 2), st.integers(0, 4)),
    st.builds(_crash, WHO),
)


@settings(max_examples=600, deadline=None)
@given(st.lists(ACTS, max_size=40))
def test_an_address_never_has_two_owners_and_all_comes_to_rest(acts: list[Act]) -> None:
    world = World()
    controllers = [Controller(world), Controller(world)]
    for act in acts:
        act(world, controllers)
        assert not world.disorder()
    _come_to_rest(world, controllers)
    record = read(world.found)
    claims = {each.uid: each for each in record.claims}
    for each in world.services.values():
        claim = claims.get(each["metadata"]["uid"])
        assert [point["ip"] for point in ingress(each)] == list(claim.addresses if claim else ())
        if each["spec"]["type"] == "LoadBalancer":
            [said] = each["status"]["conditions"]
            assert claim is not None or said["reason"] in ("AddressTaken", "PoolEmpty", "OutsidePools")
        else:
            assert claim is None and not each.get("status", {}).get("conditions")
    assert claims.keys() <= {each["metadata"]["uid"] for each in world.services.values()}


def _come_to_rest(world: World, controllers: list[Controller]) -> None:
    """All see the present and mean the same: after some rounds there is nothing left to do."""
    for each in controllers:
        each.crash()
        each.behind, each.pools = 0, POOLS[0]
    for _ in range(12):
        for each in controllers:
            each.step()
            while each._round is not None:
                each.step()
                assert not world.disorder()
    assert all(each.done for each in controllers)


def test_who_reads_the_record_late_does_not_bring_back_what_was_taken() -> None:
    world = World()
    slow, quick = Controller(world), Controller(world)
    world.create("a", "", 80)
    _round(0, 0)(world, [slow])
    assert ingress(world.services["a"]) == [{"ip": "10.0.0.1", "ipMode": "VIP"}]
    slow.step()
    slow.step()  # the record is read, its answer on the way
    _round(0, 1)(world, [quick])
    assert ingress(world.services["a"]) == [{"ip": "10.0.0.2", "ipMode": "VIP"}]
    while slow._round is not None:
        slow.step()
        assert not world.disorder()
