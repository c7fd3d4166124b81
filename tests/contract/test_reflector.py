"""Informers under a server that is killed again and again while others write: the view equals the store, always."""

from __future__ import annotations

import json
import random
import threading
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.contract.killable import Killable, killable
from tests.contract.reflector import LAST, MAPS, TOKEN, Reflector, steps

RESTARTS = 6
NAMES = 25


class Writer:
    """Creates, changes and deletes ConfigMaps of its own, and remembers what was acknowledged."""

    def __init__(self, server: Killable, label: str, chance: random.Random) -> None:
        self.acknowledged: dict[str, int | None] = {}
        self.doubtful: set[str] = set()
        self.count = 0
        self._server = server
        self._connection = server.connect()
        self._label = label
        self._chance = chance

    def run(self, over: threading.Event) -> None:
        """Write until `over`."""
        try:
            self._run(over)
        finally:
            self._connection.close()

    def _run(self, over: threading.Event) -> None:
        while not over.is_set():
            name = f"{self._label}-{self._chance.randrange(NAMES)}"
            try:
                self.write(name)
            except (OSError, HTTPException):
                self._connection.close()
                self.doubtful.add(name)
                over.wait(0.01)

    def write(self, name: str) -> None:
        """One write. What a killed server did with an unanswered one is asked before the next."""
        code, found = self._ask("GET", name)
        before = None if code == 404 else steps(found)
        if name not in self.doubtful:
            assert before == self.acknowledged.get(name), f"{name}: an acknowledged write is gone"
        self.doubtful.discard(name)
        self.acknowledged[name] = before
        if before is not None and self._chance.random() < 0.2:
            code, answer = self._ask("DELETE", name)
            after = None
        else:
            after = (before or 0) + 1
            body = {"metadata": {"name": name, "labels": {"by": self._label}}, "data": {"step": str(after)}}
            code, answer = self._ask("POST", "", body) if before is None else self._ask("PUT", name, body)
        assert code in (200, 201), answer
        self.acknowledged[name] = after
        self.count += 1

    def _ask(self, method: str, name: str, body: Any = None) -> tuple[int, Any]:
        path = f"{MAPS}/{name}" if name and name[0] != "?" else MAPS + name
        self._connection.request(method, path, None if body is None else json.dumps(body), TOKEN)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())


@pytest.mark.parametrize("seed", [1, 2])
def test_every_view_equals_the_store_whatever_dies_in_between(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    over, failed = threading.Event(), threading.Event()
    with killable(tmp_path) as server:
        writers = [Writer(server, label, random.Random(chance.random())) for label in ("a", "b")]
        reflectors = [
            Reflector(server, random.Random(chance.random())),
            Reflector(server, random.Random(chance.random()), streaming=True),
            Reflector(server, random.Random(chance.random()), selector="by in (a, all)"),
            Reflector(server, random.Random(chance.random()), idleness=0.3),
            Reflector(server, random.Random(chance.random()), idleness=0.3, streaming=True),
        ]
        writing = [threading.Thread(target=writer.run, args=(over,)) for writer in writers]
        following = [threading.Thread(target=reflector.run, args=(failed,)) for reflector in reflectors]
        for thread in (*writing, *following):
            thread.start()
        pause = threading.Event()
        for _ in range(RESTARTS):
            pause.wait(chance.uniform(0.6, 1.6))
            server.kill()
            server.start()
        over.set()
        for thread in writing:
            thread.join(10)
        last = {"metadata": {"name": LAST, "labels": {"by": "all"}}, "data": {"step": "1"}}
        code, answer = writers[0]._ask("POST", "", last)
        assert code == 201, answer
        for thread in following:
            thread.join(20)
        failed.set()
        _, whole = writers[0]._ask("GET", "")
        store = {item["metadata"]["name"]: item for item in whole["items"] if "step" in item.get("data", {})}
    assert [reflector.faults for reflector in reflectors] == [[]] * len(reflectors)
    for reflector in reflectors:
        labels = {"a", "all"} if reflector.selector else {"a", "b", "all"}
        expected = {name: obj for name, obj in store.items() if obj["metadata"]["labels"]["by"] in labels}
        assert _own(reflector.view) == expected
    # The story was as wild as it should be.
    assert all(reflector.seen["broken"] and reflector.seen["MODIFIED"] for reflector in reflectors[:3])
    assert all(writer.count > 20 for writer in writers)
    for writer in writers:
        for name, step in writer.acknowledged.items():
            if name not in writer.doubtful:
                assert (steps(store[name]) if name in store else None) == step


@pytest.mark.parametrize("streaming", [False, True])
def test_who_comes_back_after_the_past_is_compacted_begins_anew(tmp_path: Path, streaming: bool) -> None:
    with killable(tmp_path) as server:
        writer = Writer(server, "a", random.Random(1))
        for number in range(30):
            writer.write(f"a-{number}")
        while writer._ask("GET", "?resourceVersion=1&resourceVersionMatch=Exact")[0] != 410:
            writer.write("a-0")
        last = {"metadata": {"name": LAST, "labels": {"by": "all"}}, "data": {"step": "1"}}
        assert writer._ask("POST", "", last)[0] == 201
        # As of revision 1 there was nothing: an empty view that is long out of date.
        reflector = Reflector(server, random.Random(1), streaming=streaming, revision="1")
        reflector.run(threading.Event())
        whole = writer._ask("GET", "")[1]
    assert reflector.faults == [] and (reflector.seen["expired"], reflector.seen["begun"]) == (1, 1)
    assert reflector.view == {item["metadata"]["name"]: item for item in whole["items"]}


def _own(view: dict[str, Any]) -> dict[str, Any]:
    """Without what the server itself keeps in the namespace."""
    return {name: obj for name, obj in view.items() if "step" in obj.get("data", {})}
