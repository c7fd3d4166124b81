"""What names may look like: each rule answers with what is wrong, an empty list when nothing is.

Rules: RFC 1123 labels and subdomains, RFC 1035 labels, qualified names (`example.com/role`), label values, port names
(RFC 6335 section 5.1 as services use it), environment variable names.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_1123 = re.compile(_LABEL)
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PORT = re.compile(r"[-a-z0-9]+")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_PATH_SEGMENT = re.compile(r"[/%]")


class Patterns(NamedTuple):
    """The rules as one regular expression each, length included, for those who only want a yes."""

    label: str
    subdomain: str
    qualified: str
    label_value: str
    port_name: str


def _patterns() -> Patterns:
    subdomain = rf"(?=[^/]{{1,253}}(?:/|\Z)){_SUBDOMAIN.pattern}"
    word = rf"(?=[^/]{{1,63}}\Z){_QUALIFIED.pattern}"
    return Patterns(
        label=rf"(?=[^/]{{1,63}}\Z){_LABEL}",
        subdomain=subdomain,
        qualified=f"(?:{subdomain}/)?{word}",
        label_value=f"(?:{word})?",
        port_name=r"(?!-)(?!.*--)(?=.*[a-z])[-a-z0-9]{1,15}(?<!-)",
    )


PATTERNS = _patterns()

LABEL_1123 = (
    "a lowercase RFC 1123 label consists of lower case letters, digits and '-', and starts and ends with a letter or "
    f"digit (such as 'my-name' or '123-abc'; regex '{_LABEL}')"
)
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain consists of lower case letters, digits, '-' and '.', and starts and ends with a "
    f"letter or digit (such as 'example.com'; regex '{_SUBDOMAIN.pattern}')"
)


def length(text: str, limit: int) -> list[str]:
    """At most `limit` characters."""
    return [f"must be no more than {limit} characters"] if len(text) > limit else []


def label(text: str) -> list[str]:
    """An RFC 1123 label: namespaces, port and container names, hostnames."""
    return length(text, 63) + ([] if _LABEL_1123.fullmatch(text) else [LABEL_1123])


def subdomain(text: str) -> list[str]:
    """An RFC 1123 subdomain: most objects' names."""
    return length(text, 253) + ([] if _SUBDOMAIN.fullmatch(text) else [SUBDOMAIN])


def qualified(text: str) -> list[str]:
    """`name` or `prefix/name`: label and annotation keys, finalizers, condition types."""
    prefix, slash, name = text.rpartition("/")
    found: list[str] = []
    if slash:
        if not prefix:
            found.append("prefix part must be non-empty")
        found += [f"prefix part {detail}" for detail in (subdomain(prefix) if prefix else [])]
    if not name:
        return [*found, "name part must be non-empty"]
    if len(name) > 63:
        found.append("name part must be no more than 63 characters")
    if not _QUALIFIED.fullmatch(name):
        found.append(
            "name part must consist of letters, digits, '-', '_' or '.', and must start and end with a letter or digit "
            f"(such as 'MyName' or 'my.name'; regex '{_QUALIFIED.pattern}')"
        )
    return found


def label_value(text: str) -> list[str]:
    """A label's value; may be empty."""
    found = length(text, 63)
    if text and not _QUALIFIED.fullmatch(text):
        found.append(
            "a valid label must be empty or consist of letters, digits, '-', '_' or '.', and must start and end with a "
            f"letter or digit (such as 'my_value' or '12345'; regex '({_QUALIFIED.pattern})?')"
        )
    return found


def port_name(text: str) -> list[str]:
    """A container port's name, as targetPort refers to it: at most 15 characters, at least one letter."""
    found = length(text, 15)
    if not _PORT.fullmatch(text):
        found.append("must contain only lower case letters, digits and hyphens (-)")
    if not re.search("[a-z]", text):
        found.append("must contain at least one letter (a-z)")
    if "--" in text:
        found.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


def env_name(text: str) -> list[str]:
    """An environment variable's name: printable ASCII without "=" (relaxed in Kubernetes 1.34)."""
    if not text or "=" in text or not all(32 <= ord(char) <= 126 for char in text):
        return ["environment variable names must consist of printable ASCII characters other than '='"]
    return []


def config_key(text: str) -> list[str]:
    """A key of a ConfigMap's or Secret's data: a file name."""
    found = length(text, 253)
    if not _CONFIG_KEY.fullmatch(text):
        found.append(
            "a valid config key must consist of letters, digits, '-', '_' or '.' "
            f"(such as 'key.name' or 'KEY_NAME'; regex '{_CONFIG_KEY.pattern}')"
        )
    if text == "." or text.startswith(".."):
        found.append("must not be '.' nor start with '..'")
    return found


def path_segment(text: str) -> list[str]:
    """A name that can stand in a URL path, the least any name must be."""
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    return ["may not contain '/' or '%'"] if _PATH_SEGMENT.search(text) else []
