"""The doctor on nodes whose proxy is the reference: rules as it writes them are no findings."""

from __future__ import annotations

import pytest

from fairway.assemble.doctor.rules import Held, compare
from fairway.packet import Family
from fairway.ruleset.nft_parse import parse
from fairway.trace.connections import Connections
from fairway.trace.evidence.gathered import Scene
from fairway.trace.routing import Settings
from fairway.trace.walk import Rules
from tests.golden import cases, nodes
from tests.golden.test_nft_reference import as_in_nftables_mode
from tests.golden.test_nft_text import NAMES, reference


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found_in_its_nftables_mode(name: str, family: Family) -> None:
    golden = as_in_nftables_mode(nodes.case(name.partition("-")[0]))
    scene = Scene(Rules(nft=parse(reference(name)), whole=True), golden.node, Settings(), Connections())

    assert list(compare(Held(golden.desired, golden.node, scene, family))) == []


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("name", cases.NAMES)
def test_nothing_is_found_in_its_iptables_mode(name: str, family: Family) -> None:
    golden = nodes.case(name.partition("-")[0])
    localhost = any(facts.localhost_node_ports for facts in golden.desired.facts.values())
    rules = Rules(iptables=nodes.rules(golden, family), whole=True)
    scene = Scene(rules, golden.node, Settings(route_localnet=localhost), Connections())

    assert list(compare(Held(golden.desired, golden.node, scene, family))) == []
