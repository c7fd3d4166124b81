"""Bodies on their way in: decoded, held against the schema, brought to the storage version, or refused. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fairway.api import patch, protobuf, status
from fairway.api.fieldsets import duplicates, whole
from fairway.api.requests import Request, Target, Validation
from fairway.objects import admit, codec, convert, forms, schema
from fairway.objects.errors import Malformed, TooLarge
from fairway.objects.kinds import SECRET

Object = dict[str, Any]

APPLY_TYPES = ("application/apply-patch+yaml", "application/apply-patch+json")
JSON_PATCH = "application/json-patch+json"
PATCH_TYPES = (
    JSON_PATCH,
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    APPLY_TYPES[0],
)


@dataclass(frozen=True, slots=True)
class Incoming:
    """An object in the storage version, and what its writer should be told."""

    obj: Object
    warnings: list[str] = field(default_factory=list)


def read_object(request: Request, body: bytes) -> Incoming:
    """The object of a create or update. Raises 400, 413, 415."""
    obj, faults = decode(body, request.content_type)
    return accept(request.target, obj, request.options.field_validation, faults)


def decode(body: bytes, content_type: str) -> tuple[Object, list[str]]:
    """The object of a body in any language that is read, and the faults of its text (fields twice or unknown)."""
    if media_type(content_type) == protobuf.MEDIA_TYPE:
        return protobuf.decode(body)
    obj = codec.decode(body, content_type)
    return obj, codec.duplicates(body, obj) if "json" in content_type else []


def media_type(content_type: str) -> str:
    """A content type without its parameters."""
    return content_type.split(";")[0].strip().lower()


def is_apply(content_type: str) -> bool:
    """Whether a patch is a server-side apply."""
    return media_type(content_type) in APPLY_TYPES


def read_config(request: Request, body: bytes) -> Incoming:
    """The configuration of an apply, in the version of the URL. Raises 400, 413."""
    target = request.target
    config, faults = decode_config(body)
    require_type(target, config)
    if (config.get("metadata") or {}).get("managedFields"):
        raise status.bad_request("metadata.managedFields must be nil")
    if faults and request.options.field_validation == "Strict":
        raise status.bad_request(f"error strict decoding YAML: {', '.join(faults)}")
    checked = codec.check(target.kind, config, api_version=target.api_version)
    wrong = [f".{problem.message()}" for problem in checked.problems]
    wrong += [f".{path}: field not declared in schema" for path in checked.unknown_paths()]
    if not wrong:
        config = codec.prune(target.kind, config, api_version=target.api_version)
        wrong += duplicates(whole(schema.for_kind(target.kind, target.api_version)), config)
    if wrong:
        place = "/".join(filter(None, (target.namespace, target.name)))
        what = f"({place}; {target.api_version}, Kind={target.kind.name})"
        raise status.bad_request(f"failed to create typed patch object {what}: {'; '.join(wrong)}")
    if target.kind is SECRET:
        # What is owned is the data, not the words it was sent in.
        config = convert.to_storage(SECRET, config, target.api_version)
    return Incoming(config, faults if request.options.field_validation == "Warn" else [])


def decode_config(body: bytes) -> tuple[Object, list[str]]:
    """The object an apply says, and the faults of its text. Clients send JSON under the name of YAML, which is faster
    to read. Raises as codec.decode does."""
    if body.lstrip()[:1] == b"{":
        with contextlib.suppress(Malformed):
            config = codec.decode(body)
            return config, codec.duplicates(body, config)
    return codec.decode(body, APPLY_TYPES[0]), []


def accept(
    target: Target, obj: Object, validation: Validation, found: Sequence[str] = (), *, patched: bool = False
) -> Incoming:
    """An object written in the version of the URL, as it will be stored; `found` are faults its text had. Raises 400;
    422 for what a patch made."""
    require_type(target, obj)
    if target.api_version == target.kind.api_version and not found and forms.typed(target.kind, obj):
        stored = convert.to_storage(target.kind, obj, target.api_version)
        return Incoming(stored, admit.warnings(target.kind, obj, target.api_version))
    checked = codec.check(target.kind, obj, api_version=target.api_version)
    unknown = [*found, *checked.unknown]
    why = "; ".join(problem.message() for problem in checked.problems)
    if not why and unknown and validation == "Strict":
        why = f"strict decoding error: {', '.join(unknown)}"
    if why and patched:
        # kube-apiserver decodes what a patch made once more, and calls a failure of that one of the field `patch`.
        raise status.invalid_patch(obj, why)
    if why:
        what = f'{target.kind.name} in version "{_version(target)}" cannot be handled as a {target.kind.name}'
        raise status.bad_request(f"{what}: {why}")
    warnings = list(unknown) if validation == "Warn" else []
    warnings += admit.warnings(target.kind, obj, target.api_version)
    # Conversion comes first: it knows old fields that the schema of today would prune.
    stored = convert.to_storage(target.kind, obj, target.api_version)
    return Incoming(codec.prune(target.kind, stored), warnings)


def apply_patch(request: Request, body: bytes, old: Object) -> Incoming:
    """`old` (storage version) with the patch in `body` applied. Raises 400, 413, 415, 422."""
    target = request.target
    shown = convert.from_storage(target.kind, old, target.api_version)
    change = read_patch(request.content_type, body)
    strategic = schema.for_kind(target.kind, target.api_version)
    result = patched(request.content_type, shown, change, strategic=strategic)
    return accept(target, result, request.options.field_validation, codec.duplicates(body, change), patched=True)


def read_patch(content_type: str, body: bytes) -> Any:
    """What a patch of any kind but an apply says. Raises 400, 413, 415."""
    media = media_type(content_type)
    if media not in PATCH_TYPES or media in APPLY_TYPES:
        raise status.unsupported_media_type(PATCH_TYPES)
    try:
        change = codec.parse(body)
    except TooLarge:
        raise
    except Malformed as error:
        raise status.bad_request(f"error decoding patch: {error}") from error
    if not isinstance(change, list if media == JSON_PATCH else dict):
        raise status.bad_request("error decoding patch: a JSON patch is a list of operations, others are an object")
    if media == JSON_PATCH and len(change) > patch.MAX_OPERATIONS:
        allowed = f"The allowed maximum operations in a JSON patch is {patch.MAX_OPERATIONS}, got {len(change)}"
        raise status.Failure(413, "RequestEntityTooLarge", f"Request entity too large: {allowed}")
    return change


def patched(content_type: str, obj: Object, change: Any, *, strategic: schema.Type | None) -> Any:
    """`obj` with what a patch says; a strategic merge goes by the type `strategic`, without one it is a plain merge.
    Raises 400 for a strategic merge whose directives have the wrong shape, 422."""
    media = media_type(content_type)
    try:
        if media == JSON_PATCH:
            return patch.json_patch(obj, change)
        if strategic is not None and media == "application/strategic-merge-patch+json":
            return patch.strategic_merge(obj, change, strategic)
        return patch.merge_patch(obj, change)
    except patch.DirectiveError as error:
        raise status.bad_request(error.message) from error
    except patch.PatchError as error:
        raise status.Failure(422, "Invalid", f"the patch cannot be applied: {error}") from error


def require_type(target: Target, obj: Any) -> None:
    """Hold what a body says it is against the URL, and fill in what it leaves out. Raises 400."""
    if not isinstance(obj, dict):
        raise status.bad_request("the body must hold an object")
    kind, version = obj.get("kind") or target.kind.name, obj.get("apiVersion") or target.api_version
    if kind != target.kind.name:
        raise status.bad_request(f"the kind in the data ({kind}) does not match the expected kind ({target.kind.name})")
    if version != target.api_version:
        raise status.bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({target.api_version})"
        )
    if not isinstance(obj.get("metadata", {}), dict):
        raise status.bad_request("metadata: must be an object")
    obj["kind"], obj["apiVersion"] = kind, version


def _version(target: Target) -> str:
    return target.api_version.rpartition("/")[2]
