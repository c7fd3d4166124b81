"""The addresses of Pods by namespace, for names like `10-244-0-5.default.pod.cluster.local` (section 2.6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fairway.dns import names
from fairway.dns.view import Pod


class PodIndex:
    """Which addresses are Pods' in which namespace. Counts, because Pods on the host's network share addresses."""

    def __init__(self) -> None:
        self._addresses: dict[tuple[str, str], tuple[bytes, ...]] = {}
        self._counts: Counter[tuple[bytes, bytes]] = Counter()
        self._per_namespace: Counter[bytes] = Counter()

    def set(self, pod: Pod) -> Iterable[bytes]:
        """Take a Pod's present state; gives the addresses it had and has."""
        before = self.delete(pod.metadata.namespace, pod.metadata.name)
        addresses = tuple({packed for text in pod.addresses if (packed := names.pack(text)) is not None})
        if addresses:
            self._addresses[pod.metadata.namespace, pod.metadata.name] = addresses
            self._count(pod.metadata.namespace, addresses, 1)
        return {*before, *addresses}

    def delete(self, namespace: str, name: str) -> Iterable[bytes]:
        """Forget a Pod; one that is not known is no error. Gives the addresses it had."""
        before = self._addresses.pop((namespace, name), ())
        self._count(namespace, before, -1)
        return before

    def has(self, namespace: bytes, packed: bytes) -> bool:
        """Whether a Pod of the namespace has the address."""
        return (namespace, packed) in self._counts

    def any_in(self, namespace: bytes) -> bool:
        """Whether a Pod of the namespace has an address."""
        return namespace in self._per_namespace

    def _count(self, namespace: str, addresses: tuple[bytes, ...], by: int) -> None:
        owner = namespace.encode()
        for packed in addresses:
            self._counts[owner, packed] += by
            if not self._counts[owner, packed]:
                del self._counts[owner, packed]
        self._per_namespace[owner] += by * len(addresses)
        if not self._per_namespace[owner]:
            del self._per_namespace[owner]
