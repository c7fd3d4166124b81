"""The rules that the schema tables state: required fields, closed lists of words, ranges, the form of texts.

One walk over an object applies all marks of all its types, so that a kind's own module holds only what relates several
fields to each other.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fairway.objects import names, schema
from fairway.objects.errors import FieldError, QuantityError, invalid, not_supported, required
from fairway.objects.forms import MAY_BE_EMPTY
from fairway.objects.quantity import parse
from fairway.objects.schema import Field, Shape, Type

Object = dict[str, Any]

PORT_RANGE = "must be between 1 and 65535, inclusive"
NON_NEGATIVE = "must be greater than or equal to 0"

_HEADER = re.compile(r"[-A-Za-z0-9]+")


def check_fields(type_: Type, obj: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    """All errors that the marks of `type_` and of the types below it find in `obj`. Metadata has rules of its own and
    is left out."""
    for field in type_.fields.values():
        value = obj.get(field.name)
        inner = f"{path}.{field.name}" if path else field.name
        if field.type.name == "ObjectMeta":
            continue
        if value is None or value == "" or (field.required and value == []):
            if field.required and (value != "" or (type_.name, field.name) not in MAY_BE_EMPTY):
                yield required(inner)
        else:
            yield from _check_value(field, field.type, value, inner)


def _check_value(field: Field, shape: Shape, value: Any, path: str) -> Iterator[FieldError]:
    if field.rule == "labels":
        yield from labels(value, path)
    elif shape.element is not None:
        pairs = value.items() if shape.kind == "map" else enumerate(value)
        for key, item in pairs:
            yield from _check_value(field, shape.element, item, f"{path}[{key}]")
    elif shape.kind == "object":
        yield from check_fields(schema.lookup(shape.name), value, path)
    else:
        yield from _check_scalar(field, shape, value, path)


def _check_scalar(field: Field, shape: Shape, value: Any, path: str) -> Iterator[FieldError]:
    if field.enum and value not in field.enum:
        yield not_supported(path, value, sorted(field.enum))
    if isinstance(value, int) and not isinstance(value, bool):
        yield from _check_range(field, value, path)
    if shape.name == "quantity":
        yield from _check_quantity(value, path)
    if field.rule:
        for detail in RULES[field.rule](value):
            yield invalid(path, value, detail)


def _check_range(field: Field, value: int, path: str) -> Iterator[FieldError]:
    low, high = field.minimum, field.maximum
    if low is not None and high is not None:
        if not low <= value <= high:
            yield invalid(path, value, f"must be between {low} and {high}, inclusive")
    elif low is not None and value < low:
        yield invalid(path, value, f"must be greater than or equal to {low}" if low == 0 else "must be greater than 0")


def _check_quantity(value: Any, path: str) -> Iterator[FieldError]:
    try:
        if parse(value) < 0:
            yield invalid(path, str(value), NON_NEGATIVE)
    except QuantityError as error:
        yield invalid(path, value, str(error))


def labels(value: Mapping[str, str], path: str) -> Iterator[FieldError]:
    """A map of labels: qualified keys, label values."""
    for key, text in value.items():
        for detail in names.qualified(key):
            yield invalid(path, key, detail)
        for detail in names.label_value(text):
            yield invalid(path, text, detail)


def address(text: str) -> list[str]:
    """An IPv4 or IPv6 address in text form, strictly: no leading zeros, no zone, no IPv4-mapped IPv6."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id:
            return ["must not have a zone"]
        if parsed.ipv4_mapped:
            return ["must not be an IPv4-mapped IPv6 address"]
    return []


def cidr(text: str) -> list[str]:
    """A range as `address/prefix length`, without bits set beyond the prefix."""
    wrong = ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]
    base, slash, length = text.partition("/")
    if not slash or not re.fullmatch(r"0|[1-9]\d{0,2}", length) or address(base):
        return wrong
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return wrong
    if network.network_address != ipaddress.ip_address(base):
        return [f"must not have bits set beyond the prefix length; did you mean {network}?"]
    return []


def not_special(text: str) -> list[str]:
    """An address that can be someone else's: not unspecified, loopback, link-local or multicast (the empty list also
    for what is no address at all; `address` reports that)."""
    if address(text):
        return []
    parsed = ipaddress.ip_address(text)
    if parsed.is_unspecified:
        return [f"may not be unspecified ({text})"]
    if parsed.is_loopback:
        return ["may not be in the loopback range (127.0.0.0/8, ::1/128)"]
    if parsed.is_link_local:
        return ["may not be in the link-local range (169.254.0.0/16, fe80::/10)"]
    if parsed.is_multicast:
        return ["may not be in the multicast range (224.0.0.0/4, ff00::/8)"]
    return []


def port(value: int | str) -> list[str]:
    """A port by number or by the name of a container's port."""
    if isinstance(value, int):
        return [] if 1 <= value <= 65535 else [PORT_RANGE]
    return names.port_name(value)


def _header(text: str) -> list[str]:
    return [] if _HEADER.fullmatch(text) else ["a valid HTTP header consists of letters, digits and '-'"]


RULES: Mapping[str, Callable[[Any], list[str]]] = {
    "label": names.label,
    "subdomain": names.subdomain,
    "qualified": names.qualified,
    "label_value": names.label_value,
    "port_name": names.port_name,
    "port": port,
    "env_name": names.env_name,
    "config_key": names.config_key,
    "ip": address,
    "cidr": cidr,
    "header": _header,
}
"""The `rule=` marks of the tables. Each answers with what is wrong."""
