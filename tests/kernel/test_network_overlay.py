"""Two nodes on a segment, a pod on each, and the overlay between them: packets on the real kernel.

segment: br0 --- node-a: eth0 10.0.0.11, cni0 10.244.0.1, flannel.1 --- pod-a: 10.244.0.2, fd00:10:244::2
             \\-- node-b: eth0 10.0.0.12, cni0 10.244.1.1, flannel.1 --- pod-b: 10.244.1.2, fd00:10:244:1::2
             \\-- outside: eth0 10.0.0.100
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fairway.kernel.base import Bridge, LinkState, Veth
from fairway.kernel.linux import links as linux_links
from fairway.kernel.linux import netns, rtnetlink, sysctl
from fairway.kernel.linux.links import LinuxLinks
from fairway.kernel.linux.netfilter import LinuxNetfilter
from fairway.kernel.linux.netlink import ROUTE, Netlink, NetlinkError, Request
from fairway.network import masquerade
from fairway.network.flannel import Peer, address_mac, node_links, vtep_mac
from fairway.packet import Family
from tests.plan import NODES, OUTSIDE_CLIENT, POD_RANGE

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not shutil.which("ip"), reason="iproute2, the independent witness, is not installed"),
]
PREFIX = f"fwt-{os.getpid()}"
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2  # linux/in.h: set "do not fragment", and refuse what would need it
PEERS = {
    name: Peer(name, NODES[name], vtep_mac(name), (f"10.244.{i}.0/24", f"fd00:10:244:{i}::/64"))
    for i, name in enumerate(("node-a", "node-b"))
}
POD = {"pod-a": ("10.244.0.2", "fd00:10:244:0::2"), "pod-b": ("10.244.1.2", "fd00:10:244:1::2")}


@dataclass
class Cluster:
    """Paths of the namespaces by name, the nodes' links and what they were asked to be."""

    paths: dict[str, str]
    links: dict[str, LinuxLinks] = field(default_factory=dict)
    wanted: dict[str, LinkState] = field(default_factory=dict)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    names = ("segment", "outside", *PEERS, *POD)
    try:
        built = Cluster({name: netns.create(f"{PREFIX}-{name}") for name in names})
        _segment(built)
        for node, pod in zip(PEERS, POD, strict=True):
            _node(built, node)
            _pod(built, node, pod)
        yield built
    finally:
        for name in names:
            netns.delete(f"{PREFIX}-{name}")


def _segment(built: Cluster) -> None:
    links = LinuxLinks(built.paths["segment"])
    links.apply(LinkState(bridges=(Bridge("br0", 1500),)))
    for name, address in {**{n: NODES[n] for n in PEERS}, "outside": OUTSIDE_CLIENT}.items():
        links.add_veth(Veth(name, "eth0", built.paths[name], master="br0", mtu=1500, peer_addresses=(f"{address}/24",)))


def _node(built: Cluster, name: str) -> None:
    own, path = PEERS[name], built.paths[name]
    built.links[name] = LinuxLinks(path)
    built.wanted[name] = node_links(name, own.pod_cidrs, own.public_ip, "eth0", list(PEERS.values()))
    built.links[name].apply(built.wanted[name])
    rules = masquerade.rules(Family.IPV4, own.pod_cidrs, [POD_RANGE])
    LinuxNetfilter(path).restore(Family.IPV4, masquerade.missing(rules, ""))


def _pod(built: Cluster, node: str, pod: str) -> None:
    four, six = POD[pod]
    built.links[node].add_veth(
        Veth(
            f"veth-{pod}",
            "eth0",
            built.paths[pod],
            master="cni0",
            hairpin=True,
            peer_mac=address_mac(four),
            peer_addresses=(f"{four}/24", f"{six}/64"),
            peer_gateways=(f"{four[:-1]}1", f"{six[:-1]}1"),
        )
    )


def udp(cluster: Cluster, place: str, address: str) -> socket.socket:
    """A datagram socket in a namespace, bound, with two seconds' patience."""
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = netns.open_socket_in(cluster.paths[place], lambda: socket.socket(kind, socket.SOCK_DGRAM))
    opened.settimeout(2)
    opened.bind((address, 0))
    return opened


def source_seen(cluster: Cluster, sender: str, receiver: str, to: str) -> str:
    """Who a datagram from `sender` to the address `to` of `receiver` seems to be from; its answer must come back."""
    anything = "::" if ":" in to else "0.0.0.0"
    with udp(cluster, receiver, to) as server, udp(cluster, sender, anything) as client:
        client.sendto(b"ping", server.getsockname()[:2])
        data, seen = server.recvfrom(100)
        server.sendto(data + b" pong", seen)
        assert client.recvfrom(100)[0] == b"ping pong"
        return str(seen[0])


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize(("one", "other"), [("pod-a", "pod-b"), ("pod-b", "pod-a")])
def test_pods_reach_each_other_across_nodes_with_their_own_addresses(
    cluster: Cluster, one: str, other: str, family: int
) -> None:
    assert source_seen(cluster, one, other, POD[other][family]) == str(_ip(POD[one][family]))


def test_a_node_reaches_its_own_pod_from_the_bridge(cluster: Cluster) -> None:
    assert source_seen(cluster, "node-a", "pod-a", POD["pod-a"][0]) == "10.244.0.1"


def test_a_node_reaches_another_nodes_pod_from_its_vtep(cluster: Cluster) -> None:
    assert source_seen(cluster, "node-a", "pod-b", POD["pod-b"][0]) == "10.244.0.0"


def test_outside_the_cluster_a_pod_looks_like_its_node(cluster: Cluster) -> None:
    assert source_seen(cluster, "pod-a", "outside", OUTSIDE_CLIENT) == NODES["node-a"]


def test_the_largest_packet_crosses_in_one_piece_and_a_larger_one_is_refused(cluster: Cluster) -> None:
    """1450 bytes are 20 of IP, 8 of UDP and 1422 of data; over IPv6 the header takes 20 more."""
    for family, largest in ((0, 1422), (1, 1402)):
        with (
            udp(cluster, "pod-b", POD["pod-b"][family]) as server,
            udp(cluster, "pod-a", POD["pod-a"][family]) as client,
        ):
            level = socket.IPPROTO_IPV6 if family else socket.IPPROTO_IP
            option = 23 if family else IP_MTU_DISCOVER  # IPV6_MTU_DISCOVER
            client.setsockopt(level, option, IP_PMTUDISC_DO)
            client.sendto(b"x" * largest, server.getsockname()[:2])
            assert len(server.recv(2000)) == largest
            with pytest.raises(OSError) as refused:
                client.sendto(b"x" * (largest + 1), server.getsockname()[:2])
            assert refused.value.errno == errno.EMSGSIZE


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_a_stream_of_full_segments_arrives_whole(cluster: Cluster, family: int) -> None:
    data = os.urandom(2_000_000)
    kind, address = socket.AF_INET6 if family else socket.AF_INET, POD["pod-b"][family]
    with (
        netns.open_socket_in(cluster.paths["pod-b"], lambda: socket.create_server((address, 0), family=kind)) as server,
        netns.open_socket_in(cluster.paths["pod-a"], lambda: socket.socket(kind)) as client,
    ):
        client.settimeout(10)
        client.connect(server.getsockname()[:2])
        sender = threading.Thread(target=_send_all, args=(client, data))
        sender.start()
        received = _read_all(server)
        sender.join()
    assert received == data


def _send_all(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)


def _read_all(server: socket.socket) -> bytes:
    server.settimeout(5)
    connection, _ = server.accept()
    with connection:
        connection.settimeout(10)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_applied_again_nothing_is_sent(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = watch(monkeypatch)
    for name, links in cluster.links.items():
        links.apply(cluster.wanted[name], cluster.wanted[name])
    assert sent == []


def test_a_pod_attached_again_changes_nothing_but_setting_its_ends_up(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = watch(monkeypatch)
    _pod(cluster, "node-a", "pod-a")
    assert [request.what for request in sent] == ["set lo up", f"set eth0 in {cluster.paths['pod-a']}"]


def watch(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Every change sent to the kernel from now on, and every sysctl written fails the test."""
    sent: list[Request] = []
    send = Netlink.send

    def record(kernel: Netlink, requests: Sequence[Request]) -> list[NetlinkError | None]:
        sent.extend(requests)
        return send(kernel, requests)

    monkeypatch.setattr(Netlink, "send", record)
    monkeypatch.setattr(sysctl, "write", lambda settings: pytest.fail(str(settings)) if settings else None)
    return sent


def test_a_peer_that_goes_takes_exactly_its_entries_with_it(cluster: Cluster) -> None:
    third = Peer("node-c", "10.0.0.13", vtep_mac("node-c"), ("10.244.2.0/24", "fd00:10:244:2::/64"))
    own, links, two = PEERS["node-a"], cluster.links["node-a"], cluster.wanted["node-a"]
    three = node_links("node-a", own.pod_cidrs, own.public_ip, "eth0", [*PEERS.values(), third])
    before = entries(cluster, "node-a")

    links.apply(three, two)
    with_third = entries(cluster, "node-a")
    links.apply(two, three)

    assert with_third - before == {
        ("route", "10.244.2.0/24", "10.244.2.0"),
        ("route", "fd00:10:244:2::/64", "fd00:10:244:2::"),
        ("neighbour", "10.244.2.0", third.vtep_mac),
        ("neighbour", "fd00:10:244:2::", third.vtep_mac),
        ("forwarding", third.vtep_mac, "10.0.0.13"),
    }
    assert entries(cluster, "node-a") == before
    assert source_seen(cluster, "pod-a", "pod-b", POD["pod-b"][0]) == POD["pod-a"][0], "and the others never notice"


def entries(cluster: Cluster, node: str) -> set[tuple[str, ...]]:
    """The overlay's entries as iproute2 sees them."""
    routes = [*witness(cluster, node, "ip", "-4", "route"), *witness(cluster, node, "ip", "-6", "route")]
    neighbours = witness(cluster, node, "ip", "neigh", "show", "dev", "flannel.1")
    forwarding = witness(cluster, node, "bridge", "fdb", "show", "dev", "flannel.1")
    return {
        *(("route", r["dst"], r["gateway"]) for r in routes if r["dev"] == "flannel.1" and "gateway" in r),
        *(("neighbour", n["dst"], n["lladdr"]) for n in neighbours if "PERMANENT" in n["state"]),
        *(("forwarding", f["mac"], f["dst"]) for f in forwarding),
    }


def witness(cluster: Cluster, place: str, program: str, *words: str) -> list[dict[str, Any]]:
    with netns.entered(cluster.paths[place]):
        run = subprocess.run([program, "-d", "-j", *words], check=True, capture_output=True, text=True)
    found: list[dict[str, Any]] = json.loads(run.stdout or "[]")
    return found


def test_the_overlay_is_as_flannel_lays_it(cluster: Cluster) -> None:
    (device,) = witness(cluster, "node-a", "ip", "link", "show", "flannel.1")
    data = device["linkinfo"]["info_data"]
    assert {k: data[k] for k in ("id", "local", "link", "port", "learning")} == {
        "id": 1,
        "local": "10.0.0.11",
        "link": "eth0",
        "port": 8472,
        "learning": False,
    }
    (bridge,) = witness(cluster, "node-a", "ip", "link", "show", "cni0")
    assert (bridge["mtu"], bridge["linkinfo"]["info_data"]["stp_state"]) == (1450, 0)
    (port,) = witness(cluster, "node-a", "ip", "link", "show", "veth-pod-a")
    assert (port["master"], port["linkinfo"]["info_slave_data"]["hairpin"]) == ("cni0", True)
    assert (
        "onlink" in next(r for r in witness(cluster, "node-a", "ip", "route") if r["dst"] == "10.244.1.0/24")["flags"]
    )


def test_the_bridge_keeps_its_mtu_and_mac_when_ports_come_and_go(cluster: Cluster) -> None:
    links = cluster.links["node-a"]
    (before,) = witness(cluster, "node-a", "ip", "link", "show", "cni0")
    links.add_veth(Veth("veth-big", "big", cluster.paths["outside"], master="cni0", mtu=9000))
    links.delete_link("veth-big")
    links.add_veth(Veth("veth-tiny", "tiny", cluster.paths["outside"], master="cni0", mtu=1280))
    links.delete_link("veth-tiny")
    (after,) = witness(cluster, "node-a", "ip", "link", "show", "cni0")
    assert (after["mtu"], after["address"]) == (before["mtu"], before["address"]) == (1450, "0a:58:0a:f4:00:01")


def test_what_somebody_turned_is_turned_back(cluster: Cluster) -> None:
    """A device set down, an MTU changed, a wrong MAC in an entry: the next apply corrects each, and packets flow."""
    for words in (
        ("ip", "link", "set", "cni0", "mtu", "1300"),
        ("ip", "link", "set", "flannel.1", "down"),
        ("ip", "link", "set", "veth-pod-a", "type", "bridge_slave", "hairpin", "off"),
    ):
        with netns.entered(cluster.paths["node-a"]):
            subprocess.run(words, check=True)
    wanted = cluster.wanted["node-a"]
    wrong = tuple(replace(f, destination="10.0.0.99") for f in wanted.forwarding)
    cluster.links["node-a"].apply(LinkState(forwarding=wrong))

    cluster.links["node-a"].apply(wanted)
    _pod(cluster, "node-a", "pod-a")

    (bridge,) = witness(cluster, "node-a", "ip", "link", "show", "cni0")
    (port,) = witness(cluster, "node-a", "ip", "link", "show", "veth-pod-a")
    assert (bridge["mtu"], port["linkinfo"]["info_slave_data"]["hairpin"]) == (1450, True)
    for family in (0, 1):
        assert source_seen(cluster, "pod-a", "pod-b", POD["pod-b"][family]) == str(_ip(POD["pod-a"][family]))


def test_a_pod_whose_namespace_changed_is_connected_anew(cluster: Cluster) -> None:
    """The same veth name for another sandbox: the old pair goes, and nothing of it stays in the old namespace."""
    name = f"{PREFIX}-again"
    links = cluster.links["node-b"]
    try:
        path = netns.create(name)
        links.add_veth(Veth("veth-x", "eth7", cluster.paths["outside"], master="cni0"))
        links.add_veth(Veth("veth-x", "eth7", path, master="cni0", peer_addresses=("10.244.1.9/24",)))
        assert "eth7" not in {i.name for i in LinuxLinks(cluster.paths["outside"]).interfaces()}
        assert [i.name for i in LinuxLinks(path).interfaces()] == ["eth7"]
    finally:
        netns.delete(name)
        links.delete_link("veth-x")


def test_a_pods_first_packet_arrives(cluster: Cluster) -> None:
    """The moment it is connected, from the node and back, over and over: a bridge port that is not told of its carrier
    at once would drop some of them, and ARP asks again only after a second."""
    name, links = f"{PREFIX}-first", cluster.links["node-b"]
    late = []
    for attempt in range(60):
        try:
            cluster.paths["first"] = netns.create(name)
            pod = Veth("veth-first", "eth0", cluster.paths["first"], master="cni0", peer_addresses=("10.244.1.7/24",))
            links.add_veth(replace(pod, peer_mac=address_mac("10.244.1.7")))
            with udp(cluster, "first", "10.244.1.7") as server, udp(cluster, "node-b", "10.244.1.1") as client:
                server.settimeout(0.3)
                client.sendto(b"first", server.getsockname())
                server.recv(100)
        except TimeoutError:
            late.append(attempt)
        finally:
            netns.delete(name)
            links.delete_link("veth-first")
    assert late == []


def test_a_carrier_that_comes_late_is_waited_for_by_its_notice(cluster: Cluster) -> None:
    path = cluster.paths["outside"]
    links = cluster.links["node-b"]
    links.add_veth(Veth("veth-late", "late", path))
    try:
        far = LinuxLinks(path)
        far.switch("late", on=False)
        with netns.entered(cluster.paths["node-b"]), Netlink(ROUTE) as near:
            assert not rtnetlink.read_link(near.ask(rtnetlink.get_link("veth-late")).body).carries
            later = threading.Timer(0.05, far.switch, ("late", True))
            later.start()
            linux_links._await_carrier(near, "veth-late")
            assert rtnetlink.read_link(near.ask(rtnetlink.get_link("veth-late")).body).carries
            later.join()
    finally:
        links.delete_link("veth-late")


def test_a_namespace_ends_with_its_name(cluster: Cluster) -> None:
    """Nothing of ours holds a namespace open: with its name, the pod's veth goes from the node."""
    name = f"{PREFIX}-short"
    links = cluster.links["node-b"]
    with Netlink(ROUTE, cluster.paths["node-b"]) as kernel:

        def exists(device: str) -> bool:
            error = kernel.send([Request(rtnetlink.GET_LINK, 0, rtnetlink.get_link(device).body, "look")])[0]
            return error is None

        path = netns.create(name)
        links.add_veth(Veth("veth-short", "eth0", path, master="cni0", peer_addresses=("10.244.1.8/24",)))
        with Netlink(ROUTE, cluster.paths["node-b"], groups=rtnetlink.LINK_NOTICES) as notices:
            netns.delete(name)
            while exists("veth-short"):
                assert notices.notified(10)


def _ip(text: str) -> str:
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, text)) if ":" in text else text
