"""Where commands look that take the lab if it is up: a lab that is named, another user's, and the list of them all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from fairway.cli import main
from fairway.lab.state import StateDir

NOWHERE = ["--lab", "fwt-nowhere"]


@pytest.fixture(autouse=True)
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that read the kernel get as far as for root."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.parametrize(
    "words",
    [
        ["lb"],
        ["lb", "frr", "--node", "node-a"],
        ["doctor"],
        ["conntrack"],
        ["affinity"],
        ["trace", "--from", "a", "--to", "b"],
        ["why-not", "a", "b"],
        ["env", "a"],
        ["dns", "explain", "a"],
        ["ui"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_lab_that_is_named_and_not_there_is_no_reason_to_look_elsewhere(words: list[str]) -> None:
    done = CliRunner().invoke(main, [*words, *NOWHERE])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "there is no lab 'fwt-nowhere'" in done.stderr


def test_a_kubeconfig_goes_before_a_lab(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["lb", *NOWHERE, "--kubeconfig", str(tmp_path / "none")])
    assert (done.exit_code, done.stderr) == (1, f"fairway: {tmp_path / 'none'} is no file\n")


def test_a_lab_is_usable_for_who_may_read_its_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = StateDir.named("lab", tmp_path)
    assert not state.usable()
    state.path.mkdir()
    state.kubeconfig.touch()
    assert state.usable()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert not state.usable()


@pytest.mark.parametrize("group", [["--help"], ["dns", "--help"], ["lb", "--help"]], ids=" ".join)
def test_the_list_of_commands_cuts_no_sentence(group: list[str]) -> None:
    listed = CliRunner().invoke(main, group, terminal_width=80).stdout.partition("Commands:\n")[2]
    assert listed
    assert "..." not in listed
