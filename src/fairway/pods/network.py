"""EDGE. The node's part of the pod network: bridge and overlay kept in step with the Nodes, a link for each pod."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fairway.kernel.base import KernelError, Links, LinkState, Netfilter, Veth
from fairway.network import flannel, hostports, masquerade
from fairway.network.hostports import Forward
from fairway.network.ipam import Ipam, IpamError, IpamState
from fairway.packet import Family, family_of
from fairway.pods.errors import NetworkProblem
from fairway.pods.view import Pod

POD_DEVICE = "eth0"
T = TypeVar("T")

_log = logging.getLogger(__name__)


def link_name(uid: str) -> str:
    """The node's end of a pod's link; the kernel allows 15 characters."""
    return "veth" + hashlib.sha256(uid.encode()).hexdigest()[:8]


def pod_ranges(node: Mapping[str, Any]) -> tuple[str, ...]:
    """The ranges assigned to a Node; () while it has none."""
    spec = node.get("spec") or {}
    return tuple(spec.get("podCIDRs") or filter(None, [spec.get("podCIDR")]))


def usable(held: Mapping[str, tuple[str, ...]], ranges: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Those of the held addresses that `ranges` can have given, each once."""
    kept: dict[str, tuple[str, ...]] = {}
    for uid, addresses in held.items():
        try:
            Ipam(ranges, IpamState({**kept, uid: addresses}))
        except IpamError as error:
            _log.warning("pod %s: %s", uid, error)
        else:
            kept[uid] = addresses
    return kept


def forwards(pod: Pod, addresses: Sequence[str]) -> tuple[Forward, ...]:
    """The host ports of a pod with these addresses: one for each family that the port's own address allows."""
    if pod.spec.host_network:
        return ()
    ports = [port for container in pod.all_containers for port in container.ports if port.host_port]
    return tuple(
        Forward(port.protocol, port.host_ip, port.host_port, address, port.container_port)
        for port in ports
        for address in addresses
        if port.host_ip in ("", "0.0.0.0") or family_of(port.host_ip) is family_of(address)
    )


class PodNetwork:
    """The node's links and the addresses of its pods. `ready` is set once pods can be given both.

    `adopt` tells of pods that live from before, ahead of the first `configure`. Calls into the kernel block, so they
    run on one thread of their own, in order.
    """

    def __init__(
        self,
        links: Links,
        netfilter: Netfilter,
        *,
        node_name: str,
        node_ip: str,
        cluster_cidrs: Sequence[str],
        state_dir: Path,
    ) -> None:
        self.ready = asyncio.Event()
        self._links = links
        self._netfilter = netfilter
        self._node_name = node_name
        self._node_ip = node_ip
        self._cluster_cidrs = tuple(cluster_cidrs)
        self._file = state_dir / "links.json"
        self._applied = _read(self._file)
        self._held: dict[str, tuple[str, ...]] = {}
        self._attached: dict[str, Veth] = {}
        self._forwards: dict[str, tuple[Forward, ...]] = {}
        self._ipam: Ipam | None = None
        self._ranges: tuple[str, ...] = ()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="links")

    def adopt(self, uid: str, addresses: tuple[str, ...], ports: tuple[Forward, ...] = ()) -> None:
        """A pod that has these addresses and host ports lives already."""
        if addresses:
            self._held[uid] = addresses
        if ports:
            self._forwards[uid] = ports

    async def configure(self, ranges: tuple[str, ...], nodes: Iterable[Mapping[str, Any]]) -> None:
        """Lay bridge, overlay and masquerade for this node's ranges and the other nodes. Raises KernelError or
        IpamError; what was there stays then, and the next call tries again."""
        peers = [peer for node in nodes if (peer := flannel.peer_from_node(node)) is not None]
        await self._call(lambda: self._lay(ranges, peers))
        if ranges != self._ranges:
            held = self._ipam.state.held if self._ipam is not None else self._held
            self._ipam = Ipam(ranges, IpamState(usable(held, ranges)))
            self._ranges = ranges
        self.ready.set()

    def _lay(self, ranges: tuple[str, ...], peers: Sequence[flannel.Peer]) -> None:
        device = self._device()
        wanted = flannel.node_links(self._node_name, ranges, self._node_ip, device, peers)
        if wanted != self._applied or not self.ready.is_set():
            self._apply(wanted, self._applied)
            self._applied = wanted
            _write(self._file, wanted)
        if ranges != self._ranges:
            self._masquerade(ranges)
        if not self.ready.is_set():  # host ports of pods that ended while no agent was here
            self._lay_host_ports()

    def _apply(self, wanted: LinkState, previous: LinkState | None) -> None:
        """Lay the node's links, and link again the pods whose link is no port of the bridge: all of them when the
        bridge was gone, as a new one has no ports."""
        self._links.apply(wanted, previous)
        if self._attached:
            ports = self._links.ports(flannel.BRIDGE)
            for veth in self._attached.copy().values():
                if veth.name not in ports:
                    self._attach_again(veth)

    def _attach_again(self, veth: Veth) -> None:
        try:
            self._links.add_veth(veth)
        except (
            KernelError
        ) as error:  # the pod may be ending, which its worker sees to; if not, the next look tries again
            _log.warning("%s", error)

    def _device(self) -> str:
        for interface in self._links.interfaces():
            if any(str(address.ip) == self._node_ip for address in interface.addresses):
                return interface.name
        raise KernelError(f"no device of this node has its address {self._node_ip}")

    def _masquerade(self, ranges: tuple[str, ...]) -> None:
        for family in Family:
            rules = masquerade.rules(family, ranges, self._cluster_cidrs)
            if rules.tables:
                text = masquerade.missing(rules, self._netfilter.save(family))
                if text:
                    self._netfilter.restore(family, text)

    def _lay_host_ports(self) -> None:
        for family in Family:
            text = hostports.changes(family, dict(self._forwards), self._netfilter.save(family, "nat"))
            if text:
                self._netfilter.restore(family, text)

    async def restore(self) -> None:
        """Put back what someone removed of links, pods' ones among them, and masquerade rules; with everything in place
        it changes nothing."""
        applied = self._applied
        if self.ready.is_set() and applied is not None:
            await self._call(lambda: self._apply(applied, applied))
            await self._call(lambda: self._masquerade(self._ranges))
            if self._forwards:
                await self._call(self._lay_host_ports)

    def allocate(self, uid: str) -> tuple[str, ...]:
        """The addresses of a pod, the same for as long as it holds them. Raises NetworkProblem."""
        if self._ipam is None:
            raise NetworkProblem("the node has no pod range yet: waiting for spec.podCIDR")
        try:
            return self._ipam.allocate(uid)
        except IpamError as error:
            raise NetworkProblem(str(error)) from error

    def holds(self, uid: str, addresses: tuple[str, ...]) -> bool:
        """Whether a pod still rightly has these addresses (its node's ranges may have changed meanwhile)."""
        return self._ipam is not None and self._ipam.held(uid) == addresses

    async def attach(
        self, uid: str, namespace: str, addresses: tuple[str, ...], ports: tuple[Forward, ...] = ()
    ) -> None:
        """Link a pod's network namespace (a file) to the bridge, and its host ports to it. Raises NetworkProblem."""
        if self._ipam is None:
            raise NetworkProblem("the node has no pod range yet: waiting for spec.podCIDR")
        veth = Veth(
            name=link_name(uid),
            peer_name=POD_DEVICE,
            peer_namespace=namespace,
            master=flannel.BRIDGE,
            hairpin=True,
            mtu=flannel.overlay_mtu(self._node_ip),
            peer_mac=flannel.address_mac(addresses[0]),
            peer_addresses=self._ipam.with_prefixes(addresses),
            peer_gateways=tuple(gateway.partition("/")[0] for gateway in self._ipam.gateways),
        )
        try:
            await self._call(lambda: self._links.add_veth(veth))
            self._attached[uid] = veth
            if ports:
                self._forwards[uid] = ports
                await self._call(self._lay_host_ports)
        except KernelError as error:
            raise NetworkProblem(str(error)) from error

    async def detach(self, uid: str) -> None:
        """Remove a pod's link and take its addresses back; none is no error."""
        self._attached.pop(uid, None)
        if self._forwards.pop(uid, ()):
            await self._call(self._lay_host_ports)
        await self._call(lambda: self._links.delete_link(link_name(uid)))
        self._held.pop(uid, None)
        if self._ipam is not None:
            self._ipam.release(uid)

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False)


def _read(file: Path) -> LinkState | None:
    """What an earlier agent laid here, so that what is no longer wanted of it can be removed."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=LinkState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _write(file: Path, state: LinkState) -> None:
    temporary = file.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(state))
    temporary.replace(file)
