"""Errors as kubectl users see them."""

from fairway.objects import errors
from fairway.objects.errors import FieldError, Invalid, show
from fairway.objects.kinds import DEPLOYMENT, SERVICE

RANGE = errors.invalid("spec.ports[0].port", 70000, "must be between 1 and 65535, inclusive")


def test_messages() -> None:
    assert [error.message() for error in (
        RANGE,
        errors.required("spec.ports"),
        errors.required("metadata.name", "name or generateName is required"),
        errors.not_supported("spec.type", "Foo", ["ClusterIP", "NodePort"]),
        errors.duplicate("spec.ports[1].name", "http"),
        errors.forbidden("spec.x", "may not be set"),
        errors.too_long("data", "x" * 9, 8),
        errors.too_many("endpoints", 1001, 1000),
        FieldError("spec.volumeMounts[0].name", "NotFound", "v", ""),
    )] == [
        "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
        "spec.ports: Required value",
        "metadata.name: Required value: name or generateName is required",
        'spec.type: Unsupported value: "Foo": supported values: "ClusterIP", "NodePort"',
        'spec.ports[1].name: Duplicate value: "http"',
        "spec.x: Forbidden: may not be set",
        "data: Too long: may not be more than 8 bytes",
        "endpoints: Too many: 1001: must have at most 1000 items",
        'spec.volumeMounts[0].name: Not found: "v"',
    ]  # fmt: skip


def test_values_print_as_json() -> None:
    assert [show(value) for value in ("a", 1, True, None, ["a"], {"a": 1})] == [
        '"a"',
        "1",
        "true",
        "null",
        '["a"]',
        '{"a":1}',
    ]


def test_a_cause_of_a_status() -> None:
    assert RANGE.cause() == {
        "reason": "FieldValueInvalid",
        "message": "Invalid value: 70000: must be between 1 and 65535, inclusive",
        "field": "spec.ports[0].port",
    }


def test_an_invalid_object_says_all_that_is_wrong() -> None:
    one = Invalid(SERVICE, "web", [RANGE])
    assert str(one) == f'Service "web" is invalid: {RANGE.message()}'
    two = Invalid(DEPLOYMENT, "web", [errors.required("spec.selector"), errors.required("spec.template")])
    assert two.message() == (
        'Deployment.apps "web" is invalid: [spec.selector: Required value, spec.template: Required value]'
    )
    assert two.details() == {
        "name": "web",
        "group": "apps",
        "kind": "Deployment",
        "causes": [
            {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.selector"},
            {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.template"},
        ],
    }
