"""Paths, lists and watch lines as API servers write them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.client.base import ApiError
from fairway.client.wire import Lines, delete_options, failure, listing, target, watch_event
from fairway.objects.kinds import DEPLOYMENT, NODE, POD


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (target(POD, "default", "web-1", "log", follow=True), "/api/v1/namespaces/default/pods/web-1/log?follow=true"),
        (target(POD, labelSelector="a in (b,c)", limit=0), "/api/v1/pods?labelSelector=a+in+%28b%2Cc%29"),
        (target(DEPLOYMENT, "x"), "/apis/apps/v1/namespaces/x/deployments"),
        (target(NODE, "ignored", "node-a"), "/api/v1/nodes/node-a"),
        (target(POD, "a/b", "../c"), "/api/v1/namespaces/a%2Fb/pods/..%2Fc"),
    ],
)
def test_paths(path: str, wanted: str) -> None:
    assert path == wanted


def test_list_items_get_the_type_that_servers_leave_out() -> None:
    body = b'{"metadata":{"resourceVersion":"7","continue":"t"},"items":[{"metadata":{"name":"a"}}, { }]}'
    found = listing(POD, body)
    assert [msgspec.json.decode(raw) for raw in found.items] == [
        {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}},
        {"kind": "Pod", "apiVersion": "v1"},
    ]
    assert (found.resource_version, found.continue_token) == ("7", "t")


def test_typed_items_pass_through_untouched() -> None:
    item = b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}'
    late = b'{"metadata":{"name":"a"},"kind":"Pod","apiVersion":"v1"}'
    body = b'{"metadata":{},"items":[' + item + b"," + late + b"]}"
    assert list(listing(POD, body).items) == [item, late]


def test_a_list_without_items_is_empty() -> None:
    assert list(listing(POD, b'{"metadata":{"resourceVersion":"1"},"items":null}').items) == []


def test_an_error_in_a_watch_is_raised() -> None:
    line = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Gone","message":"too old"}}'
    with pytest.raises(ApiError) as error:
        watch_event(line)
    assert (error.value.code, error.value.reason, error.value.message) == (410, "Expired", "too old")


def test_a_proxys_page_becomes_the_message() -> None:
    error = failure(503, b"<html>busy</html>")
    assert (error.code, error.reason, error.message) == (503, "ServiceUnavailable", "<html>busy</html>")
    assert failure(418, b"").message == "the server answered with status 418"


def test_delete_options_hold_only_what_was_asked() -> None:
    assert delete_options(None, "", "") is None
    assert delete_options(0, "u", "Foreground") == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "u"},
        "propagationPolicy": "Foreground",
    }


@given(st.lists(st.binary(max_size=5).filter(lambda line: b"\n" not in line)), st.data())
def test_lines_come_out_however_the_chunks_fall(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = Lines()
    found = [line for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) for line in reader.feed(stream[a:b])]
    assert found == [line for line in lines if line.strip()]
