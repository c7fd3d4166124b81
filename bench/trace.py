"""What it costs to explain a packet on a node of a large cluster.

    python bench/trace.py [SERVICES ...]        (default 1000 10000; five endpoints each)

For each number of Services, in both modes of the proxy: a dump as `fairway render` prints it, read from its bytes (the
time until the first packet can be followed); one packet to a cluster IP explained (walked, its answers too, and written
as a note), for Services at the beginning, in the middle and at the end of the rules, as the median and the worst; the
memory of the whole process. As floor, how long Python takes to split the text into its lines and words.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Sequence

from fairway.assemble import rendering
from fairway.assemble.proxyflags import Mode, RuleFlags
from fairway.assemble.travelling import journeys
from fairway.packet import Family, Packet, Protocol
from fairway.trace import explain
from fairway.trace.evidence import texts
from fairway.trace.evidence.gathered import Gathered
from fairway.trace.journey import Alone
from fairway.trace.walk import trace

ENDPOINTS = 5
PACKETS = 30
ADDRESSES = b"2: eth0: <UP>\n    inet 10.0.0.11/24 scope global eth0\n"
ROUTES = b"default via 10.0.0.1 dev eth0\n10.0.0.0/24 dev eth0\n10.128.0.0/9 dev flannel.1\n"


def cluster_ip(number: int) -> str:
    return f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def endpoint(number: int) -> str:
    return f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def objects(services: int) -> bytes:
    """Services with their EndpointSlices, as kubectl prints them."""
    items: list[dict[str, object]] = []
    for number in range(services):
        name = f"service-{number}"
        spec = {
            "clusterIP": cluster_ip(number),
            "clusterIPs": [cluster_ip(number)],
            "ipFamilies": ["IPv4"],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
        }
        items.append({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
        endpoints = [
            {"addresses": [endpoint(number * ENDPOINTS + place)], "conditions": {"ready": True}, "nodeName": "node-b"}
            for place in range(ENDPOINTS)
        ]
        metadata = {"name": f"{name}-abcde", "labels": {"kubernetes.io/service-name": name}}
        ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
        items.append(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": metadata,
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": endpoints,
            }
        )
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items}).encode()


def dump(services: int, mode: Mode) -> bytes:
    """What the node's proxy would have loaded."""
    question = rendering.Question("objects", "node-a", "10.0.0.11/24")
    wanted, _ = rendering.desired(question, objects(services), mode, RuleFlags(cluster_cidr="10.128.0.0/9"))
    return rendering.rules(wanted, mode, Family.IPV4, False).encode()


def measure(mode: Mode, services: int, raw: bytes) -> None:
    """Print one row. Runs in a process of its own, whose memory is the reader's alone."""
    began = time.perf_counter()
    words = sum(len(line.split()) for line in raw.decode().splitlines())
    floor = time.perf_counter() - began
    began = time.perf_counter()
    around = [texts.read("ip-addr", ADDRESSES), texts.read("ip-route", ROUTES)]
    scene = Gathered.read([texts.read("rules", raw), *around]).scene(Family.IPV4)
    read = time.perf_counter() - began
    took = []
    for number in range(PACKETS):
        address = cluster_ip(number * (services - 1) // (PACKETS - 1))
        began = time.perf_counter()
        packet = Packet("10.128.0.9", address, Protocol.TCP, 80, in_interface="cni0")
        found = trace(scene.rules, scene.node, packet, settings=scene.settings)
        explain.text(found, journeys=journeys(scene, found, Alone()))
        took.append((time.perf_counter() - began) * 1000)
        assert len(found.outcomes()) == ENDPOINTS
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{mode:9} {services:8} {raw.count(bytes([10])):9} {floor:8.2f} {read:8.2f} {took[0]:9.1f} "
        f"{statistics.median(took):9.1f} {max(took[1:]):9.1f} {memory:9.0f}   ({words} words)",
        flush=True,
    )


def main(arguments: Sequence[str]) -> None:
    print("mode      Services     lines  floor s   read s  first ms median ms  worst ms memory MB")
    context = multiprocessing.get_context("spawn")
    for services in [int(argument) for argument in arguments] or [1000, 10_000]:
        for mode in (Mode.IPTABLES, Mode.NFTABLES):
            raw = dump(services, mode)
            process = context.Process(target=measure, args=(mode, services, raw))
            process.start()
            process.join()


if __name__ == "__main__":
    main(sys.argv[1:])
