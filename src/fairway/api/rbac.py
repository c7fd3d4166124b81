"""Role-based access control as values: rules, who has them, and whether they allow a deed. Pure.

Semantics: the Kubernetes documentation ("Using RBAC Authorization"). Rules only ever allow; nobody has a right that no
rule gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import msgspec

from fairway.api.users import MASTERS, User, account
from fairway.objects.errors import SelectorError
from fairway.objects.selectors import LabelSelector, from_label_selector

ALL = "*"
REMEMBERED = 4096
"""How many answers a policy remembers."""


@dataclass(frozen=True, slots=True)
class Deed:
    """A verb on a resource. `resource` carries its subresource (`pods/log`); `name` is "" for collections."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Visit:
    """A verb on a path outside the resources."""

    verb: str
    path: str


class Rule(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """rbac.authorization.k8s.io/v1 `PolicyRule`."""

    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = msgspec.field(default=(), name="nonResourceURLs")

    def allows(self, asked: Deed | Visit) -> bool:
        """Whether this rule alone allows it."""
        if asked.verb not in self.verbs and ALL not in self.verbs:
            return False
        if isinstance(asked, Visit):
            return any(_covers_path(mine, asked.path) for mine in self.non_resource_urls)
        return (
            (asked.group in self.api_groups or ALL in self.api_groups)
            and any(_covers_resource(mine, asked.resource) for mine in self.resources)
            and (not self.resource_names or asked.name in self.resource_names)
        )

    def pieces(self) -> Iterator[Rule]:
        """The same rule as rules of one verb on one thing each: what a comparison of rights goes by."""
        for verb, path in product(self.verbs, self.non_resource_urls):
            yield Rule((verb,), non_resource_urls=(path,))
        names: list[tuple[str, ...]] = [(name,) for name in self.resource_names] or [()]
        for verb, group, resource, name in product(self.verbs, self.api_groups, self.resources, names):
            yield Rule((verb,), (group,), (resource,), name)

    def covers(self, piece: Rule) -> bool:
        """Whether this rule grants all that a single piece grants."""
        if ALL not in self.verbs and piece.verbs[0] not in self.verbs:
            return False
        if piece.non_resource_urls:
            return any(_covers_path(mine, piece.non_resource_urls[0]) for mine in self.non_resource_urls)
        return (
            (ALL in self.api_groups or piece.api_groups[0] in self.api_groups)
            and any(_covers_resource(mine, piece.resources[0]) for mine in self.resources)
            and (
                not self.resource_names
                or (bool(piece.resource_names) and piece.resource_names[0] in self.resource_names)
            )
        )


def _covers_resource(mine: str, asked: str) -> bool:
    if mine in (ALL, asked):
        return True
    _, slash, subresource = asked.partition("/")
    return bool(slash) and mine == f"*/{subresource}"


def _covers_path(mine: str, asked: str) -> bool:
    return mine in (ALL, asked) or (mine.endswith(ALL) and asked.startswith(mine[:-1]))


def missing(held: Iterable[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The pieces of `wanted` that no rule of `held` covers."""
    held = tuple(held)
    return [piece for rule in wanted for piece in rule.pieces() if not any(mine.covers(piece) for mine in held)]


class Metadata(msgspec.Struct, frozen=True):
    """What of metadata matters here."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None


class Aggregation(msgspec.Struct, frozen=True, rename="camel"):
    """Whose rules a cluster role gathers."""

    cluster_role_selectors: tuple[dict[str, Any], ...] = ()


class Role(msgspec.Struct, frozen=True, rename="camel"):
    """A Role or ClusterRole."""

    metadata: Metadata
    rules: tuple[Rule, ...] | None = None
    aggregation_rule: Aggregation | None = None


class Subject(msgspec.Struct, frozen=True):
    """Who is bound."""

    kind: str
    name: str
    namespace: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """How users are found: service accounts are users with a long name."""
        if self.kind == "ServiceAccount":
            return "User", account(self.namespace, self.name)
        return self.kind, self.name


class RoleRef(msgspec.Struct, frozen=True):
    """What is bound."""

    kind: str
    name: str


class Binding(msgspec.Struct, frozen=True, rename="camel"):
    """A RoleBinding or ClusterRoleBinding."""

    metadata: Metadata
    role_ref: RoleRef
    subjects: tuple[Subject, ...] | None = None


Scoped = tuple[str, str]
"""A namespace ("" for cluster-scoped objects) and a name."""


class Policy:
    """All roles and bindings of a cluster, and what they allow."""

    def __init__(self, roles: Mapping[Scoped, Role], bindings: Mapping[Scoped, Binding]) -> None:
        self._roles = dict(roles)
        self._granted: dict[tuple[str, tuple[str, str]], list[tuple[str, RoleRef]]] = {}
        self._rules: dict[Scoped, tuple[Rule, ...]] = {}
        self._answers: dict[tuple[User, Deed | Visit], bool] = {}
        for (namespace, _), binding in bindings.items():
            for subject in binding.subjects or ():
                self._granted.setdefault((namespace, subject.key), []).append((namespace, binding.role_ref))

    def allows(self, user: User, asked: Deed | Visit) -> bool:
        """Whether `user` may do it; `system:masters` may do everything."""
        if MASTERS in user.groups:
            return True
        # Clients do the same things again and again; a policy holds until a role or binding changes, and its answers
        # with it.
        answer = self._answers.get((user, asked))
        if answer is None:
            namespace = asked.namespace if isinstance(asked, Deed) else ""
            answer = any(rule.allows(asked) for rule in self.rules_of(user, namespace))
            if len(self._answers) >= REMEMBERED:
                self._answers.clear()
            self._answers[user, asked] = answer
        return answer

    def rules_of(self, user: User, namespace: str) -> Iterator[Rule]:
        """Everything `user` is granted in a namespace ("" for cluster scope), what holds everywhere included."""
        if MASTERS in user.groups:
            yield from EVERYTHING
        keys = [("User", user.name), *(("Group", group) for group in user.groups)]
        for where in {"", namespace}:
            for key in keys:
                for scope, ref in self._granted.get((where, key), ()):
                    yield from self.rules_named(ref, scope)

    def rules_named(self, ref: RoleRef, namespace: str) -> tuple[Rule, ...]:
        """The rules of the role a binding in `namespace` refers to; none while there is no such role."""
        where = (namespace if ref.kind == "Role" else "", ref.name)
        if where not in self._rules:
            self._rules[where] = tuple(self._gather(where, set()))
        return self._rules[where]

    def selected(self, aggregation: Aggregation) -> tuple[Rule, ...]:
        """The rules that an aggregation gathers now."""
        return tuple(self._selected(aggregation, set()))

    def _gather(self, where: Scoped, seen: set[Scoped]) -> Iterator[Rule]:
        role = self._roles.get(where)
        if role is None or where in seen:
            return
        seen.add(where)
        if role.aggregation_rule is None:
            yield from role.rules or ()
        else:
            yield from self._selected(role.aggregation_rule, seen)

    def _selected(self, aggregation: Aggregation, seen: set[Scoped]) -> Iterator[Rule]:
        selectors = [selector for text in aggregation.cluster_role_selectors if (selector := _selector(text))]
        for (namespace, name), role in self._roles.items():
            labels = role.metadata.labels or {}
            if not namespace and any(selector.matches(labels) for selector in selectors):
                yield from self._gather(("", name), seen)


def _selector(value: Mapping[str, Any]) -> LabelSelector | None:
    try:
        return from_label_selector(value)
    except SelectorError:
        return None


EVERYTHING = (Rule((ALL,), (ALL,), (ALL,)), Rule((ALL,), non_resource_urls=(ALL,)))
"""What `cluster-admin` grants."""
