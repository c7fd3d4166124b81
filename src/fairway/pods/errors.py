"""What can go wrong with a pod on its node."""

from __future__ import annotations


class PodError(Exception):
    """A pod cannot have what it asks for; the message says what and why, in words for the pod's event."""


class ConfigProblem(PodError):
    """A container's settings cannot be put together (a missing ConfigMap, an unknown field); event reason
    CreateContainerConfigError. Another try may succeed when the missing thing appears."""


class SandboxProblem(PodError):
    """The pod's sandbox cannot be made or does not answer."""


class NotFound(PodError):
    """No such pod (`absent`), or its container has no such log yet."""

    def __init__(self, message: str, *, absent: bool = False) -> None:
        super().__init__(message)
        self.absent = absent


class NetworkProblem(PodError):
    """A pod cannot have an address or a link now."""
