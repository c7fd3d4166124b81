"""The identity that is added to every new pod, and who does without."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from fairway.store.memory import MemoryStore
from tests.contract.session import CONFIG, Session, pod, told

PODS = "/api/v1/namespaces/default/pods"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"


async def created(session: Session, name: str, **spec: Any) -> dict[str, Any]:
    wanted = pod(name)
    wanted["spec"] |= copy.deepcopy(spec)
    found: dict[str, Any] = (await session.ok("POST", PODS, wanted))["spec"]
    return found


def places(spec: dict[str, Any]) -> list[list[str]]:
    return [[mount["mountPath"] for mount in one.get("volumeMounts", [])] for one in spec["containers"]]


def test_a_pod_gets_its_accounts_files() -> None:
    async def story(session: Session) -> None:
        spec = await created(session, "web")
        (volume,) = spec["volumes"]
        assert volume["name"].startswith("kube-api-access-") and places(spec) == [[PLACE]]
        sources = [next(iter(source)) for source in volume["projected"]["sources"]]
        assert sources == ["serviceAccountToken", "configMap", "downwardAPI"]
        assert spec["serviceAccountName"] == "default"

    told(story)


def test_an_account_that_is_deleted_is_shown_once_more() -> None:
    async def story(session: Session) -> None:
        made = await session.ok("POST", ACCOUNTS, {"metadata": {"name": "robot"}})
        gone = await session.ok("DELETE", f"{ACCOUNTS}/robot")
        assert (gone["kind"], gone["metadata"]["uid"]) == ("ServiceAccount", made["metadata"]["uid"])

    told(story)


def test_pod_before_account_decides_who_does_without() -> None:
    async def story(session: Session) -> None:
        shy = {"metadata": {"name": "shy"}, "automountServiceAccountToken": False}
        await session.ok("POST", ACCOUNTS, shy)
        assert places(await created(session, "a", serviceAccountName="shy")) == [[]]
        bold = await created(session, "b", serviceAccountName="shy", automountServiceAccountToken=True)
        assert places(bold) == [[PLACE]]
        assert places(await created(session, "c", automountServiceAccountToken=False)) == [[]]

    told(story)


def test_a_container_that_mounts_something_there_itself_is_left_alone() -> None:
    async def story(session: Session) -> None:
        mine = {"name": "mine", "mountPath": PLACE}
        containers = [{"name": "a", "image": "x", "volumeMounts": [mine]}, {"name": "b", "image": "x"}]
        spec = await created(session, "web", containers=containers, volumes=[{"name": "mine", "emptyDir": {}}])
        own, given = (one["volumeMounts"][0]["name"] for one in spec["containers"])
        assert own == "mine" and given.startswith("kube-api-access-")

    told(story)


def test_an_account_that_is_not_there_is_told() -> None:
    async def story(session: Session) -> None:
        wanted = pod("web")
        wanted["spec"]["serviceAccountName"] = "ghost"
        code, reason, message = await session.refused("POST", PODS, wanted)
        assert (code, reason) == (403, "Forbidden")
        assert message == (
            'pods "web" is forbidden: error looking up service account default/ghost: serviceaccount "ghost" not found'
        )

    told(story)


def test_a_server_with_a_new_certificate_is_known_to_the_pods_of_the_one_before_it() -> None:
    """A pod reads the certificate once: it must not find the old one, however soon it starts."""
    maps = "/api/v1/namespaces/default/configmaps"

    async def before(session: Session) -> None:
        for name in ("kube-root-ca.crt", "mine"):
            await session.ok("POST", maps, {"metadata": {"name": name}, "data": {"ca.crt": "old"}})

    async def after(session: Session) -> None:
        assert (await session.ok("GET", f"{maps}/kube-root-ca.crt"))["data"] == {"ca.crt": "new"}
        assert (await session.ok("GET", f"{maps}/mine"))["data"] == {"ca.crt": "old"}

    kept = MemoryStore()
    told(before, store=kept, config=replace(CONFIG, root_ca="old"))
    told(after, store=kept, config=replace(CONFIG, root_ca="new"))
