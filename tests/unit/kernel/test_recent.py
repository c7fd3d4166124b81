"""Ages of the addresses in lists of `-m recent`, which the kernel tells in its own ticks."""

from __future__ import annotations

from fairway.kernel.linux.recent import ages

LIST = (
    "src=10.0.0.11 ttl: 64 last_seen: 4299449174 oldest_pkt: 1 4299449174\n"
    "src=fd00::5 ttl: 0 last_seen: 4299448924 oldest_pkt: 2 4299440000, 4299448924\n"
)


def test_ticks_become_seconds() -> None:
    assert ages(LIST, 250, 4299449174 + 500) == {"10.0.0.11": 2.0, "fd00::5": 3.0}


def test_a_kernel_of_32_bits_begins_again_at_zero() -> None:
    early = "src=10.0.0.11 ttl: 64 last_seen: 1000 oldest_pkt: 1 1000\n"

    assert ages(early, 250, (1 << 32) + 1250) == {"10.0.0.11": 1.0}


def test_nothing_is_younger_than_now() -> None:
    assert ages(LIST, 250, 4299449170)["10.0.0.11"] == 0.0
