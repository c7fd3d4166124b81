"""nftables mode on a kernel in memory: what is applied when, and what stands afterwards."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from fairway.dataplane.base import Update
from fairway.dataplane.nft import pack_address, pack_endpoint, render
from fairway.dataplane.nft_layout import declared, table_name
from fairway.dataplane.nft_sync import NftSync
from fairway.dataplane.predecessors import reference_table
from fairway.dataplane.sync import RuleSync
from fairway.desired.build import build
from fairway.desired.model import Desired
from fairway.desired.options import ProxyOptions
from fairway.kernel.base import Flow, KernelError, Refused
from fairway.kernel.fake.conntrack import FakeConntrack
from fairway.kernel.fake.netfilter import FakeNetfilter
from fairway.kernel.fake.nftables import FakeNftables
from fairway.packet import Family
from fairway.ruleset import nft
from fairway.ruleset.nft import AddElements, AddRule, AddSet, DeleteElements, Element
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, node, service

OURS = table_name(Family.IPV4)
STICKY = {"sessionAffinity": "ClientIP"}
WEB = pack_address("10.96.0.20") + b"\x06\0\0\0" + (80).to_bytes(2, "big") + b"\0\0"


def state(*addresses: str, options: ProxyOptions = OPTIONS, protocol: str = "TCP", **spec: Any) -> Desired:
    ports = [{"port": 80, "protocol": protocol}]
    piece = endpoint_slice("web", *(endpoint(a) for a in addresses), protocol=protocol)
    return build([service(**{"ports": ports, **spec})], [piece], node(), options)


NOTHING = build([], [], node(), OPTIONS)
ONE, TWO, THREE = (state(*(f"10.244.0.{n}" for n in range(5, 5 + count))) for count in (1, 2, 3))


@pytest.fixture
def kernel() -> FakeNftables:
    return FakeNftables()


@pytest.fixture
def sync(kernel: FakeNftables) -> NftSync:
    return NftSync(kernel, FakeConntrack())


def elements(kernel: FakeNftables) -> dict[str, dict[bytes, Element]]:
    table = kernel.read(OURS)
    assert table is not None
    return {name: kept.elements for name, kept in table.sets.items() if kept.elements}


def wanted(desired: Desired) -> dict[str, dict[bytes, Element]]:
    return {n: kept.elements for n, kept in render(desired, Family.IPV4).sets.items() if kept.elements}


def kinds(changes: Sequence[nft.Change]) -> set[type]:
    return {type(change) for change in changes}


def test_the_first_sync_lays_whole_tables_and_a_second_does_nothing(kernel: FakeNftables, sync: NftSync) -> None:
    assert sync.sync(Update.of(TWO)).transactions == 2  # one a family
    assert elements(kernel) == wanted(TWO)
    assert sync.sync(Update.of(TWO)).transactions == 0
    assert sync.intact() and sync.unchanged()


def test_a_change_within_a_size_is_one_transaction_of_its_own_elements(kernel: FakeNftables, sync: NftSync) -> None:
    sync.sync(Update.of(ONE))
    moved = state("10.244.0.9")
    kernel.applied.clear()

    report = sync.sync(Update(moved.settings, {p.key: p for p in moved.ports}, frozenset(p.key for p in moved.ports)))

    (changes,) = kernel.applied
    assert kinds(changes) == {AddElements, DeleteElements}
    assert (report.transactions, report.lines) == (1, 4)  # an endpoint and a hairpin each go and come
    assert elements(kernel) == wanted(moved)


class Unread(FakeNftables):
    """Says what it is asked to list."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: list[str] = []

    def read(self, table: nft.TableName) -> nft.Table | None:
        self.listed.append("read")
        return super().read(table)

    def elements(self, table: nft.TableName, kept: nft.Set) -> Sequence[tuple[bytes, Element]]:
        self.listed.append(kept.name)
        return super().elements(table, kept)

    def chains(self, table: nft.TableName) -> Mapping[str, int] | None:
        self.listed.append("chains")
        return super().chains(table)

    def sets(self, table: nft.TableName) -> Collection[str]:
        self.listed.append("sets")
        return super().sets(table)


def test_changes_list_nothing_but_the_clients_of_a_sticky_service_that_lost_an_endpoint() -> None:
    kernel = Unread()
    sync = NftSync(kernel, FakeConntrack())
    sync.sync(Update.of(ONE))
    kernel.listed.clear()

    for changed in (TWO, THREE, NOTHING, TWO, ONE, state("10.244.0.5", **STICKY), state("10.244.0.6", **STICKY)):
        assert kernel.listed == []
        sync.sync(Update.of(changed))

    assert kernel.listed == ["affinity"]


def test_a_new_map_and_its_rule_go_ahead_of_the_elements(kernel: FakeNftables, sync: NftSync) -> None:
    """A packet that came before the rule would find its Service in no map that it asks."""
    sync.sync(Update.of(TWO))
    kernel.applied.clear()

    sync.sync(Update.of(THREE))
    first, second = kernel.applied

    assert {AddSet, AddRule} <= kinds(first) and not kinds(first) & {AddElements, DeleteElements}
    assert kinds(second) == {AddElements, DeleteElements}
    kernel.applied.clear()
    sync.sync(Update.of(TWO))
    assert len(kernel.applied) == 1  # the map of two still stands


def test_settings_change_rules_and_elements_in_one_transaction(kernel: FakeNftables, sync: NftSync) -> None:
    sync.sync(Update.of(TWO))
    kernel.applied.clear()
    guarded = state("10.244.0.5", "10.244.0.6", options=ProxyOptions(guarded_cidrs=("10.96.0.0/12",)))

    sync.sync(Update.of(guarded))

    assert len([changes for changes in kernel.applied if changes[0].table == OURS]) == 1
    assert set(elements(kernel)["live"]) == {pack_address("10.96.0.20")}
    assert sync.unchanged()


def test_what_the_kernel_refuses_leaves_the_last_good_rules_and_is_made_good(
    kernel: FakeNftables, sync: NftSync
) -> None:
    sync.sync(Update.of(TWO))
    stranger = FakeNftables(kernel, "stranger")
    gone = elements(kernel)["cluster-ips"]
    stranger.apply([DeleteElements(OURS, declared(Family.IPV4, "cluster-ips"), [*gone.items()])])

    with pytest.raises(Refused, match="cluster-ips"):
        sync.sync(Update.of(NOTHING))
    assert "endpoints-2" in elements(kernel)

    sync.sync(Update.of(NOTHING))
    assert elements(kernel) == {}


def test_flushed_rules_are_noticed_and_others_tables_are_not_ours(kernel: FakeNftables, sync: NftSync) -> None:
    sync.sync(Update.of(TWO))
    stranger = FakeNftables(kernel, "stranger")

    stranger.apply([nft.AddTable(nft.TableName("inet", "firewall"))])
    assert sync.intact() and sync.unchanged()
    stranger.apply([nft.FlushChain(OURS, "services")])
    assert not sync.intact()
    sync.forget()
    sync.sync(Update.of(TWO))
    assert sync.intact() and sync.unchanged()
    stranger.apply(
        [DeleteElements(OURS, declared(Family.IPV4, "cluster-ips"), [*elements(kernel)["cluster-ips"].items()])]
    )
    assert sync.intact() and not sync.unchanged()


def remember(kernel: FakeNftables, client: str, address: str, place: bytes = WEB) -> bytes:
    """A client that packets have written down; how it is found."""
    key = pack_address(client) + place
    element = Element(pack_endpoint(address, 8080), timeout_ms=10_800_000, expires_ms=5000)
    kernel.apply([AddElements(OURS, declared(Family.IPV4, "affinity"), [(key, element)])])
    return key


def clients(kernel: FakeNftables) -> set[bytes]:
    return {key for key, _ in kernel.elements(OURS, declared(Family.IPV4, "affinity"))}


def test_clients_of_an_endpoint_that_is_gone_are_forgotten(kernel: FakeNftables, sync: NftSync) -> None:
    sync.sync(Update.of(state("10.244.0.5", "10.244.0.6", **STICKY)))
    gone = remember(kernel, "10.244.0.7", "10.244.0.5")
    stays = remember(kernel, "10.244.0.8", "10.244.0.6")

    sync.sync(Update.of(state("10.244.0.6", **STICKY)))
    assert clients(kernel) == {stays} != {gone}

    sync.sync(Update.of(state("10.244.0.6")))
    assert clients(kernel) == set()


def test_outsiders_are_not_led_to_other_nodes_once_the_policy_is_local(kernel: FakeNftables, sync: NftSync) -> None:
    external = {**STICKY, "type": "ClusterIP", "externalIPs": ["198.51.100.7"]}
    place = pack_address("198.51.100.7") + WEB[4:]

    def policy(word: str) -> Desired:
        spec = {**external, "externalTrafficPolicy": word, "ports": [{"port": 80}]}
        ends = [endpoint("10.244.0.5"), endpoint("10.244.1.5", on="node-b")]
        return build([service(**spec)], [endpoint_slice("web", *ends)], node(), OPTIONS)

    sync.sync(Update.of(policy("Cluster")))
    far = remember(kernel, "10.0.0.100", "10.244.1.5", place)
    near, pod = remember(kernel, "10.0.0.101", "10.244.0.5", place), remember(kernel, "10.244.0.9", "10.244.1.5", place)

    sync.sync(Update.of(policy("Local")))

    assert clients(kernel) == {near, pod} and far not in clients(kernel)


def test_who_is_no_insider_any_more_is_led_to_other_nodes_no_more(kernel: FakeNftables, sync: NftSync) -> None:
    external = {**STICKY, "externalIPs": ["198.51.100.7"], "externalTrafficPolicy": "Local"}
    place = pack_address("198.51.100.7") + WEB[4:]

    def pods(cidr: str) -> Desired:
        ends = [endpoint("10.244.0.5"), endpoint("10.244.1.5", on="node-b")]
        options = replace(OPTIONS, cluster_cidrs=(cidr,))
        return build([service(**external)], [endpoint_slice("web", *ends)], node(), options)

    sync.sync(Update.of(pods("10.244.0.0/16")))
    pod, other = (
        remember(kernel, "10.244.0.9", "10.244.1.5", place),
        remember(kernel, "10.244.7.9", "10.244.1.5", place),
    )

    sync.sync(Update.of(pods("10.244.0.0/22")))

    assert clients(kernel) == {pod} and other not in clients(kernel)


def test_a_restart_keeps_who_is_remembered(kernel: FakeNftables, sync: NftSync) -> None:
    sync.sync(Update.of(state("10.244.0.5", "10.244.0.6", **STICKY)))
    stays, gone = remember(kernel, "10.244.0.7", "10.244.0.5"), remember(kernel, "10.244.0.8", "10.244.0.6")

    NftSync(kernel, FakeConntrack()).sync(Update.of(state("10.244.0.5", **STICKY)))

    ((key, element),) = kernel.elements(OURS, declared(Family.IPV4, "affinity"))
    assert key == stays != gone
    assert element.timeout_ms == 10_800_000


def flow(port: int = 80) -> Flow:
    return Flow(Family.IPV4, 17, "10.0.0.100", 4000, "10.96.0.20", port, "10.244.0.5", 8080, "10.0.0.100", 4000)


def test_a_restart_lets_the_table_stand_and_replaces_what_is_in_it(kernel: FakeNftables, sync: NftSync) -> None:
    """Packets under way go on asking the sets that their rules name."""
    sync.sync(Update.of(state("10.244.0.5", "10.244.0.6", **STICKY)))
    kernel.applied.clear()

    again = NftSync(kernel, FakeConntrack())
    again.sync(Update.of(THREE))

    gone = {change.table for changes in kernel.applied for change in changes if isinstance(change, nft.DeleteTable)}
    assert gone == {reference_table(family) for family in Family}
    assert kernel.read(OURS) == holding(THREE).read(OURS)
    assert again.unchanged()


def test_a_table_laid_out_in_another_way_goes_as_a_whole(kernel: FakeNftables, sync: NftSync) -> None:
    older = nft.Set("cluster-ips", declared(Family.IPV4, "live").key)
    kernel.apply([nft.AddTable(OURS), AddSet(OURS, older), nft.AddSet(OURS, nft.Set("older", older.key))])

    sync.sync(Update.of(TWO))

    assert elements(kernel) == wanted(TWO)
    assert "older" not in kernel.sets(OURS)


def holding(desired: Desired) -> FakeNftables:
    fresh = FakeNftables()
    NftSync(fresh, FakeConntrack()).sync(Update.of(desired))
    return fresh


def test_flows_of_a_service_deleted_while_no_proxy_ran_are_swept(kernel: FakeNftables) -> None:
    NftSync(kernel, FakeConntrack()).sync(Update.of(state("10.244.0.5", protocol="UDP")))
    conntrack = FakeConntrack([flow(), flow(81)])

    report = NftSync(kernel, conntrack).sync(Update.of(NOTHING))

    assert report.flows_deleted == 1
    assert list(conntrack.flows(Family.IPV4)) == [flow(81)]


def test_another_proxy_s_rules_go_after_ours_stand(kernel: FakeNftables) -> None:
    netfilter = FakeNetfilter()
    RuleSync(netfilter, FakeConntrack()).sync(Update.of(TWO))
    kernel.apply([nft.AddTable(reference_table(Family.IPV4))])

    NftSync(kernel, FakeConntrack(), netfilter).sync(Update.of(TWO))

    assert "KUBE-" not in netfilter.save(Family.IPV4)
    assert kernel.read(reference_table(Family.IPV4)) is None
    assert elements(kernel) == wanted(TWO)


class NoPrograms(FakeNetfilter):
    """A node without iptables, until somebody installs it."""

    installed = False

    def save(self, family: Family, table: str = "") -> str:
        if not self.installed:
            raise KernelError("ip6tables-save is not installed")
        return super().save(family, table)


def test_services_are_served_where_iptables_cannot_be_asked_for_what_is_left_in_it(
    kernel: FakeNftables, caplog: pytest.LogCaptureFixture
) -> None:
    netfilter = NoPrograms()
    netfilter.installed = True
    RuleSync(netfilter, FakeConntrack()).sync(Update.of(TWO))
    netfilter.installed = False
    sync = NftSync(kernel, FakeConntrack(), netfilter)

    report = sync.sync(Update.of(TWO))

    assert elements(kernel) == wanted(TWO)
    assert report.uncleaned == {Family.IPV4: 1, Family.IPV6: 1}
    assert sync.sync(Update.of(ONE)).uncleaned == {}  # a change does not wait for another trial
    assert sync.intact() and len(caplog.records) == 2

    netfilter.installed = True
    assert sync.intact()
    assert "KUBE-" not in netfilter.save(Family.IPV4)
    assert sync.sync(Update.of(THREE)).uncleaned == {Family.IPV4: 1, Family.IPV6: 1}


def test_iptables_mode_takes_the_tables_away(kernel: FakeNftables, sync: NftSync) -> None:
    sync.sync(Update.of(TWO))
    netfilter = FakeNetfilter()

    RuleSync(netfilter, FakeConntrack(), kernel).sync(Update.of(TWO))

    assert "KUBE-SVC-" in netfilter.save(Family.IPV4)
    assert all(kernel.read(table_name(family)) is None for family in Family)


def test_cleaning_takes_what_is_ours_or_kube_proxy_s_and_nothing_else(kernel: FakeNftables, sync: NftSync) -> None:
    theirs = nft.TableName("ip", "firewall")
    kernel.apply([nft.AddTable(theirs), nft.AddTable(reference_table(Family.IPV6))])
    sync.sync(Update.of(TWO))

    sync.clean()
    sync.clean()

    assert [kernel.read(t) is None for t in (OURS, reference_table(Family.IPV6), theirs)] == [True, True, False]


class WithoutIPv6(FakeNftables):
    def apply(self, changes: Sequence[nft.Change]) -> None:
        if any(change.table.family == "ip6" for change in changes):
            raise KernelError("cannot make the table fairway: Address family not supported (EAFNOSUPPORT)")
        super().apply(changes)


def test_a_kernel_without_ipv6_serves_ipv4() -> None:
    kernel = WithoutIPv6()
    sync = NftSync(kernel, FakeConntrack())

    assert sync.sync(Update.of(TWO)).transactions == 1
    assert list(sync.unavailable) == [Family.IPV6]
    assert elements(kernel) == wanted(TWO)
