"""Several processes that do the same work, each on its own: what a server does to use more than one processor."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable


def share(count: int, work: Callable[[int], None]) -> None:
    """Run `work` (given its number from 0) in `count` processes until all have ended, and pass SIGTERM and SIGINT on to
    them. When one fails the others are told to end as well, and so does this process with its status: who supervises it
    sees one thing that works or does not. To be called before there are threads or an event loop.

    What has been imported by now is shared memory; what a worker loads afterwards is its own.
    """
    workers = {_start(number, work) for number in range(count)}

    def tell(number: int, _: object) -> None:
        for pid in workers:
            os.kill(pid, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, tell)
    worst = 0
    while workers:
        pid, status = os.wait()
        workers.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        if code and not worst:
            worst = code
            tell(signal.SIGTERM, None)
    if worst:
        sys.exit(worst if worst > 0 else 128 - worst)


def _start(number: int, work: Callable[[int], None]) -> int:
    """The process of one worker, started."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work(number)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)
