"""Who asks: a user by name, groups and what else was proved of them."""

from __future__ import annotations

from dataclasses import dataclass

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
MASTERS = "system:masters"
NODES = "system:nodes"
ANNOUNCER = "system:fairway-announcer"
NODE_PREFIX = "system:node:"
ACCOUNTS = "system:serviceaccounts"
ACCOUNT_PREFIX = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody. `extra` is what the credentials say besides, as (key, values)."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def node(self) -> str:
        """The node whose agent this is, or ""."""
        return self.name.removeprefix(NODE_PREFIX) if NODES in self.groups and self.name.startswith(NODE_PREFIX) else ""


ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))
LOOPBACK = User("system:apiserver", (MASTERS,))
"""The server itself, and those who live in its process."""


def account(namespace: str, name: str) -> str:
    """The user name of a service account."""
    return f"{ACCOUNT_PREFIX}{namespace}:{name}"


def account_groups(namespace: str) -> tuple[str, ...]:
    """The groups every service account of a namespace is in."""
    return ACCOUNTS, f"{ACCOUNTS}:{namespace}", AUTHENTICATED


def parse_account(name: str) -> tuple[str, str] | None:
    """Namespace and name of the service account whose user name this is, or None."""
    if not name.startswith(ACCOUNT_PREFIX):
        return None
    namespace, separator, account_name = name.removeprefix(ACCOUNT_PREFIX).partition(":")
    return (namespace, account_name) if separator and namespace and account_name else None
