"""What the page's desk answers, without server and page."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fairway.api.server import Api
from fairway.assemble import showing
from fairway.assemble.inquiring import Cluster
from fairway.assemble.lookout import Lookout
from fairway.assemble.showing import Desk, View
from fairway.client.kubeconfig import KubeconfigError
from fairway.client.local import LocalClient
from fairway.store.memory import MemoryStore
from fairway.web.pages import Asked, Unanswerable
from tests.contract.session import CONFIG
from tests.lab.page_cluster import populate

SAVED = (Path(__file__).parents[2] / "dumps" / "httpd-clusterip-nodeport-grep-2017.txt").read_bytes()
NOWHERE = "no-such-lab"


def ends(told: dict[str, Any], part: int = 0) -> list[tuple[str, str]]:
    return [(each["share"], each["endpoint"] or each["verdict"]) for each in told["parts"][part]["outcomes"]]


@pytest.mark.parametrize(
    ("source", "destination", "node", "found"),
    [
        ("default/shell", "web:80", "node-a", [("1/2", "10.244.0.5:8080"), ("1/2", "10.244.1.5:8080")]),
        ("web-2", "local:80", "node-b", [("1/2", "10.244.1.5:8080"), ("1/2", "10.244.1.77:8080")]),
        ("10.244.0.9", "local:80", "node-a", [("always", "dropped")]),
        ("node-b", "nobody:80", "node-b", [("always", "rejected")]),
        ("203.0.113.9", "node-b:30080", "node-b", [("1/2", "10.244.0.5:8080"), ("1/2", "10.244.1.5:8080")]),
        ("203.0.113.9", "10.0.0.12:30080", "node-b", [("1/2", "10.244.0.5:8080"), ("1/2", "10.244.1.5:8080")]),
    ],
)
def test_without_any_node_at_hand_rules_are_worked_out(
    source: str, destination: str, node: str, found: list[tuple[str, str]]
) -> None:
    async def story() -> None:
        api = Api(MemoryStore(), CONFIG)
        await api.start()
        client = LocalClient(api.handlers)
        await populate(client)
        lookout = Lookout(client)
        desk = Desk(View(Cluster("here"), "cluster"), lookout)
        with pytest.raises(Unanswerable, match="not answered yet"):
            await desk.trace(Asked(source, destination))
        following = asyncio.create_task(lookout.run())
        async with asyncio.timeout(20):
            while not lookout.synced:
                await asyncio.sleep(0.01)
        told = await desk.trace(Asked(source, destination))
        assert told["parts"][0]["node"] == node
        assert sorted(ends(told)) == found
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await api.stop()

    asyncio.run(story())


def test_files_are_kept_until_newer_ones_come() -> None:
    async def story() -> None:
        desk = Desk(View(), None)
        given = [await desk.take({f"rules-{number}": SAVED}) for number in range(showing.MAX_GROUNDS + 1)]
        asked = {"source": "10.244.0.9", "destination": "httpd-svc:8080"}
        told = await desk.trace(Asked(**asked, ground=given[-1]["id"]))
        assert [share for share, _ in ends(told)] == ["1/3"] * 3
        with pytest.raises(Unanswerable, match="drop them again"):
            await desk.trace(Asked(**asked, ground=given[0]["id"]))
        assert [each["id"] for each in desk.about()["grounds"]] == [each["id"] for each in given[1:]]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Asked("web", "httpd-svc:8080", ground="files-1"), "names need --objects FILE"),
        (Asked("10.244.0.9", "nothing:80", ground="files-1"), "the rules name no Service default/nothing"),
        (Asked("10.244.0.9", "httpd-svc:99999", ground="files-1"), "ports go from 1 to 65535"),
        (Asked("10.244.0.9", "httpd-svc:8080"), "drop a dump"),
    ],
)
def test_what_cannot_be_answered_says_why(asked: Asked, why: str) -> None:
    async def story() -> None:
        desk = Desk(View(), None)
        await desk.take({"rules": SAVED})
        with pytest.raises(Unanswerable, match=why):
            await desk.trace(asked)
        with pytest.raises(Unanswerable):
            await desk.balancers()
        with pytest.raises(Unanswerable, match="noise: line 1"):
            await desk.take({"noise": b"hello\n"})

    asyncio.run(story())


def test_what_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "current-context: c\nclusters: [{name: c, cluster: {server: 'https://10.0.0.10:6443'}}]\n"
        "contexts: [{name: c, context: {cluster: c}}]\n"
    )
    nothing = showing.choose("", NOWHERE, "", "", {})
    assert (nothing.cluster, nothing.reads) == (None, "")
    files = showing.choose("", NOWHERE, "", "", {"rules": SAVED})
    assert (files.cluster, files.name) == (None, "rules")
    cluster = showing.choose(str(kubeconfig), NOWHERE, "", "10.244.0.0/16, fd00::/48", {"rules": SAVED})
    assert (cluster.name, cluster.reads, cluster.cluster_cidrs) == (
        "10.0.0.10:6443",
        "computed",
        ("10.244.0.0/16", "fd00::/48"),
    )
    assert showing.choose(str(kubeconfig), NOWHERE, "node-a", "", {}).reads == "here"
    with pytest.raises(KubeconfigError):
        showing.choose(str(tmp_path / "none"), NOWHERE, "", "", {})
