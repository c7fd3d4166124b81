"""The sandboxes' own JSON says what everyone's does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.pods.inside import jsontext

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(values)
def test_what_is_written_is_read_by_all(value: Any) -> None:
    text = jsontext.dumps(value)
    assert json.loads(text) == value
    assert jsontext.loads(text) == jsontext.loads(json.dumps(value)) == value
    assert "\n" not in text


@pytest.mark.parametrize("text", ["", "nothing", "{", '{"a": }', '"open'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        jsontext.loads(text)


def test_what_has_no_form_is_refused() -> None:
    with pytest.raises(TypeError, match="set has no form in JSON"):
        jsontext.dumps({"a": {1}})
