"""Doors to a part of an object: scale, binding, eviction, finalize, log, token."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

from fairway.api import incoming, metadata, render, status
from fairway.api.answers import Answer, Stream, Tunnel, json_answer
from fairway.api.applies import applied
from fairway.api.authorship import author_of
from fairway.api.bodies import Binding, DeleteOptions, Eviction, Scale, TokenRequest, read
from fairway.api.deletes import Deleter, order_of
from fairway.api.evictions import Evictor
from fairway.api.keys import key_of
from fairway.api.managers import Author
from fairway.api.requests import Request, Target
from fairway.api.tokens import Tokens
from fairway.api.writes import Chance, Draft, Writer
from fairway.objects.errors import invalid as invalid_field
from fairway.objects.kinds import NODE, POD, Kind
from fairway.objects.selectors import LabelSelector, from_label_selector, from_map
from fairway.store.base import Store

Object = dict[str, Any]

LOG_OPTIONS = (
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
    "insecureSkipTLSVerifyBackend",
)


class NodeClient(Protocol):
    """How the server asks a node's agent."""

    async def logs(
        self, address: str, port: int, namespace: str, pod: str, container: str, query: Mapping[str, str]
    ) -> AsyncGenerator[bytes, None]:
        """The container's log as it comes. Raises NodeError before the first byte."""

    async def connect(self, address: str, port: int, path: str, headers: Mapping[str, str]) -> Tunnel:
        """Ask for `path` with an upgrade of the connection. Raises NodeError when the agent does not agree to it."""

    async def close(self) -> None:
        """Let go of connections."""


class NodeError(Exception):
    """The node's agent refused or did not answer. `code` is its HTTP status, 0 when it was not reached."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Subresources:
    """Everything but the object itself and its status."""

    def __init__(
        self, store: Store, writer: Writer, deleter: Deleter, nodes: NodeClient, chance: Chance, tokens: Tokens
    ) -> None:
        self._store = store
        self._writer = writer
        self._evictor = Evictor(store, writer, deleter, chance.now)
        self._nodes = nodes
        self._chance = chance
        self._tokens = tokens

    async def answer(self, request: Request, body: bytes) -> Answer | Stream:
        """Send a request to the door it names."""
        match request.target.subresource, request.verb:
            case "scale", "get":
                return json_answer(scale_of(request.target.kind, await self._load(request.target)))
            case "scale", _:
                return await self._rescale(request, body)
            case "binding", _:
                return await self._bind(request, body)
            case "eviction", _:
                return await self._evict(request, body)
            case "finalize", _:
                return await self._finalize(request, body)
            case "token", _:
                asked = read(incoming.decode(body, request.content_type)[0], TokenRequest) if body else TokenRequest()
                return await self._tokens.request(request, asked)
            case "log", _:
                return await self._log(request)
        raise status.no_such_path()

    async def _load(self, target: Target) -> Object:
        return await load(self._store, target)

    async def _rescale(self, request: Request, body: bytes) -> Answer:
        target = request.target
        author = author_of(request, applies=incoming.is_apply(request.content_type))

        def make(old: Object) -> Draft:
            scale = scale_of(target.kind, old)
            if incoming.is_apply(request.content_type):
                return self._applied_scale(request, body, old, author)
            wanted = _wanted_scale(request, body, scale)
            old["metadata"]["resourceVersion"] = wanted.metadata.resourceVersion or ""
            old["metadata"]["uid"] = wanted.metadata.uid or ""
            old["spec"]["replicas"] = _replicas(target, wanted)
            return Draft(old)

        # Replicas belong to the spec: the change is judged as one of the object itself.
        whole = Target(target.kind, target.kind.api_version, target.namespace, target.name)
        written, _ = await self._writer.change(whole, make, dry_run=request.options.dry_run, author=author)
        return json_answer(scale_of(target.kind, render.load(written.value, written.revision)))

    def _applied_scale(self, request: Request, body: bytes, old: Object, author: Author) -> Draft:
        """An apply of a Scale is one of `spec.replicas` to the object it scales."""
        kind = request.target.kind
        wanted = read(incoming.decode_config(body)[0], Scale)
        identity = {"uid": wanted.metadata.uid, "resourceVersion": wanted.metadata.resourceVersion}
        config = {
            "kind": kind.name,
            "apiVersion": kind.api_version,
            "metadata": {name: value for name, value in identity.items() if value},
            "spec": {"replicas": _replicas(request.target, wanted)},
        }
        made = applied(kind, old, config, author, self._chance.now(), force=request.options.force)
        return Draft(made.obj, managed=made.entries)

    async def _bind(self, request: Request, body: bytes) -> Answer:
        """The scheduler's word: this pod runs on that node."""
        target = request.target
        binding = read(incoming.decode(body, request.content_type)[0], Binding)
        goal, wanted_uid = binding.target.name, binding.metadata.uid
        if not goal:
            raise status.bad_request("target.name: Required value: the node the pod is bound to")

        def make(pod: Object) -> Draft:
            if wanted_uid and wanted_uid != pod["metadata"]["uid"]:
                raise metadata.uid_mismatch(target, wanted_uid, pod["metadata"]["uid"])
            if pod["metadata"].get("deletionTimestamp"):
                raise status.conflict(
                    POD, target.name, f"pod {target.name} is being deleted, cannot be assigned", "binding"
                )
            if node := pod["spec"].get("nodeName"):
                why = f'pod {target.name} is already assigned to node "{node}"'
                raise status.conflict(POD, target.name, why, "binding")
            pod["spec"]["nodeName"] = goal
            _set_condition(pod, "PodScheduled", metadata.timestamp(self._chance.now()))
            return Draft(pod)

        await self._writer.change(target, make, trusted=True, dry_run=request.options.dry_run)
        return json_answer(status.success(POD, target.name, "", 201), 201)

    async def _evict(self, request: Request, body: bytes) -> Answer:
        """A delete that asks first."""
        eviction = read(incoming.decode(body, request.content_type)[0], Eviction)
        options = eviction.deleteOptions or DeleteOptions()
        await self._evictor.evict(request.target, order_of(request.options, options))
        return json_answer(status.success(POD, request.target.name, "", 201), 201)

    async def _finalize(self, request: Request, body: bytes) -> Answer:
        """The namespace controller's word that a namespace is empty: only `spec.finalizers` is taken over."""
        read = incoming.read_object(request, body)
        metadata.place(request.target, read.obj)

        def make(old: Object) -> Draft:
            metadata.carry(request.target, read.obj | {"metadata": dict(read.obj["metadata"])}, old)
            old["spec"] = {"finalizers": (read.obj.get("spec") or {}).get("finalizers") or []}
            return Draft(old)

        written, warnings = await self._writer.change(
            request.target, make, trusted=True, dry_run=request.options.dry_run
        )
        return self._writer.answer(request, written, warnings)

    async def _log(self, request: Request) -> Stream:
        pod = await self._load(request.target)
        container = container_of(pod, request.query.get("container", ""))
        node_name = pod["spec"].get("nodeName", "")
        if not node_name:
            raise status.bad_request(f"pod {request.target.name} does not have a host assigned")
        address, port = agent_endpoint(await self._load(Target(NODE, "v1", "", node_name)))
        query = {name: request.query[name] for name in LOG_OPTIONS if name in request.query}
        try:
            chunks = await self._nodes.logs(
                address, port, request.target.namespace, request.target.name, container, query
            )
        except NodeError as error:
            if 400 <= error.code < 500:
                raise status.bad_request(str(error)) from error
            raise status.internal(f"the agent of node {node_name} gave no log: {error}") from error
        return Stream(chunks, "text/plain")


async def load(store: Store, target: Target) -> Object:
    """The object as it is now. Raises 404."""
    entry = await store.get(key_of(target.kind, target.namespace, target.name))
    if entry is None:
        raise status.not_found(target.kind, target.name)
    return render.load(entry.value, entry.modified)


def scale_of(kind: Kind, obj: Object) -> Object:
    """autoscaling/v1 `Scale` of a workload."""
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    spec = obj.get("spec", {})
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: obj["metadata"][name] for name in kept if name in obj["metadata"]},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": {
            "replicas": obj.get("status", {}).get("replicas", 0),
            "selector": str(_selector(kind, spec)),
        },
    }


def agent_endpoint(node: Object) -> tuple[str, int]:
    """Address and port of a node's agent. Raises 500 while the node has not said."""
    found = node.get("status", {})
    addresses = [item["address"] for item in found.get("addresses") or [] if item.get("type") == "InternalIP"]
    port = ((found.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port", 0)
    if not addresses or not port:
        raise status.internal(f"node {node['metadata']['name']} has not told where its agent listens")
    return addresses[0], port


def _selector(kind: Kind, spec: Object) -> LabelSelector:
    if kind.group:
        return from_label_selector(spec.get("selector") or {})
    return from_map(spec.get("selector") or {})


def _wanted_scale(request: Request, body: bytes, scale: Object) -> Scale:
    if request.verb == "update":
        return read(incoming.decode(body, request.content_type)[0], Scale)
    # A Scale has no lists, so a strategic merge of it is a plain one.
    change = incoming.read_patch(request.content_type, body)
    return read(incoming.patched(request.content_type, scale, change, strategic=None), Scale)


def _replicas(target: Target, scale: Scale) -> int:
    if not 0 <= scale.spec.replicas < 1 << 31:
        error = invalid_field("spec.replicas", scale.spec.replicas, "must be greater than or equal to 0")
        raise status.invalid(target.kind, target.name, [error])
    return scale.spec.replicas


def _set_condition(pod: Object, name: str, now: str) -> None:
    conditions = pod.setdefault("status", {}).setdefault("conditions", [])
    conditions[:] = [condition for condition in conditions if condition.get("type") != name]
    conditions.append({"type": name, "status": "True", "lastProbeTime": None, "lastTransitionTime": now})


def container_of(pod: Object, asked: str) -> str:
    """The container that is meant: the only one, or the one named. Raises 400."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    names = [container["name"] for container in spec.get("containers") or []]
    initial = [container["name"] for container in spec.get("initContainers") or []]
    if asked:
        if asked not in names + initial:
            raise status.bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    if len(names) == 1:
        return str(names[0])
    choice = f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
    raise status.bad_request(choice + (f" or one of the init containers: [{' '.join(initial)}]" if initial else ""))
