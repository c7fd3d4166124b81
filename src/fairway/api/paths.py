"""The paths outside the resource grammar: discovery, OpenAPI, version, health. Pure."""

from __future__ import annotations

from collections.abc import Callable

from fairway.api import discovery, status
from fairway.api.accept import negotiate
from fairway.api.answers import Answer, json_answer
from fairway.api.requests import EXTENSIONS, Plain

_HEALTH = ("/healthz", "/livez", "/readyz")
NO_EXTENSIONS = {
    "kind": "CustomResourceDefinitionList",
    "apiVersion": "apiextensions.k8s.io/v1",
    "metadata": {"resourceVersion": "1"},
    "items": [],
}
_VARYING = (("vary", "Accept"),)


class Paths:
    """Answers plain paths. `address` is where clients reach the server, `ready` whether it has started."""

    def __init__(self, address: str, ready: Callable[[], bool]) -> None:
        self._address = address
        self._ready = ready

    def answer(self, request: Plain) -> Answer:
        """Raises 404 for what is not there, 405 for anything but reading, 406 for what cannot be told in that form."""
        if request.verb not in ("get", "head"):
            raise status.method_not_allowed()
        for base in _HEALTH:
            if request.path == base or request.path.startswith(base + "/"):
                return self._health(base, request)
        if request.path.startswith("/openapi/"):
            from fairway.api import openapi

            return openapi.answer(request)
        if request.path == EXTENSIONS:
            return json_answer(NO_EXTENSIONS)
        return self._discovery(request)

    def _health(self, base: str, request: Plain) -> Answer:
        """`ok`, or each check on a line when `?verbose` asks; not ready before the start is over."""
        checks = {"ping": True, "bootstrap": base == "/livez" or self._ready()}
        single = request.path[len(base) + 1 :]
        if single:
            if single not in checks:
                raise status.no_such_path()
            checks = {single: checks[single]}
        well = all(checks.values())
        name = base[1:]
        if well and "verbose" not in request.query:
            return Answer(200, b"ok", "text/plain; charset=utf-8")
        lines = [f"[+]{check} ok" if passed else f"[-]{check} failed" for check, passed in checks.items()]
        lines.append(f"{name} check {'passed' if well else 'failed'}")
        return Answer(200 if well else 500, "\n".join([*lines, ""]).encode(), "text/plain; charset=utf-8")

    def _discovery(self, request: Plain) -> Answer:
        match request.path.strip("/").split("/"):
            case ["version"]:
                return json_answer(discovery.version_info())
            case ["api"]:
                return self._groups(request, core=True)
            case ["apis"]:
                return self._groups(request, core=False)
            case ["api", version]:
                found = discovery.resource_list(version)
            case ["apis", group]:
                found = discovery.group(group)
            case ["apis", group, version]:
                found = discovery.resource_list(f"{group}/{version}")
            case [""]:
                found = {"paths": ["/api", "/apis", *_HEALTH, "/openapi/v2", "/openapi/v3", "/version"]}
            case _:
                found = None
        if found is None:
            raise status.no_such_path()
        negotiate(request.accept)
        return json_answer(found)

    def _groups(self, request: Plain, core: bool) -> Answer:
        version = discovery.wants_aggregated(request.accept)
        if version:
            answer = json_answer(discovery.aggregated(core, version))
            media = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            return Answer(200, answer.body, media, _VARYING)
        negotiate(request.accept)
        found = discovery.api_versions(self._address) if core else discovery.group_list()
        return json_answer(found, headers=_VARYING)
