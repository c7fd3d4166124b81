"""The node's HTTP: query parameters, and logs over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from fairway.pods.config import AgentConfig
from fairway.pods.logs import Query
from fairway.pods.server import BadQuery, Server, query_of
from fairway.pods.view import Metadata, Pod
from tests.unit.pods.test_logs import entries, make


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


def ask(tmp_path: Path, question: Callable[[ClientSession, str], Awaitable[None]]) -> None:
    config = AgentConfig("node-a", tmp_path, "127.0.0.1")
    init = {"name": "late", "state": {"waiting": {"reason": "PodInitializing"}}}
    metadata = Metadata(name="web-1", namespace="default", uid="u")
    pods = [Pod(metadata=metadata, status={"containerStatuses": [init]})]

    async def play() -> None:
        async with TestServer(Server(config, lambda: pods).app()) as server, ClientSession() as session:
            await question(session, str(server.make_url("")).rstrip("/"))

    asyncio.run(play())


def test_logs_pods_and_health(tmp_path: Path) -> None:
    (tmp_path / "pods").mkdir()
    make(tmp_path / "pods", *entries(3))

    async def question(session: ClientSession, url: str) -> None:
        logs = f"{url}/containerLogs/default/web-1"
        for path, status, text in (
            (f"{logs}/web?tailLines=1", 200, "line 2\n"),
            (f"{logs}/web?follow=true", 200, "line 0\nline 1\nline 2\n"),
            (f"{logs}/web?tailLines=x", 400, "tailLines: 'x' must be a whole number of at least 0\n"),
            (f"{logs}/other", 400, 'container "other" in pod "web-1" is waiting to start: ContainerCreating\n'),
            (f"{logs}/late", 400, 'container "late" in pod "web-1" is waiting to start: PodInitializing\n'),
            (f"{url}/containerLogs/default/none/web", 404, 'pod "none" not found on node node-a\n'),
            (f"{url}/healthz", 200, "ok"),
        ):
            async with session.get(path) as answer:
                assert (answer.status, await answer.text()) == (status, text)
        async with session.get(f"{url}/pods") as answer:
            [pod] = json.loads(await answer.text())["items"]
            assert pod["metadata"]["name"] == "web-1"

    ask(tmp_path, question)
