"""Pods and Services asked through the API server."""

from __future__ import annotations

import json

import pytest

from tests.lab.cluster import Lab, until

pytestmark = pytest.mark.lab

SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/away":
            self.send_response(301); self.send_header("Location", "/here?x=1"); self.end_headers(); return
        text = f"{self.command} {self.path} {body.decode()} {self.headers.get('Authorization')}".encode()
        self.send_response(200); self.send_header("Content-Length", str(len(text))); self.end_headers()
        if self.command != "HEAD": self.wfile.write(text)
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
BASE = "/api/v1/namespaces/default"


@pytest.fixture(scope="module")
def served(lab: Lab) -> Lab:
    """A pod that tells what it was asked, behind a Service."""
    ports = [{"name": "web", "containerPort": 8080}]
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    container = {
        "name": "c",
        "image": "x",
        "command": ["python3", "-c", SERVER],
        "ports": ports,
        "readinessProbe": probe,
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "echo", "labels": {"app": "echo"}}, "spec": spec}
    lab.kubectl("apply", "-f", "-", text=json.dumps(pod))
    lab.kubectl("expose", "pod", "echo", "--port", "80", "--target-port", "web")
    until(lambda: len(lab.endpoints("echo")) == 1, "the pod is ready")
    return lab


def asked(lab: Lab, method: str, url: str, *words: str) -> str:
    """curl with the administrator's certificate."""
    config = json.loads(lab.kubectl("config", "view", "--raw", "-o", "json"))
    who, where = config["users"][0]["user"], config["clusters"][0]["cluster"]
    names = {"cert": who["client-certificate-data"], "key": who["client-key-data"]}
    script = "".join(f"echo {data} | base64 -d > $d/{name}; " for name, data in names.items())
    line = f'd=$(mktemp -d); {script} curl -sk --cert $d/cert --key $d/key -X {method} "$@"; rm -r $d'
    return lab.run("sh", "-c", line, "curl", *words, f"{where['server']}{BASE}{url}").strip()


def test_every_method_reaches_pod_and_service(served: Lab) -> None:
    for door in ("pods/echo", "pods/http:echo:web", "pods/echo:8080", "services/echo", "services/echo:80"):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            data = () if method in ("GET", "OPTIONS") else ("-d", "body", "-H", "Authorization: Bearer mine")
            said = asked(served, method, f"/{door}/proxy/a%2Fb/c?x=1&watch=true", *data)
            assert said == f"{method} /a%2Fb/c?x=1&watch=true {'body' if data else ''} None"


def test_kubectl_reaches_them(served: Lab) -> None:
    assert served.kubectl("get", "--raw", f"{BASE}/services/echo/proxy/hello") == "GET /hello  None"


def test_redirects_are_told_not_followed(served: Lab) -> None:
    head = asked(served, "GET", "/pods/echo/proxy/away", "-D", "-")
    assert "HTTP/1.1 301" in head and f"location: {BASE}/pods/echo/proxy/here?x=1" in head
    head = asked(served, "GET", "/pods/echo/proxy", "-D", "-")
    assert "HTTP/1.1 301" in head and f"location: {BASE}/pods/echo/proxy/" in head


def test_a_lying_pod_does_not_lead_to_the_control_plane_or_a_node(served: Lab) -> None:
    for address in ("127.0.0.1", "169.254.169.254", "10.0.0.11"):
        lie = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "liar"}}
        spec = {"containers": [{"name": "c", "image": "x"}], "nodeSelector": {"nowhere": "true"}}
        served.kubectl("apply", "-f", "-", text=json.dumps(lie | {"spec": spec}))
        told = served.get("pod", "liar")
        told["status"] |= {"podIP": address, "podIPs": [{"ip": address}]}
        place = "/api/v1/namespaces/default/pods/liar/status"
        served.kubectl("replace", "--raw", place, "-f", "-", text=json.dumps(told))
        assert "address not allowed" in asked(served, "GET", "/pods/liar:10250/proxy/")


def test_who_may_only_look_may_not_ask_through(served: Lab) -> None:
    served.kubectl("create", "rolebinding", "ann-views", "--clusterrole=view", "--user=ann")
    said = served.kubectl("get", "--raw", f"{BASE}/pods/echo/proxy/", "--as", "ann", allow=True)
    assert 'User "ann" cannot get resource "pods/proxy"' in said
