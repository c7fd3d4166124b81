"""Tests that touch the kernel need root; without it they are skipped, and the last lines say how many."""

from __future__ import annotations

import os

import pytest

NEED_ROOT = ("kernel", "lab")
_skipped: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if any(item.get_closest_marker(name) for name in NEED_ROOT):
            _skipped.append(item.nodeid)
            item.add_marker(pytest.mark.skip(reason="needs root: touches the kernel in namespaces of its own"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped:
        terminalreporter.section("NOT TESTED", red=True, bold=True)
        terminalreporter.line(f"{len(_skipped)} kernel and lab tests did not run, because this is not root.")
