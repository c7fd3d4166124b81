"""The sandbox of one pod: process 1 of its namespaces, parent of its containers. A program of its own.

    python -I -S init.py DIRECTORY HOSTNAME [--host-network]

It unshares mount, UTS, IPC, PID and (unless --host-network) network namespaces and then serves DIRECTORY/control, a
unix socket with one JSON object per line each way. The program that called it returns as soon as the socket listens
(exit 0), or says on stderr why not (exit 1). Each container has a root of its own (inside/roots.py), in which
DIRECTORY/etc/* lie over the files of the same name in /etc.

Requests (each answered with the same `id`, plus `error` when refused):
  {"do": "start", "container", "attempt", "crashes", "argv", "env", "cwd", "user", "group", "groups", "note",
        "mounts": [{"source", "path", "sub", "read_only", "memory"}], "capabilities", "privileged",
        "no_new_privileges", "read_only_root", "stdin", "once", "tty"} -> {"record"}
        `source` is a path on the host or below DIRECTORY, `sub` one below it; "memory" makes it a tmpfs of that size;
        with "stdin" it can be given input, with "once" by the first who is attached only; "tty" gives it a terminal
  {"do": "stop", "container", "grace"}     SIGTERM now, SIGKILL after `grace` seconds; a second stop may only hasten
  {"do": "exec", "container", "argv", "env", "cwd", "timeout", "fds": 3}  runs in the running container with
        its environment, on three descriptors sent along (SCM_RIGHTS) or, with "fds": 0, captured -> {"code", "output"};
        with "tty" the first descriptor is a terminal and becomes the program's controlling one
  {"do": "attach", "container", "stdin", "fds": 3}  what the container writes from now on goes to the second and third
        descriptor sent along, too -> {"tty"} with a descriptor of its input (or terminal), if it has any; and when it
        has ended {"code"} with the same `id`. Whoever takes nothing holds the container up
  {"do": "end_input", "container"}         an attached client's input has ended; the container's, too, with "once"
  {"do": "signal", "request", "signal"}    to the process group of an exec of this connection
  {"do": "end"}                            SIGKILL to everything, then exit
Sent unasked: {"event": "state", "containers": {name: record}} first of all, {"event": "exited", "container", "record"}.

What happened is in DIRECTORY/state.json (replaced atomically) before anyone is told, so that whoever connects later
(the node agent after a crash) loses nothing. Output goes to DIRECTORY/logs/CONTAINER/ATTEMPT.log in the CRI log format.
The sandbox ends when told, on SIGTERM, and when its socket's file is removed.

Standard library only, few imports: every pod pays for its start-up time and memory.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    package_root = os.path.abspath(__file__).rsplit(os.sep, 3)[0]  # noqa: PTH100 - pathlib costs 10 ms
    sys.path.append(package_root)  # isolated mode left it off
    from fairway.pods.inside.sandbox import main

    sys.exit(main(sys.argv))
