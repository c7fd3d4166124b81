"""The transaction a Service drags along: its addresses as IPAddress objects, its node ports as keys of their own.

A number is taken by a check that its key does not exist, in the very transaction that writes the Service, and freed in
the one that deletes or changes it: nothing can be given twice, and nothing can leak, whatever crashes in between. When
somebody deletes the IPAddress of a Service a claim keeps the address taken, until `repairing` has made it anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

import msgspec

from fairway.api import families, repair, status
from fairway.api.allocate import (
    AddressRange,
    Full,
    address_range,
    canonical,
    first_free,
    parsed_address,
    port_span,
    probes,
)
from fairway.api.holdings import Holder, address_key, claim, holder_of, ip_address, read_claim
from fairway.api.keys import ADDRESSES, NODE_PORTS, address_claim_key, key_of, node_port_key, prefix_of
from fairway.objects.errors import FieldError
from fairway.objects.errors import invalid as invalid_field
from fairway.objects.kinds import IP_ADDRESS, SERVICE, SERVICE_CIDR
from fairway.objects.services import HEADLESS, needs_cluster_ip, needs_health_check, needs_node_port
from fairway.store.base import Check, Delete, Entry, Put, Store, View

Object = dict[str, Any]


@dataclass(slots=True)
class Plan:
    """Further checks and changes of a write."""

    checks: list[Check] = field(default_factory=list)
    changes: list[Put | Delete] = field(default_factory=list)

    def take(self, key: str, value: bytes) -> None:
        """Create a key that must not exist."""
        self.checks.append(Check(key, 0))
        self.changes.append(Put(key, value))


NOTHING = Plan()


@dataclass(frozen=True, slots=True)
class Ranges:
    """The ranges addresses are given from, and the ServiceCIDRs behind them."""

    known: list[AddressRange]
    _living: list[tuple[AddressRange, Check]]

    def checks(self, address: str) -> list[Check]:
        """That a ServiceCIDR of the address is as it was: none is given from a range that begins to go meanwhile."""
        return [check for found, check in self._living if address in found][:1]

    def checks_of(self, cidr: str) -> list[Check]:
        """The same for an address drawn from the range of that CIDR."""
        return [check for found, check in self._living if found.cidr == cidr][:1]


class ServiceAllocator:
    """Completes Services with what the cluster gives them."""

    def __init__(
        self,
        store: Store,
        cidrs: tuple[str, ...],
        node_ports: tuple[int, int],
        random: Random,
        now: Callable[[], datetime],
        uid: Callable[[], str],
    ) -> None:
        """`cidrs` are the configured Service ranges: the first one's family is the cluster's default."""
        self._store = store
        self._configured = [address_range(cidr) for cidr in cidrs]
        self._families = list(dict.fromkeys(found.family for found in self._configured))
        self.ports = port_span(*node_ports)
        self._random = random
        self._now = now
        self._uid = uid
        self._ranges_of: tuple[Entry, ...] = ()
        self._ranges_now = Ranges(self._configured, [])

    async def plan(self, new: Object | None, old: Object | None) -> Plan:
        """Allocate what `new` needs and free what only `old` had, filling in `new`'s spec, by the store's view (what is
        taken is among the plan's checks). Raises Failure."""
        plan = Plan()
        view = await self._store.view()
        spec: Object = new["spec"] if new else {}
        former: Object = old["spec"] if old else {}
        if new:
            if errors := families.settle_families(spec, old and former, self._families):
                raise status.invalid(SERVICE, new["metadata"]["name"], errors)
            self._addresses(new, former, plan, view)
            self._node_ports(new, former, plan, view)
        if old:
            self._release(new or old, spec, former, plan, view)
        return plan

    async def forsaken(self, entry: Entry) -> Plan:
        """What keeps an address taken while its IPAddress is deleted under the Service that has it."""
        plan, view, address = Plan(), await self._store.view(), repair.address_of(entry)
        holder = view.get(key_of(SERVICE, *address.parent)) if address.parent else None
        if holder is None:
            return plan
        service = repair.service_of(holder)
        if service.has(address.metadata.name) and not view.get(address_claim_key(address.metadata.name)):
            plan.checks.append(service.check)
            plan.take(address_claim_key(address.metadata.name), claim(service.holder))
        return plan

    def _addresses(self, service: Object, former: Object, plan: Plan, view: View) -> None:
        spec = service["spec"]
        if not needs_cluster_ip(spec):
            return
        if families.is_headless(spec):
            spec["clusterIP"], spec["clusterIPs"] = HEADLESS, [HEADLESS]
            return
        kept = set(families.addresses(former))
        ranges = self._ranges(view)
        chosen: list[str] = []
        asked = families.addresses(spec)
        for index, family in enumerate(spec["ipFamilies"]):
            if index < len(asked):
                address = asked[index]
                if address not in kept:
                    self._claim(service, address, ranges.known, asked, view)
                    self._take(service, canonical(address), ranges.checks(address), plan)
            else:
                address, cidr = self._draw(family, ranges.known, view)
                self._take(service, address, ranges.checks_of(cidr), plan)
            chosen.append(address)
        spec["clusterIP"], spec["clusterIPs"] = chosen[0], chosen

    def _take(self, service: Object, address: str, checks: list[Check], plan: Plan) -> None:
        """Give the Service an address (in canonical form)."""
        plan.checks += checks
        holder = holder_of(service["metadata"])
        plan.take(address_key(address), ip_address(holder, address, self._uid(), self._now()))
        plan.checks.append(Check(address_claim_key(address), 0))

    def _claim(self, service: Object, address: str, ranges: list[AddressRange], asked: list[str], view: View) -> None:
        """An address somebody asked for. Raises Invalid when it cannot be had."""
        if not any(address in found for found in ranges):
            valid = " and ".join(found.cidr for found in ranges)
            why = f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {valid}"
        elif _is_held(canonical(address), view):
            why = "provided IP is already allocated"
        else:
            return
        error = invalid_field("spec.clusterIPs", asked, f"failed to allocate IP {address}: {why}")
        raise status.invalid(SERVICE, service["metadata"]["name"], [error])

    def _draw(self, family: str, ranges: list[AddressRange], view: View) -> tuple[str, str]:
        """Any address (in canonical form), and the CIDR it is of. Raises 500 when all are taken, as users know it."""
        for found in (candidate for candidate in ranges if candidate.family == family):
            for number in probes(found.span, self._random):
                if not _is_held(address := found.show(number), view):
                    return address, found.cidr
            taken = _taken_addresses(found, view)
            try:
                return found.show(first_free(found.span, taken, self._random)), found.cidr
            except Full:
                continue
        raise status.internal("failed to allocate a serviceIP: range is full")

    async def ranges(self) -> Ranges:
        """The ranges of every ServiceCIDR that is not on its way out; the configured ones come first."""
        return self._ranges(await self._store.view())

    def _ranges(self, view: View) -> Ranges:
        page = view.range(prefix_of(SERVICE_CIDR))
        if page.entries != self._ranges_of:
            self._ranges_now, self._ranges_of = self._read_ranges(page.entries), page.entries
        return self._ranges_now

    def _read_ranges(self, entries: tuple[Entry, ...]) -> Ranges:
        found = {known.cidr: known for known in self._configured}
        living: list[tuple[AddressRange, Check]] = []
        for entry in entries:
            obj = msgspec.json.decode(entry.value)
            if not obj["metadata"].get("deletionTimestamp"):
                ranges = map(address_range, obj.get("spec", {}).get("cidrs") or [])
                living += [(known, Check(entry.key, entry.modified)) for known in ranges]
        found |= {known.cidr: known for known, _ in living if known.family in self._families}
        return Ranges(list(found.values()), living)

    def _node_ports(self, service: Object, former: Object, plan: Plan, view: View) -> None:
        spec = service["spec"]
        ports = spec.get("ports") or []
        taken = set(families.held_ports(former))
        errors: list[FieldError] = []
        asked = [
            (f"spec.ports[{n}].nodePort", port["nodePort"]) for n, port in enumerate(ports) if port.get("nodePort")
        ]
        if spec.get("healthCheckNodePort"):
            asked.append(("spec.healthCheckNodePort", spec["healthCheckNodePort"]))
        for path, number in asked:
            if number not in taken:
                errors += self._claim_port(path, number, view)
                taken.add(number)
        if errors:
            raise status.invalid(SERVICE, service["metadata"]["name"], errors)
        if needs_node_port(spec):
            self._draw_ports(ports, taken, view)
        if needs_health_check(spec) and not spec.get("healthCheckNodePort"):
            spec["healthCheckNodePort"] = self._draw_port(taken, view)
        for number in sorted(families.held_ports(spec) - families.held_ports(former)):
            plan.take(node_port_key(number), claim(holder_of(service["metadata"])))

    def _claim_port(self, path: str, number: int, view: View) -> list[FieldError]:
        if number not in self.ports:
            valid = f"{self.ports.first}-{self.ports.last}"
            why = f"provided port is not in the valid range. The range of valid ports is {valid}"
        elif view.get(node_port_key(number)):
            why = "provided port is already allocated"
        else:
            return []
        return [invalid_field(path, number, why)]

    def _draw_ports(self, ports: list[Object], taken: set[int], view: View) -> None:
        """A number for each port without one. The same port in two protocols (DNS) gets the same number."""
        known = {port["port"]: (port["nodePort"], port.get("protocol")) for port in ports if port.get("nodePort")}
        for port in ports:
            if port.get("nodePort"):
                continue
            number, protocol = known.get(port["port"], (0, None))
            if not number or protocol == port.get("protocol"):
                number = self._draw_port(taken, view)
            port["nodePort"] = number
            known[port["port"]] = (number, port.get("protocol"))

    def _draw_port(self, taken: set[int], view: View) -> int:
        """Any free number, added to `taken`. Raises 500 when there is none, as users know it."""
        for number in probes(self.ports, self._random):
            if number not in taken and not view.get(node_port_key(number)):
                taken.add(number)
                return number
        page = view.range(NODE_PORTS)
        held = {int(entry.key.removeprefix(NODE_PORTS)) for entry in page.entries}
        try:
            number = first_free(self.ports, held | taken, self._random)
        except Full:
            raise status.internal("failed to allocate a nodePort: range is full") from None
        taken.add(number)
        return number

    def _release(self, service: Object, spec: Object, former: Object, plan: Plan, view: View) -> None:
        """Free what the Service no longer has, if it is (still) the one that holds it."""
        holder = holder_of(service["metadata"])
        for address in set(families.addresses(former)) - set(families.addresses(spec)):
            key = address_key(canonical(address))
            entry = view.get(key)
            if entry and _is_parent(msgspec.json.decode(entry.value), service["metadata"]):
                plan.checks.append(Check(key, entry.modified))
                plan.changes.append(Delete(key))
            _drop(address_claim_key(canonical(address)), holder, plan, view)
        for number in sorted(families.held_ports(former) - families.held_ports(spec)):
            _drop(node_port_key(number), holder, plan, view)


def _is_held(address: str, view: View) -> bool:
    """Whether a canonical address has an IPAddress or a claim."""
    return bool(view.get(key_of(IP_ADDRESS, "", address)) or view.get(address_claim_key(address)))


def _taken_addresses(within: AddressRange, view: View) -> set[int]:
    taken: set[int] = set()
    for prefix in (prefix_of(IP_ADDRESS), ADDRESSES):
        names = (entry.key.removeprefix(prefix) for entry in view.range(prefix).entries)
        taken |= {int(parsed_address(name)) for name in names if name in within}
    return taken


def _drop(key: str, holder: Holder, plan: Plan, view: View) -> None:
    entry = view.get(key)
    if entry and read_claim(entry.value) == holder:
        plan.changes.append(Delete(key))


def _is_parent(address: Object, metadata: Object) -> bool:
    parent = address.get("spec", {}).get("parentRef", {})
    return (parent.get("namespace"), parent.get("name")) == (metadata["namespace"], metadata["name"])
