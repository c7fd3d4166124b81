"""`fairway lb`: what it tells of a cluster's objects, for programs and for people."""

from __future__ import annotations

from typing import Any

from fairway.assemble import balancing
from fairway.control.loadbalancer_claims import Claim, Record
from fairway.lab.system import load_balancer_settings
from fairway.lab.topology import plan


def service(name: str, *addresses: str, said: tuple[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    status: dict[str, Any] = {"loadBalancer": {"ingress": [{"ip": each} for each in addresses]}}
    if said:
        condition = {"type": "fairway.io/LoadBalancer", "reason": said[0], "message": said[1]}
        status["conditions"] = [condition | {"lastTransitionTime": "2026-01-01T00:00:00Z"}]
    spec = {"type": "LoadBalancer", **spec}
    return {"metadata": {"namespace": "default", "name": name}, "spec": spec, "status": status}


CIDRS = [{"spec": {"cidrs": ["10.96.0.0/12"]}}]
HELD = Record((Claim("u", "default", "web", ("10.0.0.200",)),))


def test_a_labs_answer_for_people() -> None:
    services = [
        service("web", "10.0.0.200", said=("Assigned", "10.0.0.200 of pool 'default'")),
        service("two", said=("PoolEmpty", "every address is taken")),
        service("theirs", loadBalancerClass="example.com/x"),
        service("new"),
        service("inside", type="ClusterIP"),
    ]
    told = balancing.tell(services, CIDRS, load_balancer_settings(plan()), HELD)
    assert balancing.text(told).splitlines() == [
        "style addresses (ConfigMap kube-system/fairway-loadbalancer)",
        "pool default: 10.0.0.200-10.0.0.250, 1 of 51 held",
        "",
        "SERVICE         ADDRESSES   SINCE                 WHY",
        "default/new     -           -                     the controller has not come to it",
        "default/theirs  -           -                     loadBalancerClass example.com/x is another's",
        "default/two     -           2026-01-01T00:00:00Z  every address is taken",
        "default/web     10.0.0.200  2026-01-01T00:00:00Z  10.0.0.200 of pool 'default'",
    ]
    assert balancing.as_json(told)["services"][1]["reason"] == "NotOurs"


def test_refused_pools_and_settings_are_told() -> None:
    def text(config: str) -> str:
        return balancing.text(balancing.tell([], CIDRS, {"data": {"config": config}}, Record()))

    assert "pool x: refused: 10.96.0.0-10.96.0.255 overlaps the Service range 10.96.0.0/12" in text(
        "pools: [{name: x, addresses: [10.96.0.0/24]}]"
    )
    assert text("style: arp").startswith("ConfigMap kube-system/fairway-loadbalancer is refused: style: 'arp' is")
    assert balancing.text(balancing.tell([], [], None, Record())).startswith("no ConfigMap")
