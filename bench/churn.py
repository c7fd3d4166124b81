"""What connections from outside lose while the pods of a Service of policy Local come and go.

    python bench/churn.py [ROUNDS]        (as root; default 10 of each kind)

A lab of three nodes in both families and a Service of two pods, no two on one node: connections that come to a node
without a pod are dropped there. In each round the pod on the announcing node ends, once as pods of a rollout do (it
serves on for three seconds), once at once; another comes up elsewhere. New connections every 20 ms by four streams, as
in `failover.py`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence

from failover import FAIRWAY, LAB, Attempt, Streams, announcers, get, kubectl, longest_gap, ready_pods, run, until

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: agnhost
        args: [netexec, --http-port=80]
        lifecycle: {preStop: {sleep: {seconds: 3}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  externalTrafficPolicy: Local
  selector: {app: web}
  ports: [{port: 80}]
"""
AROUND = 6.0
KINDS = {"serves on for 3 s": (), "ends at once": ("--grace-period=0", "--force")}


def pods_on(node: str) -> list[str]:
    found = [each for each in get("pods", "-l", "app=web")["items"] if "deletionTimestamp" not in each["metadata"]]
    return [each["metadata"]["name"] for each in found if each["spec"].get("nodeName") == node]


def settled(addresses: Sequence[str]) -> bool:
    """Two nodes with a pod each, and both addresses announced by such nodes."""
    ready = ready_pods()
    if len(ready) == 1 and len(pods_on(*ready)) > 1:
        kubectl("delete", "pod", pods_on(*ready)[0], "--wait=false")
        time.sleep(1)
    now = announcers()
    return len(ready) == 2 and set(now) == set(addresses) and set(now.values()) <= ready


def churn(addresses: Sequence[str], rounds: int, words: Sequence[str]) -> None:
    """Print by stream what became of the attempts of all rounds, and the longest times without an answer."""
    gathered: dict[str, list[Attempt]] = {}
    gaps: dict[str, list[float]] = {}
    for number in range(rounds):
        until(lambda: settled(addresses), "a pod on each of two nodes")
        address = addresses[number % len(addresses)]
        [pod] = pods_on(announcers()[address])
        with Streams(list(addresses)) as streams:
            begun = time.monotonic()
            kubectl("delete", "pod", pod, "--wait=false", *words)
            time.sleep(AROUND)
        for name, attempts in streams.attempts.items():
            if name.endswith("IPv6") == (":" in address):
                gathered.setdefault(name, []).extend(attempts)
                gaps.setdefault(name, []).append(longest_gap(attempts, begun))
    for name, attempts in sorted(gathered.items()):
        lost = sum(not connected for _, connected, _ in attempts)
        broken = sum(connected and end is None for _, connected, end in attempts)
        median, worst = statistics.median(gaps[name]), max(gaps[name])
        print(f"  {name:<38} {len(attempts):8} {lost:6} {broken:22}   {median:.3f} s   {worst:.3f} s")


def main(rounds: int) -> None:
    run(FAIRWAY, "up", "--lab", LAB, "--ip-family", "dual", "--router", "--load-balancer-style", "addresses")
    try:
        kubectl("apply", "-f", "-", text=MANIFEST)
        until(lambda: get("service", "web")["status"]["loadBalancer"].get("ingress"), "the Service has its addresses")
        addresses = [each["ip"] for each in get("service", "web")["status"]["loadBalancer"]["ingress"]]
        for kind, words in KINDS.items():
            head = f"the pod here {kind}, {rounds} times"
            print(f"{head:<40} attempts   lost   open ones that broke   longest gap, worst", flush=True)
            churn(addresses, rounds, words)
    finally:
        run(FAIRWAY, "down", "--lab", LAB)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
