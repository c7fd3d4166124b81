"""The guard of cluster IPs: nobody may use an address of the ranges as if a machine had it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairway.desired.build import build
from fairway.desired.decide import decide
from fairway.desired.model import Desired
from fairway.packet import Outcome, Packet, Protocol, Verdict
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, node, service

RANGE = "10.96.0.0/12"
LIVE, UNKNOWN, ELSEWHERE = "10.96.0.20", "10.96.0.21", "198.51.100.9"


def state(guarded: tuple[str, ...] | None) -> Desired:
    pieces = [endpoint_slice("web", endpoint("10.244.0.5"))]
    return build([service("web", LIVE)], pieces, node(), replace(OPTIONS, guarded_cidrs=guarded))


def fate(guarded: tuple[str, ...] | None, to: str, port: int, protocol: Protocol = Protocol.TCP) -> Verdict:
    packet = Packet("10.244.0.9", to, protocol, port, in_interface="cni0")
    (outcome,) = decide(state(guarded), node(), packet)
    return outcome.verdict


@pytest.mark.parametrize(
    ("guarded", "to", "port", "verdict"),
    [
        ((RANGE,), LIVE, 80, Verdict.ENDPOINT),
        ((RANGE,), LIVE, 81, Verdict.REJECTED),
        ((RANGE,), UNKNOWN, 80, Verdict.DROPPED),
        ((RANGE,), ELSEWHERE, 80, Verdict.UNTRANSLATED),
        ((), LIVE, 81, Verdict.REJECTED),
        ((), UNKNOWN, 80, Verdict.UNTRANSLATED),
        (None, LIVE, 81, Verdict.UNTRANSLATED),
        (None, UNKNOWN, 80, Verdict.UNTRANSLATED),
    ],
)
def test_what_is_refused_and_what_is_silent(
    guarded: tuple[str, ...] | None, to: str, port: int, verdict: Verdict
) -> None:
    assert fate(guarded, to, port) is verdict


def test_the_protocol_is_part_of_the_port() -> None:
    assert fate((RANGE,), LIVE, 80, Protocol.UDP) is Verdict.REJECTED


def test_the_node_s_own_processes_are_guarded_and_what_is_for_the_node_is_not() -> None:
    guarded = state((RANGE,))

    sent = decide(guarded, node(), Packet("10.0.0.11", UNKNOWN, Protocol.TCP, 80))
    within = replace(guarded, settings=replace(guarded.settings, guarded_cidrs=("10.0.0.0/8",)))
    delivered = decide(within, node(), Packet("10.0.0.100", "10.0.0.11", Protocol.TCP, 22, in_interface="eth0"))

    assert sent == {Outcome(Verdict.DROPPED): 1}
    assert delivered == {Outcome(Verdict.UNTRANSLATED): 1}
