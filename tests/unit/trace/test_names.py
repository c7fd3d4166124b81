"""Comments and chain names of proxies old and new."""

from __future__ import annotations

import pytest

from fairway.trace.names import Subject, chain_kind, chain_purpose, subject


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("default/httpd-svc:http cluster IP", Subject("default", "httpd-svc", "http", "cluster IP")),
        ("default/httpd-svc cluster IP", Subject("default", "httpd-svc", "", "cluster IP")),
        ("default/httpd-svc: cluster IP", Subject("default", "httpd-svc", "", "cluster IP")),  # until 1.14
        ("default/httpd-svc:", Subject("default", "httpd-svc")),
        ("default/httpd-svc", Subject("default", "httpd-svc")),
        ("default/httpd-svc -> 10.244.1.28:80", Subject("default", "httpd-svc", endpoint="10.244.1.28:80")),
        ("default/w:http -> [fd00::1]:80", Subject("default", "w", "http", endpoint="[fd00::1]:80")),
        ("default/web has no local endpoints", Subject("default", "web", "", "has no local endpoints")),
        (
            "masquerade LOCAL traffic for default/lb:https external destinations",
            Subject("default", "lb", "https", "masquerade LOCAL traffic for external destinations"),
        ),
        (
            "default/lbs traffic not accepted by KUBE-FW-FYZB2HTOW53NRIPL",
            Subject("default", "lbs", "", "traffic not accepted by KUBE-FW-FYZB2HTOW53NRIPL"),
        ),
        ("kubernetes service portals", None),
        ("see https://example.com/a/b", None),
        ("", None),
    ],
)
def test_what_a_comment_is_about(comment: str, expected: Subject | None) -> None:
    assert subject(comment) == expected


def test_a_subject_is_spelled_as_proxies_spell_it() -> None:
    assert str(Subject("default", "web")) == "default/web"
    assert str(Subject("default", "web", "http")) == "default/web:http"


@pytest.mark.parametrize(
    ("chain", "kind"),
    [
        ("KUBE-SVC-RL3JAE4GN7VOGDGP", "SVC"),
        ("KUBE-SEP-CR63JSDONEUBE2YK", "SEP"),
        ("KUBE-XLB-RL3JAE4GN7VOGDGP", "XLB"),
        ("KUBE-SERVICES", ""),
        ("KUBE-SVC-short", ""),
        ("DOCKER", ""),
    ],
)
def test_chain_kinds(chain: str, kind: str) -> None:
    assert chain_kind(chain) == kind


def test_chain_purposes() -> None:
    assert chain_purpose("KUBE-SEP-CR63JSDONEUBE2YK") == "one endpoint"
    assert chain_purpose("KUBE-NODEPORTS") == "node ports"
    assert chain_purpose("DOCKER") == ""
