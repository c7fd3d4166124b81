"""A lab whose cluster is kept in etcd: it works, bears the loss of a member, and is found again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import etcd
from tests.lab.cluster import Lab

pytestmark = pytest.mark.lab


@pytest.fixture
def own() -> Iterator[Lab]:
    made = Lab(f"t{os.getpid()}etcd"[:16])
    yield made
    made.down()


def up(lab: Lab, members: list[etcd.Member]) -> None:
    store = "etcd://" + ",".join(member.endpoint for member in members)
    lab.up(1, "--store", store)


def test_a_lab_kept_in_etcd_bears_a_lost_member_and_is_found_again(own: Lab, tmp_path: Path) -> None:
    with etcd.cluster(tmp_path, 3) as members:
        up(own, members)
        own.kubectl("create", "configmap", "kept", "--from-literal=a=b")
        own.kubectl("create", "deployment", "web", "--image=web", "--port=80")
        own.kubectl("expose", "deployment", "web", "--port=80")
        own.settled("web", 1)
        members[0].kill()
        own.kubectl("scale", "deployment", "web", "--replicas=2")
        own.settled("web", 2)
        own.curl("node-a", f"http://{own.cluster_ip('web')}/")
        own.down()
        up(own, members[1:])
        assert own.get("configmap", "kept")["data"] == {"a": "b"}
        own.settled("web", 2)
        own.curl("node-a", f"http://{own.cluster_ip('web')}/")


def test_a_lab_without_its_etcd_says_so_and_leaves_nothing(own: Lab) -> None:
    said = own.fairway("up", "--store", "etcd://127.0.0.1:1", allow=True)
    assert "no member of the etcd cluster can be reached: 127.0.0.1:1: Connection refused" in said
    assert not own.path.exists()
