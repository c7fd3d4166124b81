"""Any object that decodes survives admission: it is accepted or refused by field, and never breaks the server.

Objects are generated from the schema tables themselves, so every field of every kind takes part.
"""

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.api.patch import strategic_merge
from fairway.api.tables import table
from fairway.objects import admit, codec, schema
from fairway.objects.kinds import KINDS, Kind
from fairway.objects.schema import Field, Shape
from tests.unit.objects.people import named

NOW = datetime(2026, 5, 1, tzinfo=UTC)
WORDS = (
    "",
    "a",
    "A b",
    "10.96.0.1",
    "fd00::1",
    "None",
    "1.2.3",
    "http",
    "10.0.0.0/8",
    "5%",
    "50%",
    "a/b",
    "x" * 70,
    "✓",
)
TEXT = st.sampled_from(WORDS)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "boolean": st.booleans(),
    "int32": st.sampled_from([-1, 0, 1, 80, 65536, 2**31 - 1]),
    "int64": st.sampled_from([-1, 0, 1, 2**40]),
    "quantity": st.sampled_from(["1", "-1", "500m", "x", 2]),
    "intOrString": st.sampled_from([0, 80, "http", "25%", ""]),
    "time": st.just("2026-01-01T00:00:00Z"),
    "microTime": st.just("2026-01-01T00:00:00.000001Z"),
    "bytes": st.just("aGk="),
    "any": st.just({}),
}
DEPTH = 8


def of_shape(draw: st.DrawFn, shape: Shape, depth: int) -> Any:
    if shape.kind == "object":
        return of_type(draw, shape.name, depth - 1)
    if shape.element is None:
        return draw(SCALARS[shape.name])
    size = draw(st.integers(0, 2))
    items = [of_shape(draw, shape.element, depth) for _ in range(size)]
    return items if shape.kind == "list" else {draw(TEXT): item for item in items}


def of_field(draw: st.DrawFn, field: Field, depth: int) -> Any:
    choice = draw(st.integers(0, 9))
    if choice == 0:
        return None
    if field.enum and field.type.kind == "scalar" and choice < 8:
        return draw(st.sampled_from(field.enum))
    return of_shape(draw, field.type, depth)


def of_type(draw: st.DrawFn, name: str, depth: int) -> dict[str, Any]:
    if depth <= 0:
        return {}
    fields = list(schema.lookup(name).fields.values())
    chosen = [field for field in fields if field.required and draw(st.booleans())]
    chosen += draw(st.lists(st.sampled_from(fields), max_size=3)) if fields else []
    return {field.name: of_field(draw, field, depth) for field in chosen}


@st.composite
def objects(draw: st.DrawFn, kind: Kind) -> dict[str, Any]:
    made = of_type(draw, kind.name, DEPTH)
    if "spec" in schema.for_kind(kind).fields and draw(st.booleans()):
        made["spec"] = of_type(draw, schema.for_kind(kind).fields["spec"].type.name, DEPTH)
    made["metadata"] = made.get("metadata") or {}
    return named(kind, {name: value for name, value in made.items() if name not in ("kind", "apiVersion")})


kinds_and_objects = st.sampled_from(KINDS).flatmap(lambda kind: st.tuples(st.just(kind), objects(kind), objects(kind)))


@settings(max_examples=300, deadline=None)
@given(kinds_and_objects)
def test_any_object_that_decodes_survives_admission(drawn: tuple[Kind, dict[str, Any], dict[str, Any]]) -> None:
    kind, one, other = drawn
    assert codec.check(kind, one) == codec.check(kind, other) == codec.Checked()
    one, other = codec.prune(kind, one), codec.prune(kind, other)

    new = admit.prepare_create(kind, admit.default(kind, deepcopy(one)))
    again = admit.default(kind, deepcopy(new))
    assert again == new, "defaults are filled in once and for all"
    assert codec.check(kind, new) == codec.Checked(), "what admission adds has the right type"
    errors = admit.validate_create(kind, new)
    assert all(error.message() and error.cause()["field"] == error.path for error in errors)
    assert admit.validate_update(kind, new, new) == []

    for subresource in ("", "status"):
        changed = admit.prepare_update(kind, admit.default(kind, deepcopy(other)), deepcopy(new), subresource)
        admit.validate_update(kind, changed, new)
        assert codec.check(kind, changed) == codec.Checked()

    admit.warnings(kind, new, kind.api_version)
    if not any(error.path.startswith("spec.selector") for error in errors):
        table(kind, [new], NOW, list_metadata={})
    new["metadata"].pop("resourceVersion", None)
    assert codec.decode(codec.encode(new)) == new


@settings(max_examples=100, deadline=None)
@given(kinds_and_objects)
def test_an_object_merged_with_itself_is_itself(drawn: tuple[Kind, dict[str, Any], dict[str, Any]]) -> None:
    kind, one, _ = drawn
    pruned = codec.prune(kind, one)
    assert strategic_merge(pruned, {}, schema.for_kind(kind)) == pruned
