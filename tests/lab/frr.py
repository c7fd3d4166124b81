"""FRR in a network namespace: zebra, bfdd and bgpd with their sockets in a directory of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

DAEMONS = Path("/usr/lib/frr")


class Frr:
    """One router's daemons, started. End them with `stop`. They run as a user of their own, who has to reach the
    directory: pytest's are root's alone."""

    def __init__(self, namespace: str) -> None:
        self._inside = ["ip", "netns", "exec", namespace]
        self.directory = directory = Path(tempfile.mkdtemp(prefix="fwt-frr-"))
        shutil.chown(directory, "frr", "frr")
        self._place = ["--vty_socket", str(directory)]
        self._daemons: list[subprocess.Popen[bytes]] = []
        for name in ("zebra", "bfdd", "bgpd"):
            files = ["-f", "/dev/null", "-i", f"{directory}/{name}.pid", "-z", f"{directory}/zserv.api"]
            with (directory / f"{name}.log").open("wb") as log:
                started = subprocess.Popen(
                    [*self._inside, str(DAEMONS / name), *files, "-P", "0", *self._place, "--log", "stdout"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            self._daemons.append(started)

    @property
    def vtysh(self) -> list[str]:
        """The command that speaks to these daemons."""
        return [*self._inside, "vtysh", *self._place]

    def tell(self, text: str) -> bool:
        """Say lines of configuration; False while the daemons do not listen."""
        done = subprocess.run([*self.vtysh, "-f", "/dev/stdin"], input=text, text=True, capture_output=True)
        return done.returncode == 0

    def bfd(self) -> dict[str, str]:
        """The state of BFD with each peer."""
        done = subprocess.run([*self.vtysh, "-c", "show bfd peers json"], text=True, capture_output=True, check=True)
        return {each["peer"]: each["status"] for each in json.loads(done.stdout)}

    def stop(self) -> None:
        """End the daemons."""
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.directory)
