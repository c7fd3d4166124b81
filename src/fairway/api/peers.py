"""The API servers of a cluster: who is there, and how the Service `default/kubernetes` leads to all of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from fairway.api.allocate import family_of

Object = dict[str, Any]

NAME = "kubernetes"
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "kube-apiserver"


class Peer(NamedTuple):
    """Where an API server is reached."""

    address: str
    port: int


class Roll:
    """Tells the living from the dead by when each one's record last changed, on the reader's own clock: clocks of
    different machines are not compared. Who is new counts as alive for a whole lease."""

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._seen: dict[Peer, tuple[int, float]] = {}

    def take(self, records: Mapping[Peer, int], now: float) -> set[Peer]:
        """The records (with their last revisions) as they are now; returns whose lease is over."""
        for peer in self._seen.keys() - records.keys():
            del self._seen[peer]
        for peer, revision in records.items():
            if self._seen.get(peer, (-1, 0.0))[0] != revision:
                self._seen[peer] = (revision, now)
        return {peer for peer, (_, since) in self._seen.items() if now - since >= self._lease}

    def wait(self, now: float, longest: float) -> float:
        """Seconds until the next lease may be over, at most `longest`."""
        return min([longest, *(max(since + self._lease - now, 0.0) for _, since in self._seen.values())])


def endpoints(peers: Iterable[Peer]) -> Object:
    """The Endpoints."""
    ordered = sorted(peers, key=lambda peer: (peer.port, peer.address))
    return {
        # Mirroring would make a second slice beside the one that is written here.
        "metadata": {"name": NAME, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [
            {"addresses": [{"ip": peer.address} for peer in group], "ports": [_port(port)]}
            for port, group in groupby(ordered, lambda peer: peer.port)
        ],
    }


def slices(peers: Iterable[Peer]) -> list[Object]:
    """The EndpointSlices: one as long as all servers have one port and family, as those of a cluster should."""

    def kind(peer: Peer) -> tuple[str, int]:
        return family_of(peer.address), peer.port

    ordered = sorted(peers, key=lambda peer: (*kind(peer), peer.address))
    groups = [(*key, list(group)) for key, group in groupby(ordered, kind)]
    return [_slice(family, port, group, first=not at) for at, (family, port, group) in enumerate(groups)]


def _slice(family: str, port: int, peers: Iterable[Peer], *, first: bool) -> Object:
    labels = {SERVICE_NAME: NAME} if first else {SERVICE_NAME: NAME, MANAGED_BY: MANAGER}
    return {
        "metadata": {"name": NAME if first else f"{NAME}-{family.lower()}-{port}", "labels": labels},
        "addressType": family,
        "endpoints": [{"addresses": [peer.address], "conditions": {"ready": True}} for peer in peers],
        "ports": [_port(port)],
    }


def _port(port: int) -> Object:
    return {"name": "https", "port": port, "protocol": "TCP"}
