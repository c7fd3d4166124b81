"""What nftables mode alone does: cluster IPs guarded, clients remembered across a restart."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from fairway.dataplane.base import Update
from fairway.dataplane.nft_layout import AFFINITY, declared, table_name
from fairway.dataplane.nft_sync import NftSync
from fairway.desired.build import build
from fairway.desired.model import Desired
from fairway.kernel.linux import netns
from fairway.kernel.linux.conntrack import LinuxConntrack
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.packet import Family
from tests.kernel.proxy_scene import PORT, SILENT, Scene, scene
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, service

pytestmark = pytest.mark.kernel

IPS = {"IPv4": "10.96.0.20", "IPv6": "fd00:10:96::20"}
GUARDING = replace(
    OPTIONS,
    cluster_cidrs=("10.244.0.0/16", "fd00:10:244::/48"),
    guarded_cidrs=("10.96.0.0/16", "fd00:10:96::/112"),
)


@pytest.fixture(scope="module")
def world() -> Iterator[Scene]:
    with scene() as built:
        yield built


@pytest.fixture
def kernel(world: Scene) -> Iterator[LinuxNftables]:
    """The node's, which no rules of ours are left in."""
    opened = LinuxNftables(world.paths["node"])
    yield opened
    NftSync(opened, LinuxConntrack(world.paths["node"])).clean()
    opened.close()


def web(world: Scene, *endpoints: str, **spec: object) -> Desired:
    pieces = [endpoint_slice("web", *map(endpoint, endpoints), port=PORT)]
    both = service("web", IPS["IPv4"], clusterIPs=[*IPS.values()], **spec)
    return build([both], pieces, world.node(), GUARDING)


def knock(world: Scene, who: str, address: str, protocol: int) -> str:
    """What a sender of echo requests (or of a protocol without ports) hears: an ICMP error of that type, or nothing."""
    six = ":" in address
    kind = socket.AF_INET6 if six else socket.AF_INET
    icmp = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    echo = b"\x80\0\0\0\0\1\0\1" if six else b"\x08\0\xf7\xfd\0\1\0\1"
    path = world.paths[who]
    listening = netns.open_socket_in(path, lambda: socket.socket(kind, socket.SOCK_RAW, icmp))
    sending = netns.open_socket_in(path, lambda: socket.socket(kind, socket.SOCK_RAW, protocol))
    with listening, sending:
        with contextlib.suppress(PermissionError):  # what a process of the node hears of its own packets
            sending.sendto(echo, (address, 0))
        end = time.monotonic() + 0.5
        while (left := end - time.monotonic()) > 0:
            listening.settimeout(left)
            try:
                data = listening.recv(1500)
            except TimeoutError:
                break
            said = data if six else data[20:]
            if (said[0], said[1]) == ((1, 4) if six else (3, 3)):
                return "port unreachable"
    return SILENT


@pytest.mark.parametrize("family", [*IPS])
@pytest.mark.parametrize("who", ["pod-7", "node", "outside"])
@pytest.mark.parametrize("protocol", ["icmp", "gre"])
def test_what_has_no_ports_is_refused_at_a_cluster_ip(
    world: Scene, kernel: LinuxNftables, family: str, who: str, protocol: str
) -> None:
    """As the reference does: a cluster IP is no machine that could be pinged. An address that no Service has is
    silent."""
    number = 47 if protocol == "gre" else socket.IPPROTO_ICMPV6 if family == "IPv6" else socket.IPPROTO_ICMP
    sync = NftSync(kernel, LinuxConntrack(world.paths["node"]))
    sync.sync(Update.of(web(world, "10.244.0.5")))

    assert knock(world, who, IPS[family], number) == "port unreachable"
    assert knock(world, who, IPS[family][:-2] + "99", number) == SILENT


def remaining(kernel: LinuxNftables) -> dict[bytes, tuple[bytes, int]]:
    """Who is remembered where, and for how many milliseconds more."""
    found = kernel.elements(table_name(Family.IPV4), declared(Family.IPV4, AFFINITY))
    return {key: (element.data, element.expires_ms) for key, element in found}


def test_a_restart_lengthens_no_affinity(world: Scene, kernel: LinuxNftables) -> None:
    sticky = web(
        world,
        "10.244.0.5",
        "10.244.0.6",
        sessionAffinity="ClientIP",
        sessionAffinityConfig={"clientIP": {"timeoutSeconds": 3}},
    )
    conntrack = LinuxConntrack(world.paths["node"])
    NftSync(kernel, conntrack).sync(Update.of(sticky))
    chosen = world.ask("pod-7", IPS["IPv4"], 80)
    begun = time.monotonic()
    ((key, (data, _)),) = remaining(kernel).items()

    while (left := remaining(kernel)[key][1]) > 2500:
        time.sleep(0.01)
    NftSync(kernel, conntrack).sync(Update.of(sticky))

    assert remaining(kernel)[key][0] == data
    assert remaining(kernel)[key][1] <= left
    while remaining(kernel):
        assert time.monotonic() - begun < 3.5
        time.sleep(0.01)
    assert chosen.startswith("10.244.0.")


def test_a_client_that_is_remembered_goes_on_after_a_restart(world: Scene, kernel: LinuxNftables) -> None:
    sticky = web(world, "10.244.0.5", "10.244.0.6", sessionAffinity="ClientIP")
    conntrack = LinuxConntrack(world.paths["node"])
    for _ in range(3):
        NftSync(kernel, conntrack).sync(Update.of(sticky))
        assert len(world.spread("pod-7", IPS["IPv4"], 80, 10)) == 1
    assert len(remaining(kernel)) == 1
