"""`fairway proxy` as an operator starts it: a node in a network namespace with an API server of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairway.kernel.linux import netns
from fairway.kernel.linux.netfilter import LinuxNetfilter
from fairway.packet import Family

pytestmark = pytest.mark.kernel

FAIRWAY = (sys.executable, "-m", "fairway")
NODE = "node-a"
FOREIGN = "*filter\n:MINE - [0:0]\n-A MINE -j ACCEPT\n-A FORWARD -j MINE\nCOMMIT\n"
OBJECTS: list[dict[str, Any]] = [
    {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.11"}]},
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "type": "NodePort",
            "clusterIP": "10.96.0.80",
            "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}],
        },
    },
    {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "web-1",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.11"], "conditions": {"ready": True}, "nodeName": NODE}],
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
    },
]


def hinted(zone: str) -> dict[str, Any]:
    """An endpoint that is meant for a zone."""
    return {"hints": {"forZones": [{"name": zone}]}}


class Bench:
    """The namespace, the programs in it, and what stands in its kernel."""

    def __init__(self, namespace: str, folder: Path) -> None:
        self.path = netns.path(namespace)
        self.folder = folder
        self.kubeconfig = folder / "api" / "admin.kubeconfig"
        self._namespace = namespace
        self._running: list[subprocess.Popen[bytes]] = []
        self._lasting = 0

    def start(self, *words: str, by: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            started = subprocess.Popen(self._inside(*by, *FAIRWAY, *words), stdout=log, stderr=log)
        self._running.append(started)
        return started

    def run(self, *words: str, text: str = "", allow: bool = False) -> str:
        done = subprocess.run(self._inside(*words), input=text, capture_output=True, text=True, timeout=60)
        assert allow or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def proxy(self, *words: str, by: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        common = ("--kubeconfig", str(self.kubeconfig), "--hostname-override", NODE, "--conntrack-max-per-core", "0")
        return self.start("proxy", *common, "--cluster-cidr", "10.244.0.0/16", *words, by=by)

    def serve(self, port: int) -> subprocess.Popen[bytes]:
        """A web server in the node's network."""
        words = (sys.executable, "-m", "http.server", str(port), "--directory", str(self.folder / "api"))
        started = subprocess.Popen(self._inside(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._running.append(started)
        until(lambda: "Directory listing" in self.get(f"http://127.0.0.1:{port}/"), "the web server answers")
        return started

    def create(self, obj: dict[str, Any]) -> None:
        """Make it, as soon as the server has what it needs for that (the namespace)."""
        words = ("kubectl", "--kubeconfig", str(self.kubeconfig), "create", "-f", "-")
        until(lambda: "created" in self.run(*words, text=json.dumps(obj), allow=True), obj["kind"])

    def rules(self) -> str:
        return LinuxNetfilter(self.path).save(Family.IPV4) + LinuxNetfilter(self.path).save(Family.IPV6)

    def tables(self) -> set[str]:
        return {line for line in self.run("nft", "list", "tables").splitlines() if "fairway" in line or "proxy" in line}

    def get(self, url: str) -> str:
        return self.run("curl", "-s", "-m", "5", url, allow=True)

    def log(self, program: str = "proxy") -> str:
        return (self.folder / f"{program}.log").read_text()

    def keep(self) -> None:
        """What runs now serves all tests."""
        self._lasting = len(self._running)

    def end(self, all_of_them: bool = True) -> None:
        """End what a test has left running, or everything."""
        for program in self._running[0 if all_of_them else self._lasting :]:
            program.kill()
            program.wait()

    def _inside(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self._namespace, *words]


def until(holds: Callable[[], object], what: str, seconds: float = 30) -> None:
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < seconds, what
        time.sleep(0.05)


def stop(program: subprocess.Popen[bytes]) -> int:
    program.send_signal(signal.SIGTERM)
    return program.wait(20)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    namespace = f"fwt-{os.getpid()}-proxy"
    netns.create(namespace)
    made = Bench(namespace, tmp_path_factory.mktemp("proxy"))
    try:
        with netns.entered(made.path):
            netns.raise_loopback()
        for line in (
            "link add eth0 type veth peer far0",
            "link set far0 up",
            "address add 10.0.0.11/24 dev eth0",
            "link set eth0 up",
            "route add default via 10.0.0.1",
        ):
            made.run("ip", *line.split())
        made.start("api", "--store", "memory", "--listen", "127.0.0.1:6443", "--cert-dir", str(made.folder / "api"))
        until(lambda: "serving at" in made.log("api"), "the API server serves")
        made.kubeconfig = next((made.folder / "api").glob("*kubeconfig*"))
        for obj in OBJECTS:
            made.create(obj)
        LinuxNetfilter(made.path).restore(Family.IPV4, FOREIGN)
        made.keep()
        yield made
    finally:
        made.end()
        netns.delete(namespace)


@pytest.fixture(autouse=True)
def alone(bench: Bench) -> Iterator[None]:
    """One test's failure is not the next one's: no second proxy, no port that is taken."""
    yield
    bench.end(all_of_them=False)


def test_from_mode_to_mode_and_away(bench: Bench) -> None:
    before = foreign(bench)
    proxy = bench.proxy()
    until(lambda: "--to-destination 10.0.0.11:8080" in bench.rules(), "rules in iptables mode")
    until(lambda: '"nodeEligible": true' in bench.get("http://127.0.0.1:10256/healthz"), "healthy")
    assert bench.get("http://127.0.0.1:10249/proxyMode") == "iptables"
    assert json.loads(bench.get("http://127.0.0.1:10249/configz"))["kubeproxy.config.k8s.io"]["clusterCIDR"]
    page = bench.get("http://127.0.0.1:10249/metrics")
    assert "kubeproxy_sync_proxy_rules_service_changes_total " in page
    assert "kubeproxy_iptables_ct_state_invalid_dropped_packets_total 0" in page
    standing = [line for line in bench.run("iptables-save", "-t", "nat").splitlines() if line.startswith("-A KUBE-")]
    told = [line for line in page.splitlines() if line.startswith("kubeproxy_sync_proxy_rules_iptables_total")]
    assert f'{{table="nat",ip_family="IPv4"}} {len(standing)}' in " ".join(told)
    assert 'kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv6"} 1' in page
    assert stop(proxy) == 0
    assert "--to-destination 10.0.0.11:8080" in bench.rules()

    proxy = bench.proxy("--proxy-mode", "nftables")
    until(lambda: bench.tables() and "KUBE-" not in bench.rules(), "tables in the place of rules")
    table = bench.run("nft", "list", "table", "ip", "fairway")
    assert "10.96.0.80 . tcp . 80" in table and "ip daddr 10.0.0.11 goto node-port" in table
    serving = bench.serve(8080)
    for url in ("http://10.96.0.80/", "http://10.0.0.11:30080/"):
        assert "Directory listing" in bench.get(url)
    counted = (
        r'fairway_service_packets_total{namespace="default",service="web",port="",protocol="TCP",ip_family="IPv4"}'
    )
    (line,) = [line for line in bench.get("http://127.0.0.1:10249/metrics").splitlines() if line.startswith(counted)]
    assert int(line.split()[-1]) >= 2 * 8  # two connections, each opened, asked, answered and closed
    serving.kill()
    until(lambda: "10.96.0.0/12" in bench.run("nft", "list", "table", "ip", "fairway"), "the ServiceCIDR is guarded")
    assert stop(proxy) == 0
    assert bench.tables() == {"table ip fairway", "table ip6 fairway"}

    assert "no other proxy's rules serve IPv4" in bench.run(*FAIRWAY, "proxy", "--hand-over", allow=True)
    assert bench.tables() == {"table ip fairway", "table ip6 fairway"}
    bench.run("nft", "add table ip kube-proxy; add table ip6 kube-proxy")
    assert bench.run(*FAIRWAY, "proxy", "--hand-over") == ""
    assert bench.tables() == {"table ip kube-proxy", "table ip6 kube-proxy"}

    assert bench.run(*FAIRWAY, "proxy", "--cleanup") == ""
    assert (bench.tables(), foreign(bench)) == (set(), before)
    assert bench.run(*FAIRWAY, "proxy", "--cleanup") == ""


def foreign(bench: Bench) -> list[str]:
    """The rules of others."""
    return [line for line in bench.rules().splitlines() if line.startswith(("-A", ":MINE"))]


@pytest.mark.parametrize(
    ("mode", "attack", "stands"),
    [
        ("iptables", "iptables -t nat -F", "iptables -t nat -C OUTPUT -j KUBE-SERVICES -m comment --comment"),
        ("nftables", "nft delete table ip fairway", "nft list chain ip fairway services"),
        ("nftables", "nft flush ruleset", "nft list chain ip fairway services"),
    ],
)
def test_rules_that_somebody_removes_come_back_at_once(bench: Bench, mode: str, attack: str, stands: str) -> None:
    """It is looked every 30 seconds, and listened all the time."""
    proxy = bench.proxy("--proxy-mode", mode)
    words = (*stands.split(), "kubernetes service portals") if mode == "iptables" else tuple(stands.split())

    def standing() -> bool:
        return "services" in bench.run(*words, allow=True) if mode == "nftables" else not bench.run(*words, allow=True)

    until(standing, "rules")
    until(lambda: '"lastUpdated": "2' in bench.get("http://127.0.0.1:10256/livez"), "the first apply is done")
    if mode == "nftables":
        until(lambda: "10.96.0.0/12" in bench.run("nft", "list", "table", "ip", "fairway"), "all is said")
    said = len(bench.log())
    bench.run(*attack.split())

    until(standing, "rules again", seconds=5)
    until(lambda: f"{attack.split()[0]} (process" in bench.log()[said:], "who it was")
    assert stop(proxy) == 0


def test_a_file_takes_the_place_of_flags(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "config.conf"
    words = ("--proxy-mode", "nftables", "--metrics-bind-address", "127.0.0.1:10250", "--healthz-bind-address", "")
    bench.run(*FAIRWAY, "proxy", "--kubeconfig", str(bench.kubeconfig), *words, "--write-config-to", str(file))
    assert yaml.safe_load(file.read_text())["mode"] == "nftables"

    proxy = bench.start("proxy", "--config", str(file), "--hostname-override", NODE, "--masquerade-all")
    until(lambda: bench.get("http://127.0.0.1:10250/proxyMode") == "nftables", "serves what the file says")

    assert "--config takes the place of --masquerade-all" in bench.log()
    assert stop(proxy) == 0


SPREAD = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "spread", "namespace": "default"},
    "spec": {"clusterIP": "10.96.0.90", "ports": [{"port": 80, "targetPort": 8080}]},
}
HERE, THERE = "10.244.1.5", "10.244.2.5"
GOING: dict[str, Any] = {"conditions": {"ready": False, "serving": True, "terminating": True}}
GONE: dict[str, Any] = {"conditions": {"ready": False, "serving": False, "terminating": True}}
CHOICES: list[tuple[str, tuple[dict[str, Any], dict[str, Any]], set[str]]] = [
    ("each has a zone", (hinted("a"), hinted("b")), {HERE}),
    ("one has no zone", (hinted("a"), {}), {HERE, THERE}),
    ("nobody is for this zone", (hinted("b"), hinted("c")), {HERE, THERE}),
    ("the zone's own is going", ({**hinted("a"), **GOING}, hinted("b")), {THERE}),
    ("all are going", (GOING, GOING), {HERE, THERE}),
    ("all are going, one serves", (GOING, GONE), {HERE}),
    ("nobody serves", (GONE, GONE), set()),
]


def spread(here: dict[str, Any], there: dict[str, Any]) -> dict[str, Any]:
    """The slice of `spread`, with two endpoints."""
    ready = {"conditions": {"ready": True}}
    endpoints = [{"addresses": [HERE], **ready, **here}, {"addresses": [THERE], **ready, **there}]
    labels = {"kubernetes.io/service-name": "spread"}
    metadata = {"name": "spread-1", "namespace": "default", "labels": labels}
    ports = [{"name": "", "port": 8080, "protocol": "TCP"}]
    form = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4"}
    return {**form, "metadata": metadata, "endpoints": endpoints, "ports": ports}


def chosen(bench: Bench, mode: str) -> set[str]:
    """The endpoints that rules lead to from the Service `spread`."""
    if mode == "nftables":
        table = bench.run("nft", "list", "table", "ip", "fairway", allow=True)
        return set(re.findall(r"10\.96\.0\.90 \. tcp \. 80[^:,]* : ([0-9.]+) \. 8080", table))
    return set(re.findall(r"default/spread.*--to-destination ([0-9.]+):8080", bench.rules()))


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_zones_and_endpoints_that_are_going(bench: Bench, mode: str) -> None:
    """From the API server to the kernel, as node labels, hints and conditions change."""
    kubectl = ("kubectl", "--kubeconfig", str(bench.kubeconfig))
    bench.run(*kubectl, "label", "--overwrite", "node", NODE, "topology.kubernetes.io/zone=nowhere")
    for obj in (SPREAD, spread(hinted("a"), hinted("b"))):
        bench.run(*kubectl, "apply", "-f", "-", text=json.dumps(obj))
    proxy = bench.proxy("--proxy-mode", mode)
    until(lambda: chosen(bench, mode) == {HERE, THERE}, "a node of no zone that anybody is for uses all")
    bench.run(*kubectl, "label", "--overwrite", "node", NODE, "topology.kubernetes.io/zone=a")

    for what, endpoints, expected in CHOICES:
        bench.run(*kubectl, "apply", "-f", "-", text=json.dumps(spread(*endpoints)))
        until(lambda expected=expected: chosen(bench, mode) == expected, what, seconds=10)  # type: ignore[misc]
    assert stop(proxy) == 0


@pytest.mark.skipif(not shutil.which("iptables-legacy-restore"), reason="this system has one iptables only")
def test_on_a_node_of_legacy_iptables(bench: Bench) -> None:
    """A kubelet's hint says so; rules flushed there are found at the next look, as nobody tells of it."""
    bench.run(*FAIRWAY, "proxy", "--cleanup")
    hint = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n"
    bench.run("iptables-legacy-restore", "--noflush", text=hint)

    def served() -> bool:
        return "--to-destination 10.0.0.11:8080" in bench.run("iptables-legacy-save")

    proxy = bench.proxy("--iptables-sync-period", "1s")
    until(served, "rules where the node has its own")
    assert "KUBE-SERVICES" not in bench.run("iptables-nft-save")
    bench.run("iptables-legacy", "-t", "nat", "-F")
    until(served, "rules again")
    assert stop(proxy) == 0
    assert served()

    assert bench.run(*FAIRWAY, "proxy", "--cleanup") == ""
    left = [word for word in bench.run("iptables-legacy-save").split() if "KUBE-" in word]
    bench.run("iptables-legacy", "-t", "mangle", "-X", "KUBE-IPTABLES-HINT", allow=True)
    assert left in ([], [":KUBE-IPTABLES-HINT"])


def test_it_ends_when_its_file_says_something_else(bench: Bench, tmp_path: Path) -> None:
    """Whoever supervises it starts it again; meanwhile the rules stay."""
    file = tmp_path / "config.conf"
    words = ("--kubeconfig", str(bench.kubeconfig), "--proxy-mode", "nftables", "--healthz-bind-address", "")
    bench.run(*FAIRWAY, "proxy", *words, "--write-config-to", str(file))
    proxy = bench.start("proxy", "--config", str(file), "--hostname-override", NODE)
    until(lambda: bench.get("http://127.0.0.1:10249/proxyMode") == "nftables", "serves")
    until(lambda: "10.96.0.80 . tcp . 80" in bench.run("nft", "list", "ruleset"), "rules")

    new = tmp_path / "new.conf"
    new.write_text(file.read_text().replace("masqueradeBit: 14", "masqueradeBit: 15"))
    new.rename(file)

    assert proxy.wait(10) == 1
    assert f"--config {file} was changed" in bench.log()
    assert "10.96.0.80 . tcp . 80" in bench.run("nft", "list", "ruleset")


def test_kernel_settings_are_made_by_init_only(bench: Bench) -> None:
    timeouts = ("--conntrack-udp-timeout", "25s", "--conntrack-tcp-be-liberal", "--conntrack-max-per-core", "0")
    said = bench.run(*FAIRWAY, "proxy", "--init-only", "--iptables-localhost-nodeports", *timeouts)

    assert said == ""
    names = (
        "netfilter.nf_conntrack_udp_timeout",
        "netfilter.nf_conntrack_tcp_be_liberal",
        "ipv4.conf.all.route_localnet",
    )
    assert bench.run("sysctl", "-n", *(f"net.{name}" for name in names)).split() == ["25", "1", "1"]
    assert bench.run("sysctl", "-n", "net.netfilter.nf_conntrack_tcp_timeout_established").strip() == "86400"


@pytest.mark.parametrize("words", [("--kubeconfig", "nowhere"), ("--cleanup",)])
def test_without_the_right_it_says_so(bench: Bench, words: tuple[str, ...]) -> None:
    without = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")

    said = bench.run(*without, *FAIRWAY, "proxy", "--hostname-override", NODE, *words, allow=True)

    assert "CAP_NET_ADMIN" in said


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_one_capability_is_enough(bench: Bench, mode: str) -> None:
    one = ("setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all,+net_admin")
    bench.run(*FAIRWAY, "proxy", "--cleanup")

    timeouts = ("--conntrack-tcp-timeout-established", "0", "--conntrack-tcp-timeout-close-wait", "0")
    proxy = bench.proxy("--proxy-mode", mode, *timeouts, by=one)

    until(lambda: "10.96.0.80" in bench.run("nft", "list", "ruleset"), "it programs")
    assert stop(proxy) == 0


def test_a_place_that_is_taken(bench: Bench) -> None:
    taken = bench.start(
        "api", "--store", "memory", "--listen", "127.0.0.1:10249", "--cert-dir", str(bench.folder / "b")
    )
    until(lambda: "127.0.0.1:10249" in bench.log("api"), "somebody listens")
    words = ("--hostname-override", NODE, "--bind-address-hard-fail", "--conntrack-max-per-core", "0")

    said = bench.run(*FAIRWAY, "proxy", "--kubeconfig", str(bench.kubeconfig), *words, allow=True)

    assert "--metrics-bind-address 127.0.0.1, port 10249: Address already in use" in said
    taken.kill()
