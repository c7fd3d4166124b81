"""Which list and watch options go together (meta/v1 `ListOptions`; KEP-2340 and KEP-3157 for the later ones). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from fairway.api import status
from fairway.api.requests import Options
from fairway.objects.errors import FieldError, forbidden, not_supported
from fairway.objects.kinds import Kind

_LIST_OPTIONS = Kind("meta.k8s.io", "v1", "ListOptions", "", "")
_MATCH = "resourceVersionMatch"


def check_list(options: Options) -> None:
    """Raises 422 for options of a list that contradict each other."""
    _refuse(list(_list_errors(options)))


def check_watch(options: Options) -> None:
    """Raises 422 for options of a watch that contradict each other."""
    _refuse(list(_watch_errors(options)))


def _refuse(errors: list[FieldError]) -> None:
    if errors:
        raise status.invalid(_LIST_OPTIONS, "", errors)


def _list_errors(options: Options) -> Iterator[FieldError]:
    match = options.resource_version_match
    if match:
        if not options.resource_version:
            yield forbidden(_MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided")
        if options.continue_token:
            yield forbidden(_MATCH, "resourceVersionMatch is forbidden when continue is provided")
        if match not in ("Exact", "NotOlderThan"):
            yield not_supported(_MATCH, match, ["Exact", "NotOlderThan"])
        if match == "Exact" and options.resource_version == "0":
            yield forbidden(_MATCH, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    if options.send_initial_events is not None:
        yield forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")


def _watch_errors(options: Options) -> Iterator[FieldError]:
    match = options.resource_version_match
    if options.send_initial_events is None:
        if match:
            why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            yield forbidden(_MATCH, why)
    elif not match:
        yield forbidden(_MATCH, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    elif match != "NotOlderThan":
        yield not_supported(_MATCH, match, ["NotOlderThan"])
