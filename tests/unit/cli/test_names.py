"""The commands about names, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fairway.assemble import inquiring, naming
from fairway.assemble.inquiring import Cluster, Question
from fairway.cli import main
from fairway.client.base import ApiError, Listing
from fairway.dns import explain as telling
from fairway.dns.origin import Facts
from fairway.dns.walk import Settings, walk
from fairway.dns.zone import Zone
from fairway.objects.kinds import Kind
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


class OneCluster:
    """A client of an API server that holds one pod and a younger Service."""

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Any:
        if name != "web-1":
            raise ApiError(404, "NotFound", f'pods "{name}" not found')
        times = {"creationTimestamp": "2026-01-01T00:00:00Z"}
        spec = {"containers": [{"name": "main"}, {"name": "side", "envFrom": [{"secretRef": {"name": "s"}}]}]}
        return {"metadata": {"name": name, "namespace": namespace, **times}, "spec": spec}

    async def list(self, kind: Kind, namespace: str = "") -> Listing:
        metadata = {"name": "web", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:09Z"}
        return Listing([json.dumps({"metadata": metadata, "spec": {"clusterIP": "10.96.1.2"}}).encode()], "1")

    async def close(self) -> None:
        pass


@pytest.fixture
def one_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cluster, "client", lambda self: OneCluster())


@pytest.mark.usefixtures("one_cluster")
def test_the_environment_of_a_pod_of_any_cluster() -> None:
    told = json.loads(run("env", "shop/web-1", "--container", "side", "--output", "json", "--kubeconfig", "x").output)
    assert (told["pod"], told["container"], told["environment"]) == ("shop/web-1", "side", {})
    assert told["services"] == [
        {
            "service": "shop/web",
            "told": False,
            "why": "made 9 s after the pod; a new pod is told of it",
        }
    ]
    assert [note.split(":")[0] for note in told["notes"]] == [
        "container side has envFrom",
        "a kubelet tells a container of the Services there are when it starts",
    ]


@pytest.mark.usefixtures("one_cluster")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nobody",), 'fairway: pod default/nobody: pods "nobody" not found\n'),
        (("web-1", "-c", "third"), "fairway: pod default/web-1 has no container 'third'; it has main, side\n"),
    ],
)
def test_what_is_not_there_is_named(words: tuple[str, ...], said: str) -> None:
    done = run("env", "--kubeconfig", "x", *words)
    assert (done.exit_code, done.output) == (1, said)


def test_a_server_that_does_not_know_us_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(cluster: Cluster, question: Question) -> telling.Explanation:
        raise ApiError(401, "Unauthorized", "Unauthorized")

    monkeypatch.setattr(inquiring, "ask", ask)
    done = run("dns", "explain", "web")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "fairway: Unauthorized: the API server accepts neither a certificate nor a token of the kubeconfig's user\n"
    )
