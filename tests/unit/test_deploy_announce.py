"""`deploy/announce.yaml`: flags that exist, rights that suffice, selectors that meet their pods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from fairway.api import roles
from fairway.cli import proxy

MANIFEST = Path(__file__).parents[2] / "deploy" / "announce.yaml"
OBJECTS: dict[str, dict[str, Any]] = {each["kind"]: each for each in yaml.safe_load_all(MANIFEST.read_text())}
POD = OBJECTS["DaemonSet"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


def test_the_flags_are_those_of_the_command() -> None:
    command, *words = (word.replace("$(NODE_NAME)", "node-a") for word in CONTAINER["args"])
    assert command == proxy.announce.name
    with proxy.announce.make_context("announce", words) as context:
        assert context.params["node_name"] == "node-a"


def test_its_rights_are_those_of_a_labs_announcers() -> None:
    wanted = next(each for each in roles.cluster_roles() if each["metadata"]["name"] == "system:fairway-announcer")
    given = [*OBJECTS["ClusterRole"]["rules"], *OBJECTS["Role"]["rules"]]

    def rights(rules: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
        return {
            (g, r, v) for rule in rules for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]
        }

    assert rights(given) == rights(wanted["rules"])


def test_bindings_and_selectors_meet() -> None:
    account = OBJECTS["ServiceAccount"]["metadata"]
    for kind in ("Role", "ClusterRole"):
        binding = OBJECTS[f"{kind}Binding"]
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == (kind, OBJECTS[kind]["metadata"]["name"])
        (subject,) = binding["subjects"]
        assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
    assert POD["serviceAccountName"] == account["name"]
    spec = OBJECTS["DaemonSet"]["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
