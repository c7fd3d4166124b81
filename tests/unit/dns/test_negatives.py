"""What does not exist, what exists and holds nothing, and what is none of ours, at each level of the tree."""

from __future__ import annotations

import pytest

from fairway.dns.errors import BadZone
from fairway.dns.zone import Zone
from tests.unit.dns.cluster import answer, ask, endpoints, external, namespace, pod, put, service

SOA = "cluster.local. 5 IN SOA kube-dns.kube-system.svc.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"


@pytest.fixture(scope="module")
def zone() -> Zone:
    return put(
        Zone(reverse=("10.96.0.0/12", "10.244.0.0/16", "fd00:10:96::/108")),
        namespace("default"),
        namespace("empty"),
        service("web", "default", "10.96.1.2", ports=["http:80/TCP"]),
        service("pets", "default", "None", ports=["http:80/TCP"]),
        endpoints("pets", "10.244.0.5", ports=["http:80/TCP"]),
        service("v6", "unheard-of", "fd00:10:96::2"),
        external("docs", "www.example.com"),
        pod("a", "10.244.0.5"),
    )


TABLE = """
cluster.local                                       A     NOERROR   the zone itself
svc.cluster.local                                   A     NOERROR   Services are below it
pod.cluster.local                                   A     NOERROR   Pods are below it
default.svc.cluster.local                           A     NOERROR   a namespace with Services
empty.svc.cluster.local                             A     NOERROR   a namespace without Services
unheard-of.svc.cluster.local                        A     NOERROR   a Service was told before its namespace
nowhere.svc.cluster.local                           A     NXDOMAIN  no such namespace
default.pod.cluster.local                           A     NOERROR   a namespace with Pods
empty.pod.cluster.local                             A     NOERROR   a namespace without Pods
nowhere.pod.cluster.local                           A     NXDOMAIN  no such namespace
web.default.svc.cluster.local                       AAAA  NOERROR   a Service without the asked family
web.default.svc.cluster.local                       TXT   NOERROR   a type that Services do not have
web.default.svc.cluster.local                       65    NOERROR   HTTPS, a type that we know nothing of
v6.unheard-of.svc.cluster.local                     A     NOERROR   a Service without the asked family
none.default.svc.cluster.local                      A     NXDOMAIN  no such Service
web.empty.svc.cluster.local                         A     NXDOMAIN  that Service is in another namespace
_tcp.web.default.svc.cluster.local                  SRV   NOERROR   named ports are below it
_udp.web.default.svc.cluster.local                  SRV   NXDOMAIN  no port of that protocol
_http._tcp.web.default.svc.cluster.local            A     NOERROR   the name of an SRV record
_none._tcp.web.default.svc.cluster.local            SRV   NXDOMAIN  no such port
x._http._tcp.web.default.svc.cluster.local          SRV   NXDOMAIN  deeper than the tree
http._tcp.web.default.svc.cluster.local             SRV   NXDOMAIN  a port label without underscore
10-96-1-2.web.default.svc.cluster.local             A     NXDOMAIN  endpoints have names below headless Services only
_tcp.pets.default.svc.cluster.local                 A     NOERROR   named ports are below it
10-244-0-6.pets.default.svc.cluster.local           A     NXDOMAIN  no such endpoint
_tcp.docs.default.svc.cluster.local                 SRV   NXDOMAIN  an ExternalName Service has no ports
10-244-0-6.default.pod.cluster.local                A     NXDOMAIN  no such Pod
x.10-244-0-5.default.pod.cluster.local              A     NXDOMAIN  deeper than the tree
dns-version.cluster.local                           A     NOERROR   it has text only
default.cluster.local                               A     NXDOMAIN  no such kind of name
web.default.svc                                     A     REFUSED   the search list was left off
cluster                                             A     REFUSED   above the zone
local                                               SOA   REFUSED   above the zone
mycluster.local                                     A     REFUSED   beside the zone
www.example.com                                     A     REFUSED   none of ours
2.1.96.10.in-addr.arpa                              A     NOERROR   an address holds a PTR record only
1.96.10.in-addr.arpa                                PTR   NOERROR   known addresses are below it
2.96.10.in-addr.arpa                                PTR   NXDOMAIN  no known address is below it
3.1.96.10.in-addr.arpa                              PTR   NXDOMAIN  no such address
1.0.111.10.in-addr.arpa                             PTR   NXDOMAIN  the last address block of the /12
1.0.112.10.in-addr.arpa                             PTR   REFUSED   the first one after it
97.10.in-addr.arpa                                  PTR   NOERROR   a reverse zone of ours
10.in-addr.arpa                                     PTR   REFUSED   above our reverse zones
02.1.96.10.in-addr.arpa                             PTR   NXDOMAIN  not how 2 is written
x.1.96.10.in-addr.arpa                              PTR   NXDOMAIN  no address at all
0/25.1.96.10.in-addr.arpa                           PTR   NXDOMAIN  no address at all
1.2.1.96.10.in-addr.arpa                            PTR   NXDOMAIN  deeper than an address
6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa                    PTR   REFUSED   above our reverse zones
"""

ROWS = [tuple(line.split(maxsplit=3)) for line in TABLE.strip().splitlines()]


@pytest.mark.parametrize(("name", "type", "rcode", "why"), ROWS, ids=[f"{row[0]} {row[1]}" for row in ROWS])
def test_empty_answers(zone: Zone, name: str, type: str, rcode: str, why: str) -> None:
    given = answer(zone, f"{name} {type}")
    assert (given.rcode.name, given.answer) == (rcode, ()), why
    assert given.authoritative == (rcode != "REFUSED")


def test_an_alias_answers_every_type_and_one_that_leaves_the_zone_ends_there(zone: Zone) -> None:
    given = answer(zone, "docs.default.svc.cluster.local SOA")
    assert [str(each) for each in given.answer] == ["docs.default.svc.cluster.local. 5 IN CNAME www.example.com."]
    assert (given.rcode.name, given.authority) == ("NOERROR", ())


def test_a_negative_answer_tells_how_long_it_may_be_kept(zone: Zone) -> None:
    for name in ("none.default.svc.cluster.local", "default.svc.cluster.local"):
        assert [str(each) for each in answer(zone, f"{name} A").authority] == [SOA]


def test_a_negative_reverse_answer_comes_from_the_reverse_zone(zone: Zone) -> None:
    (soa,) = answer(zone, "3.1.96.10.in-addr.arpa PTR").authority
    assert str(soa).startswith("96.10.in-addr.arpa. 5 IN SOA kube-dns.kube-system.svc.cluster.local. hostmaster.96.10.")


def test_what_we_refuse_has_no_authority(zone: Zone) -> None:
    assert answer(zone, "www.example.com A").authority == ()


def test_the_zone_tells_its_authority_and_name_server(zone: Zone) -> None:
    assert ask(zone, "cluster.local SOA") == [SOA]
    assert ask(zone, "cluster.local NS") == ["cluster.local. 5 IN NS kube-dns.kube-system.svc.cluster.local."]
    assert ask(zone, "97.10.in-addr.arpa NS") == ["97.10.in-addr.arpa. 5 IN NS kube-dns.kube-system.svc.cluster.local."]


def test_any_is_answered_with_one_record_set() -> None:
    zone = put(Zone(), service("web", "default", "10.96.1.2", "fd00::2"))
    assert ask(zone, "web.default.svc.cluster.local ANY") == ["web.default.svc.cluster.local. 5 IN A 10.96.1.2"]
    assert ask(zone, "default.svc.cluster.local ANY") == ["NOERROR"]


def test_another_domain_and_ttl() -> None:
    zone = put(Zone("k8s.example.org.", 30), service("web", "default", "10.96.1.2"))
    assert ask(zone, "web.default.svc.k8s.example.org A") == ["web.default.svc.k8s.example.org. 30 IN A 10.96.1.2"]
    assert ask(zone, "web.default.svc.cluster.local A") == ["REFUSED"]


@pytest.mark.parametrize("domain", ["", ".", "a..b", "x" * 64, "d" * 60 + ".example", "bücher.example"])
def test_a_domain_that_cannot_be_served_is_told_at_once(domain: str) -> None:
    with pytest.raises(BadZone, match=r"is no domain name|too long"):
        Zone(domain)


def test_a_reverse_range_that_is_none_is_told_at_once() -> None:
    with pytest.raises(BadZone, match=r"'10\.96\.0\.0/33' is no address range"):
        Zone(reverse=("10.96.0.0/33",))
