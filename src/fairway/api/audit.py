"""Who did what, in one line per write: never what was written, so no secret is ever in it. Pure."""

from __future__ import annotations

from fairway.api.auth import deed_of
from fairway.api.rbac import Deed
from fairway.api.requests import Request
from fairway.api.users import ANNOUNCER, User
from fairway.objects.errors import show
from fairway.objects.kinds import LEASE

READING = frozenset({"get", "list", "watch"})


def line(by: User, taken_for: User, request: Request, code: int) -> str | None:
    """`user="ann" verb=create resource=pods namespace="shop" name="web" code=201`; None for a request that changes
    nothing, or only renews a lease, which nodes do with their own and announcers all the time.

    `by` proved who he is; `taken_for` is somebody else only by impersonation. Names are quoted: no name can look like
    more than one word, or like another line."""
    deed = deed_of(request)
    if request.verb in READING or not isinstance(deed, Deed):
        return None
    if request.target.kind is LEASE and _is_renewal(by, deed):
        return None
    words = [f"user={show(by.name)}"]
    if taken_for.name != by.name:
        words.append(f"as={show(taken_for.name)}")
    resource = f"{deed.resource}.{deed.group}" if deed.group else deed.resource
    words += [f"verb={deed.verb}", f"resource={resource}"]
    words += [f"{name}={show(value)}" for name, value in (("namespace", deed.namespace), ("name", deed.name)) if value]
    if request.options.dry_run:
        words.append("dry-run")
    return " ".join([*words, f"code={code}"])


def _is_renewal(by: User, deed: Deed) -> bool:
    return bool(by.node and deed.name == by.node) or (by.name == ANNOUNCER and deed.verb == "update")
