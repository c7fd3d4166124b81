"""Whom `fairway exec` means by its target."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairway.assemble import inside
from fairway.lab.state import StateDir
from fairway.lab.topology import plan
from fairway.pods import exec as pod_exec


@pytest.mark.parametrize(
    ("target", "namespace", "name"),
    [
        ("web", "shop", "web"),
        ("pod/web", "shop", "web"),
        ("kube-system/dns", "kube-system", "dns"),
        ("pod/kube-system/dns", "kube-system", "dns"),
    ],
)
def test_a_pod_may_be_named_with_its_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, namespace: str, name: str
) -> None:
    state = StateDir.named("lab", tmp_path)
    state.create(plan())
    monkeypatch.setattr(pod_exec, "find_pod", lambda root, *words: (root, *words))
    monkeypatch.setattr(pod_exec, "run_in_pod", lambda pod, command, container: pod == (state.path, namespace, name))
    assert inside.run(state, target, ["true"], namespace="shop", container="")
