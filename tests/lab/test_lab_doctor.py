"""Faults made on purpose, and what finds them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab.cluster import FAIRWAY, Lab, until

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module", autouse=True)
def applied(lab: Lab) -> None:
    lab.apply("httpd.yaml", "httpd-svc.yaml", "nginx-rc-nodeport.yaml")
    lab.settled("httpd-svc", 3)
    lab.settled("nginx-service", 3)


def ask(lab: Lab, command: str, *words: str) -> Any:
    return json.loads(lab.run(*FAIRWAY, command, "--lab", lab.name, "-o", "json", *words, allow=True))


def test_why_not_names_the_label_that_differs_and_follows_its_advice(lab: Lab) -> None:
    lab.kubectl("run", "lone", "--image=pause", "--restart=Never")
    lab.kubectl("wait", "--for=condition=Ready", "pod/lone", "--timeout=20s")
    said = ask(lab, "why-not", "lone", "httpd-svc")
    assert (said["serves"], [each["code"] for each in said["reasons"]]) == (False, ["selector"])
    lab.run(*said["reasons"][0]["remedy"].split())
    until(lambda: bool(ask(lab, "why-not", "lone", "httpd-svc")["serves"]), "the pod is an endpoint")
    lab.kubectl("delete", "pod", "lone", "--now")
    lab.settled("httpd-svc", 3)
