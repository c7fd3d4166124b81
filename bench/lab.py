"""How long from `fairway up` to the first request through a ClusterIP, and what the lab weighs.

    python bench/lab.py [RUNS]        (as root; default 5 runs, medians)

Each run: `fairway up --nodes 3`, a Deployment of 5 pods and a Service through the API as soon as it answers (with
kubectl, as a user would), then connections to the ClusterIP from node-a until one succeeds; with the DNS pod that makes
6 pods. Memory is the sum over every process of the lab and of its pods: PSS (each shared page counted once; the real
cost) and RSS (shared pages counted in every process). Prints one table; nothing is kept.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
FAIRWAY = str(HERE.parent / ".venv" / "bin" / "fairway")
LAB = "bench"
STATE = Path("/run/fairway") / LAB
PODS = 5
CLUSTER_IP = "10.96.100.100"
ATTEMPTS = 400

MANIFEST = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {PODS}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: web, image: web, ports: [{{containerPort: 80}}]}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{clusterIP: {CLUSTER_IP}, selector: {{app: web}}, ports: [{{port: 80}}]}}
"""

FIRST_REQUEST = f"""
import http.client, sys, time
for attempt in range({ATTEMPTS}):
    try:
        connection = http.client.HTTPConnection("{CLUSTER_IP}", 80, timeout=0.2)
        connection.request("GET", "/hostname")
        print(time.time(), connection.getresponse().read().decode())
        sys.exit(0)
    except OSError:
        time.sleep(0.01)
sys.exit("no answer")
"""


def run(*words: str, **more: object) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, **more).stdout  # type: ignore[call-overload,no-any-return]


def kubectl(*words: str) -> str:
    return run("kubectl", "--kubeconfig", str(STATE / "kubeconfig"), *words)


def measure() -> dict[str, float]:
    """One life of a lab, in seconds and MB."""
    figures: dict[str, float] = {}
    begun = time.time()
    output = run(FAIRWAY, "up", "--nodes", "3", "--lab", LAB)
    figures["up: lab ready, DNS answering"] = time.time() - begun
    for step, seconds in re.findall(r"✓ (\S.*?)\s+([0-9.]+) s", output):
        figures[f"  {step}"] = float(seconds)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as manifest:
        manifest.write(MANIFEST)
        manifest.flush()
        kubectl("apply", "-f", manifest.name)
    figures["kubectl apply done"] = time.time() - begun
    answer = run(FAIRWAY, "exec", "--lab", LAB, "node-a", "--", sys.executable, "-c", FIRST_REQUEST)
    figures["first request through the ClusterIP"] = float(answer.split()[0]) - begun
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    time.sleep(1)  # let start-up garbage be collected before weighing
    figures.update(weigh())
    begun = time.time()
    run(FAIRWAY, "down", "--lab", LAB)
    figures["down"] = time.time() - begun
    return figures


def weigh() -> dict[str, float]:
    """PSS and RSS in MB of all processes of the lab, by what they are."""
    figures: dict[str, float] = {}
    for pid, what in members().items():
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (OSError, ProcessLookupError):
            continue
        for label in ("Pss", "Rss"):
            found = re.search(rf"^{label}:\s+(\d+) kB", text, re.M)
            size = int(found[1]) / 1024 if found else 0.0
            figures[f"{label.upper()} MB: {what}"] = figures.get(f"{label.upper()} MB: {what}", 0.0) + size
            figures[f"{label.upper()} MB: all"] = figures.get(f"{label.upper()} MB: all", 0.0) + size
    return figures


def members() -> dict[int, str]:
    """Every process of the lab: the supervisor's units, the pods' sandboxes, and what descends from those."""
    recorded = json.loads((STATE / "processes.json").read_text())
    found = {pid: re.sub(r"-node-.*", "s", name) for name, (pid, _) in recorded.items()}
    parents: dict[int, int] = {}
    lines: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            lines[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, ProcessLookupError):
            continue
    sandboxes = {pid for pid, line in lines.items() if f"init.py {STATE}/" in line}
    for pid in parents:
        ancestor = pid
        while ancestor > 1 and ancestor not in sandboxes:
            ancestor = parents.get(ancestor, 0)
        if ancestor in sandboxes:
            what = "sandboxes" if pid in sandboxes else "DNS server" if " dns " in lines[pid] else "containers"
            found[pid] = f"pods: {what}"
    return found


def main(runs: int) -> None:
    results = [measure() for _ in range(runs)]
    print(f"{'median of ' + str(runs):<52} {'median':>8} {'worst':>8}")
    for name in results[-1]:
        values = [result.get(name, 0.0) for result in results]
        print(f"{name:<52} {statistics.median(values):8.2f} {max(values):8.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
