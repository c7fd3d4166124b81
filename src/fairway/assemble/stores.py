"""Which store a `--store` text means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fairway.store.base import Store
from fairway.store.etcd_rpc import Tls

FORMS = "sqlite, sqlite:FILE, memory, or etcd://HOST:PORT[,HOST:PORT...]"


@dataclass(frozen=True, slots=True)
class StoreChoice:
    """A store before it is opened: etcd's `endpoints` if there are any, else the SQLite `file`, else memory."""

    endpoints: tuple[str, ...] = ()
    file: Path | None = None


def parse(text: str, file: Path) -> StoreChoice:
    """`sqlite` alone means `file`. Raises ValueError."""
    word, _, rest = text.partition(":")
    if text == "memory":
        return StoreChoice()
    if word == "sqlite" and (rest or ":" not in text):
        return StoreChoice(file=Path(rest) if rest else file)
    if word == "etcd" and rest.startswith("//"):
        endpoints = tuple(part.strip() for part in rest.removeprefix("//").rstrip("/").split(","))
        for endpoint in endpoints:
            host, _, port = endpoint.rpartition(":")
            if not host or not port.isdigit():
                raise ValueError(f"--store {text}: {endpoint!r} is not HOST:PORT")
        return StoreChoice(endpoints)
    raise ValueError(f"--store {text}: it must be {FORMS}")


def open_store(choice: StoreChoice, prefix: str, tls: Tls | None = None) -> Store:
    """`prefix` and `tls` are for etcd. Raises the store's Unusable."""
    if choice.endpoints:
        from fairway.store.etcd import EtcdStore

        return EtcdStore(choice.endpoints, prefix=prefix, tls=tls)
    if choice.file:
        from fairway.store.sqlite import SqliteStore

        choice.file.parent.mkdir(parents=True, exist_ok=True)
        return SqliteStore(choice.file)
    from fairway.store.memory import MemoryStore

    return MemoryStore()
