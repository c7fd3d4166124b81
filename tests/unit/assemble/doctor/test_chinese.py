"""Findings in Chinese."""

from __future__ import annotations

import re

import pytest

from fairway.assemble.doctor import chinese
from fairway.assemble.doctor.findings import Finding, Severity, text


@pytest.mark.parametrize(
    ("english", "said"),
    [
        (
            "default/web:http (TCP): the packet is dropped or rejected though there are endpoints (no route)",
            "default/web:http（TCP）：明明有端点，数据包却被丢弃或被拒绝（no route）",
        ),
        (
            "default/web (UDP): it should be rejected and is untranslated",
            "default/web（UDP）：应为被拒绝，实为原样放行",
        ),
        ("a/b: its selector app=x matches no pod", "a/b：它的选择器 app=x 没有匹配任何 Pod"),
        (
            "connections to a/b that lead nowhere good: 2, since no Service claims its destination",
            "有 2 条到 a/b 的连接走错了路：没有 Service 拥有它的目的地址",
        ),
        ("words of nobody", "words of nobody"),
    ],
)
def test_sentences(english: str, said: str) -> None:
    assert chinese.translate(english) == said


def test_a_whole_answer() -> None:
    findings = [
        Finding(Severity.ERROR, "none-ready", "a/b: none of its 3 pods serves", "Service a/b", command="kubectl get x"),
        Finding(Severity.NOTE, "orphan-slice", "a/b-1 belongs to a Service b that is not there"),
    ]
    said = text(findings, "The cluster's objects, and the kernels of node-a, node-b", chinese.translate)
    assert said.splitlines()[0] == "错误 a/b：它的 3 个 Pod 都不提供服务"
    assert "    查看：kubectl get x" in said
    assert said.splitlines()[-1] == "集群的对象，以及 node-a, node-b 的内核：1 个错误, 1 个提示。"
    assert not re.findall(r"\b(the|serves|nothing|see)\b", said)


def test_nothing_found() -> None:
    assert text([], "The cluster's objects, and the kernels of n", chinese.translate) == (
        "集群的对象，以及 n 的内核：一切正常。"
    )
