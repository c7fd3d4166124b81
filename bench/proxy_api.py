"""The API server of `bench/proxy.py` and `bench/dns.py`: prepared lists, and watches to which a change is written the
moment it is told.

It answers what a node proxy asks (Services, EndpointSlices, one Node), and more lists if it is given them, in a thread,
so that what is measured is the client and not the API server. Objects carry what real ones carry, managedFields
included.
"""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

NODE = "node-a"
ENDPOINTS = 5
SPARE = 3  # addresses of a Service beyond its endpoints, for changes
PORT = 8080


def cluster_ip(number: int) -> str:
    """The address of a Service."""
    return f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def endpoint(number: int, place: int) -> str:
    """The address of one of the places of a Service."""
    at = number * (ENDPOINTS + SPARE) + place
    return f"10.{128 + (at >> 16)}.{at >> 8 & 255}.{at & 255}"


def _meta(name: str, number: int, revision: int, **more: Any) -> dict[str, Any]:
    fields = {"f:spec": {"f:internalTrafficPolicy": {}, "f:ports": {".": {}}, "f:selector": {}, "f:type": {}}}
    managed = {"manager": "kubectl-create", "operation": "Update", "apiVersion": "v1", "fieldsV1": fields}
    return {
        "name": name,
        "namespace": f"team-{number % 50}",
        "uid": f"{number:08x}-0000-4000-8000-{number:012x}",
        "resourceVersion": str(revision),
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [managed],
        **more,
    }


def service(number: int) -> dict[str, Any]:
    """A Service of one port."""
    name, address = f"service-{number}", cluster_ip(number)
    return {
        "metadata": _meta(name, number, 1, labels={"app": name}),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilies": ["IPv4"],
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": PORT}],
            "selector": {"app": name},
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    }


def endpoint_slice(number: int, revision: int = 1, first: int = 0) -> dict[str, Any]:
    """Its slice of five endpoints; the first of them is at the place `first`."""
    name = f"service-{number}"
    labels = {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "endpointslice-controller"}
    places = [first, *range(1, ENDPOINTS)]
    return {
        "metadata": _meta(f"{name}-x7k2p", number, revision, labels=labels, generateName=f"{name}-"),
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [endpoint(number, place)],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": f"node-{(number + place) % 200}",
                "targetRef": {"kind": "Pod", "namespace": f"team-{number % 50}", "name": f"{name}-{place}"},
            }
            for place in places
        ],
        "ports": [{"name": "http", "protocol": "TCP", "port": PORT}],
    }


class StandIn:
    """Serves `count` Services on a listening socket until closed."""

    def __init__(self, count: int, listener: socket.socket, **more: list[dict[str, Any]]) -> None:
        self._lists = {
            "services": _list("ServiceList", [service(n) for n in range(count)]),
            "endpointslices": _list("EndpointSliceList", [endpoint_slice(n) for n in range(count)]),
            "nodes": _list("NodeList", [{"metadata": {"name": NODE}, "spec": {"podCIDR": "10.244.0.0/24"}}]),
            **{kind: _list("List", items) for kind, items in more.items()},
        }
        self._listener = listener
        self._watches: dict[str, list[socket.socket]] = {kind: [] for kind in self._lists}
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def size(self) -> int:
        """Bytes of all lists."""
        return sum(len(body) for body in self._lists.values())

    def tell(self, objects: list[dict[str, Any]], kind: str = "endpointslices", type: str = "MODIFIED") -> None:
        """Write changes of objects to the watches of their kind."""
        lines = b"".join(json.dumps({"type": type, "object": obj}).encode() + b"\n" for obj in objects)
        for watch in self._watches[kind]:
            watch.sendall(b"%x\r\n%s\r\n" % (len(lines), lines))

    def close(self) -> None:
        """Listen no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        asked = b""
        while True:
            while b"\r\n\r\n" not in asked:
                piece = connection.recv(65536)
                if not piece:
                    return
                asked += piece
            head, _, asked = asked.partition(b"\r\n\r\n")
            target = head.split(b" ")[1].decode()
            path, _, query = target.partition("?")
            kind = path.rpartition("/")[2]
            if "watch=" in query:
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                self._watches[kind].append(connection)
                return
            body = self._lists.get(kind)
            if body is None:  # ranges of cluster IPs, which servers before 1.31 have not
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                continue
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def _list(kind: str, items: list[dict[str, Any]]) -> bytes:
    return json.dumps(
        {"kind": kind, "metadata": {"resourceVersion": "1"}, "items": items}, separators=(",", ":")
    ).encode()
