"""What the manager expects of a controller's loop."""

from __future__ import annotations

from typing import Any, Protocol

from fairway.control.reconcile import Reconciler


class Loop(Protocol):
    """A controller attached to a cluster: it listens to mirrors from its making on, and works when its queue runs."""

    @property
    def queue(self) -> Reconciler[Any]:
        """The keys it works on; the manager runs it once every kind has been listed."""
