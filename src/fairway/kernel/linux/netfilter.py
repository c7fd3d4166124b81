"""iptables rules of one network namespace, by the iptables programs (EDGE).

`iptables-save` and `iptables-restore` are the only stable way to speak iptables: with nf_tables underneath, the rules'
encoding belongs to the program. Both backends are known; a node that has rules of one keeps to it, as two sets of
rules in two backends would both be in force.
"""

from __future__ import annotations

import enum
import errno
import re
import struct
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from fairway.kernel.base import KernelError, Notice, Refused
from fairway.kernel.linux import netlink, netns
from fairway.packet import Family

_PROGRAMS = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
_LEGACY_TABLES = {Family.IPV4: "ip_tables_names", Family.IPV6: "ip6_tables_names"}
_HINTS = ("KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY")
"""Chains a kubelet makes in `mangle` so that others can tell which backend it uses (KEP-3178)."""

_LOCK_SECONDS = 5
_REMEMBERED = 256  # programs whose transactions are known to be ours; numbers of processes come again after thousands
_TIMEOUT_SECONDS = 600.0

_LINE = re.compile(r"line:? (\d+)")
_MISSING_TARGET = re.compile(r"(?:Chain|target) ['`]([^']+)'")
_NOISE = re.compile(r"^(Error occurred at line.*|Try `.*|)$")
_PROGRAM_NAME = re.compile(r"^ip6?tables[\w-]*( v[\d.]+ \(\w+\))?: *")

_SUBSYSTEM_ACCT = 7
_ACCT_NEW = _SUBSYSTEM_ACCT << 8
_ACCT_GET = _ACCT_NEW | 1
_ACCT_NAME, _ACCT_PACKETS = 1, 2
_NFGENMSG = struct.pack("=BBH", 0, 0, 0)
_ACCOUNT_NAME_LIMIT = 31  # NFACCT_NAME_MAX with its closing zero


class Backend(enum.StrEnum):
    """Which kernel side the programs write to; SYSTEM is what the distribution's alternatives choose."""

    SYSTEM = ""
    NFT = "-nft"
    LEGACY = "-legacy"


class LinuxNetfilter:
    """`Netfilter` for the network namespace at the path `namespace`, or for that of the calling thread.

    A transaction of iptables is one table: a text with several is committed table by table, and a refusal leaves the
    tables before it in place. Texts that must land whole hold one table.
    """

    def __init__(self, namespace: str | None = None, backend: Backend | None = None) -> None:
        self._namespace = namespace
        self._backend = backend
        self._system: Backend | None = None  # what SYSTEM stands for
        self._programs: dict[int, None] = {}

    @property
    def backend(self) -> Backend:
        """The backend in use, chosen by the rules that exist when first asked."""
        if self._backend is None:
            with self._entered():
                self._backend = _choose_backend()
        return self._backend

    def save(self, family: Family, table: str = "") -> str:
        """`iptables-save` text. Raises KernelError."""
        arguments = ["-t", table] if table else []
        done = self._run(f"{_PROGRAMS[family]}{self.backend}-save", arguments)
        if done.returncode:
            # a table that nobody has used yet is not an error of the asker's
            if table and table in done.stderr and "does not exist" in done.stderr:
                return ""
            raise KernelError(f"cannot read {family} rules: {_reason(done.stderr)}")
        return done.stdout

    def restore(self, family: Family, text: str) -> None:
        """`iptables-restore --noflush`. Raises Refused with the offending line, KernelError when it cannot run."""
        program = f"{_PROGRAMS[family]}{self.backend}-restore"
        done = self._run(program, ["--wait", str(_LOCK_SECONDS), "--noflush"], text)
        if done.returncode:
            raise refusal(done.stderr, text)

    def ensure_account(self, name: str) -> bool:
        """Make the nfacct object `name` exist; False where the kernel has none, or does not let us. Raises
        KernelError for a name that cannot be one."""
        if not 0 < len(name.encode()) <= _ACCOUNT_NAME_LIMIT:
            raise KernelError(f"{name!r} cannot name an accounting object: 1 to {_ACCOUNT_NAME_LIMIT} bytes")
        body = _NFGENMSG + netlink.text(_ACCT_NAME, name)
        request = netlink.Request(_ACCT_NEW, netlink.CREATE, body, f"make the accounting object {name}")
        with netlink.Netlink(netlink.NETFILTER, self._namespace) as socket:
            refused = socket.send([request])[0]
        return refused is None or refused.number in (errno.EBUSY, errno.EEXIST)

    def account(self, name: str) -> int | None:
        """How many packets an nfacct object has counted; None where there is none. Raises KernelError."""
        body = _NFGENMSG + netlink.text(_ACCT_NAME, name)
        with netlink.Netlink(netlink.NETFILTER, self._namespace) as socket:
            try:
                reply = socket.ask(netlink.Request(_ACCT_GET, 0, body, f"read the accounting object {name}"))
            except netlink.NetlinkError as error:
                if error.number in (errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP):
                    return None
                raise
        return int.from_bytes(netlink.attributes(reply.body, len(_NFGENMSG))[_ACCT_PACKETS], "big")

    def made(self, notice: Notice) -> bool:
        """See `kernel.base.Netfilter.made`. The programs have one socket each, whose identity the kernel takes from
        the process number as it is in our own namespace."""
        return notice.sender in self._programs

    def in_nf_tables(self) -> bool:
        """See `kernel.base.Netfilter.in_nf_tables`. What the distribution chose is told by the program."""
        backend = self.backend
        if backend is Backend.SYSTEM:
            if self._system is None:
                told = self._run(f"{_PROGRAMS[Family.IPV4]}-restore", ["--version"]).stdout
                self._system = Backend.NFT if "(nf_tables)" in told else Backend.LEGACY
            backend = self._system
        return backend is Backend.NFT

    def _run(self, program: str, arguments: list[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
        with self._entered():
            return _run(program, arguments, text, self._remember)

    def _remember(self, process: int) -> None:
        self._programs[process] = None
        while len(self._programs) > _REMEMBERED:
            self._programs.pop(next(iter(self._programs)))

    def _entered(self) -> AbstractContextManager[object]:
        return netns.entered(self._namespace) if self._namespace is not None else nullcontext()


def refusal(stderr: str, text: str) -> Refused:
    """What `iptables-restore` printed, as an error that points at the line of `text`. A jump to nowhere is noticed
    only at COMMIT; then the line that jumps is looked up."""
    line = 0
    if missing := _MISSING_TARGET.search(stderr):
        jump = re.compile(rf"-[jg] {re.escape(missing[1])}(\s|$)")
        line = next((n for n, rule in enumerate(text.splitlines(), 1) if jump.search(rule)), 0)
    if not line and (found := _LINE.search(stderr)):
        line = int(found[1])
    return Refused(_reason(stderr), text, line)


def _reason(stderr: str) -> str:
    lines = (_PROGRAM_NAME.sub("", line.strip()) for line in stderr.splitlines())
    return "; ".join(line for line in lines if not _NOISE.match(line)) or "the program gave no reason"


def _choose_backend() -> Backend:
    """The backend whose rules are there: a kubelet's hint decides, then any Kubernetes chain, then the system."""
    found = {backend: _existing(backend) for backend in (Backend.NFT, Backend.LEGACY)}
    for signs in (_HINTS, ("KUBE-",)):
        for backend, rules in found.items():
            if any(f":{sign}" in rules for sign in signs):
                return backend
    return Backend.SYSTEM


def _existing(backend: Backend) -> str:
    """The rules of one backend in both families; "" where its programs are missing. Reading legacy tables makes the
    kernel set them up, so they are read only where they are in use."""
    rules = ""
    for family, program in _PROGRAMS.items():
        if backend is Backend.LEGACY and not _legacy_in_use(family):
            continue
        try:
            rules += _run(f"{program}{backend}-save", []).stdout
        except KernelError:
            continue
    return rules


def _legacy_in_use(family: Family) -> bool:
    try:
        return bool(Path("/proc/thread-self/net", _LEGACY_TABLES[family]).read_text().strip())
    except OSError:
        return False


def _run(
    program: str, arguments: list[str], text: str | None = None, begun: Callable[[int], None] = lambda _: None
) -> subprocess.CompletedProcess[str]:
    """Run it to its end; `begun` is told its process number before it is told what to do."""
    try:
        with subprocess.Popen(
            [program, *arguments],
            stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            begun(running.pid)
            try:
                stdout, stderr = running.communicate(text, timeout=_TIMEOUT_SECONDS)
            except BaseException:
                running.kill()
                raise
            return subprocess.CompletedProcess(running.args, running.returncode, stdout, stderr)
    except FileNotFoundError:
        raise KernelError(f"{program} is not installed: the package iptables has it") from None
    except subprocess.TimeoutExpired:
        raise KernelError(f"{program} gave no answer within {_TIMEOUT_SECONDS:.0f} s and was stopped") from None
    except OSError as e:
        raise KernelError(f"cannot run {program}: {e.strerror}") from e
