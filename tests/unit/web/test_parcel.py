"""Several files in one body."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.web.parcel import MAX_FILES, ParcelError, unpack


def packed(*files: tuple[str, bytes]) -> bytes:
    line = json.dumps([{"name": name, "size": len(content)} for name, content in files])
    return line.encode() + b"\n" + b"".join(content for _, content in files)


def test_files_come_out_as_they_went_in() -> None:
    assert unpack(packed(("a.txt", b"one\n"), ("b.txt", b""), ("c", b"\0\n"))) == {
        "a.txt": b"one\n",
        "b.txt": b"",
        "c": b"\0\n",
    }


def test_of_two_of_one_name_the_second_is_numbered() -> None:
    assert list(unpack(packed(("rules", b"1"), ("rules", b"2")))) == ["rules", "rules (2)"]


def test_names_are_one_line_of_bounded_length() -> None:
    assert list(unpack(packed(("a\nb\x1b[31m", b""), ("x" * 500, b""), ("", b"")))) == ["a b [31m", "x" * 120, "file"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"[]\n",
        b"{}\n",
        b'[{"name": "a", "size": 3}]\nab',
        b'[{"name": "a", "size": 1}]\nab',
        b'[{"name": "a", "size": -1}, {"name": "b", "size": 3}]\nab',
        b'[{"name": "a"}]\n',
        packed(*((str(number), b"") for number in range(MAX_FILES + 1))),
    ],
)
def test_what_does_not_add_up_is_refused(body: bytes) -> None:
    with pytest.raises(ParcelError):
        unpack(body)


@given(st.binary(max_size=200))
def test_rubbish_ends_in_a_refusal(body: bytes) -> None:
    try:
        unpack(body)
    except ParcelError as error:
        assert str(error)
