"""One Service that the kernel does not take: the others are served, and what stood of it goes on standing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from fairway.dataplane.base import Programmer, Update
from fairway.dataplane.isolate import Isolating
from fairway.dataplane.nft import pack_address, render
from fairway.dataplane.nft_layout import table_name
from fairway.dataplane.nft_sync import NftSync
from fairway.dataplane.sync import RuleSync
from fairway.desired.build import build
from fairway.desired.model import Desired, PortKey
from fairway.desired.options import ProxyOptions
from fairway.kernel.base import Refused
from fairway.kernel.fake.conntrack import FakeConntrack
from fairway.kernel.fake.netfilter import FakeNetfilter
from fairway.kernel.fake.nftables import FakeNftables
from fairway.packet import Family
from fairway.ruleset import nft
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, node, service

NAMES = [f"s{n}" for n in range(12)]
OURS = table_name(Family.IPV4)


def address(name: str) -> str:
    return f"10.96.1.{NAMES.index(name) + 1}"


def state(versions: dict[str, int], options: ProxyOptions = OPTIONS) -> Desired:
    """Services by name; the version of one is seen in its endpoint's address."""
    services = [service(name, address(name)) for name in versions]
    slices = [endpoint_slice(name, endpoint(f"10.244.{v}.{NAMES.index(name) + 1}")) for name, v in versions.items()]
    return build(services, slices, node(), options)


class Tables(FakeNftables):
    """Refuses elements of the endpoints in `bad`, and says which when it `points`."""

    def __init__(self, points: bool = True) -> None:
        super().__init__()
        self.bad: set[str] = set()
        self.points = points
        self.trials = 0

    def apply(self, changes: Sequence[nft.Change]) -> None:
        self.trials += 1
        for number, change in enumerate(changes, 1):
            kept = change.set.elements.items() if isinstance(change, nft.AddSet) else ()
            for key, element in change.elements if isinstance(change, nft.AddElements) else kept:
                for bad in self.bad:
                    if isinstance(element.data, bytes) and element.data.startswith(pack_address(bad)):
                        spelled = ".".join(str(byte) for byte in key[:4])
                        where = f": {spelled} . tcp . 80" if self.points else ""
                        raise Refused(f"cannot add elements: Invalid argument (EINVAL){where}", "", number)
        super().apply(changes)

    def stands(self) -> dict[str, str]:
        """The endpoint of each Service."""
        table = self.read(OURS)
        assert table is not None
        kept = table.sets["endpoints-1"].elements
        text = {key[:4]: ".".join(map(str, e.data[:4])) for key, e in kept.items() if isinstance(e.data, bytes)}
        return {name: text[pack_address(address(name))] for name in NAMES if pack_address(address(name)) in text}


class Chains(FakeNetfilter):
    """The same for iptables."""

    def __init__(self, points: bool = True) -> None:
        super().__init__()
        self.bad: set[str] = set()
        self.points = points
        self.trials = 0

    def restore(self, family: Family, text: str) -> None:
        self.trials += 1
        for number, line in enumerate(text.splitlines(), 1):
            if any(f"--to-destination {bad}:" in line for bad in self.bad):
                raise Refused("Invalid argument", text, number if self.points else 0)
        super().restore(family, text)

    def stands(self) -> dict[str, str]:
        lines = self.save(Family.IPV4, "nat").splitlines()
        led = [line.split() for line in lines if "--to-destination" in line]
        comments = {words[words.index("--comment") + 1].strip('"').partition("/")[2]: words[-1] for words in led}
        return {name: place.partition(":")[0] for name, place in comments.items()}


Kernel = Tables | Chains


@pytest.fixture(params=["tables, pointing", "tables", "chains, pointing", "chains"])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    make: Callable[[bool], Kernel] = Tables if request.param.startswith("tables") else Chains
    return make("pointing" in request.param)


@pytest.fixture
def rules(kernel: Kernel) -> Programmer:
    sync = NftSync(kernel, FakeConntrack()) if isinstance(kernel, Tables) else RuleSync(kernel, FakeConntrack())
    return Isolating(sync)


def update(before: dict[str, int], after: dict[str, int], *again: PortKey) -> Update:
    """From one set of versions to another; keys in `again` are named though they have not changed."""
    old, new = Update.of(state(before)), Update.of(state(after))
    changed = {key for key in {*old.ports, *new.ports} if old.ports.get(key) != new.ports.get(key)}
    return replace(new, changed=frozenset(changed | set(again)))


def names(refused: object) -> set[str]:
    assert isinstance(refused, dict)
    return {key[0].service for key in refused}


ONE = dict.fromkeys(NAMES, 1)


def test_from_the_start_all_others_are_served(kernel: Kernel, rules: Programmer) -> None:
    kernel.bad = {"10.244.1.4", "10.244.1.11"}

    report = rules.sync(Update.of(state(ONE)))

    assert names(report.refused) == {"s3", "s10"}
    assert kernel.stands() == {n: f"10.244.1.{NAMES.index(n) + 1}" for n in NAMES if n not in ("s3", "s10")}
    assert rules.unchanged()


def test_what_stood_of_it_goes_on_standing_and_others_change(kernel: Kernel, rules: Programmer) -> None:
    rules.sync(Update.of(state(ONE)))
    kernel.bad = {"10.244.2.4"}

    two = dict.fromkeys(NAMES[2:6], 2)
    report = rules.sync(update(ONE, {**ONE, **two}))

    assert names(report.refused) == {"s3"}
    stands = kernel.stands()
    assert stands["s3"] == "10.244.1.4"
    assert {stands[name].split(".")[2] for name in ("s2", "s4", "s5")} == {"2"}
    assert len(stands) == len(NAMES)


def test_others_go_on_changing_without_a_trial_and_it_is_taken_when_it_is_right(
    kernel: Kernel, rules: Programmer
) -> None:
    rules.sync(Update.of(state(ONE)))
    kernel.bad = {"10.244.2.4"}
    worse = {**ONE, "s3": 2}
    refused = rules.sync(update(ONE, worse)).refused
    rules.sync(update(worse, {**worse, "s1": 2}))  # after a refusal everything is known anew
    kernel.trials = 0

    third = {**worse, "s1": 3}
    report = rules.sync(update({**worse, "s1": 2}, third))
    assert (names(report.refused), kernel.stands()["s1"]) == ({"s3"}, "10.244.3.2")
    assert kernel.trials <= 3  # those of the change itself

    assert names(rules.sync(update(third, third, *refused)).refused) == {"s3"}  # tried again, refused again
    kernel.bad = set()
    assert rules.sync(update(third, third, *refused)).refused == {}
    assert kernel.stands()["s3"] == "10.244.2.4"
    assert rules.unchanged()


def test_a_withheld_service_that_is_deleted_is_gone(kernel: Kernel, rules: Programmer) -> None:
    rules.sync(Update.of(state(ONE)))
    kernel.bad = {"10.244.2.4"}
    worse = {**ONE, "s3": 2}
    rules.sync(update(ONE, worse))

    without = {name: version for name, version in worse.items() if name != "s3"}
    report = rules.sync(update(worse, without))

    assert report.refused == {}
    assert "s3" not in kernel.stands()


def test_what_is_nobody_s_fault_is_an_error(kernel: Kernel, rules: Programmer, monkeypatch: pytest.MonkeyPatch) -> None:
    rules.sync(Update.of(state(ONE)))
    two = dict.fromkeys(NAMES, 2)

    def never(*_: object) -> None:
        raise Refused("Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(kernel, "apply" if isinstance(kernel, Tables) else "restore", never)
        with pytest.raises(Refused, match="memory"):
            rules.sync(update(ONE, two))

    assert rules.sync(update(two, two)).refused == {}
    assert set(kernel.stands().values()) == {f"10.244.2.{n}" for n in range(1, len(NAMES) + 1)}


def test_rules_that_somebody_else_broke_are_nobody_s_fault(kernel: Kernel, rules: Programmer) -> None:
    """An element or a chain that is gone makes a change refused; everything is laid anew then."""
    rules.sync(Update.of(state(ONE)))
    if isinstance(kernel, Tables):
        table = kernel.read(OURS)
        assert table is not None
        kept = table.sets["endpoints-1"]
        FakeNftables(kernel).apply([nft.DeleteElements(OURS, kept, [*kept.elements.items()])])
    else:
        FakeNetfilter.restore(kernel, Family.IPV4, "*nat\n-F KUBE-SERVICES\n-F KUBE-MARK-MASQ\nCOMMIT\n")

    two = {**ONE, "s1": 2}
    without = {name: version for name, version in two.items() if name != "s2"}
    assert rules.sync(update(ONE, without)).refused == {}
    if isinstance(kernel, Tables):
        wanted = render(state(without), Family.IPV4)
        found = kernel.read(OURS)
        assert found is not None
        assert found.sets["endpoints-1"].elements == wanted.sets["endpoints-1"].elements
    assert kernel.stands()["s1"] == "10.244.2.2"
    assert "s2" not in kernel.stands()
