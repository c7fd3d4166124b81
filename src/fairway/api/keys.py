"""Where an object is in the store: one function for every key."""

from __future__ import annotations

from fairway.objects.kinds import Kind

# Beside the objects, under a prefix that no kind has: who holds which node port and which address.
NODE_PORTS = "/allocations/nodeports/"
ADDRESSES = "/allocations/addresses/"
# Which API servers there are.
API_SERVERS = "/apiservers/"
# What service accounts' tokens are signed with.
SIGNING_KEY = "/keys/service-accounts"


def prefix_of(kind: Kind, namespace: str = "") -> str:
    """The prefix of all objects of a kind, or of those in one namespace."""
    base = f"/registry/{kind.group or 'core'}/{kind.plural}/"
    return f"{base}{namespace}/" if namespace else base


def key_of(kind: Kind, namespace: str, name: str) -> str:
    """`/registry/<group or core>/<plural>/[<namespace>/]<name>`."""
    return prefix_of(kind, namespace if kind.namespaced else "") + name


def node_port_key(port: int) -> str:
    """The key that exists while a Service holds the node port."""
    return f"{NODE_PORTS}{port}"


def address_claim_key(address: str) -> str:
    """The key that exists while a Service holds the address (in canonical form) and its IPAddress was taken away."""
    return f"{ADDRESSES}{address}"


def api_server_key(where: str) -> str:
    """The key that exists while an API server is there, at `host:port`."""
    return f"{API_SERVERS}{where}"
