"""Cluster DNS as a process of its own; apart from `processes` since a pod should not pay for the other rooms."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from fairway.assemble.life import run
from fairway.client.kubeconfig import SERVICE_ACCOUNT, ConnectInfo, connect, in_cluster, load
from fairway.dns.server import DnsServer
from fairway.dns.zone import Zone


def dns(kubeconfig: str, *, domain: str, addresses: Sequence[str], reverse: Sequence[str], ttl: int) -> None:
    """Cluster DNS for any API server. `addresses` are "address:port" texts."""

    async def main(stop: asyncio.Event) -> None:
        zone = Zone(domain, ttl, reverse)
        client = connect(_way(kubeconfig))
        await DnsServer(client, zone=zone, addresses=[_listening(text) for text in addresses]).run(stop)
        await client.close()

    run(main)


def _way(kubeconfig: str) -> ConnectInfo:
    """In a pod its service account, whatever kubeconfig the host's home may hold, unless one is named."""
    inside = "KUBERNETES_SERVICE_HOST" in os.environ and (SERVICE_ACCOUNT / "token").is_file()
    return in_cluster(os.environ, SERVICE_ACCOUNT) if inside and not kubeconfig else load(kubeconfig or None)


def _listening(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    if not address or not port.isdigit():
        raise ValueError(f"--listen {text}: needs ADDRESS:PORT")
    return address.strip("[]"), int(port)
