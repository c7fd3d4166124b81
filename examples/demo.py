"""`make demo`: from nothing to Services and back, with real kubectl and real packets.

Every step shows the command and its real output, and fails the whole when it does not hold. Ends with exit code 0
only if all of them held.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FAIRWAY = str(HERE.parent / ".venv" / "bin" / "fairway")
LAB = os.environ.get("FAIRWAY_LAB", "demo")
NODES = ("node-a", "node-b", "node-c")
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
    try:
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise DemoError(f"{words[0]} is not there; `make setup` installs it") from None
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


def kubectl_json(command: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(f"kubectl {command} -o json", show=False))
    return found


def addresses(service: str) -> list[str]:
    subsets = kubectl_json(f"get endpoints {service}").get("subsets", [])
    return sorted(address["ip"] for subset in subsets for address in subset.get("addresses", []))


def pods(selector: str) -> list[dict[str, Any]]:
    found = kubectl_json(f"get pods -l {selector}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def cluster_ip(service: str) -> str:
    return str(kubectl_json(f"get service {service}")["spec"]["clusterIP"])


def rules_follow(node: str, service: str) -> bool:
    """Whether the node's rules send the Service's connections to its endpoints, and nowhere else."""
    rules = inside(node, "iptables-save -t nat", show=False)
    return sorted(re.findall(rf'"default/{service}".* --to-destination (\S+):\d+$', rules, re.M)) == addresses(service)


def settled(service: str, count: int) -> None:
    """Wait for as many endpoints, and until every node's rules lead to them."""
    wait_for(f"{count} endpoints of {service}", lambda: len(addresses(service)) == count)
    for node in NODES:
        wait_for(f"the rules of {node}", functools.partial(rules_follow, node, service))


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
    for node in NODES:
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
    with probing(f"http://{cluster_ip('httpd-svc')}:8080/hostname", seconds=4) as probe:
        run(f"kubectl delete pod {victim}")
        settled("httpd-svc", 3)
        after = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods("run=httpd")}
        new: str = next(iter(set(after) - set(before)))
        if set(after.values()) != set(addresses("httpd-svc")) or before[victim] in after.values():
            raise DemoError(f"endpoints did not follow: pods {after}, endpoints {addresses('httpd-svc')}")
        good(f"{victim} {before[victim]} was replaced by {new} {after[new]}")
        report_probe(probe, 1.0)
    environment = inside(new, "env")
    expect(environment, r"HTTPD_SVC_SERVICE_HOST=10\.", "the new pod's environment has HTTPD_SVC_SERVICE_HOST")
    expect(environment, r"HTTPD_SVC_PORT_8080_TCP=tcp://10\.", "and the docker-link form HTTPD_SVC_PORT_8080_TCP")
    return new


@contextmanager
def probing(url: str, seconds: int) -> Iterator[subprocess.Popen[str]]:
    """Ask from node-a in the background; not left running when the step fails."""
    command = [FAIRWAY, "exec", "--lab", LAB, "node-a", "--", sys.executable, str(HERE / "probe.py"), url, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as probe:
        try:
            time.sleep(0.5)  # some requests before anything happens
            yield probe
        finally:
            probe.kill()


def report_probe(probe: subprocess.Popen[str], limit: float) -> None:
    print("   (requests go on for some seconds more)", flush=True)
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

    def moved() -> bool:
        alive = [pod for pod in pods("run=httpd") if pod["spec"].get("nodeName") != victim]
        ready = [pod for pod in alive if pod["status"].get("podIP") in addresses("myhttpd-svc")]
        return len(ready) == 3 and len(addresses("myhttpd-svc")) == 3

    with probing(f"http://{cluster_ip('myhttpd-svc')}:8080/hostname", seconds=12) as probe:
        run(f"fairway kill-node --lab {LAB} {victim}")
        seconds = wait_for("three endpoints on the other nodes", moved)
        run("kubectl get nodes")
        run("kubectl get pods -l run=httpd -o wide")
        good(f"three endpoints on the living nodes after {seconds:.1f} s")
        report_probe(probe, 8.0)


def command_line(pid: str) -> bytes:
    """Empty when the process has ended, also when nobody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def lab_processes() -> set[str]:
    """The pids of the lab: its units, and whatever names the lab's folder (pods and what waits on them)."""
    units = json.loads(run(f"fairway status --lab {LAB} -o json", show=False))["units"].values()
    everything = (entry.name for entry in Path("/proc").glob("[0-9]*"))
    inside_folder = {pid for pid in everything if f"/run/fairway/{LAB}/".encode() in command_line(pid)}
    return inside_folder | {str(unit["pid"]) for unit in units if unit["pid"]}


def take_down() -> None:
    title("Everything goes")
    processes = lab_processes()
    run(f"fairway down --lab {LAB}")
    left = [name for name in run("ip netns list", show=False).split() if name.startswith(f"fw-{LAB}-")]
    left += [f"process {pid}" for pid in processes if command_line(pid)]
    left += [str(path) for path in Path("/run/fairway").glob(LAB)]
    if left:
        raise DemoError(f"left behind: {', '.join(left)}")
    good(f"no namespace, none of {len(processes)} processes, no file left")


def walk() -> None:
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


def clean_up() -> None:
    """End the lab however far it came; a second Ctrl-C does not stop half-way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    subprocess.run([FAIRWAY, "down", "--lab", LAB], capture_output=True)


def main() -> int:
    begun = time.monotonic()
    if os.geteuid() != 0:
        print("make demo: the lab makes network namespaces, which needs root", file=sys.stderr)
        return 1
    try:
        walk()
    except KeyboardInterrupt:
        print("\ninterrupted; the lab is taken down", file=sys.stderr, flush=True)
        clean_up()
        return 130
    except (DemoError, subprocess.TimeoutExpired) as error:
        print(f"\n{paint('1;31', 'the demo failed')}: {error}", file=sys.stderr, flush=True)
        clean_up()
        return 1
    print(f"\n{paint('1;32', 'All steps held')} ({time.monotonic() - begun:.0f} s).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
