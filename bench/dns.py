"""How fast cluster DNS answers, beside servers written in C with the same zone, and what it weighs.

    python bench/dns.py [--services N] [--seconds S] [--workers N]      (default 10000, 5, 1; needs Debian's dnsperf)

`fairway dns` runs as it would in a pod, pinned to one processor, with a stand-in for the API server (see `proxy_api`):
Services of one port and five endpoints each, every seventh of them headless, and the Pods behind them. dnsperf asks on
loopback from the other processor: each question once, then again and again; names outside are forwarded to a server in
this process. Knot and NSD, where Debian's packages are installed, serve the same records from files; whether they say
the same to two thousand of the questions is printed, too.

A machine that others use too gives a server less than its processor; so each rate is printed twice: answers a second,
and answers per second of the server's processor time. While dnsperf asks at half of the rate it reached, a client asks
one question after another: median and 99th percentile of what it waits, in ms. Nothing is kept.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

import proxy_api as api

FAIRWAY = str(Path(__file__).resolve().parent.parent / ".venv" / "bin" / "fairway")
ADDRESS, PORT, OUTSIDE_PORT = "127.0.0.1", 5300, 5301
OUTSIDE = 2000  # names outside, well within the cache
LONGEST = 60.0  # seconds for anything
OUTSTANDING = 200
SAMPLES = 2000
WRITES = 60
TYPES = {"A": 1, "PTR": 12, "AAAA": 28, "SRV": 33}
ONCE = "each question once"
ZONES = ("cluster.local", "10.in-addr.arpa")
SOA = "SOA ns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"


Said = tuple[int, list[tuple[int, str]]]
"""The rcode of a reply, and the types and data of its answers."""


class Rate(NamedTuple):
    """What a server did: answers a second, the same per second of its processor time, and the share it lost."""

    wall: float
    processor: float
    lost: float


def headless(number: int) -> bool:
    return number % 7 == 0


def service(number: int) -> dict[str, Any]:
    """As the stand-in's, every seventh headless."""
    made = api.service(number)
    if headless(number):
        made["spec"] |= {"clusterIP": "None", "clusterIPs": ["None"]}
    return made


def pods(count: int) -> list[dict[str, Any]]:
    """The Pods behind all endpoints."""
    return [
        {
            "metadata": {
                "name": f"service-{number}-{place}",
                "namespace": f"team-{number % 50}",
                "uid": f"{number}-{place}",
            },
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
        }
        for number in range(count)
        for place in range(api.ENDPOINTS)
        for ip in (api.endpoint(number, place),)
    ]


def name(number: int) -> str:
    return f"service-{number}.team-{number % 50}.svc.cluster.local"


def reverse(address: str) -> str:
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


KINDS: dict[str, Callable[[int], str]] = {
    "A": lambda n: f"{name(n)} A",
    "AAAA (no data)": lambda n: f"{name(n)} AAAA",
    "SRV": lambda n: f"_http._tcp.{name(n)} SRV",
    "PTR": lambda n: f"{reverse(api.endpoint(n, 1) if headless(n) else api.cluster_ip(n))} PTR",
    "no such name": lambda n: f"{name(n)}.svc.cluster.local A",
}


def questions(count: int) -> dict[str, list[str]]:
    """Files of questions, in random order; the mixture has all kinds for each name."""
    rng = random.Random(5)
    made = {kind: [ask(n) for n in range(count)] for kind, ask in KINDS.items()}
    made["mixture"] = [each for lines in made.values() for each in lines]
    for lines in made.values():
        rng.shuffle(lines)
    return made


# ---- servers ------------------------------------------------------------------------------------------------------


class Server:
    """A process that answers on the port, and what it uses."""

    def __init__(self, words: Sequence[str], cwd: Path) -> None:
        self.begun = time.perf_counter()
        self.process = subprocess.Popen(
            ["taskset", "-c", "1", *words], cwd=cwd, stdout=subprocess.DEVNULL, stderr=(cwd / "log").open("w")
        )

    def wait_for(self, question: str) -> float:
        """Seconds from the start to the first right answer."""
        asked = query(question)
        while time.perf_counter() - self.begun < LONGEST:
            reply = ask(asked, 0.5)
            if reply is not None and answers(reply):
                return time.perf_counter() - self.begun
            assert self.process.poll() is None, "the server ended"
            time.sleep(0.005)
        raise AssertionError(f"no answer to {question}")

    def _pids(self) -> list[int]:
        """The server and its workers."""
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            todo += map(int, children)
        return found

    def processor(self) -> float:
        """Seconds of processor time so far."""
        ticks = 0
        for pid in self._pids():
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self) -> tuple[float, float]:
        """MB now and at most, each process's resident memory added up."""
        now = most = 0
        for pid in self._pids():
            fields = dict(re.findall(r"(Vm\w+):\s+(\d+)", Path(f"/proc/{pid}/status").read_text()))
            now += int(fields["VmRSS"])
            most += int(fields["VmHWM"])
        return now / 1024, most / 1024

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def query(question: str) -> bytes:
    """The octets of a question written `name TYPE`. Made by hand: beside a file of this name dnspython is not found."""
    labels, type = question.split()
    octets = b"".join(bytes((len(label),)) + label.encode() for label in labels.split("."))
    return (
        struct.pack("!6H", random.randrange(65536), 0x0100, 1, 0, 0, 0)
        + octets
        + struct.pack("!BHH", 0, TYPES[type], 1)
    )


def answers(reply: bytes) -> int:
    """Records in a reply's answer section."""
    return int.from_bytes(reply[6:8], "big")


def content(reply: bytes) -> Said:
    """What a reply says: its rcode, and the types and data of its answers, however their names are compressed."""
    found: list[tuple[int, str]] = []
    place = reply.index(b"\0", 12) + 5 if reply else 0
    for _ in range(answers(reply)):
        _, place = spelled(reply, place)
        type, length = struct.unpack_from("!H6xH", reply, place)
        place += 10
        fixed = {TYPES["SRV"]: 6, TYPES["PTR"]: 0}.get(type, length)
        name = spelled(reply, place + fixed)[0] if fixed < length else ""
        found.append((type, reply[place : place + fixed].hex() + name))
        place += length
    return (reply[3] & 0xF if reply else -1), sorted(found)


def spelled(message: bytes, place: int) -> tuple[str, int]:
    """The name that begins at a place, and where it ends."""
    labels, end = [], 0
    while length := message[place]:
        if length >= 0xC0:
            end = end or place + 2
            place = int.from_bytes(message[place : place + 2], "big") & 0x3FFF
            continue
        labels.append(message[place + 1 : place + 1 + length].decode())
        place += 1 + length
    return ".".join(labels), end or place + 1


def ask(query: bytes, timeout: float) -> bytes | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(timeout)
        client.connect((ADDRESS, PORT))
        try:
            client.send(query)
            return client.recv(4096)
        except OSError:
            return None


def fairway(place: Path, api_port: int, workers: int) -> Server:
    kubeconfig = place / "kubeconfig"
    kubeconfig.write_text(
        f'{{"clusters": [{{"name": "c", "cluster": {{"server": "http://127.0.0.1:{api_port}"}}}}], "users": [],'
        ' "contexts": [{"name": "c", "context": {"cluster": "c", "user": ""}}], "current-context": "c"}'
    )
    words = [
        FAIRWAY,
        "dns",
        "--kubeconfig",
        str(kubeconfig),
        "--listen",
        f"{ADDRESS}:{PORT}",
        "--workers",
        str(workers),
    ]
    words += ["--reverse", "10.0.0.0/8", "--metrics-address", "", "--health-address", ""]
    words += ["--forward", f"{ADDRESS}:{OUTSIDE_PORT}"]
    return Server(words, place)


def knot(place: Path) -> Server:
    zones = "".join(f"  - domain: {zone}\n    file: {place / zone}\n" for zone in ZONES)
    (place / "knot.conf").write_text(
        f"server:\n  listen: {ADDRESS}@{PORT}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n"
        f"  rundir: {place}\ndatabase:\n  storage: {place}\nzone:\n{zones}"
    )
    return Server(["/usr/sbin/knotd", "-c", str(place / "knot.conf")], place)


def nsd(place: Path) -> Server:
    zones = "".join(f"zone:\n  name: {zone}\n  zonefile: {place / zone}\n" for zone in ZONES)
    (place / "nsd.conf").write_text(
        f"server:\n  ip-address: {ADDRESS}@{PORT}\n  server-count: 1\n  username: root\n  zonesdir: {place}\n"
        f"  database: ''\n  pidfile: {place}/nsd.pid\n  xfrdfile: {place}/xfrd\n  zonelistfile: {place}/zones\n"
        f"  rrl-ratelimit: 0\nremote-control:\n  control-enable: no\n{zones}"
    )
    return Server(["/usr/sbin/nsd", "-d", "-c", str(place / "nsd.conf")], place)


def write_zones(place: Path, count: int) -> None:
    """The zone as files, for the others."""
    forward, back = [f"cluster.local. 5 IN {SOA}"], [f"10.in-addr.arpa. 5 IN {SOA}"]
    for lines, zone in ((forward, ZONES[0]), (back, ZONES[1])):
        lines.append(f"{zone}. 5 IN NS ns.cluster.local.")
    forward.append("ns.cluster.local. 5 IN A 127.0.0.1")
    for number in range(count):
        own = name(number) + "."
        for place_of in range(api.ENDPOINTS) if headless(number) else (None,):
            ip = api.cluster_ip(number) if place_of is None else api.endpoint(number, place_of)
            host = own if place_of is None else f"{ip.replace('.', '-')}.{own}"
            port = 80 if place_of is None else api.PORT
            forward += [f"{each} 5 IN A {ip}" for each in {own, host}]
            forward.append(f"_http._tcp.{own} 5 IN SRV 0 100 {port} {host}")
            back.append(f"{reverse(ip)}. 5 IN PTR {host}")
    for zone, lines in zip(ZONES, (forward, back), strict=True):
        (place / zone).write_text("\n".join(lines) + "\n")


# ---- measuring ----------------------------------------------------------------------------------------------------


def dnsperf(server: Server, file: Path, *limits: str) -> Rate:
    used = server.processor()
    words = ["taskset", "-c", "0", "dnsperf", "-s", ADDRESS, "-p", str(PORT), "-d", str(file), "-c", "8"]
    done = subprocess.run([*words, "-q", str(OUTSTANDING), *limits], capture_output=True, text=True, check=True).stdout
    used = server.processor() - used
    numbers = {key: float(re.search(rf"{key}:\s+([\d.]+)", done)[1]) for key in ("sent", "completed", "per second")}  # type: ignore[index]
    return Rate(numbers["per second"], numbers["completed"] / used, 1 - numbers["completed"] / numbers["sent"])


def waits(file: Path, rate: float, sample: Sequence[str]) -> tuple[float, float]:
    """Median and 99th percentile in ms that a client waits for a reply while others ask at this rate."""
    words = ["taskset", "-c", "0", "dnsperf", "-s", ADDRESS, "-p", str(PORT), "-d", str(file), "-c", "8", "-l", "30"]
    load = subprocess.Popen(
        [*words, "-q", "1000", "-Q", str(int(rate))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(0.5)
        taken = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect((ADDRESS, PORT))
            client.settimeout(1)
            for line in sample[:SAMPLES]:
                asked = query(line)
                begun = time.perf_counter()
                client.send(asked)
                client.recv(4096)
                taken.append((time.perf_counter() - begun) * 1000)
                time.sleep(0.0005)
        return statistics.median(taken), statistics.quantiles(taken, n=100)[98]
    finally:
        load.terminate()
        load.wait()


def freshness(stand_in: api.StandIn) -> list[float]:
    """Milliseconds from the writing of a new Service's event to the first answer with its address."""
    taken = []
    for number in range(60_000, 60_000 + WRITES):
        asked = query(f"{name(number)} A")
        ask(asked, 1)
        begun = time.perf_counter()
        stand_in.tell([api.service(number)], "services", "ADDED")
        while True:
            reply = ask(asked, 1)
            if reply is not None and answers(reply):
                break
        taken.append((time.perf_counter() - begun) * 1000)
    return taken


@contextmanager
def stand_in(count: int) -> Iterator[tuple[api.StandIn, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    spaces = [{"metadata": {"name": f"team-{number}"}} for number in range(50)]
    served = api.StandIn(
        count, listener, namespaces=spaces, pods=pods(count), services=[service(n) for n in range(count)]
    )
    try:
        yield served, listener.getsockname()[1]
    finally:
        served.close()


@contextmanager
def world() -> Iterator[None]:
    """A server of the names outside, which has one address for each."""
    answer = struct.pack("!HHHIH4B", 0xC00C, 1, 1, 3600, 4, 198, 51, 100, 7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((ADDRESS, OUTSIDE_PORT))

        def serve() -> None:
            while True:
                asked, peer = opened.recvfrom(4096)
                question = asked[12 : asked.index(b"\0", 12) + 5]
                opened.sendto(asked[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0) + question + answer, peer)

        threading.Thread(target=serve, daemon=True).start()
        yield


def measure_outside(server: Server, place: Path, seconds: float) -> None:
    """Names that are forwarded: asked for the first time, and known."""
    file = place / "outside.questions"
    file.write_text("".join(f"host-{number}.example.com A\n" for number in range(OUTSIDE)))
    show("outside, asked once", dnsperf(server, file, "-n", "1"))
    show("outside, known", dnsperf(server, file, "-l", str(seconds)))


class Figures(NamedTuple):
    """What was measured of a server: its rates by kind of question, and what it said to each of the sample."""

    rates: dict[str, Rate]
    said: list[Said]


def measure(
    what: str,
    server: Server,
    files: dict[str, Path],
    seconds: float,
    sample: Sequence[str],
    ours: Figures | None = None,
) -> Figures:
    """All figures of one server, printed; beside `ours`, how much ours are of them, and whether it says the same."""
    started = server.wait_for(sample[-1])
    used = server.processor()
    print(f"\n{what}: {started:.2f} s from start to answers ({used:.2f} s of processor), {megabytes(server)}")
    rates: dict[str, Rate] = {}
    for kind, file, limits in (
        (ONCE, files["mixture"], ("-n", "1")),
        *((kind, file, ("-l", str(seconds))) for kind, file in files.items()),
    ):
        rates[kind] = dnsperf(server, file, *limits)
        show(kind, rates[kind], ours.rates[kind] if ours else None)
    median, worst = waits(files["mixture"], rates["mixture"].wall / 2, sample)
    print(f"  at half of that rate a client waits {median:.2f} ms (median), {worst:.2f} ms (99th percentile)")
    print(f"  then {megabytes(server)}")
    said = [content(ask(query(line), 5) or b"") for line in sample]
    if ours is not None:
        differ = [line for line, mine, theirs in zip(sample, ours.said, said, strict=True) if mine != theirs]
        print(
            f"  says the same as fairway dns to {len(said) - len(differ)} of {len(said)} questions {differ[:3] or ''}"
        )
    return Figures(rates, said)


def show(kind: str, rate: Rate, ours: Rate | None = None) -> None:
    """One row; beside `ours`, how much of it ours is, by processor time."""
    share = f", fairway dns {ours.processor / rate.processor:.2f} of it" if ours else ""
    print(f"  {kind:22}{rate.wall:10,.0f}/s {rate.processor:10,.0f}/s of processor, {rate.lost:.2%} lost{share}")


def megabytes(server: Server) -> str:
    now, most = server.memory()
    return f"{now:.0f} MB (at most {most:.0f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--alone", action="store_true", help="without the servers to compare with")
    told = parser.parse_args()
    if shutil.which("dnsperf") is None:
        sys.exit("please install Debian's dnsperf")
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        lines = questions(told.services)
        files = {kind: place / f"{at}.questions" for at, kind in enumerate(lines)}
        for kind, file in files.items():
            file.write_text("\n".join(lines[kind]) + "\n")
        sample = [*lines["mixture"][:SAMPLES], KINDS["A"](told.services - 1)]
        with stand_in(told.services) as (served, port), world():
            server = fairway(place, port, told.workers)
            try:
                ours = measure("fairway dns", server, files, told.seconds, sample)
                measure_outside(server, place, told.seconds)
                taken = freshness(served)
                print(
                    f"  a write is answered after {statistics.median(taken):.2f} ms (median; at most {max(taken):.2f})"
                )
            finally:
                server.stop()
        if told.alone:
            return
        write_zones(place, told.services)
        for program, start in (("/usr/sbin/knotd", knot), ("/usr/sbin/nsd", nsd)):
            if Path(program).exists():
                server = start(place)
                try:
                    measure(start.__name__, server, files, told.seconds, sample, ours)
                finally:
                    server.stop()


if __name__ == "__main__":
    main()
