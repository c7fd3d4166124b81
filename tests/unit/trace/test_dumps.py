"""Dumps as engineers pasted them between 2016 and 2018, followed as far as they go."""

from __future__ import annotations

import ipaddress
from fractions import Fraction
from pathlib import Path

from fairway.node import Interface, Node
from fairway.packet import Outcome, Packet, Protocol, Verdict
from fairway.ruleset.iptables import Ruleset, parse
from fairway.ruleset.iptables_list import parse_listing
from fairway.ruleset.iptables_match import understand
from fairway.trace.steps import Trace
from fairway.trace.walk import trace

DUMPS = Path(__file__).parents[2] / "dumps"
WORKER = Node("worker", interfaces=(Interface("eth0", (ipaddress.ip_interface("192.168.1.5/24"),)),))
UNKNOWN = Outcome(Verdict.UNKNOWN)


def read(name: str) -> Ruleset:
    text = (DUMPS / f"{name}.txt").read_text()
    return parse_listing(text) if text.startswith("Chain ") else parse(text)


def send(name: str, source: str, destination: str, port: int, device: str = "eth0", node: Node = WORKER) -> Trace:
    return trace(read(name), node, Packet(source, destination, Protocol.TCP, port, in_interface=device))


def thirds(*endpoints: str, masqueraded: bool = False) -> dict[Outcome, Fraction]:
    return {Outcome(Verdict.ENDPOINT, endpoint, masqueraded): Fraction(1, 3) for endpoint in endpoints}


HTTPD = ("10.244.1.28:80", "10.244.1.29:80", "10.244.2.22:80")
MYHTTPD = ("10.244.1.32:80", "10.244.1.33:80", "10.244.2.26:80")
NGINX = ("10.244.0.113:80", "10.244.0.114:80", "10.244.0.115:80")


def test_nothing_in_the_dumps_is_unknown() -> None:
    for path in DUMPS.glob("*.txt"):
        for chain in read(path.stem).tables["nat"].chains.values():
            for rule in chain.rules:
                assert understand(rule).unknown == (), rule


def test_a_pod_reaches_the_cluster_ip_as_itself() -> None:
    found = send("httpd-clusterip-nodeport-grep-2017", "10.244.0.9", "10.96.203.6", 8080, "cni0")
    assert found.outcomes() == thirds(*HTTPD)


def test_a_source_that_is_no_pod_is_masqueraded_not_refused() -> None:
    """`! -s 10.244.0.0/16 ... -j KUBE-MARK-MASQ` does not "allow" pods: it marks everybody else."""
    found = send("httpd-clusterip-nodeport-grep-2017", "192.168.1.9", "10.96.203.6", 8080)
    assert found.outcomes() == thirds(*HTTPD, masqueraded=True)


def test_a_node_port_is_masqueraded_for_everybody() -> None:
    for source in ("192.168.1.9", "10.244.0.9"):
        found = send("httpd-clusterip-nodeport-grep-2017", source, "192.168.1.5", 30000)
        assert found.outcomes() == thirds(*MYHTTPD, masqueraded=True)


def test_a_hairpin_is_masqueraded_by_the_endpoint_s_own_chain() -> None:
    found = send("httpd-clusterip-nodeport-grep-2017", "10.244.1.32", "10.104.223.18", 8080, "cni0")
    assert found.outcomes() == {**thirds(*MYHTTPD[1:]), **thirds(MYHTTPD[0], masqueraded=True)}


def test_a_cluster_ip_and_a_node_port_of_2018() -> None:
    inside = send("nodeport-grep-2018", "10.244.0.9", "10.98.128.179", 80, "cni0")
    outside = send("nodeport-grep-2018", "192.168.1.9", "192.168.1.5", 30136)
    assert inside.outcomes() == thirds(*NGINX)
    assert outside.outcomes() == thirds(*NGINX, masqueraded=True)


def test_what_was_assumed_is_said() -> None:
    notes = " ".join(send("nodeport-grep-2018", "192.168.1.9", "192.168.1.5", 30136).notes)
    for missing in ("PREROUTING", "KUBE-MARK-MASQ", "POSTROUTING", "KUBE-POSTROUTING", "no filter table", "routes"):
        assert missing in notes


def test_a_service_that_a_piece_leaves_out_may_be_there() -> None:
    found = send("clusterip-grep-2018", "10.244.0.9", "10.96.0.1", 443, "cni0")
    left_out = "The rules may not show all of chain KUBE-SERVICES: a Service that they leave out is not seen."
    assert left_out in found.notes
    assert left_out not in send("nodeport-grep-2018", "10.244.0.9", "10.98.128.179", 80, "cni0").notes


def test_without_the_node_s_addresses_a_node_port_is_a_maybe() -> None:
    found = send("nodeport-grep-2018", "192.168.1.9", "192.168.1.5", 30136, node=Node(""))
    assert found.outcomes() == {UNKNOWN: Fraction(1)}
    assert [(p.outcome.endpoint, p.probability, p.chance) for p in found.branches[:3]] == [
        (endpoint, None, Fraction(1, 3)) for endpoint in NGINX
    ]
    assert found.branches[3].outcome.verdict is Verdict.UNTRANSLATED


def test_a_dump_that_lacks_the_service_s_chain_still_names_its_endpoints() -> None:
    found = send("clusterip-grep-2018", "10.244.0.9", "10.98.51.150", 80, "cni0")
    assert found.outcomes() == {UNKNOWN: Fraction(1)}
    assert "KUBE-SVC-3FL7SSXCKTCXAYCR of table nat is missing" in " ".join(found.notes)
    assert "10.244.0.88:80, 10.244.0.90:80, 10.244.0.89:80" in " ".join(found.notes)


def test_a_listing_that_shows_one_endpoint_of_three() -> None:
    found = send("nginx-list-verbose-2016", "10.1.13.9", "10.0.0.252", 8000, "docker0")
    assert found.outcomes() == {**thirds("10.1.13.2:80"), UNKNOWN: Fraction(2, 3)}
    assert [path.reason for path in found.branches[1:]] == [
        f"the rules at hand lack chain KUBE-SEP-{chain}" for chain in ("XY3F6VJIZ7ELIF4Z", "JIDZHFC4A3T535AK")
    ]


def test_a_dump_that_declares_its_chains_is_taken_at_its_word() -> None:
    declared = "*nat\n:PREROUTING ACCEPT\n:KUBE-SERVICES -\n:KUBE-SVC-A -\n-A KUBE-SERVICES -j KUBE-SVC-A\nCOMMIT"
    packet = Packet("10.244.0.9", "10.96.0.1", Protocol.TCP, 80, in_interface="cni0")
    found = trace(parse(declared), WORKER, packet)
    assert found.outcomes() == {Outcome(Verdict.UNTRANSLATED): Fraction(1)}
    assert not any("assumed" in note or "leave out" in note for note in found.notes)
