"""The author of a write: named by `fieldManager`, else by the client's `User-Agent`. Pure."""

from __future__ import annotations

from functools import lru_cache

from fairway.api import status
from fairway.api.managers import Author
from fairway.api.requests import Request
from fairway.objects.errors import FieldError, forbidden, invalid, required, too_long
from fairway.objects.kinds import Kind

LONGEST_MANAGER = 128
REMEMBERED, LONGEST_REMEMBERED = 256, 512
"""How many clients' names are remembered, and how long they may be."""
UNKNOWN = "unknown"
"""The manager of those who do not say who they are."""

_OPTIONS = {
    "create": Kind("meta.k8s.io", "v1", "CreateOptions", "createoptions", "createoptions"),
    "update": Kind("meta.k8s.io", "v1", "UpdateOptions", "updateoptions", "updateoptions"),
    "patch": Kind("meta.k8s.io", "v1", "PatchOptions", "patchoptions", "patchoptions"),
}


def author_of(request: Request, *, applies: bool = False) -> Author:
    """Who writes. Raises 422 for a manager that cannot be one, for an apply without one, and for `force` without an
    apply."""
    manager = request.options.field_manager
    if (manager or request.query or applies) and (errors := _wrong(manager, applies, "force" in request.query)):
        raise status.invalid(_OPTIONS[request.verb], "", errors)
    target = request.target
    agent = request.agent
    by_agent = _remembered if len(agent) <= LONGEST_REMEMBERED else _by_agent
    return Author(manager or by_agent(agent), target.api_version, target.subresource)


def _wrong(manager: str, applies: bool, forced: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    if applies and not manager:
        errors.append(required("fieldManager", "is required for apply patch"))
    if forced and not applies:
        errors.append(forbidden("force", "may not be specified for non-apply patch"))
    if len(manager.encode(errors="replace")) > LONGEST_MANAGER:
        errors.append(too_long("fieldManager", manager, LONGEST_MANAGER))
    elif not manager.isprintable():
        errors.append(invalid("fieldManager", manager, "should only contain printable characters"))
    return errors


def _by_agent(agent: str) -> str:
    """`kubectl` of `kubectl/v1.32.0 (linux/amd64) kubernetes/abc`."""
    name = "".join(char for char in agent.split("/", 1)[0] if char.isprintable()).strip()
    return name.encode()[:LONGEST_MANAGER].decode(errors="ignore") or UNKNOWN


_remembered = lru_cache(REMEMBERED)(_by_agent)
