"""What a node answers: query parameters, logs, and who is told no."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from fairway.api.answers import Answer, Stream
from fairway.api.intake import Exchange
from fairway.pods.config import AgentConfig
from fairway.pods.logs import Query
from fairway.pods.server import BadQuery, Server, query_of
from fairway.pods.view import Metadata, Pod
from tests.unit.pods.test_logs import entries, make
from tests.unit.pods.test_messages import HANDSHAKE


def test_pod_log_options() -> None:
    assert query_of({}, 100.0) == Query()
    given = {"follow": "true", "tailLines": "5", "timestamps": "1", "previous": "true", "limitBytes": "9"}
    assert query_of({**given, "sinceSeconds": "60"}, 100.0) == Query(True, True, True, 5, 40.0, 9)
    assert query_of({"sinceTime": "1970-01-01T00:01:00Z"}, 100.0).since == 60.0


@pytest.mark.parametrize(
    "bad", [{"tailLines": "-1"}, {"limitBytes": "0"}, {"sinceTime": "noon"}, {"sinceSeconds": "x"}]
)
def test_a_bad_option_is_named(bad: dict[str, str]) -> None:
    with pytest.raises(BadQuery, match=next(iter(bad))):
        query_of(bad, 0.0)


def node(tmp_path: Path) -> Server:
    """A node with the pod web-1, whose container `web` has logged and whose container `late` waits."""
    (tmp_path / "pods").mkdir()
    make(tmp_path / "pods", *entries(3))
    init = {"name": "late", "state": {"waiting": {"reason": "PodInitializing"}}}
    pods = [Pod(metadata=Metadata(name="web-1", namespace="default", uid="u"), status={"containerStatuses": [init]})]
    return Server(AgentConfig("node-a", tmp_path, "127.0.0.1"), lambda: pods)


def ask(server: Server, url: str, method: str = "GET") -> tuple[int, str]:
    """The answer to a request without a body."""

    async def play() -> tuple[int, str]:
        path, _, query = url.partition("?")
        answer = await server.app().respond(method, path, query, {}, b"")
        if isinstance(answer, Answer):
            return answer.status, answer.bytes().decode()
        assert isinstance(answer, Stream)
        return answer.status, b"".join([piece async for piece in answer.chunks]).decode()

    return asyncio.run(play())


def test_logs_pods_and_health(tmp_path: Path) -> None:
    server, logs = node(tmp_path), "/containerLogs/default/web-1"
    for url, status, text in (
        (f"{logs}/web?tailLines=1", 200, "line 2\n"),
        (f"{logs}/web?follow=true", 200, "line 0\nline 1\nline 2\n"),
        (f"{logs}/web?tailLines=x", 400, "tailLines: 'x' must be a whole number of at least 0\n"),
        (f"{logs}/other", 400, 'container "other" in pod "web-1" is waiting to start: ContainerCreating\n'),
        (f"{logs}/late", 400, 'container "late" in pod "web-1" is waiting to start: PodInitializing\n'),
        ("/containerLogs/default/none/web", 404, 'pod "none" not found on node node-a\n'),
        ("/containerLogs/default", 404, "there is nothing here\n"),
        ("/healthz", 200, "ok"),
    ):
        assert ask(server, url) == (status, text)
    [pod] = json.loads(ask(server, "/pods")[1])["items"]
    assert pod["metadata"]["name"] == "web-1"
    assert ask(server, "/healthz", "POST")[0] == 405


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("/exec/default/web-1/late?command=x", 400, "container late does not run (now)"),
        ("/attach/default/none/c", 404, 'pod "none" not found'),
        ("/portForward/default/web-1", 400, "the pod does not run (now)"),
        ("/portForward/default", 404, "nothing here"),
    ],
)
def test_a_door_stays_shut_with_or_without_an_upgrade(tmp_path: Path, url: str, code: int, said: str) -> None:
    server = node(tmp_path)
    assert ask(server, url)[0] == code
    path, _, query = url.partition("?")
    answer = asyncio.run(server.app().connect("GET", path, query, HANDSHAKE))
    assert isinstance(answer, Answer) and answer.status == code and said in answer.bytes().decode()
    assert asyncio.run(server.app().connect("POST", path, query, HANDSHAKE)).status == 405  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("path", "headers", "opens"),
    [
        ("/exec/default/web-1/web", HANDSHAKE, True),
        ("/portForward/default/web-1", {"connection": "keep-alive, Upgrade", "upgrade": "SPDY/3.1"}, True),
        ("/exec/default/web-1/web", {"connection": "upgrade", "upgrade": "h2c"}, False),
        ("/exec/default/web-1/web", {"upgrade": "websocket"}, False),
        ("/pods", HANDSHAKE, False),
    ],
)
def test_doors_alone_are_connections(tmp_path: Path, path: str, headers: dict[str, str], opens: bool) -> None:
    assert node(tmp_path).app().opens(Exchange("GET", path, headers=headers)) == opens
