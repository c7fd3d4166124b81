"""One node's part in announcing: what it may answer for, what it says in its Lease, and when. Pure; time is told.

The safety of it. A node answers for an address after it has (1) written a claim into its Lease, (2) then read all
Leases and found no other claim of a node that counts as alive, and as long as (3) its last acknowledged write was
*sent* less than `hold` seconds ago by its own clock. A node counts as dead once its Lease was *seen* unchanged for
`lapse` seconds by the reader's own clock; no two clocks are compared. Of two nodes that claim, whoever reads last has
both claims before it, so one of them at least steps back; and since a write is sent before it can be seen, and `lapse`
is longer than `hold`, who counts as dead has stopped. Clocks may drift by a tenth. After (3) has failed a node must
begin with (1) again. Watches may be late, Leases of others may be misread as old: the reading of (2) decides.

A node that loses the API cannot know whether it is alone with that. If the API is away for all, nobody can take over,
and nobody shall fall silent: so it goes on *alone*, and gives up when it hears on the segment that another node probes
for its address, or that anybody announces it. Who takes over from a dead node probes first. A node alone probes, too,
so that it is told when it missed that; and one that was not running for `stall` seconds goes on with nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from fairway.announce.bulletin import Bulletin, Claim, reaches
from fairway.announce.election import Wish, orders

MIN_LAPSE, MAX_LAPSE = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds. `renew`: from one sign of life to the next, of a node that claims something; `idle` of one that does
    not. `hold` and `lapse`: see above; `idle_lapse` is that of a node without claims. `patience`: how long the next in
    order waits for the one before. `settle`: how long a node that is new looks around. `stall`: how long a node may
    not have run and still know what it knew. `answer`: how long an answer of the server is waited for."""

    renew: float = 0.3
    hold: float = 0.9
    lapse: float = 1.2
    idle: float = 10.0
    idle_lapse: float = 25.0
    patience: float = 0.4
    settle: float = 0.1
    stall: float = 1.0
    answer: float = 0.5

    def __post_init__(self) -> None:
        enough = 2 * self.renew < self.hold and self.renew + self.answer < self.hold
        if not enough or self.hold * 1.2 > self.lapse or self.idle * 2 > self.idle_lapse:
            raise ValueError(f"these times leave no room for a lost message or a slow clock: {self}")

    @classmethod
    def of(cls, lapse: float) -> Timing:
        """The times that go with a lapse. Raises ValueError for one that is shorter than a tick of the clock bears."""
        if not MIN_LAPSE <= lapse <= MAX_LAPSE:
            raise ValueError(f"{lapse} s: between {MIN_LAPSE} and {MAX_LAPSE} s can be kept")
        return cls(renew=lapse / 4, hold=lapse * 3 / 4, lapse=lapse, answer=lapse * 5 / 12)


DEFAULT = Timing()


class Stage(Enum):
    """How far a claim is: to be confirmed; confirmed; confirmed once, without the API since."""

    WANTED = "wanted"
    HELD = "held"
    ALONE = "alone"


@dataclass(slots=True)
class Mine:
    """A claim of this node, made at `asked`."""

    term: int
    asked: float
    why: str
    since: str = ""
    stage: Stage = Stage.WANTED


@dataclass(slots=True)
class Other:
    """What another node said last: in which version of its Lease, and when that was first seen here. `removed`: the
    Lease is gone, and nobody knows what its node believes."""

    bulletin: Bulletin
    version: str
    seen: float
    removed: bool = False

    def alive(self, now: float) -> bool:
        return not self.bulletin.leaving and now - self.seen < self.bulletin.lapse


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be done now, in this order: fall silent on `cease`; write `bulletin` (None: nothing is to be said);
    begin to answer and announce `begin` (True: after probing for it)."""

    cease: tuple[str, ...] = ()
    bulletin: Bulletin | None = None
    begin: Mapping[str, bool] = field(default_factory=dict)


class Member:
    """`node` is this node's name, `host` its machine's. All times are of one clock that never stops."""

    def __init__(self, node: str, host: str, timing: Timing, now: float) -> None:
        self.mine: dict[str, Mine] = {}
        self.others: dict[str, Other] = {}
        self.wishes: Mapping[str, Wish] = {}
        self._me = node
        self._host = host
        self._timing = timing
        self._reach: tuple[str, ...] = ()
        self._macs: tuple[str, ...] = ()
        self._said: Bulletin | None = None
        self._sent = self._ran = self._valid = now
        self._joined: float | None = None
        self._leaving = self._cut_off = False
        self._claimants: dict[str, set[str]] = {}
        """By address, the others that claim it, dead or alive."""
        self._before: dict[str, str] = {}
        """By address, who gave it up."""
        self._free: dict[str, float] = {}
        self._again: dict[str, float] = {}
        self._heirloom: frozenset[str] = frozenset()
        self._wished = 0
        self._ordered: tuple[object, Mapping[str, tuple[str, ...]]] = (None, {})

    # - what it is told

    def wish(self, wishes: Mapping[str, Wish]) -> None:
        """What is to be announced, and by whom, has changed."""
        self.wishes = wishes
        self._wished += 1

    def reach(self, networks: tuple[str, ...], macs: tuple[str, ...]) -> None:
        """The networks on whose segments this node can answer, and its MACs there."""
        self._reach, self._macs = networks, macs

    def inherit(self, left: Bulletin) -> None:
        """This node's own Lease, as a process before this one left it."""
        self._heirloom = frozenset(left.claims)

    def saw(self, bulletin: Bulletin, version: str, now: float) -> bool:
        """Another node's Lease, by a watch or in a list; whether it says anything new."""
        if bulletin.node == self._me:
            return False
        known = self.others.get(bulletin.node)
        if known is not None and (known.version == version or _is_older(version, known.version)):
            return False
        self.others[bulletin.node] = Other(bulletin, version, now)
        before = known.bulletin.claims if known is not None else {}
        for address in before.keys() - bulletin.claims.keys():
            self._claimants[address].discard(bulletin.node)
            self._before[address] = bulletin.node
        for address in bulletin.claims.keys() - before.keys():
            self._claimants.setdefault(address, set()).add(bulletin.node)
            self._before.pop(address, None)
        return known is None or known.bulletin != bulletin or not known.alive(now)

    def missed(self, node: str, now: float) -> None:
        """Another node's Lease is not there any more. What its node may believe counts on for a while."""
        known = self.others.get(node)
        if known is not None and not known.removed:
            self.others[node] = Other(known.bulletin, known.version, now, removed=True)

    def wrote(self, bulletin: Bulletin, sent: float, now: float) -> Turn:
        """The Lease says `bulletin` now, which the server has acknowledged; the request was sent at `sent`."""
        turn = self.beat(now)  # what had ended before the answer came is not made good by it
        self._said, self._sent = bulletin, sent
        self._valid = sent + self._timing.hold
        if self._joined is None:
            self._joined = now
        return turn

    def regained(self, lost: float, now: float) -> None:
        """The server answers again, after it had not since `lost`. What was not seen meanwhile says nothing of the
        others, who may have gone without it, too: they are given their time anew."""
        self._cut_off = False
        for each in self.others.values():
            if each.alive(lost):
                each.seen = now

    def lost(self) -> None:
        """The server does not answer. Nothing is claimed until it does: whose Lease seems to end may have it no
        better."""
        self._cut_off = True
        self._drop([address for address, claim in self.mine.items() if claim.stage is Stage.WANTED])

    def heard(self, address: str, mac: str, claimed: bool, now: float) -> Turn:
        """Somebody else announces the address on the segment (`claimed`), or probes for it: other nodes do that before
        they take it, and any host that looks for an address of its own."""
        claim = self.mine.get(address)
        if claim is None or claim.stage is Stage.WANTED or self.is_entitled(address, now):
            return Turn()
        by_node = any(mac in each.bulletin.macs for each in self.others.values())
        return Turn(cease=self._drop([address])) if claimed or by_node else Turn()

    def leave(self) -> None:
        """Claim nothing any more, and give to others what they ask for; `quit` is the end."""
        self._leaving = True

    def quit(self) -> Turn:
        """Give everything up."""
        self._leaving = True
        ceased = self._drop(list(self.mine))
        return Turn(cease=ceased, bulletin=self._bulletin() if self._said is not None else None)

    # - what it may do

    def answers(self, address: str, now: float) -> bool:
        """Whether this node may answer for the address at this moment, having heard what there was to hear on the
        segment before it."""
        if self.is_entitled(address, now):
            return True
        claim = self.mine.get(address)
        return claim is not None and claim.stage is not Stage.WANTED and now - self._ran < self._timing.stall

    def is_entitled(self, address: str, now: float) -> bool:
        """Whether nobody else can have the address at this moment, whatever is said on the segment."""
        claim = self.mine.get(address)
        return claim is not None and claim.stage is Stage.HELD and now < self._valid

    @property
    def busy(self) -> bool:
        """Whether time matters: there is something to be announced, or something to be given up."""
        return bool(self.wishes or self.mine)

    @property
    def alone(self) -> tuple[str, ...]:
        """The addresses announced without the API."""
        return tuple(address for address, each in self.mine.items() if each.stage is Stage.ALONE)

    def should_look(self, now: float) -> bool:
        """Whether there are claims that a look at all Leases may confirm."""
        said = self._said.claims if self._said is not None else {}
        return now < self._valid and any(
            claim.stage is not Stage.HELD and address in said and not any(True for _ in self._rivals(address, now))
            for address, claim in self.mine.items()
        )

    def looked(self, now: float, stamp: str) -> Turn:
        """All Leases were read (and told by `saw` and `missed`) by a request that was sent after `wrote`: what that
        claimed and nobody else does is ours. `stamp` is the time for people."""
        begin: dict[str, bool] = {}
        said = self._said.claims if self._said is not None else {}
        for address, claim in self.mine.items():
            if claim.stage is Stage.HELD or address not in said or now >= self._valid:
                continue
            if any(True for _ in self._rivals(address, now)):
                continue
            if claim.stage is Stage.WANTED:
                begin[address] = bool(self._claimants.get(address))  # it may live, and not know
                claim.since = stamp
            claim.stage = Stage.HELD
        return Turn(begin=begin)

    def beat(self, now: float) -> Turn:
        """To be called often: notices that time has passed, for this node and for others."""
        slept, self._ran = now - self._ran >= self._timing.stall, now
        ceased: list[str] = []
        for address, claim in self.mine.items():
            if claim.stage is Stage.WANTED or now < self._valid:
                continue
            if slept:
                claim.stage, claim.asked = Stage.WANTED, now
                ceased.append(address)
            else:
                claim.stage = Stage.ALONE
        return Turn(cease=tuple(ceased))

    def plan(self, now: float) -> Turn:
        """What to give up, and what to say now; nothing while all has been said."""
        turn = self.beat(now)
        order = self._orders(now)
        ceased = self._drop([address for address in self.mine if self._must_go(address, order.get(address, ()), now)])
        for address in self._claimable(order, now):
            self._claim(address, now)
        bulletin = self._bulletin()
        return Turn(cease=(*turn.cease, *ceased), bulletin=bulletin if self._is_due(bulletin, now) else None)

    # - how it comes to that

    def _rivals(self, address: str, now: float) -> Iterator[Other]:
        """Other nodes that claim the address and count as alive."""
        claimants = (self.others[name] for name in self._claimants.get(address, ()))
        return (each for each in claimants if each.alive(now))

    def _must_go(self, address: str, order: tuple[str, ...], now: float) -> bool:
        """Whether to give up a claim. One that is announced, by a node that should not any more, is kept until the
        one that should asks for it."""
        claim, rivals = self.mine[address], list(self._rivals(address, now))
        if not order or address not in self.wishes:
            return True
        if claim.stage is Stage.ALONE:
            return any(each.bulletin.claims[address].held for each in rivals)
        if claim.stage is Stage.HELD:
            rights = [each.bulletin.claims[address] for each in rivals]
            if any(right.held and right.term > claim.term for right in rights):
                return True  # by a younger right: this happens to a node whose clock stood still
            return self._me not in order and any(each.bulletin.node in order for each in rivals)
        if self._me not in order or not self._may_wait(order, rivals, claim, address, now):
            self._again[address] = now + self._timing.patience
            return True
        return False

    def _may_wait(self, order: tuple[str, ...], rivals: list[Other], claim: Mine, address: str, now: float) -> bool:
        """Whether to go on wanting what others claim, too: who comes first waits for the others to step back."""
        if rivals and now - claim.asked > self._timing.lapse:
            return False
        mine = order.index(self._me)
        for each in rivals:
            node = each.bulletin.node
            if node in order and (each.bulletin.claims[address].held or order.index(node) < mine):
                return False
        return True

    def _orders(self, now: float) -> Mapping[str, tuple[str, ...]]:
        live = {name: each.bulletin for name, each in self.others.items() if each.alive(now) and not each.removed}
        holders = {address: name for name, said in live.items() for address, each in said.claims.items() if each.held}
        holders |= {address: self._me for address, each in self.mine.items() if each.stage is not Stage.WANTED}
        reach = {name: said.reach for name, said in live.items()}
        reach[self._me] = () if self._leaving else self._reach
        known = (self._wished, holders, reach)
        if self._ordered[0] != known:
            able = {
                address: {name for name, far in reach.items() if reaches(far, ipaddress.ip_address(address))}
                for address in self.wishes
            }
            self._ordered = (known, orders(self.wishes, able, holders))
        return self._ordered[1]

    def _claimable(self, order: Mapping[str, tuple[str, ...]], now: float) -> list[str]:
        """What nobody claims who may, and it is our turn to take."""
        free = {
            address
            for address, nodes in order.items()
            if address not in self.mine and not any(each.bulletin.node in nodes for each in self._rivals(address, now))
        }
        self._free = {address: self._free.get(address, now) for address in free}
        return [address for address in sorted(free) if self._is_our_turn(address, order[address], now)]

    def _is_our_turn(self, address: str, order: tuple[str, ...], now: float) -> bool:
        if self._me not in order or self._cut_off or now < self._again.get(address, now):
            return False
        if address in self._heirloom:
            return True
        if self._joined is None or now < self._joined + self._timing.settle:
            return False
        return now - self._free[address] >= order.index(self._me) * self._timing.patience

    def _claim(self, address: str, now: float) -> None:
        self._again.pop(address, None)
        claimants = [self.others[name] for name in self._claimants.get(address, ())]
        last = max(claimants, key=lambda each: each.bulletin.claims[address].term, default=None)
        term, why = 0, "nobody announced it"
        if last is not None:
            term, node = last.bulletin.claims[address].term, last.bulletin.node
            why = (
                f"{node} should not any more" if last.alive(now) else f"the Lease of {node}, which announced it, ended"
            )
        elif address in self._heirloom:
            why = "it did before its restart"
        elif address in self._before:
            why = f"{self._before[address]} gave it up"
        self.mine[address] = Mine(term + 1, now, why)
        self._heirloom -= {address}

    def _drop(self, addresses: list[str]) -> tuple[str, ...]:
        """Give up claims; returns those that were answered for."""
        silent = [address for address in addresses if self.mine[address].stage is not Stage.WANTED]
        for address in addresses:
            del self.mine[address]
        self._before.update(dict.fromkeys(silent, self._me))
        return tuple(silent)

    def _bulletin(self) -> Bulletin:
        claims = {
            address: Claim(each.term, each.since, each.why, each.stage is not Stage.WANTED)
            for address, each in sorted(self.mine.items())
        }
        lapse = self._timing.lapse if claims else self._timing.idle_lapse
        reach = () if self._leaving else self._reach
        return Bulletin(self._me, self._host, claims, reach, self._macs, lapse, self._leaving and not claims)

    def _is_due(self, bulletin: Bulletin, now: float) -> bool:
        if self._said is None:
            return any(self._me in order for order in self._ordered[1].values())
        if self._cut_off or bulletin != self._said:
            return True
        period = self._timing.renew if bulletin.claims else self._timing.idle
        return self.busy and now - self._sent >= period


def _is_older(version: str, known: str) -> bool:
    """Versions of one kind are ordered numbers where servers keep to that (KEP-5504)."""
    return version.isdigit() and known.isdigit() and int(version) < int(known)
