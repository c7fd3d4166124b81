"""The flags of `fairway dns` that cannot be meant, its pages, and its workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import cast

import pytest

from fairway.assemble import naming, workers
from fairway.assemble.forwarding import RESOLV_CONF, Forwarding
from fairway.assemble.naming import Flags
from fairway.cli import main
from fairway.client.base import Client
from fairway.dns.server import DnsServer
from fairway.dns.zone import Zone


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (Flags(addresses=["127.0.0.1"]), "needs ADDRESS:PORT"),
        (Flags(metrics_address="0.0.0.0:9153"), "would be had by every client"),
        (Flags(health_address="[::]:8080"), "would be had by every client"),
        (Flags(addresses=["10.0.0.1:53"], metrics_address="10.0.0.1:53"), "would be had by every client"),
        (Flags(addresses=["127.0.0.1:0"], workers=2), "needs ports that are given"),
        (Flags(forwarding=Forwarding(forward=("dns.example.com",))), "--forward: 'dns.example.com' is no server"),
    ],
)
def test_flags_that_cannot_be_meant(flags: Flags, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        naming.dns(flags)


def told(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[Flags]:
    """What the server is started with by these words after `fairway`."""
    started: list[Flags] = []
    monkeypatch.setattr(naming, "dns", started.append)
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert end.value.code == 0
    return started


def test_the_command_forwards_to_the_servers_of_the_host_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (flags,) = told(monkeypatch, "dns")
    assert flags.forwarding == Forwarding(resolv_conf=RESOLV_CONF)
    words = [
        "--forward",
        "10.0.0.5",
        "--stub",
        "lab.example=10.0.0.6",
        "--upstream-policy",
        "sequential",
        "--cache-size",
        "5",
    ]
    (flags,) = told(monkeypatch, "dns", *words, "--serve-stale", "60", "--prefetch", "3", "--resolv-conf", "")
    assert flags.forwarding == Forwarding(("10.0.0.5",), "", ("lab.example=10.0.0.6",), "sequential", 5, 60, 3)


def test_looking_at_names_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, "dns", "explain", "--help") == []


def test_ready_only_when_answers_are_the_truth() -> None:
    server = DnsServer(cast("Client", None), zone=Zone(pods="disabled"), addresses=[])
    health, metrics = naming._health(server), naming._metrics(server)
    assert [health(path).status for path in ("/health", "/ready", "/metrics")] == [200, 503, 404]
    server._unsynced.clear()
    server.listening.set()
    assert health("/ready").status == 200
    server.metrics.count("coredns_panics_total")
    assert b"\ncoredns_panics_total 1\n" in metrics("/metrics").body
    assert metrics("/health").status == 404


def in_a_process(work: object) -> int:
    """The status with which a process ends that does this work."""
    pid = os.fork()
    if not pid:
        try:
            work()  # type: ignore[operator]
            os._exit(0)
        except SystemExit as end:
            os._exit(cast("int", end.code))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_workers_each_do_the_work_once(tmp_path: Path) -> None:
    def work(number: int) -> None:
        (tmp_path / str(number)).write_text("done")

    assert in_a_process(lambda: workers.share(3, work)) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]


def test_when_one_worker_fails_the_others_are_told_to_end() -> None:
    def work(number: int) -> None:
        if number == 1:
            raise SystemExit(7)
        signal.sigwait({signal.SIGTERM})

    def share() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        workers.share(3, work)

    assert in_a_process(share) == 7
