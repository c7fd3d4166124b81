"""The one URL grammar of Kubernetes: method, path, query and headers to a verb with its target and options. Pure.

    /api/v1[/namespaces/NS]/PLURAL[/NAME[/SUBRESOURCE]]
    /apis/GROUP/VERSION[/namespaces/NS]/PLURAL[/NAME[/SUBRESOURCE]]

Everything else is a plain path (discovery, version, health).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal
from urllib.parse import parse_qsl, unquote

from fairway.api import status
from fairway.api.accept import Wanted, negotiate
from fairway.api.users import LOOPBACK, User
from fairway.objects.kinds import NAMESPACE, REVIEW_GROUPS, Kind, by_resource

REMEMBERED = 4096
REMEMBERED_LENGTH = 512
"""How many targets are remembered, and of how long paths: clients ask for the same ones again and again."""

EXTENSIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
"""Where kubectl looks whether a kind it does not know is a custom one. There are none, and the list of none is a plain
path: without it kubectl does not get to say that there is no such kind."""

Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]
Validation = Literal["Strict", "Warn", "Ignore"]

_ON_NAME: Mapping[str, Verb] = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_ON_COLLECTION: Mapping[str, Verb] = {
    "GET": "list",
    "HEAD": "list",
    "POST": "create",
    "DELETE": "deletecollection",
}
# Which verbs a subresource has; the object itself has all of them.
_SUBRESOURCE_VERBS: Mapping[str, tuple[Verb, ...]] = {
    "status": ("get", "update", "patch"),
    "ephemeralcontainers": ("get", "update", "patch"),
    "resize": ("get", "update", "patch"),
    "scale": ("get", "update", "patch"),
    "finalize": ("update",),
    "log": ("get",),
    "binding": ("create",),
    "eviction": ("create",),
    "token": ("create",),
    "exec": ("create",),
    "attach": ("create",),
    "portforward": ("create",),
}
# OPTIONS changes nothing and tells little (RFC 9110, section 9.2.1).
_ON_PROXY: Mapping[str, Verb] = {**_ON_NAME, "OPTIONS": "get"}
_PROXY = re.compile(r"/api/v1/namespaces/([^/]+)/(pods|services)/([^/]+)/proxy(/.*)?")
# The watch of clients from before it was a parameter of a list; deprecated upstream since 1.11, and still served.
_WATCH = re.compile(r"(/api/[^/]+|/apis/[^/]+/[^/]+)/watch(/.+)")
PARTS = ("status", "ephemeralcontainers", "resize")
"""Subresources that are read and written as the object itself, of which they may change a part."""
DOORS = ("exec", "attach", "portforward")
"""Subresources that are connections. WebSocket clients must ask for them with GET (RFC 6455, section 4.1), but whoever
may look may not therefore run programs: asking is the verb "create" in both forms."""
# Browsers and command lines that show an answer as it comes; JSON is indented for them, as upstream does.
_SHOWING = ("curl/", "Wget/", "Mozilla/")
UPGRADES = ("websocket", "spdy/3.1")
"""What a door's connection may become, in lower case (RFC 9110, section 7.8)."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about. `api_version` is the one in the URL, perhaps an old one; `name` is "" for a
    collection, `namespace` "" for all namespaces or a cluster-scoped kind."""

    kind: Kind
    api_version: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """The query, typed. Times are in seconds; -1 and "" mean "not given"."""

    label_selector: str = ""
    field_selector: str = ""
    resource_version: str = ""
    resource_version_match: str = ""
    limit: int = 0
    continue_token: str = ""
    timeout_seconds: int = -1
    allow_bookmarks: bool = False
    send_initial_events: bool | None = None
    dry_run: bool = False
    field_manager: str = ""
    field_validation: Validation = "Warn"
    force: bool = False
    grace_seconds: int = -1
    propagation: str = ""
    include_object: Literal["Metadata", "Object", "None"] = "Metadata"
    pretty: bool = False


NO_OPTIONS = Options()
PRETTY = Options(pretty=True)


@dataclass(frozen=True, slots=True)
class Passing:
    """What a proxy request hands on: `path` behind the door ("" or from its slash), still percent-encoded, and `query`
    as it came."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Request:
    """A verb on a target. `user` asks; who that is, the handlers are told. `agent` is the client's `User-Agent`."""

    verb: Verb
    target: Target
    options: Options = field(default_factory=Options)
    wanted: Wanted = field(default_factory=Wanted)
    content_type: str = "application/json"
    query: Mapping[str, str] = field(default_factory=dict)
    agent: str = ""
    user: User = LOOPBACK
    passing: Passing | None = None


@dataclass(frozen=True, slots=True)
class Plain:
    """A path outside the grammar: discovery, OpenAPI, version, health."""

    verb: str
    path: str
    accept: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    pretty: bool = False


def parse(method: str, path: str, query: str, headers: Mapping[str, str], user: User = LOOPBACK) -> Request | Plain:
    """Read a request line of `user`. `path` is still percent-encoded; header names are lower case.

    Raises 400 for options that cannot be read, 404 for unknown resources, 405 and 406.
    """
    if "/proxy" in path and (door := _PROXY.fullmatch(path)) is not None:
        return _handed_on(method, door, query, headers, user)
    values = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
    accept, agent = headers.get("accept", ""), headers.get("user-agent", "")
    if "/watch/" in path and method == "GET" and (old := _WATCH.fullmatch(path)) is not None:
        path, values = old[1] + old[2], values | {"watch": "true"}
    target = _known_target(path) if len(path) <= REMEMBERED_LENGTH else _target_of(path)
    if target is None:
        return Plain(method.lower(), "/" + "/".join(_parts(path)), accept, values, _pretty(values, agent))
    verb = _verb(method, target, values)
    subresource_forms = target.subresource in ("", "status", "scale")
    wanted = negotiate(accept) if subresource_forms else Wanted()
    content_type = headers.get("content-type", "") or "application/json"
    return Request(verb, target, _options(values, agent), wanted, content_type, values, agent, user)


def _handed_on(method: str, door: re.Match[str], query: str, headers: Mapping[str, str], user: User) -> Request:
    """A request for a proxy: its verb is told by its method, and nothing of its query is meant for the server."""
    namespace, plural, name, path = door.groups(default="")
    verb = _ON_PROXY.get(method)
    if verb is None:
        raise status.method_not_allowed()
    target = _target("v1", ("namespaces", unquote(namespace), plural, unquote(name), "proxy"))
    return Request(verb, target, user=user, passing=Passing(method, path, query, headers))


def _locate(parts: list[str]) -> tuple[str, list[str]] | None:
    """The group/version and what follows it; None for plain paths."""
    if parts[:1] == ["api"] and len(parts) > 2:
        return parts[1], parts[2:]
    if parts[:1] == ["apis"] and len(parts) > 3:
        return f"{parts[1]}/{parts[2]}", parts[3:]
    return None


def _target(api_version: str, rest: tuple[str, ...]) -> Target:
    if not all(rest):
        raise status.no_such_path()
    namespace = ""
    # /namespaces/NS/status and /namespaces/NS/finalize are about the namespace; a kind never has those names.
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in NAMESPACE.subresources:
        namespace, rest = rest[1], rest[2:]
    kind = by_resource(api_version, rest[0])
    if kind is None or len(rest) > 3 or (namespace and not kind.namespaced):
        raise status.no_such_path()
    name, subresource = (*rest[1:], "", "")[:2]
    if subresource and subresource not in kind.subresources:
        raise status.no_such_path()
    if name and kind.namespaced and not namespace:
        raise status.no_such_path()
    return Target(kind, api_version, namespace, name, subresource)


def _parts(path: str) -> list[str]:
    return [unquote(part) for part in path.strip("/").split("/")]


def _target_of(path: str) -> Target | None:
    """What a path is about; None for plain ones. Raises 404."""
    located = _locate(_parts(path))
    return None if located is None or path == EXTENSIONS else _target(located[0], tuple(located[1]))


_known_target = lru_cache(REMEMBERED)(_target_of)


def _verb(method: str, target: Target, values: Mapping[str, str]) -> Verb:
    verb = (_ON_NAME if target.name else _ON_COLLECTION).get(method)
    if verb is None or (verb == "create" and target.name and not target.subresource):
        raise status.method_not_allowed()
    if verb in ("create", "deletecollection") and target.kind.namespaced and not target.namespace:
        raise status.method_not_allowed()
    if target.kind.group in REVIEW_GROUPS and verb != "create":
        raise status.method_not_allowed()
    if verb == "deletecollection" and target.kind is NAMESPACE:
        raise status.method_not_allowed()
    if target.subresource in DOORS and method == "GET":
        verb = "create"
    if target.subresource and verb not in _SUBRESOURCE_VERBS[target.subresource]:
        raise status.method_not_allowed()
    if verb in ("get", "list") and not target.subresource and _boolean(values, "watch"):
        return "watch"
    return verb


def _options(values: Mapping[str, str], agent: str) -> Options:
    if not values:
        return PRETTY if _pretty(values, agent) else NO_OPTIONS
    return Options(
        label_selector=values.get("labelSelector", ""),
        field_selector=values.get("fieldSelector", ""),
        resource_version=values.get("resourceVersion", ""),
        resource_version_match=values.get("resourceVersionMatch", ""),
        limit=_integer(values, "limit", 0),
        continue_token=values.get("continue", ""),
        timeout_seconds=_integer(values, "timeoutSeconds", -1),
        allow_bookmarks=_boolean(values, "allowWatchBookmarks"),
        send_initial_events=_boolean(values, "sendInitialEvents") if "sendInitialEvents" in values else None,
        dry_run=_dry_run(values.get("dryRun", "")),
        field_manager=values.get("fieldManager", ""),
        field_validation=_validation(values.get("fieldValidation", "")),
        force=_boolean(values, "force"),
        grace_seconds=_integer(values, "gracePeriodSeconds", -1),
        propagation=values.get("propagationPolicy", ""),
        include_object=_include_object(values.get("includeObject", "")),
        pretty=_pretty(values, agent),
    )


def _pretty(values: Mapping[str, str], agent: str) -> bool:
    """Whether JSON is indented: as asked, else for those who show it to people as it comes."""
    return _boolean(values, "pretty") if "pretty" in values else agent.startswith(_SHOWING)


def _integer(values: Mapping[str, str], name: str, default: int) -> int:
    text = values.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise status.bad_request(f"invalid query parameter {name}: {text!r} is not a whole number, 0 or more")
    return int(text)


def _boolean(values: Mapping[str, str], name: str) -> bool:
    # As upstream reads them: the parameter without a value is true, "0" and "false" are false.
    return name in values and values[name].lower() not in ("false", "0")


def _dry_run(text: str) -> bool:
    if text not in ("", "All"):
        raise status.bad_request(f'dryRun: Unsupported value: "{text}": supported values: "All"')
    return text == "All"


def _validation(text: str) -> Validation:
    match text:
        case "Strict" | "Warn" | "Ignore":
            return text
        case "":
            return "Warn"
    raise status.bad_request(
        f'fieldValidation: Unsupported value: "{text}": supported values: "Ignore", "Strict", "Warn"'
    )


def _include_object(text: str) -> Literal["Metadata", "Object", "None"]:
    match text:
        case "Metadata" | "Object" | "None":
            return text
        case "":
            return "Metadata"
    raise status.bad_request(
        f'includeObject: Unsupported value: "{text}": supported values: "None", "Metadata", "Object"'
    )
