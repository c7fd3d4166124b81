"""Content negotiation with the headers real clients send."""

from __future__ import annotations

import pytest

from fairway.api.accept import Wanted, negotiate
from fairway.api.status import Failure

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", Wanted()),
        ("*/*", Wanted()),
        ("application/json", Wanted()),
        ("application/yaml", Wanted("yaml")),
        ("application/vnd.kubernetes.protobuf, */*", Wanted()),
        ("application/vnd.kubernetes.protobuf,application/json", Wanted()),
        (f"{TABLE}, application/json", Wanted("json", "Table")),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Wanted()),
        ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Wanted("json", "PartialObjectMetadata")),
        ("application/yaml;q=0.5, application/json;q=0.9", Wanted()),
        ("application/json;q=0, application/yaml", Wanted("yaml")),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Wanted()),
    ],
)
def test_the_best_that_the_server_has_is_chosen(header: str, wanted: Wanted) -> None:
    assert negotiate(header) == wanted


@pytest.mark.parametrize(
    "header",
    ["application/vnd.kubernetes.protobuf", "image/png", "application/json;q=0", "application/json;as=Picture;v=v1"],
)
def test_what_nobody_can_serve_is_406(header: str) -> None:
    with pytest.raises(Failure) as caught:
        negotiate(header)
    assert (caught.value.code, caught.value.reason) == (406, "NotAcceptable")
