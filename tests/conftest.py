"""What cannot be tested here is skipped, and the last lines say how much and why: tests that touch the kernel need
root, some need a second, old kubectl."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no fault of the code, and one commit's tests say the same each time they are run.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)  # --hypothesis-profile explore: other examples each time
settings.load_profile("steady")

NEED_ROOT = ("kernel", "lab")
OLD_KUBECTL = Path(sys.prefix) / "debian/usr/bin/kubectl"
_skipped: list[str] = []
_without_old_kubectl: list[str] = []
_without_new_kubectl: list[str] = []
_without_chromium: list[str] = []


@functools.cache
def kubectl_minor(program: str) -> int:
    """The N of the client's version 1.N; 0 when there is none."""
    if not shutil.which(program):
        return 0
    words = [program, "version", "--client", "-o", "json"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return int(json.loads(said)["clientVersion"]["minor"].rstrip("+"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if os.geteuid() != 0 and any(item.get_closest_marker(name) for name in NEED_ROOT):
            _skipped.append(item.nodeid)
            item.add_marker(pytest.mark.skip(reason="needs root: touches the kernel in namespaces of its own"))
        if not OLD_KUBECTL.exists() and item.get_closest_marker("old_kubectl"):
            _without_old_kubectl.append(item.nodeid)
            item.add_marker(pytest.mark.skip(reason=f"needs Debian's kubectl at {OLD_KUBECTL}"))
        if item.get_closest_marker("chromium") and not shutil.which("chromium"):
            _without_chromium.append(item.nodeid)
            item.add_marker(pytest.mark.skip(reason="needs chromium"))
        since = item.get_closest_marker("kubectl_since")
        is_old = item.get_closest_marker("old_kubectl") is not None
        if since and kubectl_minor(str(OLD_KUBECTL) if is_old else "kubectl") < since.args[0]:
            if not is_old:
                _without_new_kubectl.append(item.nodeid)
            item.add_marker(pytest.mark.skip(reason=f"needs kubectl 1.{since.args[0]} or newer"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped or _without_old_kubectl or _without_new_kubectl or _without_chromium:
        terminalreporter.section("NOT TESTED", red=True, bold=True)
    if _skipped:
        terminalreporter.line(f"{len(_skipped)} kernel and lab tests did not run, because this is not root.")
    if _without_old_kubectl:
        terminalreporter.line(
            f"{len(_without_old_kubectl)} tests with Debian's kubectl 1.20 did not run: setup.sh could not fetch it."
        )
    if _without_chromium:
        terminalreporter.line(f"{len(_without_chromium)} tests of the page did not run, because there is no chromium.")
    if _without_new_kubectl:
        terminalreporter.line(
            f"{len(_without_new_kubectl)} tests did not run, because the kubectl on PATH, "
            f"1.{kubectl_minor('kubectl')}, is older than what they show (1.31 does for all)."
        )
