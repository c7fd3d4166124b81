"""Load-balancer addresses on a lab's segment: who answers for them, and who when a node dies."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.cluster import Lab, until

pytestmark = pytest.mark.lab
NODES = {"node-a", "node-b", "node-c"}
V4, V6 = "10.0.0.200", "fd00:a::200"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab(f"t{os.getpid()}an"[:16])
    try:
        made.up(3, "--ip-family", "dual", "--router")
        serve = ("/agnhost", "netexec", "--http-port=80")
        made.kubectl("create", "deployment", "web", "--image=agnhost", "--replicas=3", "--", *serve)
        yield made
    finally:
        made.down()


def announced(lab: Lab) -> dict[str, dict[str, Any]]:
    """What `fairway lb` tells of each address."""
    told = json.loads(lab.fairway("lb", "-o", "json"))
    return {each["address"]: each for each in told["announcements"]}


def announcer(lab: Lab, address: str = V4) -> str:
    """The node that announces an address and whose Lease lives; "" for none."""
    found = announced(lab).get(address)
    return found["node"] if found and not found["silent"] else ""


def answers(lab: Lab, address: str, client: str = "client") -> bool:
    url = f"http://[{address}]/hostname" if ":" in address else f"http://{address}/hostname"
    return lab.curl(client, url, allow=True).startswith("web-")


def test_an_exposed_service_is_reached_from_outside_in_both_families(lab: Lab) -> None:
    spec = {"spec": {"ipFamilyPolicy": "RequireDualStack"}}
    lab.kubectl("expose", "deployment", "web", "--port=80", "--type=LoadBalancer", f"--overrides={json.dumps(spec)}")
    until(lambda: announcer(lab) in NODES and announcer(lab, V6) in NODES, "nodes announce both addresses")
    for client in ("client", "far"):
        for address in (V4, V6):
            until(lambda c=client, a=address: answers(lab, a, c), f"{address} answers {client}")  # type: ignore[misc]
    page = lab.curl(announcer(lab), "http://127.0.0.1:10260/metrics")
    assert re.search(r"^fairway_announcer_addresses [12]$", page, re.M)
    assert f"{V4},{V6}" in lab.kubectl("get", "service", "web", "--no-headers")


def test_a_dead_nodes_addresses_are_taken_by_others_and_stay_there(lab: Lab) -> None:
    dead = announcer(lab)
    would = json.loads(lab.fairway("lb", "--if-dead", dead, "-o", "json"))["if_dead"]
    lab.fairway("kill-node", dead)
    until(lambda: announcer(lab) in NODES - {dead}, "another node announces it")
    heir = announcer(lab)
    assert would["takers"][V4] == heir
    assert announced(lab)[V4]["why"] == f"the Lease of {dead}, which announced it, ended"
    for client in ("client", "far"):
        until(lambda c=client: answers(lab, V4, c), f"it answers {client}")  # type: ignore[misc]
    until(lambda: f"{heir} announces {V4}" in lab.kubectl("get", "events"), "an Event tells")
    lab.fairway("start-node", dead)
    until(lambda: dead in announced(lab)[V4]["next"], "the node is back")
    assert announcer(lab) == heir


def test_an_api_server_that_is_away_moves_nothing(lab: Lab) -> None:
    before = (announcer(lab), announced(lab)[V4]["since"])
    os.kill(lab.status()["units"]["api"]["pid"], 9)
    until(lambda: lab.status()["units"]["api"]["restarts"] > 0, "the server was started again")
    until(lambda: answers(lab, V4), "the address answers")
    until(lambda: announcer(lab) != "", "Leases are renewed")
    assert (announcer(lab), announced(lab)[V4]["since"]) == before


def test_a_cordoned_node_hands_over(lab: Lab) -> None:
    old = announcer(lab)
    lab.kubectl("cordon", old)
    until(lambda: announcer(lab) not in ("", old), "another node announces it")
    assert announced(lab)[V4]["why"] == f"{old} should not any more"
    assert answers(lab, V4)
    lab.kubectl("uncordon", old)


def test_under_local_a_node_with_an_endpoint_announces(lab: Lab) -> None:
    lab.kubectl("scale", "deployment", "web", "--replicas=1")
    until(lambda: len(lab.pods("app=web")) == 1, "one pod is left")
    lab.kubectl("patch", "service", "web", "-p", '{"spec": {"externalTrafficPolicy": "Local"}}')
    [pod] = lab.pods("app=web")
    until(lambda: announcer(lab) == announcer(lab, V6) == pod["spec"]["nodeName"], "the pod's node announces both")
    until(lambda: answers(lab, V4) and answers(lab, V6, "far"), "both answer")


def test_what_is_not_to_be_announced_any_more_is_not(lab: Lab) -> None:
    lab.kubectl("delete", "service", "web")
    until(lambda: not announced(lab), "nothing is to be announced")
    until(lambda: not answers(lab, V4), "nobody answers")
