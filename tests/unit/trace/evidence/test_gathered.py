"""Addresses, routes, policy rules, settings and connections as the walk sees them."""

from __future__ import annotations

import ipaddress

import pytest

from fairway.packet import Family, Outcome, Packet, Protocol, Verdict
from fairway.trace.evidence import texts
from fairway.trace.evidence.gathered import Gathered
from fairway.trace.evidence.texts import EvidenceError, Kind
from fairway.trace.steps import Event, Trace
from fairway.trace.walk import trace

ADDRESSES = """\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
2: eth0@if5: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group default
    link/ether 02:42:0a:00:00:0b brd ff:ff:ff:ff:ff:ff link-netnsid 0
    inet 10.0.0.11/24 brd 10.0.0.255 scope global eth0
       valid_lft forever preferred_lft forever
    inet6 fd00::11/64 scope global
    inet6 fe80::42:aff:fe00:b/64 scope link
3: cni0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450
    inet 10.244.1.1/24 scope global cni0
4: wan: <BROADCAST,UP>
    inet 192.0.2.2/24 scope global wan
"""
ROUTES = """\
default via 10.0.0.1 dev eth0 proto static metric 100
10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.11
10.244.1.0/24 dev cni0 proto kernel scope link src 10.244.1.1
10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink
192.0.2.0/24 dev wan scope link
blackhole 10.250.0.0/16
unreachable 10.251.0.0/16 metric 10
default via 192.0.2.1 dev wan table 100
local 10.0.0.11 dev eth0 table local proto kernel scope host src 10.0.0.11
broadcast 10.0.0.255 dev eth0 table local proto kernel scope link src 10.0.0.11
10.9.0.0/16 proto bird
\tnexthop via 10.0.0.21 dev eth0 weight 1
\tnexthop via 10.0.0.22 dev eth0 weight 1
"""
POLICY = """\
0:\tfrom all lookup local
90:\tfrom all fwmark 0x8/0xff lookup 100
100:\tfrom 10.244.1.7 lookup 100
110:\tfrom all to 10.66.0.0/16 prohibit
120:\tfrom all uidrange 0-99 lookup 100
130:\tfrom 10.244.1.9 lookup 300
32766:\tfrom all lookup main
"""
RULES = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"
DNAT = RULES.replace(
    "COMMIT\n*f", "-A PREROUTING -d 10.96.0.9/32 -p tcp -j DNAT --to-destination 10.244.1.3:80\nCOMMIT\n*f"
)


def gather(**more: str) -> Gathered:
    kinds = {"rules": None, "settings": Kind.SETTINGS, "connections": Kind.CONNECTIONS, "policy": Kind.POLICY}
    given = {"rules": RULES, "policy": POLICY} | more
    found = [texts.read(name, text.encode(), kinds[name]) for name, text in given.items()]
    found += [texts.read("a", ADDRESSES.encode()), texts.read("r", ROUTES.encode())]
    return Gathered.read(found, "node-a")


def send(destination: str, source: str = "10.244.1.5", device: str = "cni0", port: int = 40000, **more: str) -> Trace:
    scene = gather(**more).scene(Family.IPV4)
    packet = Packet(source, destination, Protocol.TCP, 80, port, device)
    return trace(scene.rules, scene.node, packet, settings=scene.settings, connections=scene.connections)


def way(found: Trace) -> tuple[str, str]:
    return found.branches[0].egress.device, found.branches[0].egress.via


def test_devices_and_addresses() -> None:
    node = gather().scene(Family.IPV4).node
    assert [(i.name, [str(a) for a in i.addresses]) for i in node.interfaces] == [
        ("eth0", ["10.0.0.11/24", "fd00::11/64"]),
        ("cni0", ["10.244.1.1/24"]),
        ("wan", ["192.0.2.2/24"]),
    ]
    assert node.pod_cidrs == (ipaddress.ip_network("10.244.1.0/24"),)


def test_without_ip_addr_the_local_table_tells_addresses() -> None:
    found = Gathered.read([texts.read("r", ROUTES.encode())]).scene(Family.IPV4)
    assert [(i.name, [str(a) for a in i.addresses]) for i in found.node.interfaces] == [("eth0", ["10.0.0.11/24"])]


@pytest.mark.parametrize(
    ("destination", "egress"),
    [
        ("10.244.2.9", ("flannel.1", "10.244.2.0")),
        ("10.244.1.9", ("cni0", "")),
        ("198.51.100.1", ("eth0", "10.0.0.1")),
        ("10.9.1.1", ("eth0", "10.0.0.21")),
    ],
)
def test_routes_lead_as_they_say(destination: str, egress: tuple[str, str]) -> None:
    assert way(send(destination)) == egress


def test_policy_rules_come_first_where_they_ask_for_the_packet() -> None:
    assert way(send("198.51.100.1", source="10.244.1.7")) == ("wan", "192.0.2.1")
    route = next(s for s in send("198.51.100.1", source="10.244.1.7").branches[0].steps if s.event is Event.ROUTE)
    assert route.detail == "default via 192.0.2.1 dev wan table 100 (rule 100: from 10.244.1.7/32 lookup 100)"
    marked = RULES.replace("COMMIT\n*f", "-A PREROUTING -s 10.244.1.8/32 -j MARK --set-xmark 0x8/0xff\nCOMMIT\n*f")
    assert way(send("198.51.100.1", source="10.244.1.8", rules=marked)) == ("wan", "192.0.2.1")


@pytest.mark.parametrize(
    ("destination", "verdict"),
    [("10.250.1.1", Verdict.DROPPED), ("10.251.1.1", Verdict.REJECTED), ("10.66.0.1", Verdict.REJECTED)],
)
def test_routes_and_rules_that_refuse(destination: str, verdict: Verdict) -> None:
    assert send(destination).branches[0].outcome.verdict is verdict


def test_what_is_not_followed_is_said() -> None:
    notes = " ".join(gather().scene(Family.IPV4).notes)
    assert "also asks for `uidrange 0-99`" in notes
    assert "the routes of table 300 were not given" in notes
    assert "The route to 10.9.0.0/16 has several next hops; the first is taken." in notes


@pytest.mark.parametrize(
    ("switches", "verdict"),
    [
        ("net.ipv4.conf.all.rp_filter = 0\nnet.ipv4.conf.wan.rp_filter = 1", Verdict.DROPPED),
        ("net.ipv4.conf.all.rp_filter = 1", Verdict.DROPPED),
        ("net.ipv4.conf.all.rp_filter = 1\nnet.ipv4.conf.wan.rp_filter = 2", Verdict.UNTRANSLATED),
        ("net.ipv4.conf.all.rp_filter = 0", Verdict.UNTRANSLATED),
        ("net.ipv4.ip_forward = 0", Verdict.DROPPED),
    ],
)
def test_switches(switches: str, verdict: Verdict) -> None:
    """A packet from a client behind eth0 comes in by wan."""
    found = send("10.244.1.9", source="10.0.0.77", device="wan", settings=switches)
    assert found.branches[0].outcome.verdict is verdict


ENTRY = (
    "tcp      6 431999 ESTABLISHED src=10.244.1.5 dst=10.96.0.9 sport=51000 dport=80 "
    "src=10.244.2.77 dst=10.244.1.5 sport=8080 dport=51000 [ASSURED] mark=3 use=1\n"
)


def test_a_connection_goes_on_to_where_it_began_to_go() -> None:
    known = send("10.96.0.9", port=51000, rules=DNAT, connections=ENTRY)
    other = send("10.96.0.9", port=51001, rules=DNAT, connections=ENTRY)
    assert list(known.outcomes()) == [Outcome(Verdict.ENDPOINT, "10.244.2.77:8080")]
    assert list(other.outcomes()) == [Outcome(Verdict.ENDPOINT, "10.244.1.3:80")]
    step = next(s for s in known.branches[0].steps if s.event is Event.KNOWN)
    assert step.detail == "a packet of a connection, ESTABLISHED, 431999 s left"
    assert step.packet.connection_mark == 3


def test_an_answer_is_translated_back() -> None:
    found = send("10.244.1.5", source="10.244.2.77", device="flannel.1", port=8080, rules=DNAT, connections=ENTRY)
    assert found.branches[0].source_seen == "10.244.2.77"  # the entry is of port 51000, this is for port 80
    scene = gather(rules=DNAT, connections=ENTRY).scene(Family.IPV4)
    packet = Packet("10.244.2.77", "10.244.1.5", Protocol.TCP, 51000, 8080, "flannel.1")
    answer = trace(scene.rules, scene.node, packet, connections=scene.connections)
    assert answer.branches[0].source_seen == "10.96.0.9"


def test_rules_see_established_only_once_it_was_answered() -> None:
    rule = "-A FORWARD -m conntrack --ctstate ESTABLISHED -j DROP\nCOMMIT\n"
    rules = DNAT.removesuffix("COMMIT\n") + rule
    unanswered = ENTRY.replace("[ASSURED]", "[UNREPLIED]")
    assert send("10.96.0.9", port=51000, rules=rules, connections=ENTRY).branches[0].outcome.verdict is Verdict.DROPPED
    still = send("10.96.0.9", port=51000, rules=rules, connections=unanswered)
    assert still.branches[0].outcome == Outcome(Verdict.ENDPOINT, "10.244.2.77:8080")


@pytest.mark.parametrize(
    ("kind", "text", "complaint"),
    [
        (Kind.ADDRESSES, "    inet 10.0.0.1/24 scope global eth0\n", "line 1: an address before any device"),
        (Kind.ADDRESSES, "2: eth0: <UP>\n    inet 10.0.0.300/24\n", "line 2: '10.0.0.300/24' does not appear"),
        (Kind.ROUTES, "default via 10.0.0.1 dev eth0\nnonsense dev eth0\n", "line 2: 'nonsense' does not appear"),
        (Kind.ROUTES, "\tnexthop via 10.0.0.1 dev eth0\n", "line 1: a next hop before any route"),
        (Kind.ROUTES, "default via 10.0.0.1 dev eth0 metric many\n", "line 1: invalid literal"),
        (Kind.POLICY, "0: from all lookup local\nall\n", "line 2: expected `PRIORITY: from"),
        (Kind.POLICY, "0: from\n", "line 1: "),
        (Kind.CONNECTIONS, ENTRY + "tcp 6 nonsense\n", "line 2: expected a line of conntrack -L"),
        (Kind.CONNECTIONS, "tcp 6 1 X src=1.1.1.1\n", "line 1: expected src, dst, sport and dport twice"),
        (Kind.SETTINGS, "net.ipv4.ip_forward = 1\n:::\n", "line 2: expected `name = value`"),
    ],
)
def test_lines_that_are_of_no_kind(kind: Kind, text: str, complaint: str) -> None:
    with pytest.raises(EvidenceError, match=f"^f: {complaint}"):
        Gathered.read([texts.read("f", text.encode(), kind)])


def test_files_that_contradict_each_other() -> None:
    one = texts.read("one", b"*nat\n:X - [0:0]\n-A X -j ACCEPT\nCOMMIT\n")
    two = texts.read("two", b"*nat\n:X - [0:0]\n-A X -j DROP\nCOMMIT\n")
    with pytest.raises(EvidenceError, match="two: chain X of table nat differs from another file's"):
        Gathered.read([one, two]).scene(Family.IPV4)


def test_pieces_of_a_chain_in_several_files_follow_each_other() -> None:
    one = texts.read("one", b"-A KUBE-SERVICES -d 10.96.0.1/32 -j X\n")
    two = texts.read("two", b"-A KUBE-SERVICES -d 10.96.0.2/32 -j Y\n")
    rules = Gathered.read([one, two]).scene(Family.IPV4).rules.iptables
    assert rules is not None
    assert len(rules.tables["nat"].chains["KUBE-SERVICES"].rules) == 2


def test_each_family_has_its_own_rules() -> None:
    four = texts.read("four", b"*nat\n:X - [0:0]\n-A X -d 10.96.0.1/32 -j ACCEPT\nCOMMIT\n")
    six = texts.read("six", b"*nat\n:X - [0:0]\n-A X -d fd00::1/128 -j ACCEPT\nCOMMIT\n")
    both = Gathered.read([four, six])
    for family, word in ((Family.IPV4, "10.96.0.1"), (Family.IPV6, "fd00::1")):
        rules = both.scene(family).rules.iptables
        assert rules is not None and [word in rule for rule in rules.tables["nat"].chains["X"].rules] == [True]


def test_lists_of_clients_come_with_the_rules() -> None:
    listed = texts.read("recent", b"KUBE-SEP-AAAAAAAAAAAAAAAA 10.244.1.5 12.500\nL fd00:0::5 0\n", Kind.CLIENTS)
    assert Gathered.read([listed]).scene(Family.IPV4).rules.remembered == {
        "KUBE-SEP-AAAAAAAAAAAAAAAA": {"10.244.1.5": 12.5},
        "L": {"fd00::5": 0.0},
    }
    assert Gathered.read([]).scene(Family.IPV4).rules.remembered is None


@pytest.mark.parametrize(
    "line", ["L 10.244.1.5", "L somebody 3", "L 10.244.1.5 nan", "L 10.244.1.5 -1", "L 10.0.0.1 1e9"]
)
def test_a_line_that_is_no_client_is_named(line: str) -> None:
    with pytest.raises(EvidenceError, match="expected `LIST ADDRESS SECONDS`") as caught:
        Gathered.read([texts.read("recent", f"L 10.0.0.9 1\n{line}\n".encode(), Kind.CLIENTS)])
    assert caught.value.line == 2
