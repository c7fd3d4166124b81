"""Schemas of every type the API serves, read from the `*.schema` tables in this folder. Uses only kinds."""

from fairway.objects.schema.table import (
    Field,
    SchemaError,
    Shape,
    Type,
    UnknownType,
    for_kind,
    lookup,
    own_shape,
    types,
)

__all__ = ["Field", "SchemaError", "Shape", "Type", "UnknownType", "for_kind", "lookup", "own_shape", "types"]
