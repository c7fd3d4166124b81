"""The numbers of nf_tables: messages, flags, and what the kernel and nft call each expression by.

Source: uapi/linux/netfilter/nf_tables.h; the numbers of types, header descriptions and fields are nft's own
(libnftables `enum datatypes`, `enum proto_desc_id`), which the kernel keeps without looking at them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fairway.ruleset.nft import Type

SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
GROUP = 7  # NFNLGRP_NFTABLES
BATCH_BEGIN = 16
BATCH_END = 17

NEW_TABLE, GET_TABLE, DELETE_TABLE = 0, 1, 2
NEW_CHAIN, GET_CHAIN, DELETE_CHAIN = 3, 4, 5
NEW_RULE, GET_RULE, DELETE_RULE = 6, 7, 8
NEW_SET, GET_SET, DELETE_SET = 9, 10, 11
NEW_ELEMENTS, GET_ELEMENTS, DELETE_ELEMENTS = 12, 13, 14
NEW_GENERATION, GET_GENERATION = 15, 16

FAMILIES: Mapping[str, int] = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
FAMILY_NAMES: Mapping[int, str] = {number: name for name, number in FAMILIES.items()}
HOOKS: Mapping[str, int] = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
DEVICE_HOOKS: Mapping[str, int] = {"ingress": 0, "egress": 1}
INET_INGRESS = 5

VERDICTS: Mapping[str, int] = {"drop": 0, "accept": 1, "continue": -1, "jump": -3, "goto": -4, "return": -5}
VERDICT_NAMES: Mapping[int, str] = {number: name for name, number in VERDICTS.items()}
VERDICT_TYPE = 0xFFFFFF00  # NFT_DATA_VERDICT
VERDICT_LENGTH = 16
VERDICT_REGISTER = 0
FIRST_REGISTER = 8  # NFT_REG32_00; each holds four bytes
REGISTERS = 16

SET_ANONYMOUS, SET_CONSTANT, SET_INTERVAL, SET_MAP, SET_TIMEOUT, SET_DYNAMIC = 1, 2, 4, 8, 16, 32
SET_CONCATENATION = 0x80
SET_FLAGS: Mapping[str, int] = {
    "constant": SET_CONSTANT,
    "interval": SET_INTERVAL,
    "timeout": SET_TIMEOUT,
    "dynamic": SET_DYNAMIC,
}
ELEMENT_INTERVAL_END, ELEMENT_CATCH_ALL = 1, 2

TYPES: Mapping[Type, int] = {
    Type.NF_PROTOCOL: 2,
    Type.INTEGER: 4,
    Type.IPV4: 7,
    Type.IPV6: 8,
    Type.ETHER: 9,
    Type.PROTOCOL: 12,
    Type.SERVICE: 13,
    Type.ICMP_TYPE: 14,
    Type.TCP_FLAGS: 15,
    Type.MARK: 19,
    Type.INTERFACE: 20,
    Type.UID: 24,
    Type.GID: 25,
    Type.CT_STATE: 26,
    Type.CT_DIRECTION: 27,
    Type.CT_STATUS: 28,
    Type.ICMPV6_TYPE: 29,
    Type.PACKET_TYPE: 31,
    Type.FIB_TYPE: 38,
    Type.INTERFACE_NAME: 41,
}
TYPE_BITS = 6  # a concatenation's type is the types of its fields, six bits each

META: Mapping[str, int] = {
    "length": 0,
    "protocol": 1,
    "priority": 2,
    "mark": 3,
    "iif": 4,
    "oif": 5,
    "iifname": 6,
    "oifname": 7,
    "skuid": 10,
    "skgid": 11,
    "nftrace": 12,
    "nfproto": 15,
    "l4proto": 16,
    "pkttype": 19,
    "cpu": 20,
    "iifgroup": 21,
    "oifgroup": 22,
}
CT: Mapping[str, int] = {
    "state": 0,
    "direction": 1,
    "status": 2,
    "mark": 3,
    "expiration": 5,
    "l3proto": 7,
    "protocol": 10,
    "proto-src": 11,
    "proto-dst": 12,
    "zone": 17,
    "ip saddr": 19,
    "ip daddr": 20,
    "ip6 saddr": 21,
    "ip6 daddr": 22,
    "id": 23,
}
CT_DIRECTIONS: Mapping[str, int] = {"original": 0, "reply": 1}
FIB_RESULTS: Mapping[str, int] = {"oif": 1, "oifname": 2, "type": 3}
FIB_SELECTORS: Mapping[str, int] = {"saddr": 1, "daddr": 2, "mark": 4, "iif": 8, "oif": 16}
NUMGEN: Mapping[str, int] = {"inc": 0, "random": 1}
COMPARISONS: Mapping[str, int] = {"==": 0, "!=": 1, "<": 2, "<=": 3, ">": 4, ">=": 5}
NAT_FLAGS: Mapping[str, int] = {"random": 4, "persistent": 8, "fully-random": 16}
SET_OPERATIONS: Mapping[str, int] = {"add": 0, "update": 1, "delete": 2}

LINK, NETWORK, TRANSPORT = 0, 1, 2


class Header(NamedTuple):
    """Where a header's field is. `description` and `field` are nft's numbers of the header and of the field in it;
    `transport` is the protocol number the header belongs to, 0: any."""

    base: int
    offset: int
    length: int
    description: int
    field: int
    transport: int = 0


def _ports(description: int, transport: int) -> dict[str, Header]:
    return {
        "sport": Header(TRANSPORT, 0, 2, description, 1, transport),
        "dport": Header(TRANSPORT, 2, 2, description, 2, transport),
    }


HEADERS: Mapping[str, Mapping[str, Header]] = {
    "ip": {
        "length": Header(NETWORK, 2, 2, 12, 5),
        "id": Header(NETWORK, 4, 2, 12, 6),
        "ttl": Header(NETWORK, 8, 1, 12, 8),
        "protocol": Header(NETWORK, 9, 1, 12, 9),
        "saddr": Header(NETWORK, 12, 4, 12, 11),
        "daddr": Header(NETWORK, 16, 4, 12, 12),
    },
    "ip6": {
        "length": Header(NETWORK, 4, 2, 13, 5),
        "nexthdr": Header(NETWORK, 6, 1, 13, 6),
        "hoplimit": Header(NETWORK, 7, 1, 13, 7),
        "saddr": Header(NETWORK, 8, 16, 13, 8),
        "daddr": Header(NETWORK, 24, 16, 13, 9),
    },
    "ether": {"daddr": Header(LINK, 0, 6, 17, 1), "saddr": Header(LINK, 6, 6, 17, 2)},
    "th": _ports(11, 0),
    "tcp": {**_ports(8, 6), "flags": Header(TRANSPORT, 13, 1, 8, 7, 6)},
    "udp": {**_ports(6, 17), "length": Header(TRANSPORT, 4, 2, 6, 3, 17)},
    "udplite": _ports(7, 136),
    "dccp": _ports(9, 33),
    "sctp": _ports(10, 132),
    "icmp": {"type": Header(TRANSPORT, 0, 1, 4, 1, 1), "code": Header(TRANSPORT, 1, 1, 4, 2, 1)},
    "icmpv6": {"type": Header(TRANSPORT, 0, 1, 14, 1, 58), "code": Header(TRANSPORT, 1, 1, 14, 2, 58)},
}

REJECT_WITH: Mapping[str, tuple[int, int]] = {
    "tcp reset": (1, 0),
    "icmp net-unreachable": (0, 0),
    "icmp host-unreachable": (0, 1),
    "icmp prot-unreachable": (0, 2),
    "icmp port-unreachable": (0, 3),
    "icmp net-prohibited": (0, 9),
    "icmp host-prohibited": (0, 10),
    "icmp admin-prohibited": (0, 13),
    "icmpv6 no-route": (0, 0),
    "icmpv6 admin-prohibited": (0, 1),
    "icmpv6 addr-unreachable": (0, 3),
    "icmpv6 port-unreachable": (0, 4),
    "icmpv6 policy-fail": (0, 5),
    "icmpv6 reject-route": (0, 6),
    "icmpx no-route": (2, 0),
    "icmpx port-unreachable": (2, 1),
    "icmpx host-unreachable": (2, 2),
    "icmpx admin-prohibited": (2, 3),
}
"""What `reject with` says: the kernel's kind (0 ICMP of the family, 1 TCP reset, 2 ICMP of either) and its code."""
REJECT_DEFAULT: Mapping[str, str] = {"ip": "icmp port-unreachable", "ip6": "icmpv6 port-unreachable"}
