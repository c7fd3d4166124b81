"""What client-go's reflectors do, told in Python: list in pages, watch, bookmarks, resume, 410 and list again.

Stricter than the real ones: an event that does not follow from the view (an ADDED of what is there, a change that skips
a step) is a failure, not a surprise to be repaired.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode

from tests.contract.killable import Killable

Object = dict[str, Any]

MAPS = "/api/v1/namespaces/default/configmaps"
TOKEN = {"Authorization": "Bearer token", "Content-Type": "application/json"}
GONE = 410
LAST = "the-last"
"""The object that tells reflectors that nothing follows."""


class Expired(Exception):
    """The server no longer knows the revision."""


def steps(obj: Object) -> int:
    """How often an object was written; each write is one more."""
    return int(obj["data"]["step"])


@dataclass
class Reflector:
    """One view of the ConfigMaps, kept by list and watch, or by watch alone (`streaming`: KEP-3157)."""

    server: Killable
    chance: random.Random
    selector: str = ""
    streaming: bool = False
    idleness: float = 0.02
    view: dict[str, Object] = field(default_factory=dict)
    revision: str = ""
    faults: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    _resting: threading.Event = field(default_factory=threading.Event)

    def run(self, over: threading.Event) -> None:
        """Follow until the last object is in view, or `over`."""
        while LAST not in self.view and not over.is_set() and not self.faults:
            try:
                if not self.revision:
                    self._begin()
                self._watch(self.revision)
            except Expired:
                self._count("expired")
                self.revision = ""
            except (OSError, HTTPException):
                self._count("broken")
                self._resting.wait(0.02)

    def _count(self, what: str) -> None:
        self.seen[what] = self.seen.get(what, 0) + 1

    def _begin(self) -> None:
        self._count("begun")
        if self.streaming:
            self._stream()
        else:
            self._list()

    def _list(self) -> None:
        """Pages of one snapshot; an expired token begins anew, as client-go's pager does."""
        found: dict[str, Object] = {}
        token = ""
        while True:
            code, page = self._get({"limit": "7", "continue": token, "labelSelector": self.selector})
            if code == GONE:
                self._count("page expired")
                found, token = {}, ""
                continue
            assert code == 200, page
            names = [item["metadata"]["name"] for item in page.get("items") or []]
            if twice := [name for name in names if name in found]:
                self.faults.append(f"listed twice: {twice}")
            found |= dict(zip(names, page.get("items") or [], strict=True))
            self._rest()
            token = page["metadata"].get("continue", "")
            if not token:
                self.view, self.revision = found, page["metadata"]["resourceVersion"]
                return

    def _stream(self) -> None:
        """The state as events up to the bookmark that ends it."""
        found: dict[str, Object] = {}
        query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
        for change, obj in self._events(query):
            metadata = obj["metadata"]
            if change == "BOOKMARK":
                if metadata.get("annotations", {}).get("k8s.io/initial-events-end") == "true":
                    self.view, self.revision = found, metadata["resourceVersion"]
                    return
            elif change != "ADDED" or metadata["name"] in found:
                self.faults.append(f"{change} {metadata['name']} among initial events")
            else:
                found[metadata["name"]] = obj

    def _watch(self, revision: str) -> None:
        seconds = str(self.chance.randint(1, 3))
        query = {"resourceVersion": revision, "allowWatchBookmarks": "true", "timeoutSeconds": seconds}
        for change, obj in self._events(query):
            at = obj["metadata"]["resourceVersion"]
            if int(at) < int(self.revision) or (change != "BOOKMARK" and at == self.revision):
                self.faults.append(f"{change} at {at} after {self.revision}")
            if change == "BOOKMARK":
                self._count("bookmarks")
            else:
                self._follow(change, obj)
            self.revision = at
            if LAST in self.view or self.faults:
                return
            if self.chance.random() < self.idleness:
                self._rest()
                return

    def _rest(self) -> None:
        """Sometimes long enough for history to be compacted."""
        if self.chance.random() < self.idleness:
            self._resting.wait(self.chance.uniform(0, 1.5))

    def _follow(self, change: str, obj: Object) -> None:
        name = obj["metadata"]["name"]
        self._count(change)
        before = self.view.get(name)
        right = {
            "ADDED": before is None,
            "MODIFIED": before is not None and steps(obj) == steps(before) + 1,
            "DELETED": before is not None and steps(obj) == steps(before),
        }[change]
        if not right:
            had = steps(before) if before else None
            self.faults.append(f"{change} {name} step {steps(obj)} where the view has {had}")
        if change == "DELETED":
            self.view.pop(name, None)
        else:
            self.view[name] = obj

    def _get(self, query: dict[str, str]) -> tuple[int, Object]:
        connection = self.server.connect()
        try:
            connection.request("GET", f"{MAPS}?{urlencode(query)}", headers=TOKEN)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def _events(self, query: dict[str, str]) -> Iterator[tuple[str, Object]]:
        connection = self.server.connect()
        try:
            whole = query | {"watch": "true", "labelSelector": self.selector}
            connection.request("GET", f"{MAPS}?{urlencode(whole)}", headers=TOKEN)
            response = connection.getresponse()
            if response.status == GONE:
                raise Expired
            assert response.status == 200, response.read()
            while line := response.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    assert event["object"]["code"] == GONE, event
                    raise Expired
                yield event["type"], event["object"]
        finally:
            connection.close()
