"""Cluster roles that gather others': their rules are those of every cluster role their selectors choose. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from fairway.client.base import Object
from fairway.control import pods
from fairway.control.writes import Plan, Update
from fairway.objects.errors import SelectorError
from fairway.objects.kinds import CLUSTER_ROLE
from fairway.objects.selectors import LabelSelector, from_label_selector


def gathers(role: Object) -> bool:
    """Whether the rules of a cluster role are those of others."""
    return bool(role.get("aggregationRule"))


def plan(role: Object, roles: Iterable[Object]) -> Plan:
    """The gathered rules written into `role`, if they are not what it has. `roles` are all cluster roles."""
    if not gathers(role) or pods.is_going(role):
        return Plan()
    rules = gathered(role, roles)
    if rules == (role.get("rules") or []):
        return Plan()
    return Plan([Update(CLUSTER_ROLE, {**role, "rules": rules})])


def gathered(role: Object, roles: Iterable[Object]) -> list[Object]:
    """Each rule once: selector by selector, and of each the roles by name, so that the order stays."""
    others = sorted((each for each in roles if each["metadata"]["name"] != role["metadata"]["name"]), key=_name)
    rules: list[Object] = []
    for selector in _selectors(role):
        for other in others:
            if selector.matches(pods.labels(other)):
                rules += [rule for rule in other.get("rules") or [] if rule not in rules]
    return rules


def _selectors(role: Object) -> list[LabelSelector]:
    found: list[LabelSelector] = []
    for value in role["aggregationRule"].get("clusterRoleSelectors") or []:
        try:
            found.append(from_label_selector(value))
        except SelectorError:
            continue  # written before validation refused it: it chooses nothing
    return found


def _name(role: Object) -> str:
    return str(role["metadata"]["name"])
