"""The commands about names, as they are typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fairway.assemble import inquiring, naming
from fairway.assemble.inquiring import Cluster, Question
from fairway.cli import main
from fairway.dns import explain as telling
from fairway.dns.origin import Facts
from fairway.dns.walk import Settings, walk
from fairway.dns.zone import Zone
from tests.unit.dns.cluster import put, service

POD = Settings(("10.96.0.10",), ("default.svc.cluster.local", "svc.cluster.local", "cluster.local"), 5)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """Questions that reached the cluster; it holds one Service."""
    heard: list[Question] = []

    def ask(cluster: Cluster, question: Question) -> telling.Explanation:
        heard.append(question)
        zone = put(Zone(), service("web", "default", "10.96.1.2"))
        walked = walk(question.name, POD, telling.from_objects(zone), question.types, question.library)
        return telling.explain(walked, "any pod", zone, Facts())

    monkeypatch.setattr(inquiring, "ask", ask)
    return heard


def run(*words: str) -> Any:
    return CliRunner().invoke(main, words)


def test_explaining_a_name_does_not_serve_names(asked: list[Question], monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(flags: naming.Flags) -> None:
        raise AssertionError("the server was started")

    monkeypatch.setattr(naming, "dns", serve)
    done = run("dns", "explain", "web")
    assert (done.exit_code, done.output.splitlines()[0]) == (0, "web asked by any pod, as glibc asks")


def test_the_server_is_told_its_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[naming.Flags] = []
    monkeypatch.setattr(naming, "dns", told.append)
    assert run("dns", "--domain", "example.internal", "--autopath").exit_code == 0
    assert run("dns").exit_code == 0
    assert [(each.domain, each.autopath) for each in told] == [("example.internal", True), ("cluster.local", False)]


def test_a_name_without_records_has_an_exit_code_of_its_own(asked: list[Question]) -> None:
    assert run("dns", "explain", "nothing").exit_code == 3


def test_words_of_the_question(asked: list[Question]) -> None:
    run("dns", "explain", "web", "--from", "shop/web-1", "--type", "srv", "--library", "musl", "--server", "[::1]:5353")
    (question,) = asked
    assert question == Question("web", "shop/web-1", "default", ("SRV",), "musl", "cluster.local", "[::1]:5353")


def test_what_is_no_name_is_refused_in_one_line(asked: list[Question]) -> None:
    done = run("dns", "explain", "a..b")
    assert done.exit_code == 1
    assert done.output.startswith("fairway: 'a..b' is no domain name")


def test_a_named_kubeconfig_counts_more_than_a_lab(tmp_path: Path) -> None:
    lab = inquiring.StateDir(tmp_path)
    assert Cluster.chosen("", lab) == Cluster()
    lab.kubeconfig.write_text("")
    assert Cluster.chosen("", lab) == Cluster(str(lab.kubeconfig), lab)
    assert Cluster.chosen("other", lab) == Cluster("other")
