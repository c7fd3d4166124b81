"""Which program runs for an image."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fairway.pods.images import ImageTable, plain_name
from fairway.pods.view import Container


def argv(table: ImageTable, **fields: Any) -> tuple[str, ...]:
    return table.launch(msgspec.convert({"name": "c", **fields}, Container), "web-1", "node-a").argv


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("nginx", "nginx"),
        ("nginx:1.25", "nginx"),
        ("docker.io/library/nginx:1.25", "nginx"),
        ("nginx@sha256:abc", "nginx"),
        ("registry.example:5000/team/app:v1", "registry.example:5000/team/app"),
    ],
)
def test_plain_names(image: str, name: str) -> None:
    assert plain_name(image) == name


def test_a_command_runs_as_given() -> None:
    assert argv(ImageTable(), image="nginx", command=["sh", "-c"], args=["date"]) == ("sh", "-c", "date")


def test_the_table_gives_the_program_and_args_follow() -> None:
    table = ImageTable({"fairway-dns": ["/opt/fairway", "dns"]})
    assert argv(table, image="fairway-dns", args=["--port", "53"]) == ("/opt/fairway", "dns", "--port", "53")


def test_own_entries_come_before_the_defaults() -> None:
    assert argv(ImageTable(), image="busybox") == ("sh",)
    assert argv(ImageTable({"busy*": ["true"]}), image="busybox:1.36") == ("true",)
    assert argv(ImageTable(), image="registry.k8s.io/pause:3.9") == ("sleep", "infinity")


def test_args_alone_replace_a_shell() -> None:
    assert argv(ImageTable(), image="busybox", args=["sleep", "5"]) == ("sleep", "5")


def test_unknown_images_get_the_stand_in_on_their_ports() -> None:
    ports = [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]
    container = msgspec.convert({"name": "c", "image": "httpd", "ports": ports}, Container)
    launch = ImageTable().launch(container, "web-1", "node-a")
    assert launch.stand_in
    assert launch.argv[-6:] == ("--pod", "web-1", "--node", "node-a", "TCP:80", "UDP:53")
    assert argv(ImageTable(), image="httpd")[-1] == "TCP:80?"


def test_agnhost_has_a_stand_in_that_its_pods_find_at_its_path() -> None:
    image = "registry.k8s.io/e2e-test-images/agnhost:2.53"
    container = Container(name="c", image=image, args=("netexec", "--http-port=80"))
    launch = ImageTable().launch(container, "web", "node-a")
    assert launch.argv[-2:] == ("netexec", "--http-port=80")
    assert launch.argv[:-2] == launch.tools["/agnhost"]
    own = ImageTable().launch(Container(name="c", image=image, command=("/agnhost",), args=("pause",)), "web", "node-a")
    assert own.argv == ("/agnhost", "pause")
    assert own.tools == launch.tools
    assert ImageTable({"*agnhost": ("mine",)}).launch(container, "web", "node-a").argv[0] == "mine"
