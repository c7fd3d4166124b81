"""One Service that the kernel does not take must not keep the others from being served.

A `Programmer` around another. A refusal may have two reasons: somebody was at the rules, or something that is asked for
cannot be. So everything is tried once more, from what the kernel holds now. If that is refused too, the Services that
the refusal points at are withheld (what stood of them stays), and when it points at none, halves of what has changed
are tried until those at fault are found. Nothing is taken for guilty that was not refused with all others at peace.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from fairway.dataplane.base import Concern, Pending, Ports, Programmer, Report, Update
from fairway.desired.model import Claim, PortKey, ServicePort, claims
from fairway.kernel.base import Notice, Refused
from fairway.packet import Family

Service: TypeAlias = tuple[str, str]
"""Namespace and name."""

_ROUNDS = 16
"""So many refusals are asked whom they point at; after that, and when they point at nobody, it is found by trying."""

_TRIALS = 60
"""So many find three or four culprits among thousands. Who has not been tried by then waits for the next time."""

_WORD = re.compile(r"[0-9A-Za-z.:/_-]+")


class Isolating:
    """A `Programmer` of what the kernel takes. Ports that it does not take are named in the report, each with the
    refusal, until they change and are taken; naming them again in an update has them tried again."""

    def __init__(self, programmer: Programmer) -> None:
        self._rules = programmer
        self._pending = Pending()
        self._stood: dict[PortKey, ServicePort] = {}
        self._withheld: dict[Service, dict[PortKey, ServicePort | None]] = {}  # what stands in their stead
        self._refused: dict[Service, Refused] = {}
        self._trials = 0

    @property
    def unavailable(self) -> Mapping[Family, str]:
        """See `Programmer`."""
        return self._rules.unavailable

    def sync(self, update: Update) -> Report:
        """See `Programmer`. Raises Refused only where no single Service is at fault."""
        self._pending.take(update)
        keys = {*update.ports, *self._stood} if self._pending.everything else set(self._pending.keys)
        for service in {_service(key) for key in keys} & self._withheld.keys():
            keys |= self._withheld[service].keys()
            self._release([service])
        update = replace(update, changed=frozenset(keys))
        try:
            report = self._try(update)
        except Refused:
            try:
                report = self._isolate(update)
            except Refused:
                # none of what has changed: something that stood before is not taken any more
                keys = {*update.ports, *self._stood}
                report = self._isolate_from_nothing(replace(update, changed=frozenset(keys)))
        permitted = self._permitted(update.ports)
        for key in keys:
            port = permitted.get(key)
            if port is None:
                self._stood.pop(key, None)
            else:
                self._stood[key] = port
        self._pending.done()
        return replace(report, refused=self._told())

    def intact(self) -> bool:
        """See `Programmer`."""
        return self._rules.intact()

    def unchanged(self) -> bool:
        """See `Programmer`."""
        return self._rules.unchanged()

    def concern(self, notice: Notice) -> Concern:
        """See `Programmer`."""
        return self._rules.concern(notice)

    def mend(self) -> Report:
        """See `Programmer`."""
        return self._rules.mend()

    def forget(self) -> None:
        """See `Programmer`."""
        self._rules.forget()

    def clean(self) -> None:
        """See `Programmer`."""
        self._rules.clean()

    def _try(self, update: Update) -> Report:
        return self._rules.sync(replace(update, ports=self._permitted(update.ports)))

    def _isolate(self, update: Update) -> Report:
        """Everything anew, as somebody may have been at the rules; then without those that a refusal points at; then
        by trying. Raises Refused where it is refused without any of the Services."""
        doubted: list[Service] = []  # blamed together with others
        for _ in range(_ROUNDS):
            try:
                report = self._try(update)
            except Refused as error:
                refusal = error
                blamed = self._blamed(error, update)
                if not blamed:
                    break
                self._withhold(blamed, update, error)
                doubted += blamed if len(blamed) > 1 else []
            else:
                return self._search(doubted, update) if doubted else report
        suspects = sorted({_service(key) for key in update.changed or ()} - self._withheld.keys())
        self._withhold(suspects, update, refusal)
        try:
            report = self._search(suspects, update)
        except Refused:
            self._release(list(self._withheld))
            raise
        if len(suspects) > 1 and self._withheld.keys() >= set(suspects):
            self._release(list(self._withheld))
            raise refusal  # of everything: nobody's fault
        return report

    def _isolate_from_nothing(self, update: Update) -> Report:
        """As if nothing had ever stood."""
        stood, self._stood = self._stood, {}
        try:
            return self._isolate(update)
        except Refused:
            self._stood = stood
            raise

    def _search(self, suspects: Sequence[Service], update: Update) -> Report:
        """Admit those of the withheld that the kernel takes."""
        self._trials = _TRIALS
        self._admit(suspects, update)
        return self._try(update)

    def _admit(self, suspects: Sequence[Service], update: Update) -> None:
        half = len(suspects) // 2
        for group in filter(None, (suspects[:half], suspects[half:])):
            if not self._trials:
                return
            self._trials -= 1
            self._release(group)
            try:
                self._try(update)
            except Refused as error:
                self._withhold(group, update, error)
                if len(group) > 1:
                    self._admit(group, update)

    def _withhold(self, services: Collection[Service], update: Update, error: Refused) -> None:
        """Let what stands go on standing in the stead of what is wanted."""
        for service in services:
            self._withheld[service] = {}
            self._refused[service] = error
        for key in update.changed or ():
            if _service(key) in services:
                self._withheld[_service(key)][key] = self._stood.get(key)

    def _release(self, services: Iterable[Service]) -> None:
        for service in services:
            del self._withheld[service], self._refused[service]

    def _permitted(self, ports: Ports) -> Ports:
        if not self._withheld:
            return ports
        return _Overlay(ports, {key: port for held in self._withheld.values() for key, port in held.items()})

    def _told(self) -> dict[PortKey, Refused]:
        return {key: self._refused[service] for service, held in self._withheld.items() for key in held}

    def _blamed(self, error: Refused, update: Update) -> list[Service]:
        """Those of the changed Services that the refusal speaks of: by name, as comments of rules do, or by one of
        their places."""
        names, places = set(_WORD.findall(error.offending)), set(_WORD.findall(error.reason))
        found: dict[Service, None] = {}
        for key in update.changed or ():
            port = update.ports.get(key)
            if _service(key) in self._withheld or port is None:
                continue
            if str(key[0]) in names or any(_spoken(claim, places) for claim in claims(port)):
                found[_service(key)] = None
        return list(found)


class _Overlay(Mapping[PortKey, ServicePort]):
    """Ports, some of which are others (or none) for the time being."""

    def __init__(self, ports: Ports, instead: Mapping[PortKey, ServicePort | None]) -> None:
        self._ports = ports
        self._instead = instead

    def __getitem__(self, key: PortKey) -> ServicePort:
        port = self._instead[key] if key in self._instead else self._ports[key]
        if port is None:
            raise KeyError(key)
        return port

    def __iter__(self) -> Iterator[PortKey]:
        yield from (key for key in self._ports if key not in self._instead)
        yield from (key for key, port in self._instead.items() if port is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _service(key: PortKey) -> Service:
    return key[0].namespace, key[0].service


def _spoken(claim: Claim, words: Collection[str]) -> bool:
    """Whether a place is among the words, as nft spells its key: address, protocol and port."""
    return {claim.address or str(claim.port), claim.protocol.lower(), str(claim.port)} <= set(words)
