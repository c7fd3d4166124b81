"""What a proxy counts, as it is told of changes and what became of them."""

from __future__ import annotations

import asyncio
import json

import pytest

from fairway.client.informer import Change
from fairway.dataplane.base import Report, Swept, Update, Work
from fairway.dataplane.metrics import ProxyMetrics
from fairway.desired import view
from fairway.desired.build import build
from fairway.kernel.base import KernelError
from fairway.objects import kinds
from fairway.observe import exposition
from fairway.packet import Family
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, node, service, slice_json

BEGUN = 1_800_000_000.0  # 2027-01-15T08:00:00Z
V4, V6 = '{ip_family="IPv4"}', '{ip_family="IPv6"}'


class Scene:
    def __init__(self, mode: str = "iptables") -> None:
        self.now = BEGUN
        self.metrics = ProxyMetrics(mode, lambda: self.now)

    def apply(self, update: Update, report: Report | None = None) -> None:
        asyncio.run(self.metrics.applied(update, report or Report(), 0.0))

    def value(self, name: str) -> float:
        lines = exposition.text(self.metrics.metrics()).splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name), -1)


def changed(moment: str) -> Change[view.SliceView]:
    raw = json.loads(slice_json("web", endpoint("10.244.0.5")))
    raw["metadata"]["annotations"] = {view.CHANGED_ANNOTATION: moment, "other": "x"}
    return Change("modified", ("default", "web-1"), None, view.endpoint_slice(json.dumps(raw).encode()))


def nothing() -> Update:
    return Update.of(build([], [], node(), OPTIONS))


def test_changes_wait_and_are_done() -> None:
    scene = Scene()
    scene.metrics.told(kinds.ENDPOINT_SLICE, [changed(""), changed("")])
    pending, total = (f"kubeproxy_sync_proxy_rules_endpoint_changes_{word}" for word in ("pending", "total"))

    assert (scene.value(pending), scene.value(total)) == (2, 2)
    scene.apply(nothing())
    assert (scene.value(pending), scene.value(total)) == (0, 2)


def test_how_long_programming_took_since_pods_changed() -> None:
    scene = Scene()
    scene.metrics.told(kinds.ENDPOINT_SLICE, [changed("2027-01-15T07:59:59Z")])  # before this proxy began
    scene.metrics.told(kinds.ENDPOINT_SLICE, [changed("2027-01-15T08:00:01Z"), changed("nonsense")])
    scene.now = BEGUN + 2.5

    scene.apply(nothing())
    scene.apply(nothing())

    name = "kubeproxy_network_programming_duration_seconds"
    assert (scene.value(f"{name}_count{V4}"), scene.value(f"{name}_sum{V4}")) == (1, 1.5)
    assert scene.value(f"{name}_bucket" + '{ip_family="IPv4",le="1"}') == 0
    assert scene.value(f"{name}_bucket" + '{ip_family="IPv4",le="2"}') == 1


def test_the_first_sync_is_a_full_one_and_each_family_has_its_own_time() -> None:
    scene = Scene()
    scene.apply(nothing(), Report(families={Family.IPV4: Work(1.0), Family.IPV6: Work(0.25)}))
    scene.now += 5
    scene.apply(nothing(), Report(families={Family.IPV4: Work(0.5)}, swept={Family.IPV4: Swept(2, 0.125)}))

    assert scene.value(f"kubeproxy_sync_proxy_rules_duration_seconds_sum{V4}") == 1.5
    assert scene.value(f"kubeproxy_sync_proxy_rules_duration_seconds_sum{V6}") == 0.25
    assert scene.value(f"kubeproxy_sync_full_proxy_rules_duration_seconds_sum{V4}") == 1.0
    assert scene.value(f"kubeproxy_sync_partial_proxy_rules_duration_seconds_sum{V4}") == 0.5
    assert scene.value(f"kubeproxy_sync_proxy_rules_last_timestamp_seconds{V4}") == BEGUN + 5
    assert scene.value(f"kubeproxy_sync_proxy_rules_last_timestamp_seconds{V6}") == BEGUN
    assert scene.value(f"kubeproxy_conntrack_reconciler_deleted_entries_total{V4}") == 2
    assert scene.value(f"kubeproxy_conntrack_reconciler_sync_duration_seconds_sum{V4}") == 0.125
    assert scene.value(f"kubeproxy_conntrack_reconciler_sync_duration_seconds_count{V6}") == -1


def test_rules_of_iptables_mode_by_table() -> None:
    scene = Scene()
    labels = '{table="nat",ip_family="IPv4"}'
    for written in ({"nat": 12}, {}):
        scene.apply(nothing(), Report(families={Family.IPV4: Work(0.1, {"nat": 30, "filter": 8}, written)}))

    assert scene.value(f"kubeproxy_sync_proxy_rules_iptables_total{labels}") == 30
    assert scene.value(f"kubeproxy_sync_proxy_rules_iptables_last{labels}") == 0
    assert "iptables_total" not in exposition.text(Scene("nftables").metrics.metrics())


def test_refusals_by_mode_and_family() -> None:
    for mode, partial in (("iptables", "iptables_partial_restore"), ("nftables", "nftables_sync")):
        scene = Scene(mode)
        scene.apply(nothing())
        error = KernelError("no")
        scene.metrics.refused(nothing(), error)
        error.families = (Family.IPV6,)
        scene.metrics.refused(nothing(), error)
        assert scene.value(f"kubeproxy_sync_proxy_rules_{partial}_failures_total{V4}") == 1
        assert scene.value(f"kubeproxy_sync_proxy_rules_{partial}_failures_total{V6}") == 2


def test_services_without_an_endpoint_here() -> None:
    scene = Scene()
    name = 'kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="internal",ip_family="IPv4"}'
    for on, expected in (("node-b", 1), ("node-a", 0), ("node-b", 1)):
        pieces = [endpoint_slice("web", endpoint("10.244.1.5", on=on))]
        wanted = build([service(internalTrafficPolicy="Local")], pieces, node(), OPTIONS)
        ports = {port.key: port for port in wanted.of(Family.IPV4)}
        scene.apply(Update(wanted.settings, ports, frozenset(ports)))
        assert scene.value(name) == expected

    scene.apply(Update(wanted.settings, {}, frozenset(ports)))
    assert scene.value(name) == 0


SYNC = "kubeproxy_sync_proxy_rules_"
EITHER_MODE = {
    "kubeproxy_conntrack_reconciler_deleted_entries_total",
    "kubeproxy_conntrack_reconciler_sync_duration_seconds",
    "kubeproxy_network_programming_duration_seconds",
    "kubeproxy_proxy_healthz_total",
    "kubeproxy_proxy_livez_total",
    "kubeproxy_sync_full_proxy_rules_duration_seconds",
    "kubeproxy_sync_partial_proxy_rules_duration_seconds",
    f"{SYNC}duration_seconds",
    f"{SYNC}endpoint_changes_pending",
    f"{SYNC}endpoint_changes_total",
    f"{SYNC}last_queued_timestamp_seconds",
    f"{SYNC}last_timestamp_seconds",
    f"{SYNC}no_local_endpoints_total",
    f"{SYNC}service_changes_pending",
    f"{SYNC}service_changes_total",
}
ITS_OWN = {
    "iptables": {
        f"{SYNC}iptables_last",
        f"{SYNC}iptables_partial_restore_failures_total",
        f"{SYNC}iptables_restore_failures_total",
        f"{SYNC}iptables_total",
    },
    "nftables": {f"{SYNC}nftables_cleanup_failures_total", f"{SYNC}nftables_sync_failures_total"},
}


@pytest.mark.parametrize("mode", list(ITS_OWN))
def test_every_number_of_kube_proxy_is_told_in_its_mode(mode: str) -> None:
    """Those of KEP-3866 and of the reference's page of metrics; packets that iptables rules count are told beside
    these (tests/kernel/test_proxy_command.py)."""
    told = {metric.name for metric in ProxyMetrics(mode).metrics()}

    assert {name for name in told if name.startswith("kubeproxy_")} == EITHER_MODE | ITS_OWN[mode]


def test_what_an_earlier_proxy_left_could_not_be_removed() -> None:
    scene = Scene("nftables")
    scene.apply(nothing(), Report(uncleaned={Family.IPV6: 2}))
    assert scene.value(f"kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total{V6}") == 2
