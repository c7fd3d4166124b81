"""Pods: each rule by the manifest that breaks it, and what an update may change."""

# ruff: noqa: E501  (a message stands on one line, as users read it)

from copy import deepcopy
from typing import Any

import pytest

from fairway.objects import admit
from fairway.objects.kinds import POD
from tests.unit.objects.people import created, faults, update_faults, updated

A: dict[str, Any] = {"name": "a", "image": "x:1"}
C = "spec.containers[0]"


def container(**more: Any) -> dict[str, Any]:
    return {"containers": [{**A, **more}]}


def mount(**more: Any) -> dict[str, Any]:
    return container(volumeMounts=[{"name": "v", "mountPath": "/v", **more}]) | {"volumes": [{"name": "v"}]}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (container(), []),
        ({"containers": []}, ["spec.containers: Required value"]),
        ({"containers": [{}]}, [f"{C}.image: Required value", f"{C}.name: Required value"]),
        ({"containers": [A, A]}, ['spec.containers[1].name: Duplicate value: "a"']),
        ({"containers": [A], "initContainers": [A]}, ['spec.containers[0].name: Duplicate value: "a"']),
        (container(image=" x"), [f'{C}.image: Invalid value: " x": must not have leading or trailing whitespace']),
        (container(imagePullPolicy="Sometimes"), [f'{C}.imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"']),
        (container(ports=[{}]), [f"{C}.ports[0].containerPort: Required value"]),
        (container(ports=[{"containerPort": 70000}]), [f"{C}.ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"]),
        (container(ports=[{"containerPort": 80, "name": "a-very-long-port-name"}]), [f'{C}.ports[0].name: Invalid value: "a-very-long-port-name": must be no more than 15 characters']),
        (container(ports=[{"containerPort": 80, "name": "w"}, {"containerPort": 81, "name": "w"}]), [f'{C}.ports[1].name: Duplicate value: "w"']),
        (container(ports=[{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 80}]), [f"{C}.ports[1].hostPort: Duplicate value: 80"]),
        (container(ports=[{"containerPort": 80, "hostPort": 81}]) | {"hostNetwork": True}, [f"{C}.ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"]),
        (container(env=[{"name": "A=B"}]), [f"{C}.env[0].name: Invalid value: \"A=B\": environment variable names must consist of printable ASCII characters other than '='"]),
        (container(env=[{"name": "A", "valueFrom": {}}]), [f"{C}.env[0].valueFrom: Required value: must specify a source"]),
        (
            container(env=[{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
            [f'{C}.env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty'],
        ),
        (
            container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}, "secretKeyRef": {"name": "s", "key": "k"}}}]),
            [f"{C}.env[0].valueFrom.secretKeyRef: Forbidden: may not specify more than 1 source"],
        ),
        (container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}]), []),
        (container(env=[{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]), []),
        (container(envFrom=[{"prefix": "X"}]), [f"{C}.envFrom[0]: Required value: must specify a source"]),
        (container(livenessProbe={}), [f"{C}.livenessProbe: Required value: must specify a handler type"]),
        (
            container(readinessProbe={"tcpSocket": {"port": 80}, "exec": {"command": ["x"]}}),
            [f"{C}.readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"],
        ),
        (container(readinessProbe={"exec": {}}), [f"{C}.readinessProbe.exec.command: Required value"]),
        (container(readinessProbe={"httpGet": {}}), [f"{C}.readinessProbe.httpGet.port: Required value"]),
        (container(readinessProbe={"tcpSocket": {"port": 0}}), [f"{C}.readinessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive"]),
        (container(livenessProbe={"tcpSocket": {"port": "web"}, "successThreshold": 2}), [f"{C}.livenessProbe.successThreshold: Invalid value: 2: must be 1"]),
        (container(livenessProbe={"tcpSocket": {"port": 80}, "periodSeconds": -1}), [f"{C}.livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0"]),
        (
            container(readinessProbe={"tcpSocket": {"port": 80}, "terminationGracePeriodSeconds": 5}),
            [f"{C}.readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes"],
        ),
        (container(lifecycle={"preStop": {}}), [f"{C}.lifecycle.preStop: Required value: must specify a handler type"]),
        (container(lifecycle={"preStop": {"sleep": {"seconds": 1}}}), []),
        (container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}), [f'{C}.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1500m']),
        (container(resources={"limits": {"cpu": "-1"}, "requests": {"cpu": "-2"}}), [f'{C}.resources.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0', f'{C}.resources.requests[cpu]: Invalid value: "-2": must be greater than or equal to 0']),
        (container(securityContext={"runAsUser": -1}), [f"{C}.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"]),
        (mount(), []),
        (mount(name="w"), [f'{C}.volumeMounts[0].name: Not found: "w"']),
        (mount(subPath="../x"), [f"{C}.volumeMounts[0].subPath: Invalid value: \"../x\": must not contain '..'"]),
        (mount(subPath="/x"), [f'{C}.volumeMounts[0].subPath: Invalid value: "/x": must be a relative path']),
        (
            container(volumeMounts=[{"name": "v", "mountPath": "/v"}] * 2) | {"volumes": [{"name": "v"}]},
            [f'{C}.volumeMounts[1].mountPath: Invalid value: "/v": must be unique'],
        ),
        (container() | {"volumes": [{"name": "v"}, {"name": "v"}]}, ['spec.volumes[1].name: Duplicate value: "v"']),
        (
            container() | {"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]},
            ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (container() | {"volumes": [{"name": "v", "hostPath": {}}]}, ["spec.volumes[0].hostPath.path: Required value"]),
        (
            container() | {"volumes": [{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "../x"}]}}]},
            ["spec.volumes[0].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'"],
        ),
        (
            container() | {"volumes": [{"name": "v", "projected": {"sources": [{}]}}]},
            ["spec.volumes[0].projected.sources[0]: Required value: must specify a volume type"],
        ),
        (
            {"containers": [A], "initContainers": [{"name": "i", "image": "x", "readinessProbe": {"tcpSocket": {"port": 80}}}]},
            ["spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"],
        ),
        (
            {"containers": [A], "initContainers": [{"name": "i", "image": "x", "restartPolicy": "Always", "readinessProbe": {"tcpSocket": {"port": 80}}}]},
            [],
        ),
        ({"containers": [A], "ephemeralContainers": [{"name": "e", "image": "x"}]}, ["spec.ephemeralContainers: Forbidden: cannot be set on create"]),
        (container() | {"restartPolicy": "Sometimes"}, ['spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"']),
        (container() | {"dnsPolicy": "None"}, ["spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"]),
        (container() | {"dnsConfig": {"nameservers": ["10.96.0.1"] * 4}}, ["spec.dnsConfig.nameservers: Too many: 4: must have at most 3 items"]),
        (container() | {"dnsConfig": {"nameservers": ["dns"]}}, ['spec.dnsConfig.nameservers[0]: Invalid value: "dns": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)']),
        (container() | {"dnsConfig": {"searches": ["a.b", "_x.local.", "."]}}, []),
        (container() | {"dnsConfig": {"options": [{"value": "5"}]}}, ["spec.dnsConfig.options[0]: Required value: must not be empty"]),
        (container() | {"hostAliases": [{"ip": "1.2.3", "hostnames": ["a"]}]}, ['spec.hostAliases[0].ip: Invalid value: "1.2.3": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)']),
        (container() | {"shareProcessNamespace": True, "hostPID": True}, ["spec.shareProcessNamespace: Invalid value: true: shareProcessNamespace and hostPID cannot both be enabled"]),
        (container() | {"terminationGracePeriodSeconds": -1}, ["spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0"]),
        (container() | {"tolerations": [{"value": "x"}]}, ['spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty']),
        (container() | {"tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]}, ["spec.tolerations[0].value: Invalid value: \"x\": value must be empty when `operator` is 'Exists'"]),
        (container() | {"tolerations": [{"key": "a", "tolerationSeconds": 5}]}, ["spec.tolerations[0].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set"]),
        (
            container() | {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In"}]}]}}}},
            ["spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: "
             "Required value: must be specified when `operator` is 'In' or 'NotIn'"],
        ),
        (
            container() | {"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]},
            ["spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than 0"],
        ),
        (container() | {"nodeSelector": {"a": "b c"}}, ["spec.nodeSelector: Invalid value: \"b c\": a valid label must be empty or consist of letters, digits, '-', '_' or '.', and must start and end with a letter or digit (such as 'my_value' or '12345'; regex '([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?')"]),
        (container() | {"schedulingGates": [{"name": "a"}, {"name": "a"}]}, ['spec.schedulingGates[1]: Duplicate value: "a"']),
        (container() | {"schedulingGates": [{"name": "a"}], "nodeName": "n"}, ["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"]),
    ],
)  # fmt: skip
def test_rules(spec: dict[str, Any], expected: list[str]) -> None:
    assert faults(POD, {"spec": spec}) == expected


def test_a_field_that_no_variable_can_show() -> None:
    (fault,) = faults(
        POD, {"spec": container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.image"}}}])}
    )
    assert fault.startswith(
        f'{C}.env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "spec.image": supported values: "metadata.name"'
    )


def test_a_pod_without_a_spec() -> None:
    assert faults(POD, {}) == ["spec.containers: Required value"]


OLD = created(POD, {"spec": container(ports=[{"containerPort": 80}]) | {"activeDeadlineSeconds": 60}})


@pytest.mark.parametrize(
    "change",
    [
        {"containers": [{**OLD["spec"]["containers"][0], "image": "x:2"}]},
        {"activeDeadlineSeconds": 30},
        {"tolerations": [*OLD["spec"]["tolerations"], {"key": "a", "operator": "Exists"}]},
        {"tolerations": [{**one, "tolerationSeconds": 5} for one in OLD["spec"]["tolerations"]]},
        {},
    ],
)
def test_what_an_update_may_change(change: dict[str, Any]) -> None:
    assert update_faults(POD, OLD, updated(POD, OLD, change)) == []


@pytest.mark.parametrize(
    ("change", "path", "says"),
    [
        ({"nodeName": "node-a"}, "spec", "changed: nodeName"),
        ({"containers": [{**OLD["spec"]["containers"][0], "command": ["y"]}]}, "spec", "changed: containers"),
        ({"containers": [*OLD["spec"]["containers"], {"name": "b", "image": "x"}]}, "spec.containers", "add or remove"),
        ({"activeDeadlineSeconds": 90}, "spec.activeDeadlineSeconds", "less than or equal to previous value"),
        ({"activeDeadlineSeconds": None}, "spec.activeDeadlineSeconds", "immutable"),
        ({"tolerations": []}, "spec.tolerations", "existing toleration can not be modified"),
        ({"hostNetwork": True, "restartPolicy": "Never"}, "spec", "changed: containers, hostNetwork, restartPolicy"),
    ],
)
def test_what_an_update_may_not_change(change: dict[str, Any], path: str, says: str) -> None:
    (fault,) = update_faults(POD, OLD, updated(POD, OLD, change))
    assert fault.startswith(f"{path}: ") and says in fault


def test_gates_may_go_but_not_come() -> None:
    gated = created(POD, {"spec": container() | {"schedulingGates": [{"name": "a"}, {"name": "b"}]}})
    fewer = updated(POD, gated, {"schedulingGates": [{"name": "b"}], "nodeSelector": {"zone": "a"}})
    assert update_faults(POD, gated, fewer) == []
    (fault,) = update_faults(POD, OLD, updated(POD, OLD, {"schedulingGates": [{"name": "a"}]}))
    assert "changed: schedulingGates" in fault


def test_binding_gives_a_pod_its_node() -> None:
    bound = deepcopy(OLD)
    bound["spec"]["nodeName"] = "node-a"
    assert admit.validate_update(POD, bound, OLD, "binding") == []
