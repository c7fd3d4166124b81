"""The server side of `bench/api.py`, in a process of its own: the API on a store behind TLS, as a cluster runs it.

    python bench/api_server.py DIRECTORY PORT [ETCD_ENDPOINT]       (SQLite in DIRECTORY unless etcd is named)

Beside the API it answers two paths of its own, so that ratios come from one process and one connection:
`/bench/memory` sends the bytes of the last list straight from memory, `/bench/self` tells CPU seconds and memory.
"""

from __future__ import annotations

import asyncio
import gc
import re
import resource
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from fairway.api.answers import Answer, Stream, json_answer
from fairway.api.app import App
from fairway.api.http import serve
from fairway.api.server import Api, ApiConfig
from fairway.assemble.life import run
from fairway.store.base import Store
from fairway.store.sqlite import SqliteStore


class Measured:
    """The API with the bench's own paths beside it."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._last: list[bytes] = []
        self.app = App(self.respond, api.connect)

    async def respond(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        certificate: Mapping[str, object] | None = None,
    ) -> Answer | Stream:
        if path == "/bench/memory":
            return Answer(200, self._last)
        if path == "/bench/self":
            return json_answer(weigh())
        answer = await self._api.respond(method, path, query, headers, body, certificate)
        if method == "GET" and isinstance(answer, Answer) and path == "/api/v1/services":
            # The same bytes in the pieces they leave in, so that both answers cost the same calls.
            self._last = [answer.bytes()]
        return answer


def weigh() -> dict[str, float]:
    """CPU seconds used so far, and resident memory in kB after a collection."""
    gc.collect()
    found = re.search(r"^VmRSS:\s+(\d+)", Path("/proc/self/status").read_text(), re.M)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu": used.ru_utime + used.ru_stime, "rss": float(found[1]) if found else 0.0}


def main(folder: Path, port: int, etcd: str) -> None:
    async def live(stop: asyncio.Event) -> None:
        store: Store
        if etcd:
            from fairway.store.etcd import EtcdStore

            store = EtcdStore([etcd])
        else:
            store = SqliteStore(folder / "store.db")
        config = ApiConfig(service_cidrs=("10.96.0.0/12",), advertise_address="127.0.0.1", advertise_port=port)
        api = Api(store, config)
        await api.start()
        files = {
            name: str(folder / file)
            for name, file in (("certfile", "server.crt"), ("keyfile", "server.key"), ("client_ca", "ca.crt"))
        }
        listener = socket.create_server(("127.0.0.1", port), backlog=2048)
        await serve(Measured(api), [listener], **files, stop=stop)
        await api.stop()
        await store.close()

    run(live)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), "".join(sys.argv[3:4]))
