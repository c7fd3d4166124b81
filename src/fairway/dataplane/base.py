"""What a dialect is told and what it does: the contract between the proxy's loop and iptables or nftables mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol, TypeAlias

from fairway.desired.model import Desired, PortKey, ServicePort, Settings
from fairway.kernel.base import KernelError, Notice, Refused
from fairway.packet import Family

Ports: TypeAlias = Mapping[PortKey, ServicePort]


@dataclass(frozen=True, slots=True)
class Update:
    """All that is wanted now, and which ports differ from the update before.

    `ports` is a view of everything that goes on changing after the call: read it during `sync`, keep values, not the
    mapping. `changed` None: nothing is known, compare all. A changed key that `ports` lacks is a port that went.
    """

    settings: Settings
    ports: Ports
    changed: frozenset[PortKey] | None = None

    @classmethod
    def of(cls, desired: Desired) -> Update:
        """Everything, from a whole Desired."""
        return cls(desired.settings, {port.key: port for port in desired.ports})


@dataclass(frozen=True, slots=True)
class Work:
    """What a sync did to one family's rules, and how many seconds that took. In iptables mode, by table: how many
    rules are ours now, and how many were written."""

    seconds: float = 0.0
    owned: Mapping[str, int] = field(default_factory=dict)
    written: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Swept:
    """How many of one family's connections were deleted, and how many seconds it took to find and delete them."""

    deleted: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """What one sync did: transactions applied, lines (or elements and rules) in them; `families` are those that there
    was anything to do for, `swept` those whose connections were looked through. `refused` are the ports that the
    kernel does not take, and why: of them stands what stood before (`dataplane.isolate`). `uncleaned`: how often, since
    the last one, what another proxy left could not be taken away."""

    transactions: int = 0
    lines: int = 0
    families: Mapping[Family, Work] = field(default_factory=dict)
    swept: Mapping[Family, Swept] = field(default_factory=dict)
    refused: Mapping[PortKey, Refused] = field(default_factory=dict)
    uncleaned: Mapping[Family, int] = field(default_factory=dict)

    @property
    def flows_deleted(self) -> int:
        """Connections deleted, of all families."""
        return sum(swept.deleted for swept in self.swept.values())


class Concern(IntEnum):
    """What somebody else's transaction calls for: nothing, a cheap look (`Programmer.intact`), or that everything is
    compared (`Programmer.mend`)."""

    NONE = 0
    LOOK = 1
    COMPARE = 2


class Programmer(Protocol):
    """One dialect's rules in one kernel, kept in step. For one thread at a time; all calls block.

    Work in `sync` grows with what changed, not with what there is. After an update that failed, the keys it named are
    still to be done: the programmer remembers them, the caller repeats the latest update with no keys lost or found.
    """

    @property
    def unavailable(self) -> Mapping[Family, str]:
        """Families that cannot be programmed here, each with the reason; only IPv6 may be."""

    def sync(self, update: Update) -> Report:
        """Make the kernel do what is wanted. The first sync takes over what stands (our own rules of an earlier run,
        or another proxy's, in either dialect) without a moment in which Services are not served. Raises KernelError,
        Refused: the last good rules stay, or, where families and tables are apart, what could be applied."""

    def intact(self) -> bool:
        """Whether our rules seem untouched; cheap, whatever the number of Services. Raises KernelError."""

    def unchanged(self) -> bool:
        """Whether the kernel holds exactly what was applied; may read everything. Raises KernelError."""

    def concern(self, notice: Notice) -> Concern:
        """What a transaction of somebody else's has to do with our rules. Never blocks."""

    def mend(self) -> Report:
        """Compare what stands with what was applied last and write what differs, no more; nothing differs: no
        transactions. Raises KernelError, after which only `forget` and a sync help."""

    def forget(self) -> None:
        """Take nothing for known: the next sync begins as the first one did."""

    def clean(self) -> None:
        """Remove everything this dialect ever programmed, of this program or of kube-proxy; what others made stays.
        Nothing there is no error. Raises KernelError."""


@dataclass(slots=True)
class Pending:
    """Keys that have been named and not yet applied. `everything` until the first success and after `forget`."""

    everything: bool = True
    keys: set[PortKey] = field(default_factory=set)

    def take(self, update: Update) -> None:
        """Remember what an update names."""
        if update.changed is None:
            self.everything = True
        else:
            self.keys |= update.changed

    def concerns(self, family: Family) -> bool:
        """Whether anything of that family has been named."""
        return self.everything or any(key[2] is family for key in self.keys)

    def done(self) -> None:
        """All of it is in the kernel."""
        self.everything = False
        self.keys.clear()


def raise_first(failures: Mapping[Family, KernelError]) -> None:
    """Raise the first of what went wrong, if anything did, and let it tell in which families something did."""
    for error in failures.values():
        error.families = tuple(failures)
        raise error
