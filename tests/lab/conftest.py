"""A lab per test module, ended even when a test fails."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab.cluster import Lab


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    name = request.module.__name__.rpartition("_")[2][:6]
    made = Lab(f"t{os.getpid()}{name}"[:16])
    made.up()
    yield made
    made.down()
