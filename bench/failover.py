"""How long an address of a load balancer is dark when the node that announces it dies, and what planned moves cost.

    python bench/failover.py [KILLS] [MOVES]        (as root; default 20 kills, 20 moves; lab $FAIRWAY_LAB)

A lab of three nodes in both families, with a pod of the Service on each, and new connections every 20 ms by four
streams: from a client on the nodes' segment and from one behind a router, over IPv4 and IPv6. A kill takes a node's
cable out and ends its processes, without a word to anyone; what is measured is the longest time between two answered
requests around it. A move is a node that is cordoned, or gets the label that keeps it from announcing; what is counted
is connections that did not come about, and such as were open at the moment and broke. After a kill a third of the
connections fails until the dead node's pod has left the endpoints: that is the pod's death, not the address's.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
FAIRWAY = str(HERE.parent / ".venv" / "bin" / "fairway")
LAB = os.environ.get("FAIRWAY_LAB", "failover")
KUBECONFIG = f"/run/fairway/{LAB}/kubeconfig"
NODES = ("node-a", "node-b", "node-c")
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
EVERY, PATIENCE = 0.02, 1.0
AROUND = 6.0  # seconds after a kill in which the longest gap is looked for

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: agnhost, args: [netexec, --http-port=80]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 80}]}
"""

Attempt = tuple[float, bool, float | None]
"""When a connection was attempted, whether it came about, and when its request was answered, on the machine's own
clock; None: it was not."""


async def stream(url: str, begun_file: Path, stop: Path) -> list[Attempt]:
    """Requests on connections of their own, one after the other, whatever becomes of those before, until there is a
    file `stop`. With the first answer the file `begun_file` is made."""
    where, attempts, tasks = urlsplit(url), [], []
    assert where.hostname
    request = f"GET /hostname HTTP/1.1\r\nHost: {where.hostname}\r\nConnection: close\r\n\r\n".encode()

    async def ask() -> None:
        begun, connected = time.monotonic(), False
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_connection(where.hostname, where.port or 80)
                connected = True
                writer.write(request)
                answered = (await reader.read()).startswith(b"HTTP/1.1 200")
                writer.close()
        except (OSError, TimeoutError):
            answered = False
        attempts.append((begun, connected, time.monotonic() if answered else None))
        if answered and not begun_file.exists():
            begun_file.touch()

    while not stop.exists():
        tasks.append(asyncio.create_task(ask()))
        await asyncio.sleep(EVERY)
    await asyncio.gather(*tasks)
    return attempts


def run(*words: str, text: str | None = None) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, input=text).stdout


def kubectl(*words: str, text: str | None = None) -> str:
    return run("kubectl", "--kubeconfig", KUBECONFIG, *words, text=text)


def get(*words: str) -> Any:
    return json.loads(kubectl("get", *words, "-o", "json"))


def announcers() -> dict[str, str]:
    """Who announces each address, as the Leases say."""
    found = {}
    for lease in get("leases", "-n", "kube-system", "-l", "fairway.io/announcer=true")["items"]:
        said = json.loads(lease["metadata"]["annotations"]["fairway.io/announcer"])
        found.update({address: said["node"] for address, claim in said.get("claims", {}).items() if claim.get("held")})
    return found


def until(holds: Any, what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            sys.exit(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.2)


def ready_pods() -> set[str]:
    """The nodes with a ready endpoint."""
    slices = get("endpointslices", "-l", "kubernetes.io/service-name=web")["items"]
    endpoints = [each for piece in slices for each in piece.get("endpoints") or []]
    return {each["nodeName"] for each in endpoints if each["conditions"].get("ready")}


def spread() -> bool:
    """One ready pod on each node; a pod that has a neighbour is ended, to come back elsewhere."""
    pods = [each for each in get("pods", "-l", "app=web")["items"] if "deletionTimestamp" not in each["metadata"]]
    nodes = [each["spec"].get("nodeName", "") for each in pods]
    if len(ready_pods()) == len(NODES):
        return True
    doubled = [each for each in pods if nodes.count(each["spec"].get("nodeName", "")) > 1]
    if len(pods) == len(NODES) and all(nodes) and doubled:
        kubectl("delete", "pod", doubled[0]["metadata"]["name"], "--wait=false")
        time.sleep(1)
    return False


class Streams:
    """Four streams as long as the block takes; afterwards `attempts` by stream."""

    def __init__(self, addresses: list[str]) -> None:
        self.attempts: dict[str, list[Attempt]] = {}
        self._addresses = addresses
        self._running: dict[str, tuple[subprocess.Popen[str], Path]] = {}
        self._folder = tempfile.TemporaryDirectory()
        self._stop = Path(self._folder.name) / "stop"
        self._begun: list[Path] = []

    def __enter__(self) -> Streams:
        for client in ("client", "far"):
            for address in self._addresses:
                name = f"{client} {'IPv6' if ':' in address else 'IPv4'}"
                url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
                file = Path(self._folder.name) / name.replace(" ", "-")
                self._begun.append(file.with_suffix(".begun"))
                program = (sys.executable, __file__, "--stream", url, str(self._begun[-1]), str(self._stop), str(file))
                words = [FAIRWAY, "exec", "--lab", LAB, client, "--", *program]
                self._running[name] = subprocess.Popen(words, text=True), file
        until(lambda: all(file.exists() for file in self._begun), "every stream is answered")
        time.sleep(1.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.touch()
        for name, (process, file) in self._running.items():
            process.wait()
            self.attempts[name] = [tuple(each) for each in json.loads(file.read_text())]  # type: ignore[misc]
        self._folder.cleanup()


def longest_gap(attempts: list[Attempt], since: float = 0.0) -> float:
    """The longest time between two answers that is not over before `since`."""
    answers = sorted(end for _, _, end in attempts if end is not None)
    return max(after - before for before, after in itertools.pairwise(answers) if after >= since)


def kills(addresses: list[str], count: int) -> None:
    gaps: dict[str, list[float]] = {}
    for number in range(count):
        until(spread, "a pod on each node")
        until(lambda: set(announcers()) == set(addresses), "all addresses are announced")
        victim = announcers()[addresses[number % len(addresses)]]
        held = [address for address, node in announcers().items() if node == victim]
        with Streams(addresses) as streams:
            begun = time.monotonic()
            run(FAIRWAY, "kill-node", "--lab", LAB, victim)
            time.sleep(AROUND)
        now = {
            name: longest_gap(attempts, begun)
            for name, attempts in streams.attempts.items()
            if any((":" in address) == name.endswith("IPv6") for address in held)
        }
        for name, gap in now.items():
            gaps.setdefault(name, []).append(gap)
        run(FAIRWAY, "start-node", "--lab", LAB, victim)
        print(f"  kill {number + 1}: {victim}, {', '.join(f'{n} {gap:.2f} s' for n, gap in now.items())}", flush=True)
    print(f"{'time without an answer after a kill':<40} kills   median    worst")
    for name, found in sorted(gaps.items()):
        print(f"  {name:<38} {len(found):5}   {statistics.median(found):.2f} s   {max(found):.2f} s")


def moves(addresses: list[str], count: int) -> None:
    until(spread, "a pod on each node")
    until(lambda: set(announcers()) == set(addresses), "all addresses are announced")
    pause, moved = 1.0, 0
    with Streams(addresses) as streams:
        for number in range(count):
            before = announcers()
            node = before[addresses[number % len(addresses)]]
            away, back = (
                (["cordon", node], ["uncordon", node])
                if number % 2
                else (["label", "node", node, f"{EXCLUDED}="], ["label", "node", node, f"{EXCLUDED}-"])
            )
            kubectl(*away)
            time.sleep(pause)
            moved += sum(before[address] != after for address, after in announcers().items())
            kubectl(*back)
    print(f"{f'{count} planned moves of {moved} addresses':<40} attempts   lost   open ones that broke   longest gap")
    for name, attempts in sorted(streams.attempts.items()):
        lost = sum(not connected for _, connected, _ in attempts)
        broken = sum(connected and end is None for _, connected, end in attempts)
        print(f"  {name:<38} {len(attempts):8} {lost:6} {broken:22}       {longest_gap(attempts):.3f} s")


def main(number_of_kills: int, number_of_moves: int) -> None:
    run(FAIRWAY, "up", "--lab", LAB, "--ip-family", "dual", "--router", "--load-balancer-style", "addresses")
    try:
        kubectl("apply", "-f", "-", text=MANIFEST)
        until(lambda: get("service", "web")["status"]["loadBalancer"].get("ingress"), "the Service has its addresses")
        addresses = [each["ip"] for each in get("service", "web")["status"]["loadBalancer"]["ingress"]]
        if number_of_moves:
            moves(addresses, number_of_moves)
        if number_of_kills:
            kills(addresses, number_of_kills)
    finally:
        run(FAIRWAY, "down", "--lab", LAB)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--stream"]:
        found = asyncio.run(stream(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])))
        Path(sys.argv[5]).write_text(json.dumps(found))
    else:
        main(*(int(word) for word in (sys.argv[1:] + ["20", "20"][len(sys.argv[1:]) :])))
