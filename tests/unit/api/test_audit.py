"""Who did what, in one line."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from fairway.api.audit import line
from fairway.api.requests import Request, parse
from fairway.api.users import User
from tests.contract.session import CONFIG, Session, told

ANN, BOB = User("ann"), User("bob")


def request(method: str, url: str) -> Request:
    path, _, query = url.partition("?")
    found = parse(method, path, query, {})
    assert isinstance(found, Request)
    return found


PODS = "/api/v1/namespaces/shop/pods"


@pytest.mark.parametrize(
    ("method", "url", "text"),
    [
        ("POST", PODS, 'user="ann" verb=create resource=pods namespace="shop" code=201'),
        ("DELETE", f"{PODS}/web", 'user="ann" verb=delete resource=pods namespace="shop" name="web" code=201'),
        (
            "PATCH",
            "/apis/apps/v1/namespaces/shop/deployments/web/scale?dryRun=All",
            'user="ann" verb=patch resource=deployments/scale.apps namespace="shop" name="web" dry-run code=201',
        ),
        ("GET", PODS, None),
        ("GET", f"{PODS}?watch=1", None),
    ],
)
def test_writes_have_a_line_and_reads_none(method: str, url: str, text: str | None) -> None:
    assert line(ANN, ANN, request(method, url), 201) == text


def test_who_acts_for_another_is_told_and_no_name_makes_a_second_line() -> None:
    assert str(line(ANN, BOB, request("POST", PODS), 403)).startswith('user="ann" as="bob" verb=create')
    assert "\n" not in str(line(User('x" code=200\nuser="root'), BOB, request("POST", PODS), 403))


def test_a_nodes_heartbeat_is_no_news_but_what_else_it_does_is() -> None:
    lease = request("PATCH", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/a")
    agent, other = User("system:node:a", ("system:nodes",)), User("system:node:b", ("system:nodes",))
    assert line(agent, agent, lease, 200) is None
    assert line(other, other, lease, 200)


def test_the_renewals_of_announcers_are_no_news() -> None:
    url = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/fairway-announcer-a"
    announcer = User("system:fairway-announcer")
    assert line(announcer, announcer, request("PUT", url), 200) is None
    assert line(announcer, announcer, request("DELETE", url), 200) and line(ANN, ANN, request("PUT", url), 200)


def test_a_server_that_audits_tells_who_and_never_what(caplog: pytest.LogCaptureFixture) -> None:
    secret = {"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}

    async def story(session: Session) -> None:
        await session.ok("POST", "/api/v1/namespaces/default/secrets", secret)
        await session.ok("GET", "/api/v1/namespaces/default/secrets/s")

    with caplog.at_level(logging.INFO, logger="fairway.audit"):
        told(story, config=replace(CONFIG, audit=True))
        told(story)
    lines = [record.message for record in caplog.records if record.name == "fairway.audit"]
    assert lines == ['user="admin" verb=create resource=secrets namespace="default" code=201']
    assert "hunter2" not in caplog.text
