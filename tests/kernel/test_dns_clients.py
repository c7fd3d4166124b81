"""Resolvers as pods have them, asking by the search list and `ndots:5` of a pod's resolv.conf.

Everything runs in network and mount namespaces without names, which are gone with their process: there port 53 and
/etc/resolv.conf are ours.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel.dns_clients import CLIENTS
from tests.plan import DNS_IP, KUBERNETES_IP

RESOLV_CONF = f"""search default.svc.cluster.local svc.cluster.local cluster.local
nameserver {DNS_IP}
options ndots:5
"""

SERVER = """
import asyncio, os, subprocess, sys
from fairway.dns import metrics
from fairway.dns.server import DnsServer, Options
from fairway.dns.zone import Zone
from tests.unit.dns.api import Api
from tests.unit.dns.cluster import endpoints, external, pod, service

def ip(command):
    subprocess.run(["ip", *command.split()], check=True)

async def main(resolv_conf, dns_ip, kubernetes_ip, *command):
    subprocess.run(["mount", "--bind", resolv_conf, "/etc/resolv.conf"], check=True)
    ip("link set lo up")
    ip(f"address add {dns_ip}/32 dev lo")
    services = [
        service("kubernetes", "default", kubernetes_ip, ports=["https:443/TCP"]),
        service("kube-dns", "kube-system", dns_ip, ports=["dns:53/UDP", "dns-tcp:53/TCP"]),
        service("httpd-svc", "default", "10.96.1.2", ports=["http:8080/TCP"]),
        service("pets", "default", "None"),
        service("httpd-svc", "shop", "10.96.1.3", "fd00:10:96::3"),
        external("docs", "httpd-svc.default.svc.cluster.local"),
    ]
    slices = [endpoints("pets", *(f"10.244.0.{last}" for last in range(1, 101)))]
    api = Api(services=services, endpointslices=slices, pods=[pod("client", dns_ip)])
    options = Options(autopath="AUTOPATH" in os.environ)
    server = DnsServer(api, zone=Zone(), addresses=[(dns_ip, 53)], options=options)
    stop = asyncio.Event()
    serving = asyncio.create_task(server.run(stop))
    await server.complete.wait()
    client = await asyncio.create_subprocess_exec(*command)
    code = await client.wait()
    stop.set()
    await serving
    if "COUNT" in os.environ:
        asked = [line for line in server.metrics.text().splitlines() if line.startswith(metrics.REQUESTS)]
        print("queries", sum(float(line.split()[-1]) for line in asked))
    return code

sys.exit(asyncio.run(main(*sys.argv[1:])))
"""


def resolve(tmp_path: Path, *command: str) -> str:
    """What `command` prints when run where a pod would run it."""
    assert shutil.which(command[0]), f"{command[0]} is not installed: `setup.sh tests` does that"
    conf = tmp_path / "resolv.conf"
    conf.write_text(RESOLV_CONF)
    unshare = ("unshare", "--net", "--mount", sys.executable, "-c", SERVER, str(conf), DNS_IP, KUBERNETES_IP)
    done = subprocess.run([*unshare, *command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["httpd-svc", "httpd-svc.default", "httpd-svc.default.svc.cluster.local", "docs"])
def test_the_c_librarys_resolver_finds_services_by_every_form_of_their_name(tmp_path: Path, name: str) -> None:
    assert resolve(tmp_path, "getent", "ahostsv4", name).split()[0] == "10.96.1.2"


@pytest.mark.kernel
def test_the_c_librarys_resolver_finds_names_of_addresses(tmp_path: Path) -> None:
    assert resolve(tmp_path, "getent", "hosts", DNS_IP).split() == [DNS_IP, "kube-dns.kube-system.svc.cluster.local"]


@pytest.mark.kernel
def test_the_c_librarys_resolver_gets_a_long_answer_over_tcp(tmp_path: Path) -> None:
    found = resolve(tmp_path, "getent", "ahostsv4", "pets")
    assert len({line.split()[0] for line in found.splitlines()}) == 100


@pytest.mark.kernel
def test_nslookup_finds_the_api_server(tmp_path: Path) -> None:
    found = resolve(tmp_path, "nslookup", "kubernetes.default")
    assert f"Name:\tkubernetes.default.svc.cluster.local\nAddress: {KUBERNETES_IP}" in found


@pytest.mark.kernel
def test_dig_reads_srv_records_with_their_addresses(tmp_path: Path) -> None:
    found = resolve(
        tmp_path, "dig", "+noall", "+answer", "+additional", "SRV", "_http._tcp.httpd-svc.default.svc.cluster.local"
    )
    service = "httpd-svc.default.svc.cluster.local."
    assert [" ".join(line.split()) for line in found.splitlines()] == [
        f"_http._tcp.{service} 5 IN SRV 0 100 8080 {service}",
        f"{service} 5 IN A 10.96.1.2",
    ]


WRITTEN = {
    "httpd-svc": "10.96.1.2",
    "httpd-svc.default": "10.96.1.2",
    "httpd-svc.shop": "10.96.1.3",
    "httpd-svc.default.svc": "10.96.1.2",
    "httpd-svc.default.svc.cluster.local": "10.96.1.2",
    "httpd-svc.shop.svc.cluster.local.": "10.96.1.3",
    "docs": "10.96.1.2",
}


@pytest.mark.kernel
@pytest.mark.parametrize("name", CLIENTS)
def test_every_client_finds_services_by_every_form_of_their_name(tmp_path: Path, name: str) -> None:
    one_by_one = f'for name in {" ".join(WRITTEN)}; do echo "= $name"; "$@" "$name"; done'
    found = resolve(tmp_path, "sh", "-ec", one_by_one, "sh", *CLIENTS[name].at(tmp_path))
    for part, (written, address) in zip(found.split("= ")[1:], WRITTEN.items(), strict=True):
        said, *addresses = part.split()
        assert said == written
        assert {"10.96.1.2", "10.96.1.3"} & {*addresses} == {address}, part


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (("httpd-svc.shop.svc.cluster.local", "AAAA"), "fd00:10:96::3"),
        (("_http._tcp.httpd-svc.default.svc.cluster.local", "SRV"), "0 100 8080 httpd-svc.default.svc.cluster.local."),
        (("docs.default.svc.cluster.local",), "httpd-svc.default.svc.cluster.local. 10.96.1.2"),
        (("-x", DNS_IP), "kube-dns.kube-system.svc.cluster.local."),
    ],
)
def test_delv_believes_what_it_is_told_without_signatures(tmp_path: Path, asked: tuple[str, ...], answer: str) -> None:
    """A cluster's zone is not signed, so that delv must be told not to look for the signatures (-i)."""
    assert resolve(tmp_path, "delv", "-i", "+short", *asked).split() == answer.split()


@pytest.mark.kernel
def test_musl_which_may_not_know_tcp_gets_what_fits_a_datagram(tmp_path: Path) -> None:
    """musl asks over TCP since 1.2.4 only; before, a truncated answer is all it has, so it had better hold much."""
    found = resolve(tmp_path, *CLIENTS["musl"].at(tmp_path), "pets")
    assert len({word for word in found.split() if word.startswith("10.244.0.")}) >= 25


@pytest.mark.kernel
@pytest.mark.parametrize("name", [name for name in CLIENTS if name != "musl"])
def test_every_client_gets_a_long_answer(tmp_path: Path, name: str) -> None:
    found = resolve(tmp_path, *CLIENTS[name].at(tmp_path), "pets")
    assert len({word for word in found.split() if word.startswith("10.244.")}) == 100


@pytest.mark.kernel
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_kdig_asks_over_either_transport(tmp_path: Path, transport: str) -> None:
    found = resolve(tmp_path, "kdig", "+short", transport, "httpd-svc.shop.svc.cluster.local", "AAAA")
    assert found.split() == ["fd00:10:96::3"]


def count(found: str) -> int:
    """The queries that the server was asked."""
    return int(float(found.split("queries ")[1]))


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["glibc over TCP", "musl", "c-ares", "python", "dnspython", "dig"])
def test_every_client_takes_the_whole_walk_in_one_trip(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`httpd-svc.shop` is the second name of the walk: with the option it is found at the first."""
    client = CLIENTS[name].at(tmp_path)
    monkeypatch.setenv("COUNT", "yes")
    walked = resolve(tmp_path, *client, "httpd-svc.shop")
    monkeypatch.setenv("AUTOPATH", "yes")
    shortened = resolve(tmp_path, *client, "httpd-svc.shop")
    assert "10.96.1.3" in walked.split()
    assert "10.96.1.3" in shortened.split()
    assert count(shortened) * 2 == count(walked)
