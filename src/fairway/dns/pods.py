"""The addresses of Pods by namespace, for names like `10-244-0-5.default.pod.cluster.local` (section 2.6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

Key = tuple[str, str]


class PodIndex:
    """Which addresses are Pods' in which namespace. Counts, because Pods on the host's network share addresses."""

    def __init__(self) -> None:
        self._addresses: dict[Key, tuple[bytes, ...]] = {}
        self._counts: dict[bytes, Counter[bytes]] = {}

    def set(self, key: Key, addresses: tuple[bytes, ...]) -> Iterable[bytes]:
        """The addresses (packed, each once) of the Pod `key` (namespace, name); gives those it had and has."""
        before = self.delete(key)
        if addresses:
            self._addresses[key] = addresses
            self._counts.setdefault(key[0].encode(), Counter()).update(addresses)
        return {*before, *addresses}

    def delete(self, key: Key) -> Iterable[bytes]:
        """Forget a Pod; one that is not known is no error. Gives the addresses it had."""
        before = self._addresses.pop(key, ())
        if before:
            self._take_away(key[0].encode(), before)
        return before

    def has(self, namespace: bytes, packed: bytes) -> bool:
        """Whether a Pod of the namespace has the address."""
        return packed in self._counts.get(namespace, ())

    def any_in(self, namespace: bytes) -> bool:
        """Whether a Pod of the namespace has an address."""
        return namespace in self._counts

    def _take_away(self, namespace: bytes, addresses: Iterable[bytes]) -> None:
        counts = self._counts[namespace]
        for packed in addresses:
            counts[packed] -= 1
            if not counts[packed]:
                del counts[packed]
        if not counts:
            del self._counts[namespace]
