"""The contract of the only hands: what the rest of Fairway may ask of a kernel.

Three narrow protocols, each with a real implementation (`kernel.linux`, for the network namespace the process or the
handle is in) and one in memory (`kernel.fake`). All calls block; callers with an event loop use a thread.
Intentions (`LinkState`) are values: `apply` makes them true and removes what it made true before and is no longer
wanted, and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fairway.node import Interface, Route
from fairway.packet import Family
from fairway.ruleset import nft

_SHOWN = 400  # a line may hold a thousand elements; a message that long helps nobody


class KernelError(Exception):
    """The kernel or its tool refused. The message says what was asked, of which object, and the reason. `families`:
    those whose rules it is about, where that is known."""

    families: tuple[Family, ...] = ()


class Refused(KernelError):
    """A rule transaction was refused and nothing of it was applied. `line` counts from 1 in `text` (0: unknown)."""

    def __init__(self, reason: str, text: str = "", line: int = 0) -> None:
        lines = text.splitlines()
        offending = lines[line - 1] if 0 < line <= len(lines) else ""
        shown = offending if len(offending) <= _SHOWN else f"{offending[:_SHOWN]} ..."
        super().__init__(f"rules refused: {reason}" + (f" (line {line}: {shown})" if shown else ""))
        self.reason = reason
        self.text = text
        self.line = line
        self.offending = offending


class Netfilter(Protocol):
    """iptables rules of one network namespace."""

    def save(self, family: Family, table: str = "") -> str:
        """`iptables-save` text of all tables that exist, or of one."""

    def restore(self, family: Family, text: str) -> None:
        """`iptables-restore --noflush`: chains declared in the text are flushed and refilled, `-X` lines delete,
        others stay untouched; all or nothing of each table (the kernel's transaction). Raises Refused."""

    def ensure_account(self, name: str) -> bool:
        """Make the nfacct object `name` exist; False where the kernel has no accounting objects."""

    def made(self, notice: Notice) -> bool:
        """Whether this handle made the transaction that a notice tells of."""

    def in_nf_tables(self) -> bool:
        """Whether these rules are kept in nf_tables, whose generation counts their changes."""


class Nftables(Protocol):
    """nf_tables of one network namespace. Only tables that are named are ever touched."""

    def apply(self, changes: Sequence[nft.Change]) -> None:
        """Perform the changes in one transaction: all or nothing. Raises Refused, whose text is the transaction as
        `nft -f` would be told and whose line is the change the kernel refused; KernelError when it cannot be asked."""

    def read(self, table: nft.TableName) -> nft.Table | None:
        """The table with its chains, rules and elements; None when there is none. Reads everything: not for the
        steady state."""

    def elements(self, table: nft.TableName, kept: nft.Set) -> Sequence[tuple[bytes, nft.Element]]:
        """What a set holds now, with what remains of timeouts and with counters; none when the set is not there."""

    def chains(self, table: nft.TableName) -> Mapping[str, int] | None:
        """The table's chains and how many rules each has; None when there is no table. Cheap: reads no element."""

    def sets(self, table: nft.TableName) -> Collection[str]:
        """The names of the table's sets and maps; none when there is no table. Cheap: reads no element."""

    def generation(self) -> int:
        """The kernel's count of transactions in this namespace, ours and everybody's."""

    def identity(self) -> int:
        """What tells the transactions of this handle from others' (`Notices`)."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A transaction of nf_tables that somebody else made, iptables in its nf_tables form included. `names` are the
    chains and sets in which something changed. `process` is the number of the thread that made it, `program` its name;
    `sender` its socket's identity, which for a program of one socket is its process number as its own namespace
    counts. `lost`: more was said than could be kept, and what is known is only that something may have changed."""

    generation: int = 0
    tables: frozenset[nft.TableName] = frozenset()
    names: frozenset[tuple[nft.TableName, str]] = frozenset()
    process: int = 0
    program: str = ""
    sender: int = 0
    lost: bool = False


class Notices(Protocol):
    """What others do to nf_tables of one network namespace, told as it happens. For one thread at a time. Listening
    makes large transactions slow, those of the listener's own program too."""

    def fileno(self) -> int:
        """A descriptor that is readable when notices have come, for an event loop."""

    def wait(self, seconds: float) -> Sequence[Notice]:
        """The notices that have come, waiting for the first at most that long; 0 does not wait. Raises KernelError."""

    def close(self) -> None:
        """Hear no more."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One conntrack entry of the default zone: the original tuple and the reply tuple (from which a translation shows).

    ICMP has no ports: `source_port` is the identifier and `destination_port` is type * 256 + code. `identity` is the
    kernel's number of this very entry, 0 when unknown; with it, deleting spares a later flow of the same tuple.
    """

    family: Family
    protocol: int
    source: str
    source_port: int
    destination: str
    destination_port: int
    reply_source: str
    reply_source_port: int
    reply_destination: str
    reply_destination_port: int
    mark: int = 0
    identity: int = field(default=0, compare=False)


class Conntrack(Protocol):
    """The connection tracking table of one network namespace."""

    def flows(self, family: Family, protocol: int = 0) -> Sequence[Flow]:
        """The entries, of one protocol number or all (0)."""

    def delete(self, flows: Sequence[Flow]) -> int:
        """Delete these entries; those already gone are skipped. Returns how many were deleted."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge device without spanning tree. `mac` "" lets the kernel choose, and change it with every port that comes
    or goes: a bridge that is somebody's gateway wants its own."""

    name: str
    mtu: int = 1450
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Vxlan:
    """A VXLAN device as flannel makes it (`flannel.1`): static forwarding, no learning."""

    name: str
    vni: int
    device: str
    local: str
    mac: str
    port: int = 8472
    mtu: int = 1450


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """`address` is "10.244.1.1/24"."""

    device: str
    address: str


@dataclass(frozen=True, slots=True)
class DeviceRoute:
    """`destination` "10.244.2.0/24"; `via` "" for on-link; `onlink` as flannel sets it for its VXLAN routes."""

    destination: str
    device: str
    via: str = ""
    onlink: bool = False


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent ARP/NDP entry."""

    device: str
    address: str
    mac: str


@dataclass(frozen=True, slots=True)
class ForwardingEntry:
    """A permanent FDB entry of a VXLAN device: frames for `mac` go to the VTEP at `destination`. One per MAC."""

    device: str
    mac: str
    destination: str


@dataclass(frozen=True, slots=True)
class LinkState:
    """Everything one owner wants of the network of a namespace. Order inside the tuples does not matter.

    `sysctls` are named as sysctl(8) names them: `net.ipv4.ip_forward`, and with a dot inside a device's name
    `net.ipv4.conf.flannel/1.rp_filter`. What a sysctl was before is not remembered: it stays when no longer wanted.
    """

    bridges: tuple[Bridge, ...] = ()
    vxlans: tuple[Vxlan, ...] = ()
    addresses: tuple[DeviceAddress, ...] = ()
    routes: tuple[DeviceRoute, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    forwarding: tuple[ForwardingEntry, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Veth:
    """A veth pair: one end in this namespace (`name`, enslaved to `master` when set, hairpin on when `hairpin`), the
    other in the namespace `peer_namespace` (a file such as /run/netns/x or /proc/PID/ns/net) as `peer_name` with
    addresses and a default route by each of `peer_gateways` there."""

    name: str
    peer_name: str
    peer_namespace: str
    master: str = ""
    hairpin: bool = False
    mtu: int = 1450
    peer_mac: str = ""
    peer_addresses: tuple[str, ...] = ()
    peer_gateways: tuple[str, ...] = ()
    peer_sysctls: Mapping[str, str] = field(default_factory=dict)


class Links(Protocol):
    """Devices, addresses, routes and neighbours of one network namespace."""

    def apply(self, wanted: LinkState, previous: LinkState | None = None) -> None:
        """Make `wanted` true (creating what is missing, correcting what differs) and remove what is in `previous`
        and not in `wanted`. Idempotent: with everything in place it changes nothing. Raises KernelError naming the
        object."""

    def add_veth(self, veth: Veth) -> None:
        """Create the pair, or correct an existing one of that name; its far end is up with `lo` when this returns.
        Raises KernelError naming what is missing (master, namespace) or in the way."""

    def delete_link(self, name: str) -> None:
        """Delete a device; one that is not there is no error."""

    def switch(self, name: str, on: bool) -> None:
        """Set a device up or down, as a cable is put in or taken out. Raises KernelError when there is none."""

    def ports(self, bridge: str) -> frozenset[str]:
        """The devices of a bridge that are up; none for a bridge that is not there."""

    def interfaces(self) -> Sequence[Interface]:
        """Devices with their addresses, without `lo` and without link-local IPv6 addresses."""

    def routes(self) -> Sequence[Route]:
        """The main table's routes, both families, link-local IPv6 and multicast left out."""
