"""`deploy/proxy.yaml`: flags that exist and fit together, a role that every cluster has, probes where it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from fairway.api import roles
from fairway.assemble import proxying
from fairway.cli import proxy

MANIFEST = Path(__file__).parents[2] / "deploy" / "proxy.yaml"
OBJECTS: dict[str, dict[str, Any]] = {each["kind"]: each for each in yaml.safe_load_all(MANIFEST.read_text())}
POD = OBJECTS["DaemonSet"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


def planned() -> proxying.Plan:
    command, *words = (word.replace("$(NODE_NAME)", "node-a") for word in CONTAINER["args"])
    assert command == proxy.proxy.name
    with proxy.proxy.make_context("proxy", words) as context:
        names = ("hostname_override", "proxy_mode", "cluster_cidr")
        given = {name.replace("_", "-"): context.params[name] for name in names}
        assert {name for name, value in context.params.items() if value} == {*names, "master"}
    return proxying.plan(proxy._configured("", b"", given))


def test_the_flags_make_a_plan() -> None:
    plan = planned()

    assert (plan.node, plan.mode, plan.options.cluster_cidrs) == ("node-a", "nftables", ("10.244.0.0/16",))


def test_probes_ask_where_it_answers() -> None:
    place = planned().healthz

    assert place is not None
    for probe in ("readinessProbe", "livenessProbe"):
        assert CONTAINER[probe]["httpGet"] == {"path": "/livez", "port": place.port}


def test_the_account_has_the_role_of_node_proxies() -> None:
    binding = OBJECTS["ClusterRoleBinding"]

    assert binding["roleRef"]["name"] in {role["metadata"]["name"] for role in roles.cluster_roles()}
    (subject,) = binding["subjects"]
    account = OBJECTS["ServiceAccount"]["metadata"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
    assert POD["serviceAccountName"] == account["name"]


def test_selectors_meet_their_pods() -> None:
    spec = OBJECTS["DaemonSet"]["spec"]

    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == {volume["name"] for volume in POD["volumes"]}
