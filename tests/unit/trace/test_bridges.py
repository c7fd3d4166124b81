"""`-m physdev`: what is certain about bridges' ports, and where only a port's name is missing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairway.ruleset.iptables_match import understand
from fairway.trace.conditions import May, Scene, holds
from fairway.trace.routing import Settings
from fairway.trace.steps import Hook, State
from tests.unit.trace.test_conditions import PACKET
from tests.unit.trace.test_routing import NODE

PORTS = {"eth0": frozenset[str](), "cni0": frozenset({"veth1", "veth2"})}
SETTINGS = Settings(ports=PORTS)
ROUTED = replace(PACKET, in_device="cni0", out_device="eth0", destination="192.0.2.9").connect()
NEIGHBOUR = replace(PACKET, in_device="cni0", out_device="cni0", destination="10.244.0.9")
TRANSLATED = replace(PACKET, in_device="cni0").connect()
TRANSLATED = replace(TRANSLATED, out_device="cni0", destination="10.244.0.9", destination_translated=True)
OUTSIDE = replace(PACKET, in_device="eth0", out_device="cni0", source="192.0.2.9")
OWN = replace(PACKET, in_device="", out_device="cni0")


def ask(spec: str, state: State, hook: Hook = Hook.FORWARD, settings: Settings = SETTINGS) -> object:
    return holds(understand(f"-m physdev {spec}").matches[0], state, Scene(hook, NODE, settings=settings))


def may(port: str = "cni0") -> May:
    return May(f"by which port of {port} the packet goes is not known")


@pytest.mark.parametrize("state", [OUTSIDE, OWN, replace(OWN, in_device="lo", out_device="")])
@pytest.mark.parametrize(
    "spec",
    ["--physdev-is-in", "--physdev-is-out", "--physdev-is-bridged", "--physdev-in veth1", "--physdev-out veth1"],
)
def test_what_came_by_no_bridge_has_no_port(spec: str, state: State) -> None:
    assert ask(spec, state) is False
    assert ask(f"! {spec}", state) is True


@pytest.mark.parametrize(
    ("spec", "routed", "handed_on"),
    [
        ("--physdev-is-in", True, True),
        ("! --physdev-is-in", False, False),
        ("--physdev-is-out", False, True),
        ("--physdev-is-bridged", False, True),
        ("! --physdev-is-bridged", True, False),
        ("--physdev-in veth+", True, True),
        ("--physdev-in veth1", may(), may()),
        ("! --physdev-in veth1", may(), may()),
        ("--physdev-in eth0", False, False),
        ("--physdev-out veth2", False, may()),
        (
            "! --physdev-out veth2",
            False,
            may(),
        ),  # a routed packet that came by a port leaves by none, whatever is asked
        ("! --physdev-out eth0", False, True),
        ("! --physdev-is-out", True, False),
        ("--physdev-out veth+", False, True),
    ],
)
def test_what_came_by_a_bridge(spec: str, routed: object, handed_on: object) -> None:
    assert ask(spec, ROUTED) == routed
    assert ask(spec, NEIGHBOUR) == handed_on
    assert ask(spec, TRANSLATED) == handed_on


def test_a_bridge_of_one_port_leaves_no_choice() -> None:
    one = replace(SETTINGS, ports={"cni0": frozenset({"veth1"})})
    assert ask("--physdev-in veth1", ROUTED, settings=one) is True
    assert ask("--physdev-in veth2", ROUTED, settings=one) is False


@pytest.mark.parametrize("hook", [Hook.PREROUTING, Hook.INPUT])
def test_before_it_is_known_where_it_leaves_nothing_is_handed_on(hook: Hook) -> None:
    assert ask("--physdev-is-bridged", NEIGHBOUR, hook) is False
    assert ask("--physdev-is-out", NEIGHBOUR, hook) is False
    assert ask("--physdev-is-in", NEIGHBOUR, hook) is True


def test_bridges_that_do_not_ask_the_rules() -> None:
    silent = replace(SETTINGS, bridge_rules=False)
    for spec in ("--physdev-is-in", "--physdev-is-bridged", "--physdev-in veth+"):
        assert ask(spec, NEIGHBOUR, settings=silent) is False


def test_devices_that_nobody_listed() -> None:
    unlisted = May("whether cni0 is a bridge is not known (`ip addr` tells)")
    assert ask("--physdev-is-in", ROUTED, settings=Settings()) == unlisted
    assert ask("--physdev-is-bridged", ROUTED, settings=Settings()) is False


def test_back_by_the_bridge_it_came_from_to_no_neighbour() -> None:
    strange = replace(NEIGHBOUR, destination="192.0.2.9")
    assert ask("--physdev-is-bridged", strange) == May(
        "whether cni0 hands the packet on or the node routes it is not known"
    )


def test_an_option_that_is_not_known() -> None:
    assert ask("--physdev-sideways", ROUTED) == May("`-m physdev --physdev-sideways` is not understood")
