"""What is filled in when a writer leaves it out."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.objects import admit
from fairway.objects.defaults import pull_policy
from fairway.objects.kinds import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    NAMESPACE,
    NODE,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    SECRET,
    SERVICE,
)
from tests.unit.objects.people import created


def test_a_cluster_ip_service() -> None:
    service = created(SERVICE, {"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}})
    assert service["spec"] == {
        "selector": {"app": "web"},
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
    }
    assert service["status"] == {"loadBalancer": {}}


@pytest.mark.parametrize(
    ("spec", "filled"),
    [
        ({"type": "NodePort"}, {"externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster"}),
        ({"externalIPs": ["192.0.2.1"]}, {"externalTrafficPolicy": "Cluster", "type": "ClusterIP"}),
        ({"type": "LoadBalancer"}, {"allocateLoadBalancerNodePorts": True, "externalTrafficPolicy": "Cluster"}),
        ({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}, {"allocateLoadBalancerNodePorts": False}),
        ({"type": "NodePort", "externalTrafficPolicy": "Local"}, {"externalTrafficPolicy": "Local"}),
        ({"type": "ExternalName"}, {"internalTrafficPolicy": None, "externalTrafficPolicy": None}),
        ({"sessionAffinity": "ClientIP"}, {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}),
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}},
            {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}},
        ),
        ({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}, {"sessionAffinityConfig": None}),
        ({"clusterIP": "10.96.0.9"}, {"clusterIPs": ["10.96.0.9"]}),
        ({"clusterIP": "None"}, {"clusterIPs": ["None"]}),
        ({"type": "", "sessionAffinity": ""}, {"type": "ClusterIP", "sessionAffinity": "None"}),
    ],
)  # fmt: skip
def test_services(spec: dict[str, Any], filled: dict[str, Any]) -> None:
    made = created(SERVICE, {"spec": spec})["spec"]
    assert {name: made.get(name) for name in filled} == filled


def test_target_ports() -> None:
    ports = [
        {"port": 80},
        {"port": 81, "targetPort": "http"},
        {"port": 82, "targetPort": 0},
        {"port": 83, "targetPort": 1},
    ]
    made = created(SERVICE, {"spec": {"ports": ports}})["spec"]["ports"]
    assert [port["targetPort"] for port in made] == [80, "http", 82, 1]


def test_a_load_balancers_address_is_a_vip_unless_said_otherwise() -> None:
    ingress: list[dict[str, Any]] = [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2", "ipMode": "Proxy"}, {"hostname": "a.b"}]
    service = {"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": ingress}}}
    made = admit.default(SERVICE, service)["status"]["loadBalancer"]["ingress"]
    assert [one.get("ipMode") for one in made] == ["VIP", "Proxy", None]


def test_a_pod() -> None:
    pod = created(
        POD,
        {
            "spec": {
                "containers": [
                    {
                        "name": "web",
                        "image": "httpd",
                        "ports": [{"containerPort": 80}],
                        "readinessProbe": {"httpGet": {"port": 80}},
                        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                        "resources": {"limits": {"cpu": "1"}, "requests": {"memory": "1Mi"}},
                    }
                ],
                "volumes": [{"name": "scratch"}, {"name": "conf", "configMap": {"name": "c"}}],
            }
        },
    )
    spec = pod["spec"]
    assert spec["containers"][0] == {
        "name": "web",
        "image": "httpd",
        "imagePullPolicy": "Always",
        "ports": [{"containerPort": 80, "protocol": "TCP"}],
        "readinessProbe": {
            "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
            "timeoutSeconds": 1,
            "periodSeconds": 10,
            "successThreshold": 1,
            "failureThreshold": 3,
        },
        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP", "apiVersion": "v1"}}}],
        "resources": {"limits": {"cpu": "1"}, "requests": {"memory": "1Mi", "cpu": "1"}},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    assert spec["volumes"] == [
        {"name": "scratch", "emptyDir": {}},
        {"name": "conf", "configMap": {"name": "c", "defaultMode": 420}},
    ]
    rest = {name: value for name, value in spec.items() if name not in ("containers", "volumes", "tolerations")}
    assert rest == {
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "terminationGracePeriodSeconds": 30,
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
        "securityContext": {},
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "priority": 0,
        "preemptionPolicy": "PreemptLowerPriority",
    }
    assert pod["status"] == {"phase": "Pending", "qosClass": "Burstable"}


def test_a_pod_on_the_host_network_takes_the_hosts_ports() -> None:
    container = {"name": "a", "image": "x", "ports": [{"containerPort": 80}, {"containerPort": 81, "hostPort": 81}]}
    made = created(POD, {"spec": {"hostNetwork": True, "containers": [container]}})
    assert [port["hostPort"] for port in made["spec"]["containers"][0]["ports"]] == [80, 81]


def test_explicit_falsehoods_stay() -> None:
    spec = {
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "a", "image": "x"}],
    }
    made = created(POD, {"spec": spec})["spec"]
    assert (made["enableServiceLinks"], made["terminationGracePeriodSeconds"]) == (False, 0)


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"), ("nginx:latest", "Always"), ("nginx:1.27", "IfNotPresent"),
        ("host:5000/nginx", "Always"), ("host:5000/nginx:1", "IfNotPresent"), ("nginx@sha256:ab", "IfNotPresent"),
        ("", "Always"),
    ],
)  # fmt: skip
def test_pull_policies(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "x:1"}]}}


def test_a_replication_controller_takes_selector_and_labels_from_its_template() -> None:
    made = created(REPLICATION_CONTROLLER, {"spec": {"template": TEMPLATE}})
    assert made["spec"]["selector"] == made["metadata"]["labels"] == {"app": "web"}
    assert made["spec"]["replicas"] == 1
    assert made["status"] == {"replicas": 0}


def test_a_deployment() -> None:
    selector = {"matchLabels": {"app": "web"}}
    made = created(DEPLOYMENT, {"spec": {"selector": selector, "template": TEMPLATE}})["spec"]
    assert {name: value for name, value in made.items() if name not in ("selector", "template")} == {
        "replicas": 1,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    }
    assert "enableServiceLinks" not in made["template"]["spec"]
    assert made["template"]["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    recreate = created(
        DEPLOYMENT, {"spec": {"selector": selector, "strategy": {"type": "Recreate"}, "template": TEMPLATE}}
    )
    assert recreate["spec"]["strategy"] == {"type": "Recreate"}
    none = created(REPLICA_SET, {"spec": {"replicas": 0, "selector": selector, "template": TEMPLATE}})
    assert none["spec"]["replicas"] == 0


def test_the_rest() -> None:
    assert created(SECRET, {})["type"] == "Opaque"
    assert created(NAMESPACE, {})["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}
    slice_ = created(ENDPOINT_SLICE, {"addressType": "IPv4", "ports": [{"port": 80}]})
    assert slice_["ports"] == [{"port": 80, "name": "", "protocol": "TCP"}]
    node = created(NODE, {"status": {"capacity": {"cpu": "2", "pods": "110"}, "allocatable": {"cpu": "1"}}})
    assert node["status"]["allocatable"] == {"cpu": "1", "pods": "110"}


services = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["", "ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]),
        "ports": st.lists(st.fixed_dictionaries({}, optional={"port": st.integers(0, 9), "targetPort": st.just("a")})),
        "sessionAffinity": st.sampled_from(["None", "ClientIP"]),
        "externalIPs": st.just(["192.0.2.1"]),
        "externalTrafficPolicy": st.just("Local"),
    },
)


@given(services)
def test_filling_in_twice_changes_nothing(spec: dict[str, Any]) -> None:
    once = admit.default(SERVICE, {"spec": spec})
    assert admit.default(SERVICE, deepcopy(once)) == once


def test_objects_do_not_share_their_defaults() -> None:
    spec = {"containers": [{"name": "a", "image": "x"}]}
    first, second = (admit.default(POD, {"spec": deepcopy(spec)}) for _ in range(2))
    first["spec"]["securityContext"]["runAsUser"] = 1
    assert second["spec"]["securityContext"] == {}
