"""Kernel settings below /proc/sys, of the network namespace of the calling thread."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from fairway.kernel.base import KernelError
from fairway.kernel.linkplan import sysctl_path

_ROOT = Path("/proc/sys")


def read(name: str) -> str | None:
    """The value with its words separated by single blanks; None where the kernel has no such setting."""
    try:
        return " ".join((_ROOT / sysctl_path(name)).read_text().split())
    except FileNotFoundError:
        return None
    except OSError as e:
        raise KernelError(f"cannot read {name}: {e.strerror}") from e


def write(settings: Mapping[str, str]) -> None:
    """Write each setting. Raises KernelError naming the first that the kernel has not or refuses."""
    for name, value in settings.items():
        try:
            (_ROOT / sysctl_path(name)).write_text(value)
        except FileNotFoundError:
            raise KernelError(f"cannot set {name}: the kernel has no such setting{_advice(name)}") from None
        except OSError as e:
            raise KernelError(f"cannot set {name} to {value!r}: {e.strerror}{_whose(e)}") from e


def _whose(error: OSError) -> str:
    if error.errno not in (errno.EACCES, errno.EPERM):
        return ""
    return " (root is needed)" if os.geteuid() else " (only the machine's own network namespace may set it)"


def _advice(name: str) -> str:
    return " until `modprobe br_netfilter`" if name.startswith("net.bridge.") else ""
