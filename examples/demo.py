"""`make demo`: from nothing to Services and back, with real kubectl and real packets.

Every step shows the command and its real output, and fails the whole when it does not hold. Ends with exit code 0
only if all of them held.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
FAIRWAY = str(HERE.parent / ".venv" / "bin" / "fairway")
LAB = "demo"
CONNECTIONS = 300
COLOUR = sys.stdout.isatty()


class DemoError(Exception):
    """A step did not hold."""


def paint(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def title(text: str) -> None:
    print(f"\n{paint('1;36', '== ' + text)}", flush=True)


def good(text: str) -> None:
    print(f"{paint('32', '   ✓')} {text}", flush=True)


def run(command: str, *, show: bool = True, check: bool = True) -> str:
    """Run a command line; print it and what it says."""
    if show:
        print(paint("1", f"$ {command}"), flush=True)
    words = [FAIRWAY if word == "fairway" else word for word in shlex.split(command)]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    output = done.stdout + done.stderr
    if show and output.strip():
        print(output.rstrip(), flush=True)
    if check and done.returncode != 0:
        raise DemoError(f"exit code {done.returncode} from: {command}\n{'' if show else output}")
    return output


def inside(target: str, command: str, *, show: bool = True, check: bool = True) -> str:
    return run(f"fairway exec --lab {LAB} {target} -- {command}", show=show, check=check)


def expect(text: str, pattern: str, what: str) -> None:
    if not re.search(pattern, text):
        raise DemoError(f"{what}: expected {pattern!r} in:\n{text}")
    good(what)


def wait_for(what: str, holds: Callable[[], bool], seconds: float = 30.0) -> float:
    """Look until it holds; returns how long that took."""
    begun = time.monotonic()
    while not holds():
        if time.monotonic() - begun > seconds:
            raise DemoError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - begun


def kubectl_json(command: str) -> dict:
    return json.loads(run(f"kubectl {command} -o json", show=False))


def addresses(service: str) -> list[str]:
    subsets = kubectl_json(f"get endpoints {service}").get("subsets", [])
    return sorted(address["ip"] for subset in subsets for address in subset.get("addresses", []))


def pods(selector: str) -> list[dict]:
    found = kubectl_json(f"get pods -l {selector}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def cluster_ip(service: str) -> str:
    return kubectl_json(f"get service {service}")["spec"]["clusterIP"]


def settled(service: str, count: int) -> None:
    wait_for(f"{count} endpoints of {service}", lambda: len(addresses(service)) == count)
    time.sleep(0.2)  # the nodes' rules follow the endpoints within milliseconds


def bring_up() -> None:
    title("A cluster of three nodes")
    subprocess.run([FAIRWAY, "down", "--lab", LAB], capture_output=True)  # what an interrupted demo left
    print(paint("1", f"$ fairway up --nodes 3 --lab {LAB}"), flush=True)
    if subprocess.run([FAIRWAY, "up", "--nodes", "3", "--lab", LAB]).returncode != 0:
        raise DemoError("the lab did not come up")
    os.environ["KUBECONFIG"] = f"/run/fairway/{LAB}/kubeconfig"
    expect(run("kubectl get nodes -o wide"), r"node-c\s+Ready", "three nodes are Ready")


def apply_manifests() -> None:
    title("kubectl creates a Deployment and a Service")
    run(f"kubectl apply -f {HERE / 'httpd.yaml'} -f {HERE / 'httpd-svc.yaml'}")
    settled("httpd-svc", 3)
    expect(run("kubectl get pods -o wide"), r"httpd-\S+\s+1/1\s+Running", "the pods run, spread over the nodes")
    run("kubectl get svc -o wide")
    run("kubectl get endpoints")
    run("kubectl get endpointslices")
    expect(run("kubectl describe svc httpd-svc"), r"Selector:\s+run=httpd", "kubectl describes the Service")


def prove_cluster_ip(pod: str) -> None:
    title("ClusterIP: by address and by name, from a pod; by address from every node")
    ip = cluster_ip("httpd-svc")
    for host in (ip, "httpd-svc", "httpd-svc.default", "httpd-svc.default.svc.cluster.local"):
        expect(inside(pod, f"curl -sS -m 5 http://{host}:8080/"), "It works!", f"http://{host}:8080/ answers")
    for node in ("node-a", "node-b", "node-c"):
        expect(inside(node, f"curl -sS -m 5 http://{ip}:8080/"), "It works!", f"{node} reaches the ClusterIP")


def prove_names(pod: str) -> None:
    title("Names, forward and reverse")
    expect(inside(pod, "cat /etc/resolv.conf"), "ndots:5", "resolv.conf has the search list and ndots:5")
    expect(inside(pod, "nslookup httpd-svc"), re.escape(cluster_ip("httpd-svc")), "httpd-svc has its address")
    expect(inside(pod, "nslookup 10.96.0.10"), r"kube-dns\.kube-system\.svc\.cluster\.local", "and 10.96.0.10 its name")


def prove_spread(pod: str) -> None:
    title(f"Spread: {CONNECTIONS} connections through the ClusterIP")
    url = f"http://{cluster_ip('httpd-svc')}:8080/hostname"
    loop = f"for i in $(seq {CONNECTIONS}); do curl -sS -m 5 {url}; echo; done"
    counts = Counter(inside(pod, f"sh -c {shlex.quote(loop)}", show=False).split())
    for name, count in sorted(counts.items()):
        print(f"   {name:<28} {count:>4}  {'#' * (count // 4)}")
    # Three standard deviations of a binomial with p = 1/3 and n = 300 are 24.5.
    if len(counts) != 3 or sum(counts.values()) != CONNECTIONS or any(abs(c - 100) > 33 for c in counts.values()):
        raise DemoError(f"not near a third each: {dict(counts)}")
    good("near a third each")


def prove_replacement() -> str:
    """Delete a pod under requests; returns the name of its successor."""
    title("A pod is deleted: its successor has a new address, and requests go on")
    before = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods("run=httpd")}
    victim = min(before)
    url = f"http://{cluster_ip('httpd-svc')}:8080/hostname"
    probe = start_probe(url, 4)
    time.sleep(0.5)
    run(f"kubectl delete pod {victim}")
    settled("httpd-svc", 3)
    after = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods("run=httpd")}
    new = next(iter(set(after) - set(before)))
    if set(after.values()) != set(addresses("httpd-svc")) or before[victim] in after.values():
        raise DemoError(f"endpoints did not follow: pods {after}, endpoints {addresses('httpd-svc')}")
    good(f"{victim} {before[victim]} was replaced by {new} {after[new]}")
    report_probe(probe, 1.0)
    environment = inside(new, "env")
    expect(environment, r"HTTPD_SVC_SERVICE_HOST=10\.", "the new pod's environment has HTTPD_SVC_SERVICE_HOST")
    expect(environment, r"HTTPD_SVC_PORT_8080_TCP=tcp://10\.", "and the docker-link form HTTPD_SVC_PORT_8080_TCP")
    return new


def start_probe(url: str, seconds: int) -> subprocess.Popen:
    command = [FAIRWAY, "exec", "--lab", LAB, "node-a", "--", "python3", str(HERE / "probe.py"), url, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def report_probe(probe: subprocess.Popen, limit: float) -> None:
    said = json.loads(probe.communicate(timeout=60)[0])
    print(
        f"   {said['requests']} requests, {said['failures']} failed; longest time without an answer "
        f"{said['longest_gap']:.3f} s"
    )
    if said["longest_gap"] > limit:
        raise DemoError(f"no answer for {said['longest_gap']} s (limit {limit} s)")
    good(f"never without an answer for longer than {limit:g} s")


def prove_node_port() -> None:
    title("NodePort: every node's address from outside; the ClusterIP not")
    run(f"kubectl delete -f {HERE / 'httpd.yaml'} -f {HERE / 'httpd-svc.yaml'}")
    run(f"kubectl apply -f {HERE / 'myhttpd.yaml'}")
    settled("myhttpd-svc", 3)
    expect(run("kubectl get svc myhttpd-svc"), "8080:30000/TCP", "kubectl shows 8080:30000/TCP")
    for number in (11, 12, 13):
        url = f"http://10.0.0.{number}:30000/"
        expect(inside("client", f"curl -sS -m 5 {url}"), "It works!", f"{url} answers the outside client")
    output = inside("client", f"curl -sS -m 2 http://{cluster_ip('myhttpd-svc')}:8080/", check=False)
    expect(output, "curl: ", "the ClusterIP does not")


def prove_controller() -> None:
    title("An old ReplicationController, with a node port of the cluster's choice")
    run(f"kubectl apply -f {HERE / 'nginx-rc-nodeport.yaml'}")
    settled("nginx-service", 3)
    run("kubectl get rc,svc")
    port = kubectl_json("get service nginx-service")["spec"]["ports"][0]["nodePort"]
    expect(inside("client", f"curl -sS -m 5 http://10.0.0.12:{port}/"), "It works!", f"node port {port} answers")


def prove_trace() -> None:
    title("Rules as every operator knows them, and one packet explained")
    rules = inside("node-a", "iptables-save -t nat", show=False)
    interesting = [line for line in rules.splitlines() if "myhttpd" in line]
    print("\n".join(interesting))
    for chain in ("KUBE-SERVICES", "KUBE-SVC-", "KUBE-SEP-", "KUBE-NODEPORTS", "KUBE-MARK-MASQ", "KUBE-POSTROUTING"):
        if chain not in rules:
            raise DemoError(f"no {chain} on node-a")
    good("the chains are there")
    pod = pods("run=httpd")[0]["metadata"]["name"]
    text = run(f"fairway trace --lab {LAB} --from {pod} --to myhttpd-svc:8080")
    expect(text, "KUBE-SEP-", "the packet is followed to an endpoint")


def prove_node_death() -> None:
    title("A node dies: its pods are replaced, requests go on")
    victim = "node-c"
    probe = start_probe(f"http://{cluster_ip('myhttpd-svc')}:8080/hostname", 12)
    time.sleep(0.5)
    run(f"fairway kill-node --lab {LAB} {victim}")

    def moved() -> bool:
        alive = [pod for pod in pods("run=httpd") if pod["spec"].get("nodeName") != victim]
        ready = [pod for pod in alive if pod["status"].get("podIP") in addresses("myhttpd-svc")]
        return len(ready) == 3 and len(addresses("myhttpd-svc")) == 3

    seconds = wait_for("three endpoints on the other nodes", moved)
    run("kubectl get nodes")
    run("kubectl get pods -l run=httpd -o wide")
    good(f"three endpoints on the living nodes after {seconds:.1f} s")
    report_probe(probe, 8.0)


def take_down() -> None:
    title("Everything goes")
    run(f"fairway down --lab {LAB}")
    left = [name for name in run("ip netns list", show=False).split() if name.startswith(f"fw-{LAB}-")]
    if left or Path(f"/run/fairway/{LAB}").exists():
        raise DemoError(f"left behind: {left}")
    good("no namespace, no process, no file left")


def main() -> int:
    begun = time.monotonic()
    if os.geteuid() != 0:
        print("make demo: the lab makes network namespaces, which needs root", file=sys.stderr)
        return 1
    try:
        bring_up()
        apply_manifests()
        pod = pods("run=httpd")[0]["metadata"]["name"]
        prove_cluster_ip(pod)
        prove_names(pod)
        prove_spread(pod)
        prove_replacement()
        prove_node_port()
        prove_controller()
        prove_trace()
        prove_node_death()
        take_down()
    except (DemoError, subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        print(f"\n{paint('1;31', 'the demo failed')}: {error}", file=sys.stderr)
        run(f"fairway down --lab {LAB}", show=False, check=False)
        return 1
    print(f"\n{paint('1;32', 'All steps held')} ({time.monotonic() - begun:.0f} s).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
