"""The paragraph of `--why`, and the objects behind each step, in both kinds of rules."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from fairway.assemble.proxyflags import Mode
from fairway.cli import main
from tests.unit.cli import rendered


@pytest.fixture(scope="module", params=[Mode.IPTABLES, Mode.NFTABLES], ids=str)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return rendered.write(tmp_path_factory.mktemp("dump"), request.param)


def run(files: list[str], source: str, destination: str, *more: str) -> Result:
    return CliRunner().invoke(main, ["trace", *files, "--from", source, "--to", destination, *more])


@pytest.mark.parametrize(
    ("source", "destination", "code", "sentences"),
    [
        (
            "10.244.1.5",
            "web",
            0,
            [
                "The packet from 10.244.1.5 to TCP 10.96.0.20:80 reaches one of 2 endpoints, 10.244.2.7:8080, "
                "10.244.2.8:8080.",
                "It is sent there by Service default/web, spec.clusterIP: 10.96.0.20.",
                "The receiver sees its own source 10.244.1.5.",
            ],
        ),
        ("198.51.100.9", "web", 0, ["The receiver sees the source 10.0.0.11, "]),
        (
            "198.51.100.9",
            "node:30080",
            3,
            [
                "vanishes; the sender waits until it gives up.",
                "externalTrafficPolicy: Local on default/web has no ready endpoint on node-a (they are on node-b)",
                "It would be otherwise if a ready pod of it ran on node-a, or spec.externalTrafficPolicy were Cluster.",
            ],
        ),
        (
            "10.244.1.5",
            "empty",
            3,
            [
                "is refused; the sender is told at once.",
                "the selector of default/empty (app=nothing) matches no pod",
                "It would be otherwise if a pod with app=nothing were ready.",
            ],
        ),
        (
            "10.244.1.5",
            "slow",
            3,
            ["none of the 1 endpoints of default/slow is ready", "if one of its pods became ready (default/slow-1)."],
        ),
        (
            "198.51.100.9",
            "203.0.113.7:80",
            3,
            ["spec.loadBalancerSourceRanges: 192.0.2.0/24", "it lets in 192.0.2.0/24 alone"],
        ),
        (
            "10.244.1.5",
            "10.96.0.20:81",
            None,  # nftables mode drops it, iptables mode lets it go on
            ["default/web has that address but no TCP port 81", "if one of its ports were asked (80/TCP)."],
        ),
    ],
)
def test_why(files: list[str], source: str, destination: str, code: int | None, sentences: list[str]) -> None:
    told = run(files, source, destination, "--why")
    assert code is None or told.exit_code == code
    assert max(map(len, told.stdout.splitlines())) <= 100
    paragraph = told.stdout.replace("\n", " ")
    for sentence in sentences:
        assert sentence in paragraph


def test_each_endpoint_s_step_names_its_slice_and_pod(files: list[str]) -> None:
    told = json.loads(run(files, "10.244.1.5", "web", "--output", "json").stdout)
    causes = [step["cause"] for branch in told["branches"] for step in branch["steps"] if step["event"] == "dnat"]
    assert [(cause["object"], cause["field"], cause["value"]) for cause in causes] == [
        ("EndpointSlice default/web-abcde", "endpoints[0]", "default/web-1"),
        ("EndpointSlice default/web-abcde", "endpoints[1]", "default/web-2"),
    ]
    assert {branch["cause"]["field"] for branch in told["branches"]} == {"spec.clusterIP"}


def test_a_field_is_named_once_where_the_address_is_looked_up(files: list[str]) -> None:
    told = json.loads(run(files, "10.244.1.5", "web", "--output", "json").stdout)
    causes = [step["cause"] for step in told["branches"][0]["steps"] if step["cause"]]
    assert [cause["field"] for cause in causes] == ["spec.clusterIP", "endpoints[0]"]


def test_the_note_names_the_field_below_the_rule(files: list[str]) -> None:
    told = run(files, "10.244.1.5", "web").stdout
    assert "By EndpointSlice default/web-abcde, endpoints[0]: default/web-1." in told


@pytest.mark.parametrize(
    ("source", "destination", "said"),
    [
        (
            "198.51.100.9",
            "node:30080",
            "default/web 的 externalTrafficPolicy: Local 在 node-a 上没有就绪的端点（它们在 node-b）",
        ),
        ("10.244.1.5", "empty", "default/empty 的选择器（app=nothing）没有匹配任何 Pod"),
        ("10.244.1.5", "slow", "让它的某个 Pod 就绪（default/slow-1）"),
        ("198.51.100.9", "203.0.113.7:80", "把源地址加入 default/web 的 spec.loadBalancerSourceRanges"),
        ("10.244.1.5", "10.96.0.20:81", "改访问它的端口之一（80/TCP）"),
        ("10.244.1.5", "web", "送往那里是由于 Service default/web, spec.clusterIP: 10.96.0.20。"),
    ],
)
def test_why_in_chinese(files: list[str], source: str, destination: str, said: str) -> None:
    told = run(files, source, destination, "--why", "--lang", "zh").stdout
    assert "".join(said.split()) in "".join(told.split())


@pytest.mark.parametrize("form", ["text", "svg", "html", "mermaid"])
def test_every_form_in_chinese(files: list[str], form: str) -> None:
    told = run(files, "10.244.1.5", "web", "--output", form, "--lang", "zh").stdout
    assert "服务端看到 10.244.1.5" in told
    assert "the server sees" not in told
