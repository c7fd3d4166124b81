"""The page's files, as they lie in the package, and the headers that bound what a browser does with them (EDGE)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from fairway.api.answers import Answer

TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing is loaded or run but our own files, and nothing is told to anybody else (Content Security Policy 3)."""

GUARDS: tuple[tuple[str, str], ...] = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
)
KEPT_NOWHERE = (("cache-control", "no-store"),)


@dataclass(frozen=True, slots=True)
class File:
    """One file of the page."""

    content: bytes
    type: str

    def answer(self) -> Answer:
        """The file, with what a browser may do with it."""
        return Answer(200, self.content, "", (("content-type", self.type), *KEPT_NOWHERE, *GUARDS))


def load() -> dict[str, File]:
    """Every file by its path; "/" is the page itself."""
    found: dict[str, File] = {}
    for each in resources.files("fairway.web").joinpath("static").iterdir():
        suffix = "." + each.name.rpartition(".")[2]
        if suffix not in TYPES:
            continue
        found["/" if each.name == "index.html" else f"/{each.name}"] = File(each.read_bytes(), TYPES[suffix])
    return found
