"""`fairway anonymise` as it is typed at a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tarfile
from pathlib import Path


def test_a_bundle_is_not_written_to_a_terminal(tmp_path: Path) -> None:
    rules = tmp_path / "iptables-save.txt"
    rules.write_text("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n")
    bundle = tmp_path / "node.tar.gz"
    with tarfile.open(bundle, "w:gz") as archive:
        archive.add(rules, rules.name)
    terminal, ours = pty.openpty()
    try:
        words = [sys.executable, "-m", "fairway", "anonymise", str(bundle)]
        done = subprocess.run(words, stdout=ours, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(terminal)
        os.close(ours)
    assert done.returncode == 1
    assert done.stderr == "fairway: a bundle is nothing for a terminal: --into FOLDER, or lead it to a file\n"
