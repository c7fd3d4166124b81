"""The walks that `fairway dns explain` tells of are those that real resolvers go: asked for asked.

A server that notes what it is asked stands in a network namespace without a name, with a pod's resolv.conf.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fairway.dns.walk import Candidate, Library, Reply, Settings, walk
from tests.kernel.dns_clients import CLIENTS
from tests.plan import DNS_IP

SEARCHES = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")
ANSWERS = {
    "web.default.svc.cluster.local.": ["A 10.96.1.2"],
    "web.shop.svc.cluster.local.": ["A 10.96.1.3", "AAAA fd00::3"],
    "six.default.svc.cluster.local.": ["AAAA fd00::6"],
    "www.example.com.": ["A 192.0.2.1"],
    "a.b.c.d.e.f.": ["A 192.0.2.2"],
    "level.svc.cluster.local.": ["A 10.96.1.4"],
    "sick.svc.cluster.local.": ["A 10.96.1.5"],
    "shut.svc.cluster.local.": ["A 10.96.1.6"],
    "shut.": ["A 192.0.2.3"],
    "stray.default.svc.cluster.local.": ["CNAME gone.cluster.local."],
    "stray.svc.cluster.local.": ["A 10.96.1.7"],
    "empty.default.svc.cluster.local.": ["CNAME bare.cluster.local."],
    "empty.svc.cluster.local.": ["A 10.96.1.8"],
}
RCODES = {
    "level.default.svc.cluster.local.": "NOERROR",
    "sick.default.svc.cluster.local.": "SERVFAIL",
    "shut.default.svc.cluster.local.": "REFUSED",
    "stray.default.svc.cluster.local.": "NXDOMAIN",
}

SERVER = """
import json, socket, subprocess, sys, threading
import dns.flags, dns.message, dns.rcode, dns.rdatatype, dns.rrset

conf, address, answers, rcodes, *command = sys.argv[1:]
answers, rcodes, asked = json.loads(answers), json.loads(rcodes), []

def reply(raw):
    query = dns.message.from_wire(raw)
    question = query.question[0]
    name = question.name.to_text().lower()
    asked.append(name)
    reply = dns.message.make_response(query)
    reply.flags |= dns.flags.AA  # an empty answer without it is a lame server's to glibc
    known = answers.get(name, [])
    for line in known:
        type, data = line.split()
        if type in ("CNAME", dns.rdatatype.to_text(question.rdtype)):
            reply.answer.append(dns.rrset.from_text(question.name, 5, "IN", type, data))
    reply.set_rcode(dns.rcode.from_text(rcodes.get(name, "NOERROR" if known else "NXDOMAIN")))
    return reply.to_wire()

def serve(server):
    while True:
        raw, peer = server.recvfrom(4096)
        server.sendto(reply(raw), peer)

subprocess.run(["mount", "--bind", conf, "/etc/resolv.conf"], check=True)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["ip", "address", "add", address + "/32", "dev", "lo"], check=True)
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((address, 53))
threading.Thread(target=serve, args=(server,), daemon=True).start()
done = subprocess.run(command, capture_output=True, text=True)
json.dump({"asked": asked, "addresses": done.stdout.split(), "error": done.stderr}, sys.stdout)
"""


def really(tmp_path: Path, client: tuple[str, ...], written: str, ndots: int) -> list[str]:
    """The names that a client asked for, in order."""
    conf = tmp_path / "resolv.conf"
    conf.write_text(f"search {' '.join(SEARCHES)}\nnameserver {DNS_IP}\noptions ndots:{ndots}\n")
    told = (str(conf), DNS_IP, json.dumps(ANSWERS), json.dumps(RCODES))
    inside = ("unshare", "--net", "--mount", sys.executable, "-c", SERVER, *told)
    done = subprocess.run([*inside, *client, written], capture_output=True, text=True, timeout=60, check=True)
    return [name for name, _ in itertools.groupby(json.loads(done.stdout)["asked"])]


def told(written: str, ndots: int, library: Library) -> list[str]:
    """The names that the walk says are asked."""

    def ask(candidate: Candidate, type: str) -> Reply:
        known = ANSWERS.get(candidate.name, [])
        rcode = RCODES.get(candidate.name, "NOERROR" if known else "NXDOMAIN")
        return Reply(rcode, tuple(line for line in known if line.split()[0] in ("CNAME", type)))

    walked = walk(written, Settings((DNS_IP,), SEARCHES, ndots), ask, library=library)
    return [step.candidate.name for step in walked.steps]


@pytest.mark.kernel
@pytest.mark.parametrize("library", ["glibc", "musl"])
@pytest.mark.parametrize(
    ("written", "ndots"),
    [
        ("web", 5),
        ("web.shop", 5),
        ("web.shop.svc.cluster.local", 5),
        ("web.shop.svc.cluster.local.", 5),
        ("six", 5),
        ("none", 5),
        ("none.shop", 1),
        ("www.example.com", 5),
        ("www.example.com", 2),
        ("a.b.c.d.e.f", 5),
        ("a.b.c.d.e.g", 5),
        ("level", 5),
        ("sick", 5),
        ("shut", 5),
        ("stray", 5),
        ("empty", 5),
    ],
)
def test_the_walk_told_is_the_walk_gone(tmp_path: Path, written: str, ndots: int, library: Library) -> None:
    client = {"glibc": "python", "musl": "musl"}[library]  # Python asks for both families, getent for those at hand
    gone = really(tmp_path, CLIENTS[client].at(tmp_path), written, ndots)
    assert gone == told(written, ndots, library)
