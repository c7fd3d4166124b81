"""Accounting objects that rules count into, as they are read from the kernel."""

from __future__ import annotations

import os
import socket

import pytest

from fairway.kernel.linux import netns
from fairway.kernel.linux.netfilter import LinuxNetfilter
from fairway.packet import Family

pytestmark = pytest.mark.kernel

RULES = "*filter\n-A OUTPUT -p udp --dport 9 -m nfacct --nfacct-name fwt_packets\nCOMMIT\n"


def test_packets_are_counted() -> None:
    name = f"fwt-{os.getpid()}-acct"
    path = netns.create(name)
    try:
        netfilter = LinuxNetfilter(path)
        assert netfilter.account("fwt_packets") is None
        if not netfilter.ensure_account("fwt_packets"):
            pytest.skip("this kernel has no accounting objects")
        with netns.entered(path):
            netns.raise_loopback()
        netfilter.restore(Family.IPV4, RULES)
        with netns.open_socket_in(path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
            for _ in range(3):
                sender.sendto(b"?", ("127.0.0.1", 9))

        assert netfilter.account("fwt_packets") == 3
    finally:
        netns.delete(name)
