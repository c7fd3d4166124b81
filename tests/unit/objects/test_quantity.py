"""Quantities and what follows from them."""

from fractions import Fraction
from typing import Any

import pytest

from fairway.objects.errors import QuantityError
from fairway.objects.qos import qos_class
from fairway.objects.quantity import parse


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1), ("500m", Fraction(1, 2)), ("1.5Gi", 3 * 2**29), ("1Ki", 1024), ("2Ei", 2**61), ("1k", 1000),
        ("1E", 10**18), ("1e3", 1000), ("1E3", 1000), ("12e-1", Fraction(6, 5)), ("100n", Fraction(1, 10**7)),
        ("3u", Fraction(3, 10**6)), (".5", Fraction(1, 2)), ("5.", 5), ("-1", -1), ("+2M", 2 * 10**6), (3, 3),
        (0.5, Fraction(1, 2)),
    ],
)  # fmt: skip
def test_numbers(text: Any, number: Any) -> None:
    assert parse(text) == number


@pytest.mark.parametrize(
    "text", ["", "x", "1x", "1 Gi", "1ki", "1KI", "Gi", "1e", "1e9999", "--1", "0x1", True, "1m\n"]
)
def test_what_is_no_quantity_is_quoted(text: Any) -> None:
    with pytest.raises(QuantityError, match="is no quantity"):
        parse(text)


@pytest.mark.parametrize(
    ("resources", "name"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "0"}}], "BestEffort"),
        ([{"requests": {"nvidia.com/gpu": "1"}}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Mi"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{"requests": {"cpu": "many"}}], "BestEffort"),
    ],
)
def test_quality_of_service(resources: list[dict[str, Any]], name: str) -> None:
    assert qos_class({"containers": [{"resources": one} for one in resources]}) == name
