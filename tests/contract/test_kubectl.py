"""Real kubectl against a real server: what users type and what they see, with the kubectl of today and with 1.20."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.served import KUBECTL, OLD_KUBECTL, Served, served

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("api")) as running:
        yield running


class Shell:
    """kubectl in one namespace."""

    def __init__(self, cluster: Served, namespace: str, program: str | None = KUBECTL) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.program = program

    def run(self, line: str, text: str = "", editor: str = "false") -> subprocess.CompletedProcess[str]:
        words = ("-n", self.namespace, *line.split())
        return self.cluster.kubectl(*words, text=text, program=self.program, editor=editor)

    def says(self, line: str, text: str = "") -> str:
        """Output of a command that must succeed."""
        done = self.run(line, text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, line: str, text: str = "") -> str:
        """Complaint of a command that must fail."""
        done = self.run(line, text)
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture(
    params=[
        pytest.param(KUBECTL, id="today"),
        pytest.param(OLD_KUBECTL, id="old", marks=pytest.mark.old_kubectl),
    ]
)
def shell(cluster: Served, request: pytest.FixtureRequest) -> Shell:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[-50:].strip("-")
    me = Shell(cluster, name, request.param)
    assert me.says(f"create namespace {name}") == f"namespace/{name} created\n"
    return me


def columns(table: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()]


def test_the_examples_are_applied_shown_and_deleted(shell: Shell) -> None:
    for example in sorted(EXAMPLES.glob("*.yaml")):
        shell.says(f"apply -f {example}")
        assert "unchanged" in shell.says(f"apply -f {example}")
    header, *rows = columns(shell.says("get services -o wide"))
    assert header == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"]
    shown = {row[0]: row for row in rows}
    assert shown["httpd-svc"][1] == "ClusterIP" and shown["httpd-svc"][3:5] == ["<none>", "8080/TCP"]
    assert shown["myhttpd-svc"][1] == "NodePort" and shown["myhttpd-svc"][4] == "8080:30000/TCP"
    assert shown["myhttpd-svc"][6] == "run=httpd"
    assert shell.says("get deployment httpd -o jsonpath={.spec.selector.matchLabels}") == '{"run":"httpd"}'
    header, row = columns(shell.says("get rc"))
    assert header == ["NAME", "DESIRED", "CURRENT", "READY", "AGE"] and row[:4] == ["nginx-controller", "3", "0", "0"]
    described = shell.says("describe service myhttpd-svc")
    assert re.search(r"NodePort:\s+<unset>  30000/TCP", described) and re.search(r"Endpoints:\s+<none>", described)
    assert "StrategyType:" in shell.says("describe deployment httpd")
    for example in sorted(EXAMPLES.glob("*.yaml")):
        assert "deleted" in shell.says(f"delete -f {example}")
    assert shell.says("get all") == ""


def test_an_applied_change_is_merged(shell: Shell) -> None:
    manifest = (EXAMPLES / "httpd-svc.yaml").read_text()
    shell.says("apply -f -", manifest)
    shell.says("label service httpd-svc tier=front")
    shell.says("annotate service httpd-svc note=kept")
    assert shell.says("apply -f -", manifest.replace("8080", "9090")) == "service/httpd-svc configured\n"
    wanted = "{.spec.ports[*].port} {.metadata.labels.tier} {.metadata.annotations.note}"
    done = shell.cluster.kubectl(
        "-n", shell.namespace, "get", "service", "httpd-svc", "-o", f"jsonpath={wanted}", program=shell.program
    )
    assert done.stdout == "9090 front kept"
    assert "-  - port: 9090" in shell.run("diff -f -", manifest).stdout.replace("\t", " ")


def test_objects_are_made_by_words_alone(shell: Shell) -> None:
    assert shell.says("create deployment web --image=httpd --replicas=0 --port=80") == "deployment.apps/web created\n"
    assert shell.says("get deployment web -o jsonpath={.spec.replicas}") == "0"
    assert shell.says("scale deployment web --replicas=2") == "deployment.apps/web scaled\n"
    assert shell.says("expose deployment web") == "service/web exposed\n"
    assert shell.says("create service nodeport door --tcp=80:8080") == "service/door created\n"
    assert shell.says("create configmap c --from-literal=a=b") == "configmap/c created\n"
    assert shell.says("create secret generic s --from-literal=a=b") == "secret/s created\n"
    assert shell.says("get secret s -o jsonpath={.data.a}") == "Yg=="
    assert shell.says("run p --image=nginx --labels=a=b") == "pod/p created\n"
    assert shell.says("set image deployment/web httpd=nginx") == "deployment.apps/web image updated\n"
    assert shell.says("rollout restart deployment/web") == "deployment.apps/web restarted\n"
    assert [row[:3] for row in columns(shell.says("get pods -l a=b"))] == [
        ["NAME", "READY", "STATUS"],
        ["p", "0/1", "Pending"],
    ]
    assert "already exists" in shell.fails("create deployment web --image=httpd")


def test_a_pod_is_patched_replaced_waited_for_and_deleted(shell: Shell) -> None:
    shell.says("run p --image=nginx")
    shell.says("""patch pod p --type=json -p [{"op":"add","path":"/metadata/labels/x","value":"yes-it-is"}]""")
    shell.says("""patch pod p --type=merge -p {"metadata":{"labels":{"z":"1"}}}""")
    shell.says("""patch pod p -p {"spec":{"activeDeadlineSeconds":99}}""")
    found = shell.says("get pod p -o yaml")
    assert "x: yes-it-is" in found and 'z: "1"' in found and "activeDeadlineSeconds: 99" in found
    assert shell.says("replace -f -", found.replace("x: yes-it-is", "x: new")) == "pod/p replaced\n"
    assert "the object has been modified" in shell.fails("replace -f -", found)
    current = shell.says("get pod p -o yaml")
    assert "spec: Forbidden" in shell.fails(
        "replace -f -", current.replace("Policy: Always\n  sch", "Policy: Never\n  sch")
    )
    status = json.loads(shell.says("get pod p -o json"))
    status["status"]["conditions"] = [{"type": "ContainersReady", "status": "True"}]
    shell.says(f"replace --raw /api/v1/namespaces/{shell.namespace}/pods/p/status -f -", json.dumps(status))
    assert shell.says("wait pod/p --for=condition=ContainersReady --timeout=5s") == "pod/p condition met\n"
    assert "timed out" in shell.fails("wait pod/p --for=condition=Ready --timeout=1s")
    assert shell.says("delete pod p") == 'pod "p" deleted\n'


def test_a_watch_shows_changes_as_they_come(shell: Shell) -> None:
    assert shell.program
    command = [shell.program, "--kubeconfig", str(shell.cluster.folder / "kubeconfig"), "-n", shell.namespace]
    command += ["get", "configmaps", "--watch", "--output-watch-events", "--no-headers"]
    shell.says("create configmap first --from-literal=a=b")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout
        assert watching.stdout.readline().split()[:3] == ["ADDED", "first", "1"]
        shell.says("create configmap second --from-literal=a=b --from-literal=c=d")
        assert watching.stdout.readline().split()[:3] == ["ADDED", "second", "2"]
        shell.says("label configmap first a=b")
        assert watching.stdout.readline().split()[:2] == ["MODIFIED", "first"]
        shell.says("delete configmap first")
        assert watching.stdout.readline().split()[:2] == ["DELETED", "first"]
        watching.terminate()


def test_bad_manifests_name_the_fault_and_change_nothing(shell: Shell) -> None:
    good = (EXAMPLES / "httpd-svc.yaml").read_text()
    before = shell.says("get all,configmaps -o name")
    assert "unknown field" in shell.fails("apply -f -", good.replace("selector:", "selektor:"))
    assert "spec.ports[0].port" in shell.fails("apply -f -", good.replace("port: 8080", "port: 70000"))
    assert "spec.ports[0].port" in shell.fails("apply -f -", good.replace("port: 8080", "port: many"))
    assert "mapping values are not allowed" in shell.fails("apply -f -", "a: b: c\n")
    assert "metadata.name" in shell.fails("apply -f -", good.replace("httpd-svc", "Httpd_Svc"))
    unknown = shell.fails("apply --validate=false -f -", "kind: Cat\napiVersion: v1\nmetadata: {name: x}\n")
    assert 'no matches for kind "Cat" in version "v1"' in unknown
    clash = good.replace("  selector:", "  type: NodePort\n  selector:").replace(
        "port: 8080", "port: 1\n    nodePort: 31111"
    )
    shell.says("create -f -", clash.replace("httpd-svc", "owner"))
    message = shell.fails("create -f -", clash)
    assert 'Service "httpd-svc" is invalid: spec.ports[0].nodePort: Invalid value: 31111' in message
    assert "provided port is already allocated" in message
    shell.says("delete service owner")
    assert shell.says("get all,configmaps -o name") == before


def test_a_server_side_dry_run_shows_and_keeps_nothing(shell: Shell) -> None:
    manifest = (EXAMPLES / "httpd-svc.yaml").read_text()
    assert shell.says("apply --dry-run=server -f -", manifest) == "service/httpd-svc created (server dry run)\n"
    assert shell.says("get services -o name") == ""


def test_selectors_choose(shell: Shell) -> None:
    for name, labels in (("a", "app=x,tier=1"), ("b", "app=y")):
        shell.says(f"run {name} --image=httpd --labels={labels}")
    assert shell.says("get pods -l app=x -o name") == "pod/a\n"
    assert shell.says("get pods -l app!=x -o name") == "pod/b\n"
    assert shell.says("get pods --field-selector metadata.name=b -o name") == "pod/b\n"
    assert "spec.color" in shell.fails("get pods --field-selector spec.color=red")


def test_a_kind_that_is_not_served_is_named(shell: Shell) -> None:
    manifest = '{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"d"}}'
    done = shell.cluster.kubectl("apply", "-f", "-", text=manifest)
    assert done.returncode != 0
    assert 'no matches for kind "DaemonSet" in version "apps/v1"' in done.stderr


def test_the_shape_of_kinds_is_explained(shell: Shell) -> None:
    assert re.search(r"nodePort\s+<integer>", shell.says("explain service.spec.ports"))
    resources = shell.says("api-resources --no-headers")
    metadata = re.compile(r"managedFields\s+<\[\](ManagedFieldsEntry|Object)>")
    for kind in {line.split()[0] for line in resources.splitlines()}:
        assert metadata.search(shell.says(f"explain {kind} --recursive")), kind
    assert re.search(r"^services\s+svc\s+v1\s+true\s+Service$", resources, re.MULTILINE)
    assert {"networking.k8s.io/v1", "networking.k8s.io/v1beta1"} <= set(shell.says("api-versions").split())
    assert "v1.36.0+fairway" in shell.says("version")


def test_a_namespace_ends_when_its_controller_says_so(shell: Shell) -> None:
    shell.says("create namespace doomed")
    shell.says("delete namespace doomed --wait=false")
    assert columns(shell.says("get namespace doomed"))[1][:2] == ["doomed", "Terminating"]
    done = shell.cluster.kubectl("-n", "doomed", "create", "configmap", "c", program=shell.program)
    assert "is forbidden: unable to create new content in namespace doomed" in done.stderr
    empty = '{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"doomed"},"spec":{"finalizers":[]}}'
    shell.says("replace --raw /api/v1/namespaces/doomed/finalize -f -", empty)
    assert '"doomed" not found' in shell.fails("get namespace doomed")


INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: front}
spec:
  ingressClassName: house
  tls: [{hosts: [a.example.com], secretName: s}]
  rules:
  - host: a.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
"""


def test_ingresses_are_kept_for_whoever_serves_them(shell: Shell) -> None:
    assert shell.says("apply -f -", INGRESS) == "ingress.networking.k8s.io/front created\n"
    assert shell.says("apply -f -", INGRESS) == "ingress.networking.k8s.io/front unchanged\n"
    header, row = columns(shell.says("get ingress"))
    assert header == ["NAME", "CLASS", "HOSTS", "ADDRESS", "PORTS", "AGE"]
    assert row[:4] == ["front", "house", "a.example.com", "80, 443"]
    described = shell.says("describe ingress front")
    assert re.search(r"a\.example\.com\s+/\s+web:80", described)
    assert "must be an absolute path" in shell.fails("apply -f -", INGRESS.replace("path: /,", "path: x,"))
    class_ = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: house}\n"
    shell.says("apply -f -", class_ + "spec: {controller: example.com/house}\n")
    assert columns(shell.says("get ingressclass house"))[1][:3] == ["house", "example.com/house", "<none>"]
    assert shell.says("delete ingress,ingressclass --all") == (
        'ingress.networking.k8s.io "front" deleted\ningressclass.networking.k8s.io "house" deleted\n'
    )


def test_an_event_is_told_in_both_groups(shell: Shell) -> None:
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "regarding": {"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": shell.namespace},
        "note": "it happened",
        "reason": "Happening",
        "type": "Normal",
        "reportingController": "tests",
        "eventTime": "2026-01-01T00:00:00.000000Z",
    }
    assert shell.says("create -f -", json.dumps(event)) == "event.events.k8s.io/e created\n"
    assert shell.says("get events.v1. e -o jsonpath={.message}") == "it happened"
    assert shell.says("get events.v1.events.k8s.io e -o jsonpath={.note}") == "it happened"
    assert shell.says("get events.v1.events.k8s.io --field-selector regarding.name=p -o name") != ""
    row = columns(shell.says("get events"))[1]
    assert row[1:] == ["Normal", "Happening", "pod/p", "it happened"]
    patch = """patch events.v1.events.k8s.io e --type=merge -p {"note":"changed"}"""
    shell.says(patch)
    assert shell.says("get events.v1. e -o jsonpath={.message}") == "changed"


BUDGET = """
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: b}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
"""


def test_a_node_is_drained_as_far_as_budgets_allow(shell: Shell) -> None:
    node = f"node-{shell.namespace}"[:60].strip("-")
    shell.says("create -f -", json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}))
    for name in ("free", "kept"):
        labels = {"app": "web"} if name == "kept" else {}
        spec = {"nodeName": node, "containers": [{"name": "c", "image": "x"}], "automountServiceAccountToken": False}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
        shell.says("create -f -", json.dumps(pod))
        raw = f"/api/v1/namespaces/{shell.namespace}/pods/{name}/status"
        made = json.loads(shell.says(f"get pod {name} -o json"))
        running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        shell.says(f"replace --raw {raw} -f -", json.dumps({**made, "status": running}))
    assert shell.says("apply -f -", BUDGET) == "poddisruptionbudget.policy/b created\n"
    raw = f"/apis/policy/v1/namespaces/{shell.namespace}/poddisruptionbudgets/b"
    made = json.loads(shell.says(f"get --raw {raw}"))
    counted = {**made["status"], "observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}
    shell.says(f"replace --raw {raw}/status -f -", json.dumps({**made, "status": counted}))

    assert columns(shell.says("get pdb"))[1][:4] == ["b", "1", "N/A", "0"]
    drain = f"drain {node} --force --grace-period=0 --timeout=2s --ignore-daemonsets"
    assert "Cannot evict pod as it would violate the pod's disruption budget" in shell.fails(drain)
    assert shell.says("get pods -o name") == "pod/kept\n"
    shell.says("delete pdb b")
    assert "drained" in shell.says(drain)
    assert shell.says("get pods -o name") == ""
    shell.says(f"delete node {node}")


def test_an_object_is_edited(shell: Shell) -> None:
    shell.says("create configmap c --from-literal=colour=red")
    done = shell.run("edit configmap c", editor="sed -i s/red/blue/")
    assert (done.returncode, done.stdout) == (0, "configmap/c edited\n")
    assert shell.says("get configmap c -o jsonpath={.data.colour}") == "blue"
    untouched = shell.run("edit configmap c", editor="true")
    assert untouched.returncode == 0 and "Edit cancelled, no changes made" in untouched.stdout + untouched.stderr


def test_output_in_every_form(shell: Shell) -> None:
    for name, image in (("b", "nginx"), ("a", "httpd")):
        shell.says(f"run {name} --image={image}")
    assert shell.says("get pods --sort-by=.metadata.name -o name") == "pod/a\npod/b\n"
    custom = shell.says("get pods --sort-by=.spec.containers[0].image -o custom-columns=N:.metadata.name")
    assert custom == "N\na\nb\n"
    assert shell.says("get pod a -o jsonpath={.spec.containers[*].image}") == "httpd"
    assert shell.says("get pod a -o go-template={{.metadata.name}}") == "a"
    assert json.loads(shell.says("get pods -o json"))["kind"] == "List"
    assert "image: httpd" in shell.says("get pod a -o yaml")
    header = columns(shell.says("get pods -o wide"))[0]
    assert header[-4:] == ["IP", "NODE", "NOMINATED NODE", "READINESS GATES"]
    assert columns(shell.says("get pods --show-labels -L run"))[1][-2:] == ["a", "run=a"]
    assert "No resources found" in shell.run("get services").stderr
    assert 'services "none" not found' in shell.fails("get service none")
    assert "the server doesn't have a resource type" in shell.fails("get cats")


def test_every_kind_is_described(shell: Shell) -> None:
    shell.says("create deployment web --image=httpd")
    shell.says("expose deployment web --port=80")
    shell.says("create secret generic s --from-literal=a=b")
    for what, words in (
        ("namespace kube-system", r"Status:\s+Active"),
        ("deployment web", r"Replicas:\s+1 desired"),
        ("service web", r"Selector:\s+app=web"),
        ("secret s", r"a:\s+1 bytes"),
        ("servicecidr kubernetes", r"(?i)CIDRs:\s+10\."),
        ("ipaddress", r"Resource:\s+services"),
    ):
        assert re.search(words, shell.says(f"describe {what}")), what


def test_the_server_says_what_it_has(shell: Shell) -> None:
    assert set(shell.says("api-versions").split()) >= {"v1", "apps/v1", "extensions/v1beta1", "events.k8s.io/v1"}
    resources = shell.says("api-resources --namespaced=false --no-headers")
    named = {line.split()[0] for line in resources.splitlines()}
    assert "ingressclasses" in named and "pods" not in named
    assert "is running at" in shell.says("cluster-info")
    assert "readyz check passed" in shell.says("get --raw /readyz?verbose")
    assert json.loads(shell.says("get --raw /apis/networking.k8s.io"))["preferredVersion"]["version"] == "v1"
    assert {"networking.k8s.io/v1", "networking.k8s.io/v1beta1"} <= set(shell.says("api-versions").split())
    assert "v1.36.0+fairway" in shell.says("version")


def test_what_is_selected_is_deleted(shell: Shell) -> None:
    shell.says("create configmap a --from-literal=x=y")
    shell.says("create configmap b --from-literal=x=y")
    shell.says("label configmap a b kind=test")
    assert shell.says("delete configmap -l kind=test") == 'configmap "a" deleted\nconfigmap "b" deleted\n'
    assert shell.says("delete configmap a --ignore-not-found") == ""
