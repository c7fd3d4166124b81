"""What cannot be tested here is skipped, and the last lines say how much and why: tests that touch the kernel need
root, some need a second, old kubectl."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("unhurried")

NEED_ROOT = ("kernel", "lab")
OLD_KUBECTL = Path(sys.prefix) / "debian/usr/bin/kubectl"
_skipped: list[str] = []
_without_old_kubectl: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if os.geteuid() != 0 and any(item.get_closest_marker(name) for name in NEED_ROOT):
            _skipped.append(item.nodeid)
            item.add_marker(pytest.mark.skip(reason="needs root: touches the kernel in namespaces of its own"))
        if not OLD_KUBECTL.exists() and item.get_closest_marker("old_kubectl"):
            _without_old_kubectl.append(item.nodeid)
            item.add_marker(pytest.mark.skip(reason=f"needs Debian's kubectl at {OLD_KUBECTL}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped or _without_old_kubectl:
        terminalreporter.section("NOT TESTED", red=True, bold=True)
    if _skipped:
        terminalreporter.line(f"{len(_skipped)} kernel and lab tests did not run, because this is not root.")
    if _without_old_kubectl:
        terminalreporter.line(
            f"{len(_without_old_kubectl)} tests with Debian's kubectl 1.20 did not run: setup.sh could not fetch it."
        )
