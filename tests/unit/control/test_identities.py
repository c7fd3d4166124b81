"""Each controller acts under its own name, and that name has a role."""

from __future__ import annotations

from fairway.api import roles
from fairway.api.roles_controllers import CONTROLLERS
from fairway.client.base import Client
from fairway.control.cluster import Cluster
from fairway.control.identities import ACCOUNTS, user_of
from fairway.control.manager import ControlConfig, assemble
from fairway.objects.kinds import KINDS
from tests.unit.control.stage import play, staged


def test_every_controller_has_a_name_and_every_name_a_role() -> None:
    async def scene() -> None:
        async with staged() as stage:
            cluster = Cluster(stage.client, KINDS, clock=lambda: 0.0)
            names = {user_of(loop.queue.name) for loop in assemble(cluster, ControlConfig(), KINDS)}
            assert "" not in names
            accounts = {name.rpartition(":")[2] for name in names} - {"kube-scheduler"}
            assert accounts == set(ACCOUNTS.values()) == CONTROLLERS.keys()
            bound = {each["metadata"]["name"]: each["subjects"] for each in roles.cluster_role_bindings()}
            for name in CONTROLLERS:
                subject = {"kind": "ServiceAccount", "namespace": "kube-system", "name": name}
                assert bound[f"system:controller:{name}"] == [subject]

    play(scene)


def test_a_controller_writes_by_the_client_of_its_own_name() -> None:
    async def scene() -> None:
        async with staged() as stage:
            asked: list[str] = []

            def acting(user: str) -> Client:
                asked.append(user)
                return stage.client

            cluster = Cluster(stage.client, KINDS, clock=lambda: 0.0, acting=acting)
            for _ in range(2):
                cluster.client_of("deployment-controller")
            cluster.client_of("default-scheduler")
            assert cluster.client_of("somebody") is stage.client
            assert asked == ["system:serviceaccount:kube-system:deployment-controller", "system:kube-scheduler"]

    play(scene)
