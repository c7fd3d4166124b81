"""EndpointSlices and Endpoints: addresses no node may ever send packets to are refused at the door."""

# ruff: noqa: E501  (a message stands on one line, as users read it)

from copy import deepcopy
from typing import Any

import pytest

from fairway.objects.kinds import ENDPOINT_SLICE, ENDPOINTS
from tests.unit.objects.people import created, faults, update_faults


def slice_(*addresses: str, family: str = "IPv4", **more: Any) -> dict[str, Any]:
    return {"addressType": family, "endpoints": [{"addresses": list(addresses)}], **more}


@pytest.mark.parametrize(
    ("address", "family", "fault"),
    [
        ("10.244.0.2", "IPv4", ""),
        ("fd00::2", "IPv6", ""),
        ("fd00::2", "IPv4", "must be a valid IPv4 address"),
        ("10.244.0.2", "IPv6", "must be a valid IPv6 address"),
        ("example.com", "IPv4", "must be a valid IPv4 address"),
        ("010.244.0.2", "IPv4", "must be a valid IPv4 address"),
        ("127.0.0.1", "IPv4", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        ("::1", "IPv6", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        ("169.254.169.254", "IPv4", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        ("fe80::1", "IPv6", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        ("224.0.0.5", "IPv4", "may not be in the multicast range (224.0.0.0/4, ff00::/8)"),
        ("ff02::1", "IPv6", "may not be in the multicast range (224.0.0.0/4, ff00::/8)"),
        ("0.0.0.0", "IPv4", "may not be unspecified (0.0.0.0)"),
        ("::", "IPv6", "may not be unspecified (::)"),
        ("example.com", "FQDN", ""),
    ],
)
def test_addresses(address: str, family: str, fault: str) -> None:
    expected = [f'endpoints[0].addresses[0]: Invalid value: "{address}": {fault}'] if fault else []
    assert faults(ENDPOINT_SLICE, slice_(address, family=family)) == expected


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        ({"addressType": "IPv4", "endpoints": []}, []),
        ({"endpoints": []}, ["addressType: Required value"]),
        ({"addressType": "IP"}, ['addressType: Unsupported value: "IP": supported values: "FQDN", "IPv4", "IPv6"']),
        (slice_(), ["endpoints[0].addresses: Required value"]),
        (slice_("10.244.0.2", ports=[{}]), []),  # no port: all ports
        (slice_("10.244.0.2", ports=[{"port": 0}]), ["ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"]),
        (slice_("10.244.0.2", ports=[{"name": "a"}, {"name": "a"}]), ['ports[1].name: Duplicate value: "a"']),
        (slice_("10.244.0.2", ports=[{}, {}]), ['ports[1].name: Duplicate value: ""']),
        (slice_(*["10.244.0.2"] * 101), ["endpoints[0].addresses: Too many: 101: must have at most 100 items"]),
        (
            {"addressType": "IPv4", "endpoints": [{"addresses": ["10.244.0.2"]}] * 1001},
            ["endpoints: Too many: 1001: must have at most 1000 items"],
        ),
        (
            {"addressType": "IPv4", "endpoints": [{"addresses": ["10.244.0.2"], "hints": {"forZones": [{"name": "a"}] * 2}}]},
            ['endpoints[0].hints.forZones[1].name: Duplicate value: "a"'],
        ),
        (
            {"addressType": "IPv4", "endpoints": [{"addresses": ["10.244.0.2"],
                                                   "hints": {"forNodes": [{"name": f"n{n}"} for n in range(9)]}}]},
            ["endpoints[0].hints.forNodes: Too many: 9: must have at most 8 items"],
        ),
    ],
)  # fmt: skip
def test_slices(obj: dict[str, Any], expected: list[str]) -> None:
    assert faults(ENDPOINT_SLICE, obj) == expected


def test_a_slice_keeps_its_family() -> None:
    old = created(ENDPOINT_SLICE, slice_("10.244.0.2"))
    new = {**deepcopy(old), "addressType": "IPv6", "endpoints": []}
    assert update_faults(ENDPOINT_SLICE, old, new) == ['addressType: Invalid value: "IPv6": field is immutable']


READY = [{"ip": "10.244.0.2"}]


@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        ({"addresses": READY, "ports": [{"port": 80}]}, []),
        ({"notReadyAddresses": READY}, []),
        ({"ports": [{"port": 80}]}, ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]),
        ({"addresses": [{}]}, ["subsets[0].addresses[0].ip: Required value"]),
        (
            {"addresses": [{"ip": "10.244.0"}]},
            ['subsets[0].addresses[0].ip: Invalid value: "10.244.0": must be a valid IP address, '
             "(e.g. 10.9.8.7 or 2001:db8::ffff)"],
        ),
        (
            {"notReadyAddresses": [{"ip": "127.0.0.1"}]},
            ['subsets[0].notReadyAddresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range '
             "(127.0.0.0/8, ::1/128)"],
        ),
        (
            {"addresses": READY, "ports": [{"port": 80}, {"port": 81, "name": "b"}]},
            ["subsets[0].ports[0].name: Required value: must be given when there is more than one port"],
        ),
        ({"addresses": READY, "ports": [{"name": "a"}]}, ["subsets[0].ports[0].port: Required value"]),
    ],
)  # fmt: skip
def test_endpoints(subset: dict[str, Any], expected: list[str]) -> None:
    assert faults(ENDPOINTS, {"subsets": [subset]}) == expected
