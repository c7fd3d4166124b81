"""What rules allow, who has them, and what nobody may hand out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.api import roles
from fairway.api.rbac import Binding, Deed, Policy, Role, Rule, Visit, missing
from fairway.api.users import ANONYMOUS, User, account, account_groups

READ_PODS = Rule(("get", "list"), ("",), ("pods",))


@pytest.mark.parametrize(
    ("rule", "deed", "allowed"),
    [
        (READ_PODS, Deed("get", "", "pods", "shop", "web"), True),
        (READ_PODS, Deed("delete", "", "pods", "shop", "web"), False),
        (READ_PODS, Deed("get", "apps", "pods"), False),
        (READ_PODS, Deed("get", "", "pods/log", "shop", "web"), False),
        (READ_PODS, Visit("get", "/pods"), False),
        (Rule(("*",), ("*",), ("*",)), Deed("patch", "apps", "deployments/scale"), True),
        (Rule(("*",), ("*",), ("*",)), Visit("get", "/metrics"), False),
        (Rule(("update",), ("*",), ("*/scale",)), Deed("update", "apps", "deployments/scale"), True),
        (Rule(("update",), ("*",), ("*/scale",)), Deed("update", "apps", "deployments/status"), False),
        (Rule(("update",), ("*",), ("*/scale",)), Deed("update", "apps", "deployments"), False),
        (Rule(("get",), ("",), ("pods/*",)), Deed("get", "", "pods/log"), False),
        (Rule(("get",), ("",), ("secrets",), ("own",)), Deed("get", "", "secrets", "shop", "own"), True),
        (Rule(("get",), ("",), ("secrets",), ("own",)), Deed("get", "", "secrets", "shop", "other"), False),
        (Rule(("list",), ("",), ("secrets",), ("own",)), Deed("list", "", "secrets", "shop"), False),
        (Rule(("get",), non_resource_urls=("/healthz/*",)), Visit("get", "/healthz/etcd"), True),
        (Rule(("get",), non_resource_urls=("/healthz/*",)), Visit("get", "/healthz"), False),
        (Rule(("get",), non_resource_urls=("*",)), Visit("get", "/anything"), True),
        (Rule(("get",), non_resource_urls=("*",)), Visit("post", "/anything"), False),
    ],
)
def test_rules(rule: Rule, deed: Deed | Visit, allowed: bool) -> None:
    assert rule.allows(deed) is allowed


def test_every_rule_holds_all_its_own_pieces_and_one_without_a_verb_lacks_exactly_those() -> None:
    whole = Rule(("get", "delete"), ("", "apps"), ("pods", "*/scale"), ("a", "b"))
    assert missing([whole], [whole]) == []
    lacking = missing([Rule(("get",), ("", "apps"), ("pods", "*/scale"))], [whole])
    assert {piece.verbs for piece in lacking} == {("delete",)} and len(lacking) == 8


@pytest.mark.parametrize(
    ("held", "wanted", "covered"),
    [
        (Rule(("*",), ("",), ("pods",)), Rule(("get",), ("",), ("pods",)), True),
        (Rule(("get",), ("",), ("pods",)), Rule(("*",), ("",), ("pods",)), False),
        (Rule(("get",), ("",), ("pods",)), Rule(("get",), ("*",), ("pods",)), False),
        (Rule(("get",), ("",), ("*",)), Rule(("get",), ("",), ("pods/log",)), True),
        (Rule(("get",), ("",), ("*/log",)), Rule(("get",), ("",), ("pods/log",)), True),
        (Rule(("get",), ("",), ("pods",), ("a",)), Rule(("get",), ("",), ("pods",)), False),
        (Rule(("get",), ("",), ("pods",), ("a",)), Rule(("get",), ("",), ("pods",), ("a",)), True),
        (Rule(("get",), non_resource_urls=("/a*",)), Rule(("get",), non_resource_urls=("/ab", "/ac*")), True),
        (Rule(("get",), non_resource_urls=("/a/*",)), Rule(("get",), non_resource_urls=("/a*",)), False),
    ],
)
def test_covering(held: Rule, wanted: Rule, covered: bool) -> None:
    assert (missing([held], [wanted]) == []) is covered


_words = st.lists(st.sampled_from(["*", "a", "b"]), min_size=1, max_size=2).map(tuple)
_resources = st.lists(st.sampled_from(["*", "a", "a/x", "*/x"]), min_size=1, max_size=2).map(tuple)
_rules = st.builds(Rule, _words, _words, _resources, st.lists(st.sampled_from(["n", "m"]), max_size=1).map(tuple))
_deeds = st.builds(
    Deed,
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["a", "b", "a/x", "b/x", "a/y"]),
    st.just(""),
    st.sampled_from(["", "n", "m"]),
)


@given(st.lists(_rules, max_size=3), _rules, _deeds)
def test_who_lacks_nothing_of_a_rule_may_do_all_it_allows(held: list[Rule], wanted: Rule, deed: Deed) -> None:
    if not missing(held, [wanted]) and wanted.allows(deed):
        assert any(rule.allows(deed) for rule in held)


def policy(*objects: dict[str, Any]) -> Policy:
    found: dict[str, dict[tuple[str, str], Any]] = {"rules": {}, "roleRef": {}}
    for obj in objects:
        where = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        if "roleRef" in obj:
            found["roleRef"][where] = msgspec.convert(obj, Binding)
        else:
            found["rules"][where] = msgspec.convert(obj, Role)
    return Policy(found["rules"], found["roleRef"])


def role(name: str, *verbs: str, namespace: str = "", **more: Any) -> dict[str, Any]:
    rules = [{"verbs": list(verbs), "apiGroups": [""], "resources": ["pods"]}]
    return {"metadata": {"name": name, "namespace": namespace, **more}, "rules": rules}


def binding(role_kind: str, role_name: str, *subjects: dict[str, str], namespace: str = "") -> dict[str, Any]:
    return {
        "metadata": {"name": f"b-{role_name}-{namespace}", "namespace": namespace},
        "roleRef": {"kind": role_kind, "name": role_name},
        "subjects": list(subjects),
    }


ANN = User("ann", ("dev",))
ROBOT = User(account("shop", "robot"), account_groups("shop"))


def test_a_binding_in_a_namespace_gives_rights_there_only() -> None:
    given = policy(
        role("reader", "get", namespace="shop"),
        binding("Role", "reader", {"kind": "User", "name": "ann"}, namespace="shop"),
    )
    assert given.allows(ANN, Deed("get", "", "pods", "shop"))
    assert not given.allows(ANN, Deed("get", "", "pods", "bank"))
    assert not given.allows(ANN, Deed("get", "", "pods"))
    assert not given.allows(User("bob"), Deed("get", "", "pods", "shop"))


def test_a_cluster_role_bound_in_a_namespace_holds_there_and_bound_for_the_cluster_everywhere() -> None:
    dev = {"kind": "Group", "name": "dev"}
    here = policy(role("reader", "get"), binding("ClusterRole", "reader", dev, namespace="shop"))
    assert here.allows(ANN, Deed("get", "", "pods", "shop")) and not here.allows(ANN, Deed("get", "", "pods", "bank"))
    everywhere = policy(role("reader", "get"), binding("ClusterRole", "reader", dev))
    assert everywhere.allows(ANN, Deed("get", "", "pods", "bank")) and everywhere.allows(ANN, Deed("get", "", "pods"))


def test_service_accounts_are_subjects_by_namespace_and_name() -> None:
    subject = {"kind": "ServiceAccount", "name": "robot", "namespace": "shop"}
    given = policy(role("reader", "get"), binding("ClusterRole", "reader", subject))
    assert given.allows(ROBOT, Deed("get", "", "pods", "bank"))
    assert not given.allows(User(account("bank", "robot")), Deed("get", "", "pods", "bank"))


def test_a_binding_to_a_role_that_is_not_there_gives_nothing() -> None:
    given = policy(binding("ClusterRole", "ghost", {"kind": "User", "name": "ann"}))
    assert not given.allows(ANN, Deed("get", "", "pods"))


def test_an_aggregate_has_what_its_selectors_gather_even_of_aggregates_and_bears_a_circle() -> None:
    def gathering(name: str, into: str, label: str) -> dict[str, Any]:
        selectors = [{"matchLabels": {"to": label}}]
        more = {"labels": {"to": into}}
        return role(name, "delete", **more) | {"aggregationRule": {"clusterRoleSelectors": selectors}}

    given = policy(
        role("leaf", "get", labels={"to": "inner"}),
        gathering("inner", "outer", "inner"),
        gathering("outer", "inner", "outer"),
        binding("ClusterRole", "outer", {"kind": "User", "name": "ann"}),
    )
    assert given.allows(ANN, Deed("get", "", "pods"))
    assert not given.allows(ANN, Deed("delete", "", "pods"))


def beginning(*more: dict[str, Any]) -> Policy:
    return policy(*roles.cluster_roles(), *roles.cluster_role_bindings(), *more)


ANYBODY = User("x", ("system:authenticated",))
MANAGER = User("system:kube-controller-manager")


@pytest.mark.parametrize(
    ("user", "deed", "allowed"),
    [
        (ANONYMOUS, Visit("get", "/version"), True),
        (ANONYMOUS, Visit("get", "/readyz"), True),
        (ANONYMOUS, Visit("get", "/api"), False),
        (ANONYMOUS, Visit("get", "/versions-of-secrets"), False),
        (ANONYMOUS, Deed("get", "", "pods", "default"), False),
        (ANYBODY, Visit("get", "/apis/apps/v1"), True),
        (ANYBODY, Deed("list", "", "pods", "default"), False),
        (
            User("x", ("system:authenticated",)),
            Deed("create", "authorization.k8s.io", "selfsubjectaccessreviews"),
            True,
        ),
        (User("x", ("system:masters",)), Deed("delete", "", "nodes", "", "a"), True),
        (User("system:kube-proxy"), Deed("watch", "discovery.k8s.io", "endpointslices"), True),
        (User("system:kube-proxy"), Deed("list", "", "secrets"), False),
        (User("system:kube-proxy"), Deed("update", "", "services", "shop", "web"), False),
        (User("system:node:a", ("system:nodes",)), Deed("patch", "", "nodes/status", "", "a"), True),
        (User("system:node:a", ("system:nodes",)), Deed("update", "", "services", "shop", "web"), False),
        (MANAGER, Deed("create", "discovery.k8s.io", "endpointslices", "shop"), True),
        (MANAGER, Deed("create", "rbac.authorization.k8s.io", "clusterrolebindings"), False),
        (ROBOT, Visit("get", "/openid/v1/jwks"), True),
    ],
)
def test_the_beginning(user: User, deed: Deed | Visit, allowed: bool) -> None:
    assert beginning().allows(user, deed) is allowed


@pytest.mark.parametrize(
    ("name", "deed", "allowed"),
    [
        ("view", Deed("list", "apps", "deployments", "shop"), True),
        ("view", Deed("list", "", "secrets", "shop"), False),
        ("view", Deed("create", "", "pods", "shop"), False),
        ("edit", Deed("list", "", "pods", "shop"), True),
        ("edit", Deed("create", "", "pods", "shop"), True),
        ("edit", Deed("create", "rbac.authorization.k8s.io", "rolebindings", "shop"), False),
        ("admin", Deed("create", "rbac.authorization.k8s.io", "rolebindings", "shop"), True),
        ("admin", Deed("get", "", "secrets", "shop"), True),
        ("admin", Deed("delete", "", "nodes"), False),
    ],
)
def test_roles_for_people(name: str, deed: Deed, allowed: bool) -> None:
    given = beginning(binding("ClusterRole", name, {"kind": "User", "name": "ann"}, namespace="shop"))
    assert given.allows(ANN, deed) is allowed


def test_what_a_later_version_knows_is_added_and_what_its_owner_keeps_is_left() -> None:
    old, new = role("r", "get"), role("r", "list")
    assert [rule["verbs"] for rule in roles.completed(old, new)["rules"]] == [["get"], ["list"]]
    kept = role("r", "get", annotations={roles.AUTOUPDATE: "false"})
    assert roles.completed(kept, new) == kept
