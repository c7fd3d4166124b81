"""Rules worked out from objects, against what a proxy was seen to write for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest

from fairway.assemble import computed, tracing
from fairway.assemble.catalogue import Catalogue
from fairway.assemble.destinations import QuestionError
from fairway.packet import Family
from fairway.trace.journey import End
from tests.golden import cases, nodes


def catalogue(name: str) -> Catalogue:
    """A golden's objects, with its node and another one."""
    loaded: dict[str, Any] = msgspec.json.decode((cases.FOLDER / f"{name}.json").read_bytes())
    described = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": node},
            "spec": {"podCIDRs": [pods]},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        }
        for node, address, pods in (("node-a", "10.0.0.11", "10.244.1.0/24"), ("node-b", "10.0.0.12", "10.244.2.0/24"))
    ]
    items = [cases.KUBERNETES, *loaded["objects"], *described]
    return Catalogue.read(msgspec.json.encode({"kind": "List", "apiVersion": "v1", "items": items}), name)


@pytest.mark.parametrize("number", ["01", "03", "06", "08", "21", "48"])
def test_the_rules_are_those_of_the_golden(number: str) -> None:
    case = nodes.case(number)
    found = computed.gathered(catalogue(case.name), "node-a", ("10.244.0.0/16",))
    family, _, ruleset = found.iptables[0]
    assert family is Family.IPV4
    held = {chain: kept.rules for chain, kept in ruleset.tables["nat"].chains.items()}
    assert rules(held) == rules(case.expected[family]["nat"])


def rules(chains: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    """The rules that depend on Services, in any order."""
    return sorted((chain, rule) for chain, kept in chains.items() for rule in kept if chain.startswith("KUBE-S"))


def test_a_packet_is_followed_by_them_and_a_note_says_whose_they_are() -> None:
    objects = catalogue(nodes.case("01").name)
    gathered = computed.gathered(objects, "node-a")
    answer = tracing.ask_of(gathered, objects, tracing.Question("10.244.1.9", "10.96.203.6:8080"))
    assert answer.delivered
    assert [str(part) for part in answer.trace.shares.values()] == ["1/3"] * 3
    assert answer.trace.packet.in_interface == "cni0"
    assert answer.trace.notes[0].startswith("Nobody looked at node-a:")
    assert "10.244.0.0/16" in answer.trace.notes[0]


def test_a_packet_is_followed_to_the_node_of_its_endpoint_and_its_answer_back() -> None:
    objects = catalogue(nodes.case("01").name)
    question = tracing.Question("10.244.1.9", "10.96.203.6:8080")
    answer = tracing.ask_of(computed.gathered(objects, "node-a"), objects, question, computed.world(objects))
    over = [[leg.trace.node.name for leg in journey.onward] for journey in answer.journeys.values()]
    assert over == [[], [], ["node-b"]]
    assert {journey.end for journey in answer.journeys.values()} == {End.RIGHT}


def test_an_unknown_node_is_refused_with_those_there_are() -> None:
    with pytest.raises(QuestionError, match="choose one of node-a, node-b"):
        computed.gathered(catalogue(nodes.case("01").name), "node-z")
