"""Names that nft gives to numbers. Where several mean the same, the first is the one it prints."""

from __future__ import annotations

from collections.abc import Mapping

from fairway.ruleset.nft import Type

_PROTOCOLS: Mapping[str, int] = {
    "ip": 0,
    "hopopt": 0,
    "icmp": 1,
    "igmp": 2,
    "ipencap": 4,
    "tcp": 6,
    "udp": 17,
    "dccp": 33,
    "ipv6": 41,
    "ipv6-route": 43,
    "ipv6-frag": 44,
    "rsvp": 46,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "ipv6-icmp": 58,
    "icmpv6": 58,
    "ipv6-nonxt": 59,
    "ipv6-opts": 60,
    "eigrp": 88,
    "ospf": 89,
    "ipip": 94,
    "etherip": 97,
    "pim": 103,
    "ipcomp": 108,
    "comp": 108,
    "vrrp": 112,
    "l2tp": 115,
    "sctp": 132,
    "mobility-header": 135,
    "udplite": 136,
    "mpls-in-ip": 137,
}
_ICMP: Mapping[str, int] = {
    "echo-reply": 0,
    "destination-unreachable": 3,
    "source-quench": 4,
    "redirect": 5,
    "echo-request": 8,
    "router-advertisement": 9,
    "router-solicitation": 10,
    "time-exceeded": 11,
    "parameter-problem": 12,
    "timestamp-request": 13,
    "timestamp-reply": 14,
    "info-request": 15,
    "info-reply": 16,
    "address-mask-request": 17,
    "address-mask-reply": 18,
}
_ICMPV6: Mapping[str, int] = {
    "destination-unreachable": 1,
    "packet-too-big": 2,
    "time-exceeded": 3,
    "parameter-problem": 4,
    "echo-request": 128,
    "echo-reply": 129,
    "mld-listener-query": 130,
    "mld-listener-report": 131,
    "mld-listener-done": 132,
    "nd-router-solicit": 133,
    "nd-router-advert": 134,
    "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136,
    "nd-redirect": 137,
    "router-renumbering": 138,
    "ind-neighbor-solicit": 141,
    "ind-neighbor-advert": 142,
    "mld2-listener-report": 143,
}
_FIB_TYPES = ("unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit")

NAMES: Mapping[Type, Mapping[str, int]] = {
    Type.PROTOCOL: _PROTOCOLS,
    Type.ICMP_TYPE: _ICMP,
    Type.ICMPV6_TYPE: _ICMPV6,
    Type.FIB_TYPE: {name: number for number, name in enumerate(_FIB_TYPES)},  # RTN_* of uapi/linux/rtnetlink.h
    Type.CT_DIRECTION: {"original": 0, "reply": 1},
    Type.NF_PROTOCOL: {"ipv4": 2, "ipv6": 10},
    Type.PACKET_TYPE: {"host": 0, "unicast": 0, "broadcast": 1, "multicast": 2, "other": 3},
}
"""Types whose numbers have names: IANA's for protocols and ICMP, the kernel's for the others."""

BIT_NAMES: Mapping[Type, Mapping[str, int]] = {
    Type.CT_STATE: {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64},
    Type.CT_STATUS: {
        "expected": 0x1,
        "seen-reply": 0x2,
        "assured": 0x4,
        "confirmed": 0x8,
        "snat": 0x10,
        "dnat": 0x20,
        "dying": 0x200,
    },
    Type.TCP_FLAGS: {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128},
}
"""Types whose bits have names (uapi/linux/netfilter/nf_conntrack_common.h)."""
