"""Content negotiation: what the `Accept` header asks for and what of it the server has (RFC 9110, section 12.5.1).

Kubernetes extends media types with parameters: `application/json;as=Table;v=v1;g=meta.k8s.io`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from fairway.api import status

Form = Literal["", "Table", "PartialObjectMetadata"]

_ENCODINGS: dict[str, Literal["json", "yaml"]] = {
    "application/json": "json",
    "*/*": "json",
    "application/*": "json",
    "application/yaml": "yaml",
    "text/html": "json",  # a browser
}
_FORMS: dict[str, Form] = {
    "Table": "Table",
    "PartialObjectMetadata": "PartialObjectMetadata",
    "PartialObjectMetadataList": "PartialObjectMetadata",
}
_OFFERS = ("application/json", "application/yaml")


@dataclass(frozen=True, slots=True)
class MediaType:
    """One entry of an Accept header, or a content type."""

    name: str
    parameters: tuple[tuple[str, str], ...] = ()
    quality: float = 1.0

    def parameter(self, name: str) -> str:
        """The parameter's value or ""."""
        return dict(self.parameters).get(name, "")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to send: the encoding, and the form an object or list is shown in ("" is the object itself)."""

    encoding: Literal["json", "yaml"] = "json"
    form: Form = ""


_ANYTHING = Wanted()
REMEMBERED = 256
REMEMBERED_LENGTH = 512
"""How many headers are remembered, and how long they may be: a client sends the same one with every request."""


def parse_media_types(header: str) -> list[MediaType]:
    """The header's entries, the most wanted first; of equals the earlier."""
    found = [_media_type(part) for part in header.split(",") if part.strip()]
    return sorted(found, key=lambda media: -media.quality)


def negotiate(header: str) -> Wanted:
    """The best of what is asked that the server has. Raises 406."""
    if not header:
        return _ANYTHING
    return _known(header) if len(header) <= REMEMBERED_LENGTH else _negotiated(header)


def _negotiated(header: str) -> Wanted:
    for media in parse_media_types(header):
        encoding = _ENCODINGS.get(media.name)
        if encoding is None or media.quality <= 0:
            continue
        asked = media.parameter("as")
        if not asked:
            return Wanted(encoding)
        form = _FORMS.get(asked, "")
        if form and media.parameter("v") == "v1" and media.parameter("g") == "meta.k8s.io":
            return Wanted(encoding, form)
    raise status.not_acceptable(_OFFERS)


_known = lru_cache(REMEMBERED)(_negotiated)


def _media_type(text: str) -> MediaType:
    name, *parameters = (piece.strip() for piece in text.split(";"))
    pairs = [
        (key.strip().lower(), value.strip().strip('"')) for key, _, value in (p.partition("=") for p in parameters)
    ]
    quality = next((_quality(value) for key, value in pairs if key == "q"), 1.0)
    return MediaType(name.lower(), tuple(pair for pair in pairs if pair[0] != "q"), quality)


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
