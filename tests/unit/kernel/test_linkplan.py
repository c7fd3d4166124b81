"""The plan that both kernels perform: what is done, in which order, and that it leads to what is wanted."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.kernel.base import (
    Bridge,
    DeviceAddress,
    DeviceRoute,
    ForwardingEntry,
    KernelError,
    LinkState,
    Neighbour,
    Vxlan,
)
from fairway.kernel.fake.links import FakeLinks
from fairway.kernel.linkplan import Observed, Verb, normal, plan, sysctl_path

BRIDGE = Bridge("cni0", 1450, "0a:58:0a:f4:00:01")
VXLAN = Vxlan("flannel.1", 1, "eth0", "10.0.0.11", "0a:58:0a:f4:00:00")
ADDRESS = DeviceAddress("cni0", "10.244.0.1/24")
KINDS = {"cni0": "bridge", "flannel.1": "vxlan", "eth0": ""}
THERE = Observed(KINDS, frozenset(), LinkState(bridges=(BRIDGE,), vxlans=(VXLAN,), addresses=(ADDRESS,)))


def verbs(observed: Observed, wanted: LinkState, previous: LinkState | None = None) -> list[tuple[Verb, str]]:
    return [(step.verb, step.device.name) for step in plan(observed, wanted, previous).devices]


def test_nothing_to_do_is_a_false_plan() -> None:
    assert not plan(THERE, THERE.state, THERE.state)


def test_a_device_that_is_down_is_corrected() -> None:
    down = replace(THERE, down=frozenset({"cni0"}))
    assert verbs(down, LinkState(bridges=(BRIDGE,))) == [(Verb.CORRECT, "cni0")]


@pytest.mark.parametrize("change", [{"mtu": 1400}, {"mac": "0a:58:0a:f4:00:09"}])
def test_a_device_with_other_settings_is_corrected(change: dict[str, object]) -> None:
    wanted = LinkState(bridges=(replace(BRIDGE, **change),), vxlans=(replace(VXLAN, **change),))  # type: ignore[arg-type]
    assert verbs(THERE, wanted) == [(Verb.CORRECT, "cni0"), (Verb.CORRECT, "flannel.1")]


def test_a_bridge_whose_mac_the_kernel_may_choose_is_right_with_any() -> None:
    assert verbs(THERE, LinkState(bridges=(replace(BRIDGE, mac=""),))) == []


@pytest.mark.parametrize("change", [{"vni": 2}, {"local": "10.0.0.12"}, {"device": "eth1"}, {"port": 4789}])
def test_a_vxlan_with_another_identity_is_made_anew(change: dict[str, object]) -> None:
    on_it = DeviceAddress("flannel.1", "10.244.0.0/32")
    there = replace(THERE, state=replace(THERE.state, addresses=(on_it,)))
    changed = replace(VXLAN, **change)  # type: ignore[arg-type]
    steps = plan(there, LinkState(vxlans=(changed,), addresses=(on_it,)))
    assert steps.devices == ((Verb.REMOVE, changed), (Verb.CREATE, changed))
    assert steps.entries == ((Verb.SET, on_it),), "its address went with it"


def test_entries_of_a_device_that_goes_are_not_removed_one_by_one() -> None:
    steps = plan(THERE, LinkState(), LinkState(bridges=(BRIDGE,), addresses=(ADDRESS,)))
    assert (steps.removals, steps.devices) == ((), ((Verb.REMOVE, BRIDGE),))


def test_what_takes_anothers_place_does_not_need_it_removed() -> None:
    old, new = (DeviceRoute("10.244.1.0/24", "eth0", via) for via in ("10.0.0.12", "10.0.0.13"))
    there = replace(THERE, state=LinkState(routes=(old,)))
    steps = plan(there, LinkState(routes=(new,)), LinkState(routes=(old,)))
    assert (steps.removals, steps.entries) == ((), ((Verb.SET, new),))


def test_what_somebody_else_changed_is_not_ours_to_remove() -> None:
    ours, theirs = (DeviceRoute("10.244.1.0/24", "eth0", via) for via in ("10.0.0.12", "10.0.0.13"))
    there = replace(THERE, state=LinkState(routes=(theirs,)))
    assert not plan(there, LinkState(), LinkState(routes=(ours,)))


def test_gateways_come_after_the_routes_that_reach_them() -> None:
    direct, through = DeviceRoute("192.0.2.0/24", "eth0"), DeviceRoute("0.0.0.0/0", "eth0", "192.0.2.1")
    steps = plan(THERE, LinkState(routes=(through, direct)))
    assert [step.entry for step in steps.entries] == [direct, through]


def test_sysctls_that_are_as_wanted_are_not_written() -> None:
    there = Observed(state=LinkState(sysctls={"net.ipv4.ip_forward": "1"}))
    wanted = LinkState(sysctls={"net.ipv4.ip_forward": "1", "net.ipv4.tcp_mtu_probing": "1"})
    assert plan(there, wanted).sysctls == {"net.ipv4.tcp_mtu_probing": "1"}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/5.rp_filter", "net/ipv4/conf/eth0.5/rp_filter"),
        ("net/ipv4/conf/flannel.1/rp_filter", "net/ipv4/conf/flannel.1/rp_filter"),
    ],
)
def test_sysctls_are_named_as_sysctl_names_them(name: str, path: str) -> None:
    assert sysctl_path(name) == path


@pytest.mark.parametrize("name", ["", "net", "net..x", "net/../kernel", "net/./x", "net.ipv4./.x", "/etc/passwd"])
def test_a_sysctl_does_not_lead_out_of_its_tree(name: str) -> None:
    with pytest.raises(KernelError, match="no sysctl's name"):
        sysctl_path(name)


NODES = st.integers(1, 6)
STATES = st.builds(
    lambda peers, mac, local, extra: LinkState(
        bridges=(BRIDGE,) if extra else (),
        vxlans=(replace(VXLAN, local=local),),
        addresses=((ADDRESS,) if extra else ()) + (DeviceAddress("flannel.1", "10.244.0.0/32"),),
        routes=tuple(DeviceRoute(f"10.244.{n}.0/24", "flannel.1", f"10.244.{n}.0", onlink=True) for n in peers),
        neighbours=tuple(Neighbour("flannel.1", f"10.244.{n}.0", f"{mac}:{n:02x}") for n in peers),
        forwarding=tuple(ForwardingEntry("flannel.1", f"{mac}:{n:02x}", f"10.0.0.{n}") for n in peers),
    ),
    st.frozensets(NODES),
    st.sampled_from(["0a:58:0a:f4:00", "0a:58:0a:f4:01"]),
    st.sampled_from(["10.0.0.11", "10.0.0.12"]),
    st.booleans(),
)


@given(st.lists(STATES, min_size=1, max_size=5))
def test_any_row_of_states_ends_in_the_last_and_spares_the_rest(states: list[LinkState]) -> None:
    """From whatever was wanted before to whatever is wanted now; a stranger's route and bridge outlive it all."""
    stranger = LinkState(bridges=(Bridge("docker0"),), routes=(DeviceRoute("192.0.2.0/24", "eth0"),))
    links = FakeLinks()
    links.add_device("eth0")
    links.apply(stranger)
    previous = LinkState()
    for state in states:
        links.apply(state, previous)
        previous = state
    changes = links.changes
    links.apply(states[-1], previous)
    assert links.changes == changes, "applied again, it changes nothing"
    assert contents(links.state()) == contents(states[-1]) | contents(stranger)


def contents(state: LinkState) -> set[object]:
    items = (state.bridges, state.vxlans, state.addresses, state.routes, state.neighbours, state.forwarding)
    return {item for group in items for item in group}


@given(st.ip_addresses(), st.integers(0, 32))
def test_normal_spelling_is_its_own_normal_spelling(address: ipaddress.IPv4Address, prefix: int) -> None:
    network = ipaddress.ip_network((address, prefix), strict=False)
    state = LinkState(
        addresses=(DeviceAddress("a", f"{address.exploded}/{prefix}"),),
        routes=(DeviceRoute(network.exploded, "a", address.exploded),),
        neighbours=(Neighbour("a", address.exploded, "0A:58:00:00:00:01"),),
    )
    assert normal(normal(state)) == normal(state)
    assert normal(state).neighbours == (Neighbour("a", str(address), "0a:58:00:00:00:01"),)
