"""The schema tables: complete, consistent, and as the API reference has them."""

import pytest

from fairway.objects import schema
from fairway.objects.kinds import KINDS, Kind
from fairway.objects.schema import descriptions
from fairway.objects.schema.table import parse_shape, parse_table
from fairway.objects.validate.fields import RULES


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind_has_a_schema_with_the_common_fields(kind: Kind) -> None:
    fields = schema.for_kind(kind).fields
    assert {"apiVersion", "kind", "metadata"} <= fields.keys()
    assert fields["metadata"].target == schema.lookup("ObjectMeta")


def test_every_type_that_a_field_names_exists() -> None:
    for type_ in schema.types().values():
        for field in type_.fields.values():
            if field.type.leaf.kind == "object":
                assert field.target is not None


def test_what_is_described_exists() -> None:
    for name in descriptions.texts():
        type_name, _, field = name.partition(".")
        assert type_name == "*" or not field or field in schema.lookup(type_name).fields


@pytest.mark.parametrize("name", ["Service", "ServiceSpec", "ServicePort", "EndpointSlice", "Endpoint", "ObjectMeta"])
def test_every_field_of_what_people_ask_about_is_described(name: str) -> None:
    type_ = schema.lookup(name)
    assert descriptions.of_type(type_)
    assert [field for field in type_.fields if not descriptions.of_field(type_, field)] == []


def test_the_words_for_whole_objects_are_not_said_of_parts() -> None:
    assert descriptions.of_field(schema.lookup("Lease"), "kind")
    assert descriptions.of_field(schema.lookup("OwnerReference"), "kind") == ""


def test_every_rule_that_a_field_names_exists() -> None:
    named = {field.rule for type_ in schema.types().values() for field in type_.fields.values() if field.rule}
    assert named - RULES.keys() == {"labels"}  # the one rule over a whole map


def test_merge_keys_and_map_keys_are_fields_of_the_items() -> None:
    for type_ in schema.types().values():
        for field in type_.fields.values():
            keys = {field.merge_key, *field.map_keys} - {""}
            if keys:
                assert field.type.kind == "list" and field.target is not None
                assert keys <= field.target.fields.keys(), (type_.name, field.name)


def test_defaults_obey_their_own_field() -> None:
    for type_ in schema.types().values():
        for field in type_.fields.values():
            if field.has_default and field.enum:
                assert field.default in field.enum, (type_.name, field.name)


@pytest.mark.parametrize(
    ("type_name", "field", "strategy", "merge_key", "map_keys"),
    [
        ("PodSpec", "containers", {"merge"}, "name", ("name",)),
        ("PodSpec", "volumes", {"merge", "retainKeys"}, "name", ("name",)),
        ("PodSpec", "tolerations", set(), "", ()),
        ("PodSpec", "topologySpreadConstraints", {"merge"}, "topologyKey", ("topologyKey", "whenUnsatisfiable")),
        ("Container", "ports", {"merge"}, "containerPort", ("containerPort", "protocol")),
        ("Container", "env", {"merge"}, "name", ("name",)),
        ("Container", "volumeMounts", {"merge"}, "mountPath", ("mountPath",)),
        ("ServiceSpec", "ports", {"merge"}, "port", ("port", "protocol")),
        ("ObjectMeta", "ownerReferences", {"merge"}, "uid", ("uid",)),
        ("DeploymentSpec", "strategy", {"retainKeys"}, "", ()),
        ("NodeStatus", "conditions", {"merge"}, "type", ("type",)),
        ("EndpointSlice", "endpoints", set(), "", ()),
    ],
)
def test_list_strategies(
    type_name: str, field: str, strategy: set[str], merge_key: str, map_keys: tuple[str, ...]
) -> None:
    found = schema.lookup(type_name).fields[field]
    assert (found.patch_strategy, found.merge_key, found.map_keys) == (strategy, merge_key, map_keys)


def test_list_types_of_server_side_apply() -> None:
    metadata = schema.lookup("ObjectMeta").fields
    assert metadata["finalizers"].list_type == "set"
    assert metadata["ownerReferences"].list_type == "map"
    assert metadata["managedFields"].list_type == "atomic"
    assert schema.lookup("ServiceSpec").fields["selector"].atomic


def test_openapi_names_tell_types_of_one_name_apart() -> None:
    assert schema.lookup("EndpointPort").openapi == "io.k8s.api.core.v1.EndpointPort"
    assert schema.lookup("EndpointSlicePort").openapi == "io.k8s.api.discovery.v1.EndpointPort"
    assert schema.lookup("Deployment").openapi == "io.k8s.api.apps.v1.Deployment"
    names = [type_.openapi for type_ in schema.types().values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("text", ["int32", "[]string", "map[string]quantity", "[]ServicePort", "map[string][]string"])
def test_shapes_print_as_they_are_written(text: str) -> None:
    assert str(parse_shape(text)) == text


def test_a_table_line_with_every_mark() -> None:
    text = 'package p\ntype T\n  f  []X  required enum=A|B default="A" range=1.. rule=label patch=merge key=k map=k,l'
    (type_,) = parse_table(text)
    field = type_.fields["f"]
    assert (type_.openapi, field.required, field.enum, field.default) == ("p.T", True, ("A", "B"), "A")
    assert (field.minimum, field.maximum, field.rule) == (1, None, "label")
    assert (field.patch_strategy, field.merge_key, field.map_keys) == ({"merge"}, "k", ("k", "l"))


@pytest.mark.parametrize(
    "line", ["type T\n  f", "type T\n  f string bogus", "nonsense", "type T\n  f string default={"]
)
def test_a_wrong_line_is_named(line: str) -> None:
    with pytest.raises(schema.SchemaError, match=r"x\.schema:\d: "):
        list(parse_table(line, "x.schema"))


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(schema.UnknownType, match="'Gadget'"):
        schema.lookup("Gadget")
