"""The table from errors to `Status`."""

from __future__ import annotations

import pytest

from fairway.api import status
from fairway.api.handlers import failed
from fairway.objects.errors import Invalid, Malformed, SelectorError, TooLarge, UnsupportedMedia, required
from fairway.objects.kinds import DEPLOYMENT, POD
from fairway.store.base import Compacted, Conflict, FutureRevision, TooSlow


@pytest.mark.parametrize(
    ("error", "code", "reason", "message"),
    [
        (status.not_found(POD, "x"), 404, "NotFound", 'pods "x" not found'),
        (status.not_found(DEPLOYMENT, "x"), 404, "NotFound", 'deployments.apps "x" not found'),
        (Malformed("not JSON", 1, 2), 400, "BadRequest", "line 1, column 2: not JSON"),
        (TooLarge("large"), 413, "RequestEntityTooLarge", "limit is 3145728"),
        (UnsupportedMedia("x"), 415, "UnsupportedMediaType", "application/json, application/yaml"),
        (SelectorError("unable to parse"), 400, "BadRequest", "unable to parse"),
        (Compacted(5, 9), 410, "Expired", "too old resource version: 5 (9)"),
        (FutureRevision(9, 5), 504, "Timeout", "Too large resource version: 9, current: 5"),
        (Conflict("/k", None), 409, "Conflict", "/k has changed"),
        (TooSlow("behind"), 503, "ServiceUnavailable", "behind"),
    ],
)
def test_every_foreseen_error_has_its_status(error: Exception, code: int, reason: str, message: str) -> None:
    failure = status.of(error)
    assert failure and (failure.code, failure.reason) == (code, reason) and message in failure.message
    shown = failure.status()
    assert (shown["kind"], shown["status"], shown["code"]) == ("Status", "Failure", code)


def test_an_invalid_object_names_kind_and_causes() -> None:
    failure = status.of(Invalid(DEPLOYMENT, "web", [required("spec.template")]))
    assert failure and failure.message == 'Deployment.apps "web" is invalid: spec.template: Required value'
    assert failure.status()["details"]["causes"] == [
        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.template"}
    ]


def test_what_nobody_foresaw_is_a_500_that_tells_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    answer = failed(ZeroDivisionError("secret 42"))
    assert answer.status == 500 and b"secret" not in answer.bytes()
    assert "ZeroDivisionError" in caplog.text


def test_clients_are_told_when_to_come_back() -> None:
    assert failed(FutureRevision(9, 5)).headers == (("retry-after", "1"),)
