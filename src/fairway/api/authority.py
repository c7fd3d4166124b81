"""The cluster's roles as they stand in the store, kept at hand, and the yes or no that goes by them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from fairway.api import nodegate, status
from fairway.api.auth import deed_of, refusal
from fairway.api.keys import prefix_of
from fairway.api.rbac import Aggregation, Binding, Deed, Policy, Role, RoleRef, Rule, Scoped, missing
from fairway.api.requests import Plain, Request
from fairway.api.users import MASTERS, User
from fairway.objects.errors import show
from fairway.objects.kinds import CLUSTER_ROLE, RBAC, ROLE, Kind
from fairway.store.base import Entry, Event, Store, StoreError

Object = dict[str, Any]

RETRY_SECONDS = 1.0
_ROLES = (ROLE, CLUSTER_ROLE)
_PREFIX = prefix_of(ROLE).removesuffix(f"{ROLE.plural}/")
"""Of all objects of the group."""

_log = logging.getLogger(__name__)


class Authority:
    """Says who may do what. `start` reads the roles, then a task follows the store until `stop`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._revision = 0
        self._roles: dict[Scoped, Role] = {}
        self._bindings: dict[Scoped, Binding] = {}
        self._policy: Policy | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read all roles and bindings; from then on changes are followed."""
        await self.refresh()
        self._task = asyncio.create_task(self._follow(), name="roles")

    async def stop(self) -> None:
        """Follow no more."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def refresh(self) -> None:
        """Read everything anew: whoever wrote a role sees it hold with the next request."""
        page = await self._store.range(_PREFIX)
        if page.revision < self._revision:
            return
        self._roles, self._bindings = {}, {}
        self._take(page.entries)
        self._revision = page.revision

    @property
    def policy(self) -> Policy:
        """What holds now."""
        if self._policy is None:
            self._policy = Policy(self._roles, self._bindings)
        return self._policy

    def allows(self, user: User, request: Request | Plain) -> bool:
        """Whether the user may do it."""
        return MASTERS in user.groups or self.policy.allows(user, deed_of(request))

    def authorize(self, user: User, request: Request | Plain) -> None:
        """Let the user do it or raise 403."""
        if not self.allows(user, request):
            raise refusal(user, request)

    def guard(self, user: User, kind: Kind, namespace: str, obj: Object, old: Object | None) -> None:
        """Nobody hands out what he does not have: a role to be written may grant, and a binding bind, only what its
        writer holds, unless he has the verb `escalate` or `bind`. An agent writes about its own node only. Raises
        403."""
        if user.node:
            nodegate.guard(user, kind, namespace, obj, old)
        if kind.group != RBAC or MASTERS in user.groups:
            return
        rules, verb, about = self._grants(kind, namespace, obj)
        if self.policy.allows(user, Deed(verb, RBAC, about.plural, namespace, _about(kind, obj))):
            return
        lacking = missing(self.policy.rules_of(user, namespace), rules)
        if lacking:
            shown = "\n".join(_shown(rule) for rule in lacking)
            who = f'user "{user.name}" (groups={show(list(user.groups))})'
            why = f"{who} is attempting to grant RBAC permissions not currently held:\n{shown}"
            raise status.forbidden(kind, obj["metadata"].get("name", ""), why)

    def _grants(self, kind: Kind, namespace: str, obj: Object) -> tuple[tuple[Rule, ...], str, Kind]:
        """The rules that the object would hand out, the verb that is licence for it, and on what."""
        try:
            if kind in _ROLES:
                role = msgspec.convert(obj, Role)
                gathered = self.policy.selected(role.aggregation_rule or Aggregation())
                return (*(role.rules or ()), *gathered), "escalate", kind
            ref = msgspec.convert(obj.get("roleRef") or {}, RoleRef)
        except msgspec.ValidationError:
            return (), "escalate", kind  # its writer will hear from validation what is wrong
        return self.policy.rules_named(ref, namespace), "bind", ROLE if ref.kind == ROLE.name else CLUSTER_ROLE

    async def _follow(self) -> None:
        while True:
            try:
                async with aclosing(self._store.watch(_PREFIX, self._revision)) as batches:
                    async for events in batches:
                        self._apply(events)
            except StoreError as error:
                _log.warning("roles are read anew: %s", error)
            await asyncio.sleep(RETRY_SECONDS)
            with contextlib.suppress(StoreError):
                await self.refresh()

    def _apply(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.revision <= self._revision:
                continue  # read before it was told
            if event.entry is not None:
                self._take([event.entry])
            else:
                self._drop(event.key)
        if events:
            self._revision = max(self._revision, events[-1].revision)

    def _take(self, entries: Iterable[Entry]) -> None:
        self._policy = None
        for entry in entries:
            if _is_role(entry.key):
                self._roles[_scoped(entry.key)] = msgspec.json.decode(entry.value, type=Role)
            else:
                self._bindings[_scoped(entry.key)] = msgspec.json.decode(entry.value, type=Binding)

    def _drop(self, key: str) -> None:
        self._policy = None
        if _is_role(key):
            self._roles.pop(_scoped(key), None)
        else:
            self._bindings.pop(_scoped(key), None)


def _is_role(key: str) -> bool:
    return key.startswith(tuple(prefix_of(kind) for kind in _ROLES))


def _scoped(key: str) -> Scoped:
    """Namespace and name of a key of the group."""
    _, *namespace, name = key.removeprefix(_PREFIX).split("/")
    return "".join(namespace), name


def _about(kind: Kind, obj: Object) -> str:
    name = obj["metadata"].get("name") if kind in _ROLES else (obj.get("roleRef") or {}).get("name")
    return str(name or "")


def _shown(rule: Rule) -> str:
    parts = {
        "APIGroups": rule.api_groups,
        "Resources": rule.resources,
        "ResourceNames": rule.resource_names,
        "NonResourceURLs": rule.non_resource_urls,
        "Verbs": rule.verbs,
    }
    texts = [f"{name}:[{' '.join(map(show, values))}]" for name, values in parts.items() if values]
    return "{" + ", ".join(texts) + "}"
