"""What is counted of a program's requests to the API server, under the names of the Go client's metrics."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from fairway.client.verbs import Verbs
from fairway.observe.exposition import Histogram, Metric, counter

_BOUNDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)


class Requests:
    """The requests of one client, counted from now on. A client that is no `Verbs` is not counted."""

    def __init__(self, client: object) -> None:
        self._host = ""
        self._requests = counter("rest_client_requests_total", "Requests by answer.", "code", "host", "method")
        self._seconds = Histogram(
            "rest_client_request_duration_seconds",
            "Until the answer, of a watch until it begins.",
            _BOUNDS,
            ("host", "verb"),
        )
        if isinstance(client, Verbs):
            self._host = urlsplit(client.server).netloc
            client.answered = self._answered

    def metrics(self) -> Sequence[Metric]:
        """Everything there is to tell."""
        return (self._requests, self._seconds)

    def _answered(self, method: str, status: int, seconds: float) -> None:
        self._requests.add(1, str(status) if status else "<error>", self._host, method)
        self._seconds.observe(seconds, self._host, method)
