"""Which of the two iptables a node uses: the one whose rules are there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from fairway.kernel.linux import netns
from fairway.kernel.linux.netfilter import Backend, LinuxNetfilter
from fairway.packet import Family

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not shutil.which("iptables-legacy-restore"), reason="this system has one iptables only"),
]
HINT = "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n"
RULES = "*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n"
NFT, LEGACY = Backend.NFT, Backend.LEGACY


@pytest.fixture
def path() -> Iterator[str]:
    name = f"fwt-{os.getpid()}-back"
    try:
        yield netns.create(name)
    finally:
        netns.delete(name)


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        pytest.param([], Backend.SYSTEM, id="nothing there"),
        pytest.param([(NFT, RULES)], NFT, id="rules in nf_tables"),
        pytest.param([(LEGACY, RULES)], LEGACY, id="rules in legacy"),
        pytest.param([(NFT, RULES), (LEGACY, HINT)], LEGACY, id="the kubelet's hint counts more than rules"),
        pytest.param([(NFT, HINT), (LEGACY, HINT)], NFT, id="both"),
        pytest.param([(LEGACY, "*nat\n:DOCKER - [0:0]\nCOMMIT\n")], Backend.SYSTEM, id="somebody else's rules"),
    ],
)
def test_backend(path: str, found: list[tuple[Backend, str]], chosen: Backend) -> None:
    for backend, text in found:
        LinuxNetfilter(path, backend).restore(Family.IPV4, text)

    assert LinuxNetfilter(path).backend is chosen
