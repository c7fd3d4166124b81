"""`-m set` against sets that were saved, one packet at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairway.packet import Protocol
from fairway.ruleset.ipset import parse
from fairway.ruleset.iptables_match import understand
from fairway.trace.conditions import May, Scene, holds
from fairway.trace.ipsets import Sets
from fairway.trace.steps import Hook, State
from tests.unit.trace.test_conditions import PACKET
from tests.unit.trace.test_routing import NODE

SAVED = """
create pods hash:ip family inet hashsize 1024 maxelem 65536 timeout 300
add pods 10.244.0.7 timeout 12
create none hash:ip family inet hashsize 1024 maxelem 65536
create halves hash:ip family inet hashsize 1024 maxelem 65536 netmask 24
add halves 10.244.0.0
create pools hash:net family inet hashsize 1024 maxelem 65536
add pools 10.0.0.0/8
add pools 10.96.0.0/12 nomatch
add pools 10.96.0.1 comment "but this one"
create holes hash:net family inet hashsize 1024 maxelem 65536
add holes 10.0.0.0/8
add holes 10.244.0.0/16 nomatch
create doors hash:ip,port family inet hashsize 1024 maxelem 65536
add doors 10.96.0.1,tcp:443
add doors 10.96.0.1,icmp:echo-request
create gates hash:net,port family inet hashsize 1024 maxelem 65536
add gates 10.96.0.0/16,tcp:443
add gates 10.96.0.1,tcp:443 nomatch
create trios hash:ip,port,ip family inet hashsize 1024 maxelem 65536
add trios 10.244.0.7,tcp:443,10.96.0.1
create bands hash:ip,port,net family inet hashsize 1024 maxelem 65536
add bands 10.244.0.7,tcp:443,10.96.0.0/12
create pairs hash:net,net family inet hashsize 1024 maxelem 65536
add pairs 10.244.0.0/16,10.0.0.0/8
add pairs 10.244.0.0/24,10.0.0.0/8 nomatch
add pairs 10.244.0.0/24,10.96.0.0/12
create marks hash:ip,mark family inet markmask 0x0000ffff hashsize 1024 maxelem 65536
add marks 10.244.0.7,0x00004001
create ways hash:net,iface family inet hashsize 1024 maxelem 65536
add ways 10.244.0.0/16,cni wildcard
add ways 10.96.0.0/12,cni+
add ways 10.96.0.0/16,physdev:eth0
add ways 10.0.0.0/8,eth0
create range bitmap:ip range 10.244.0.0-10.244.255.255 netmask 24
add range 10.244.0.0
create ports bitmap:port range 0-1024
add ports 443
create six hash:ip family inet6 hashsize 1024 maxelem 65536
add six fd00::7
create cards hash:ip,mac family inet hashsize 1024 maxelem 65536
add cards 10.244.0.7,02:00:00:00:00:01
create odd hash:tuple,ip
create any list:set size 8
add any six
add any doors
add any pods
create maybe list:set size 8
add maybe odd
add maybe six
add maybe absent
create circle list:set size 8
add circle circle
"""
SCENE = Scene(Hook.FORWARD, NODE, sets=Sets(parse(SAVED)))


def ask(spec: str, state: State = PACKET, scene: Scene = SCENE) -> object:
    return holds(understand(f"-m set {spec}").matches[0], state, scene)


@pytest.mark.parametrize(
    ("spec", "truth"),
    [
        ("--match-set pods src", True),
        ("--match-set pods dst", False),
        ("! --match-set pods src", False),
        ("! --match-set pods dst", True),
        ("--set pods src", True),
        ("--match-set pods src,dst", True),  # what is too much is not looked at
        ("--match-set none src", False),
        ("--match-set halves src", True),
        ("--match-set pools dst", True),  # the longest network decides: 10.96.0.1/32
        ("--match-set pools src", True),
        ("--match-set holes src", False),
        ("! --match-set holes src", True),
        ("--match-set holes src --return-nomatch", True),
        ("--match-set holes dst --return-nomatch", False),
        ("--match-set pods src --return-nomatch", True),  # sets of addresses have no exceptions
        ("--match-set doors dst,dst", True),
        ("--match-set doors dst,src", False),
        ("--match-set doors src,dst", False),
        ("--match-set doors dst", False),  # too few dimensions: never
        ("! --match-set doors dst", True),
        ("--match-set gates dst,dst", False),
        ("--match-set gates dst,dst --return-nomatch", True),
        ("--match-set trios src,dst,dst", True),
        ("--match-set trios dst,dst,src", False),
        ("--match-set bands src,dst,dst", True),
        ("--match-set pairs src,dst", True),  # the longest first network, and of those the longest second
        ("--match-set marks src,src", True),
        ("--match-set marks dst,src", False),
        ("--match-set ways src,src", True),
        ("--match-set ways src,dst", False),  # the wider network with eth0 is not tried beside one with cni
        ("! --match-set ways src,dst", True),
        ("--match-set ways dst,src", False),
        ("--match-set range src", True),
        ("--match-set range dst", False),
        ("--match-set ports dst", True),
        ("--match-set ports src", False),
        ("--match-set six src", False),
        ("! --match-set six src", True),
        ("--match-set cards dst,src", False),
        ("--match-set any src,dst", True),
        ("--match-set any dst,dst", True),
        ("--match-set any dst,src", False),
        ("--match-set pods dst --packets-gt 3", False),
        ("--match-set pods src ! --update-counters ! --update-subcounters", True),
    ],
)
def test_a_set_that_was_saved(spec: str, truth: bool) -> None:
    assert ask(spec) is truth


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("--match-set absent src", "what set absent holds was not given (`ipset save` prints it)"),
        ("! --match-set absent src", "what set absent holds was not given (`ipset save` prints it)"),
        ("--match-set odd src,src", "set odd is not understood: its type hash:tuple,ip"),
        ("--match-set cards src,src", "the packet's hardware addresses are not known"),
        ("--match-set pods src --packets-gt 3", "how often packets met set pods is not known"),
        ("--match-set maybe src,src", "set odd is not understood: its type hash:tuple,ip"),
        ("--match-set circle src", "set circle lists a set of sets, which no kernel does"),
        ("--match-set pods nowhere", "`-m set --match-set pods nowhere` is not understood"),
        ("--match-set pods src --novelty", "`-m set --match-set pods src --novelty` is not understood"),
    ],
)
def test_a_set_that_nobody_can_tell_of(spec: str, reason: str) -> None:
    assert ask(spec) == May(reason)


def test_exceptions_and_devices_of_one_network_that_contradict_each_other() -> None:
    saved = "create a hash:net,iface family inet\nadd a 10.0.0.0/8,cni wildcard\nadd a 10.0.0.0/8,cni0 nomatch\n"
    scene = replace(SCENE, sets=Sets(parse(saved)))
    assert ask("--match-set a src,src", scene=scene) == May("set a has elements that contradict each other")


def test_ports_are_those_of_the_packet_s_protocol() -> None:
    udp, sctp = replace(PACKET, protocol=Protocol.UDP), replace(PACKET, protocol=Protocol.SCTP)
    assert ask("--match-set doors dst,dst", udp) is False
    assert ask("--match-set ports dst", udp) is True
    assert ask("--match-set ports dst", sctp) is False  # sets of ports alone know TCP and UDP


def test_a_hook_without_the_device_has_none() -> None:
    at = replace(SCENE, hook=Hook.OUTPUT)
    assert ask("--match-set ways src,src", scene=at) is False
    assert ask("--match-set ways src,dst", replace(PACKET, out_device=""), at) == May(
        "the outgoing device is not known"
    )


def test_a_set_that_the_packet_changed_on_its_way() -> None:
    changed = replace(PACKET, changed_sets=frozenset({"pods"}))
    assert ask("--match-set pods src", changed) == May("rules on its way change set pods")
    assert ask("--match-set any dst,src", changed) == May("rules on its way change set pods")


def test_a_source_that_is_not_known_may_be_in_any_set() -> None:
    assert isinstance(ask("--match-set pods src", replace(PACKET, source="")), May)
    assert ask("--match-set pools dst", replace(PACKET, source="")) is True


def test_sets_see_where_a_packet_came_in_even_as_it_leaves() -> None:
    at = replace(SCENE, hook=Hook.POSTROUTING)
    assert ask("--match-set ways src,src", scene=at) is True
    assert ask("--match-set ways src,src", replace(PACKET, in_device=""), at) is False
