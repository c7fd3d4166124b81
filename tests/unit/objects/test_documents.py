"""YAML as manifests mean it."""

from typing import Any

import pytest

from fairway.objects.documents import MAX_NODES, parse_documents, resolve
from fairway.objects.errors import Malformed


def load(text: str) -> Any:
    (value,) = parse_documents(text, 100)
    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("~", None), ("", None), ("null", None), ("Null", None),
        ("yes", True), ("on", True), ("y", True), ("true", True), ("No", False), ("off", False), ("nO", "nO"),
        ("80", 80), ("-3", -3), ("+3", 3), ("0", 0), ("1_000", 1000), ("0644", 420), ("0o644", 420), ("0x1F", 31),
        ("0b101", 5), ("089", 89), ("8080:80", "8080:80"), ("22:22:22", "22:22:22"),
        ("1.5", 1.5), ("1e3", 1000), (".5", 0.5), ("5.", 5), ("1.2.3", "1.2.3"), ("1e", "1e"),
        ("2026-01-01", "2026-01-01"), ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"), ("10.96.0.10", "10.96.0.10"),
        ("500m", "500m"), ("25%", "25%"),
    ],
)  # fmt: skip
def test_plain_scalars(text: str, value: Any) -> None:
    found = resolve(text)
    assert found == value and type(found) is type(value)


def test_quotes_and_tags_make_text() -> None:
    assert load("[\"80\", '80', !!str 80, ! 80, |\n  80\n]".replace("|\n  80\n", "'80'")) == ["80"] * 5


def test_keys_become_text_as_json_has_them() -> None:
    assert load("80: a\ntrue: b\n1.5: c\nx: d") == {"80": "a", "true": "b", "1.5": "c", "x": "d"}


def test_anchors_and_merge_keys() -> None:
    text = "base: &b {a: 1, b: 2}\none: {<<: *b, b: 3}\ntwo: {b: 4, <<: [{a: 9}, *b]}"
    assert load(text) == {"base": {"a": 1, "b": 2}, "one": {"a": 1, "b": 3}, "two": {"a": 9, "b": 4}}


def test_documents_come_one_by_one_and_empty_ones_not_at_all() -> None:
    assert list(parse_documents("---\na: 1\n---\n# nothing\n---\nb: 2\n...\n", 100)) == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1: key 'a' appears twice"),
        ("a: [1", "line 2, column 1: did not find expected ',' or ']'"),
        ("a: 'x", "line 1, column 6: found unexpected end of stream"),
        ("a: *nope", "line 1, column 4: alias *nope has no anchor before it"),
        ("&a [*a]", "line 1, column 5: alias *a has no anchor before it"),
        ("? {a: 1}\n: 2", "line 1, column 3: a key must be a plain value"),
        ("? ~\n: 2", "line 1, column 3: a key must be a plain value"),
        ("a: .inf", "line 1, column 4: .inf is not a number that JSON can hold"),
        ("a: 1e999", "line 1, column 4: number out of range"),
        ("a: !!python/object:os.system x", "line 1, column 4: unknown tag tag:yaml.org,2002:python/object:os.system"),
        ("<<: 5", "line 1, column 1: << merges mappings only"),
        ("[" * 101 + "]" * 101, "line 1, column 101: nested deeper than 100 levels"),
        ("\tx: 1", "line 1, column 1: found character that cannot start any token"),
    ],
)
def test_what_is_refused_and_where(text: str, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        load(text)
    assert str(caught.value) == message


def test_aliases_cannot_multiply_without_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(Malformed, match=f"more than {MAX_NODES} values"):
        load("\n".join(lines))


def test_aliases_cannot_hide_depth() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 120)]
    with pytest.raises(Malformed, match="nested deeper"):
        load("\n".join(lines))
