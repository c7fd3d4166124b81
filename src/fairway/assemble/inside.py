"""Commands inside a lab: in a pod, on a node, on the outside client."""

from __future__ import annotations

import os
import sys

from fairway.kernel.linux import netns
from fairway.lab.state import StateDir, StateError
from fairway.pods import exec as pod_exec


def run(state: StateDir, target: str, command: list[str], *, namespace: str, container: str) -> int:
    """Run `command` in `target` with this process's standard streams; returns its exit code. A member of the segment
    (node, client, control, ...) is entered by its network namespace only, a pod by all of its namespaces; it is NAME or
    NAMESPACE/NAME, with `pod/` before it or not."""
    topology = state.topology()
    if target in topology.members():
        netns.join(netns.path(topology.namespace(target)))
        sys.stdout.flush()
        try:
            os.execvp(command[0], command)
        except OSError as error:
            raise StateError(f"{command[0]}: {error.strerror}") from error
    said, _, name = target.removeprefix("pod/").rpartition("/")
    pod = pod_exec.find_pod(state.path, said or namespace, name)
    return pod_exec.run_in_pod(pod, command, container=container)
