"""`fairway proxy`: the node proxy as a program, in the place of kube-proxy.

`plan` settles everything that the configuration says before anything is touched; `serve` is the proxy's life, which a
lab's nodes share.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fairway.assemble import proxyconfig
from fairway.assemble.configwatch import Configured
from fairway.assemble.life import loading, run
from fairway.assemble.proxyconfig import ConfigError, Conntrack, KubeProxyConfiguration
from fairway.assemble.proxyevents import Complaints
from fairway.assemble.proxyflags import Mode
from fairway.assemble.requests import Requests
from fairway.client.base import Client
from fairway.dataplane.base import Programmer
from fairway.dataplane.claimed_ports import LOOPBACK, MOST_SOCKETS, ClaimedPorts
from fairway.dataplane.metrics import ProxyMetrics
from fairway.dataplane.proxy import Observer, Pace, Proxy, sysctls
from fairway.desired.addresses import within
from fairway.desired.options import PRIMARY, ProxyOptions
from fairway.kernel.base import KernelError, Notices
from fairway.node import Address, Node
from fairway.observe import exposition
from fairway.observe.answer import Answer
from fairway.observe.pages import Respond, keep_listening
from fairway.packet import Family

if TYPE_CHECKING:
    from fairway.dataplane.nft_counters import ServiceCounters

VERIFIED_EACH = 20
"""All rules are compared once in so many looks whether they stand."""

_CAP_NET_ADMIN = 12  # linux/capability.h

_log = logging.getLogger("fairway.proxy")


class ProxyError(Exception):
    """The proxy cannot do what was asked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is served."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a proxy is to do. `primary` is the node's own address where it was told, `localhost` are the loopback
    addresses where a listener serves node ports, `settings` are sysctls by name. `told` is the configuration, for
    `/configz`."""

    node: str
    mode: Mode
    options: ProxyOptions
    pace: Pace
    told: KubeProxyConfiguration
    primary: tuple[Address, ...] = ()
    healthz: Place | None = None
    metrics: Place | None = None
    hard_fail: bool = False
    localhost: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    oom_score_adj: int | None = None


def plan(
    config: KubeProxyConfiguration,
    *,
    allow_external_cidrs: str | None = None,
    service_cluster_ip_range: str = "",
    service_counters: bool | None = None,
    cores: int = 1,
    host: str = "",
) -> Plan:
    """Everything the configuration says. `cores` is the node's number of processors, `host` its name where the
    configuration has none. Raises ConfigError or OptionError."""
    proxyconfig.check(config)
    mode = proxyconfig.mode(config)
    flags = proxyconfig.rule_flags(
        config, allow_external_cidrs=allow_external_cidrs, service_cluster_ip_range=service_cluster_ip_range
    )
    if service_counters and mode is not Mode.NFTABLES:
        raise ConfigError("service-counters: Services are counted in nftables mode alone")
    options = replace(
        flags.options(mode),
        service_counters=mode is Mode.NFTABLES and service_counters is not False,
        tcp_be_liberal=config.conntrack.tcp_be_liberal,
    )
    name = (config.hostname_override or host).strip().lower()
    if not name:
        raise ConfigError("hostname-override: the node's name cannot be empty")
    return Plan(
        node=name,
        mode=mode,
        options=options,
        pace=_pace(config, mode),
        told=config,
        primary=_primary(config.bind_address),
        healthz=_place(config.healthz_bind_address, "healthz-bind-address", proxyconfig.HEALTHZ_PORT),
        metrics=_place(config.metrics_bind_address, "metrics-bind-address", proxyconfig.METRICS_PORT),
        hard_fail=config.bind_address_hard_fail,
        localhost=localhost(config),
        settings={**sysctls(options), **conntrack_settings(config.conntrack, cores)},
        oom_score_adj=config.oom_score_adj,
    )


def localhost(config: KubeProxyConfiguration) -> tuple[str, ...]:
    """The loopback addresses at which a listener serves node ports: those within --nodeport-addresses, unless rules
    are asked to do it, or nobody."""
    if config.iptables.localhost_node_ports is not None:
        return ()
    chosen = config.node_port_addresses or LOOPBACK
    return tuple(address for address in LOOPBACK if PRIMARY not in chosen and within(address, chosen))


def _pace(config: KubeProxyConfiguration, mode: Mode) -> Pace:
    """The file's periods. kube-proxy's default of the least time between syncs stands for ours, which is shorter, as
    a sync costs what has changed."""
    chosen, default = (config.nftables, proxyconfig.Nftables()) if mode is Mode.NFTABLES else (config.iptables, None)
    if mode is Mode.NFTABLES and config.nftables == default:
        chosen = config.iptables  # the flags of that name count in both modes
    look = proxyconfig.seconds(chosen.sync_period, "sync-period") or Pace().check
    same = chosen.min_sync_period == proxyconfig.Iptables().min_sync_period
    gather = Pace().gather if same else proxyconfig.seconds(chosen.min_sync_period, "min-sync-period")
    return Pace(gather=gather, check=look, verify=VERIFIED_EACH * look)


def _primary(bind_address: str) -> tuple[Address, ...]:
    try:
        address = ipaddress.ip_address(bind_address)
    except ValueError:
        raise ConfigError(f"bind-address: {bind_address!r} is not an address") from None
    return () if address.is_unspecified else (address,)


def _place(text: str, flag: str, default: int) -> Place | None:
    found = proxyconfig.host_and_port(text, flag, default)
    return Place(*found) if found and found[1] else None


def conntrack_settings(wanted: Conntrack, cores: int) -> Mapping[str, str]:
    """The sysctls of connection tracking, as kube-proxy sets them; what is 0 or null keeps the kernel's value."""
    per_core = (wanted.max_per_core or 0) * cores
    limit = max(per_core, wanted.min or 0) if per_core else 0
    timeouts = {
        "tcp_timeout_established": wanted.tcp_established_timeout,
        "tcp_timeout_close_wait": wanted.tcp_close_wait_timeout,
        "udp_timeout": wanted.udp_timeout,
        "udp_timeout_stream": wanted.udp_stream_timeout,
    }
    values = {name: int(proxyconfig.seconds(text, f"conntrack-{name}")) for name, text in timeouts.items()}
    found = {"max": limit, **values, "tcp_be_liberal": int(wanted.tcp_be_liberal)}
    return {f"net.netfilter.nf_conntrack_{name}": str(value) for name, value in found.items() if value > 0}


def remarks(plan: Plan) -> list[str]:
    """What an operator should know at the start."""
    found = []
    if plan.options.allow_external_cidrs is None:
        found.append(
            "external and load-balancer addresses of Services are programmed whatever they are, as kube-proxy does "
            "(CVE-2020-8554); --allow-external-cidrs restricts them"
        )
    if not plan.options.cluster_cidrs and plan.options.detect_local == "ClusterCIDR":
        found.append(
            "without --cluster-cidr the traffic of pods cannot be told from other traffic: its source is left as it is"
        )
    return found


def prepare(plan: Plan) -> None:
    """What needs privileges and is done once: kernel settings, and how late this process is killed when memory ends.
    What the kernel does not let us set is said and left."""
    from fairway.kernel.linux import conntrack, sysctl

    limit = "net.netfilter.nf_conntrack_max"
    for name, value in plan.settings.items():
        try:
            if sysctl.read(name) != value:
                sysctl.write({name: value})
            if name == limit:
                conntrack.grow_hash(int(value) // 4)
        except KernelError as error:
            if name not in sysctls(plan.options):
                _log.warning("%s", error)
            else:
                raise ProxyError(f"node ports cannot be served on 127.0.0.1 by rules: {error}") from error
    if plan.oom_score_adj is not None:
        try:
            Path("/proc/self/oom_score_adj").write_text(str(plan.oom_score_adj))
        except OSError as error:
            _log.warning("oom-score-adj: %s", error.strerror)


def rules(mode: Mode) -> tuple[Programmer, Callable[[], Notices]]:
    """The rules of this process's network namespace, and how to hear what others do to them. In either mode those of
    the other, and kube-proxy's, are removed when ours stand."""
    from fairway.dataplane.isolate import Isolating
    from fairway.dataplane.nft_sync import NftSync
    from fairway.dataplane.sync import RuleSync
    from fairway.kernel.linux.conntrack import LinuxConntrack
    from fairway.kernel.linux.netfilter import LinuxNetfilter
    from fairway.kernel.linux.nft_notices import NftNotices
    from fairway.kernel.linux.nftables import LinuxNftables

    nftables, netfilter, conntrack = LinuxNftables(), LinuxNetfilter(), LinuxConntrack()
    if mode is Mode.NFTABLES:
        return Isolating(NftSync(nftables, conntrack, netfilter)), lambda: NftNotices(own=nftables.identity())
    return Isolating(RuleSync(netfilter, conntrack, nftables)), NftNotices


def may_program() -> bool:
    """Whether this process has the capability that the kernel asks of those who change its rules."""
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _CAP_NET_ADMIN & 1)


def clean() -> None:
    """Remove what a node proxy programmed, ours or kube-proxy's, in either mode; nothing else. Raises KernelError."""
    for mode in Mode:
        rules(mode)[0].clean()


def hand_over() -> None:
    """Remove what only we have, our nftables tables, and leave what a kube-proxy has laid beside them. (In iptables
    the chains are kube-proxy's own, which it goes on with.) Raises ProxyError where nobody else serves, KernelError."""
    from fairway.dataplane import predecessors
    from fairway.kernel.linux.netfilter import LinuxNetfilter
    from fairway.kernel.linux.nftables import LinuxNftables

    nftables, netfilter = LinuxNftables(), LinuxNetfilter()
    for family in Family:
        if predecessors.lacking(nftables, netfilter, family):
            raise ProxyError(
                f"no other proxy's rules serve {family}: start kube-proxy, wait for its /healthz, and try again "
                "(--cleanup removes the rules whether anybody serves or not)"
            )
    for family in Family:
        predecessors.leave(nftables, family)


def connection(kubeconfig: str, master: str = "") -> Client:
    """The API server of the kubeconfig ("": where kubectl, or a pod, would look), at the URL `master` if that is
    given. Raises KubeconfigError."""
    from fairway.client.kubeconfig import ConnectInfo, KubeconfigError, connect, load

    try:
        found = load(kubeconfig or None)
    except KubeconfigError:
        if kubeconfig or not master:
            raise
        found = ConnectInfo(master)
    return connect(replace(found, server=master) if master else found)


def proxy(plan: Plan, client: Callable[[], Client], configured: Configured | None = None) -> None:
    """Run until SIGTERM or SIGINT, which leave the rules, or until the configuration file is another, which is an
    error: whoever supervises the proxy starts it again, with what the file says then. Raises ProxyError."""

    async def main(stop: asyncio.Event) -> None:
        prepare(plan)
        for remark in remarks(plan):
            _log.warning("%s", remark)
        asked = client()
        try:
            await _serve_as_configured(asked, plan, stop, configured)
        finally:
            await asked.close()

    run(main)


async def _serve_as_configured(client: Client, plan: Plan, stop: asyncio.Event, configured: Configured | None) -> None:
    if configured is None:
        return await serve(client, plan, stop)
    changed = asyncio.create_task(configured.changed())
    changed.add_done_callback(lambda _: stop.set())
    try:
        await serve(client, plan, stop)
        if changed.done():
            raise ProxyError(f"--config {configured.file} was changed; start again, rules stay until then")
    finally:
        changed.cancel()


async def serve(client: Client, plan: Plan, stop: asyncio.Event) -> None:
    """The proxy's life with all that stands around the rules. Raises ProxyError."""
    from fairway.kernel.linux.links import LinuxLinks

    def observe() -> Node:
        links = LinuxLinks()
        return Node(plan.node, tuple(links.interfaces()), tuple(links.routes()), primary=plan.primary)

    metrics = ProxyMetrics(plan.mode)
    counters = _counters(plan)
    complaints = Complaints(client, plan.node)
    claimed = ClaimedPorts(complaints.clash, plan.localhost, _sockets())
    observers: Sequence[Observer] = (metrics, complaints, claimed, *((counters,) if counters else ()))
    programmer, listen = rules(plan.mode)
    kept = Proxy(client, programmer, observe, plan.options, pace=plan.pace, observers=observers, listen=listen)
    servers = _servers(plan, kept, metrics, _telling(plan, metrics, Requests(client), counters))
    async with _beside(*servers, loading(kept.ready), complaints.run(), claimed.run()):
        await kept.run(stop)


def _sockets() -> int:
    """How many sockets may hold node ports: half of the files that this process may open, which is raised to what it
    may be raised to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(4 * MOST_SOCKETS, hard) if hard != resource.RLIM_INFINITY else 4 * MOST_SOCKETS
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return min(MOST_SOCKETS, soft // 2)


def _counters(plan: Plan) -> ServiceCounters | None:
    """Who reads the counters, where there are any and somebody may ask for them."""
    if not plan.options.service_counters or plan.metrics is None:
        return None
    from fairway.dataplane.nft_counters import ServiceCounters
    from fairway.kernel.linux.nftables import LinuxNftables

    return ServiceCounters(LinuxNftables())


@asynccontextmanager
async def _beside(*jobs: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Run these as long as the block takes."""
    tasks = [asyncio.create_task(job) for job in jobs]
    for task in tasks:
        task.add_done_callback(_failed)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _failed(task: asyncio.Task[Any]) -> None:
    """What stands beside the rules must not end them, nor fail unheard."""
    if not task.cancelled() and (error := task.exception()):
        _log.error("a part of the proxy has failed", exc_info=error)


def _servers(plan: Plan, kept: Proxy, metrics: ProxyMetrics, tell: Respond) -> list[Coroutine[Any, Any, Any]]:
    """The proxy's health, and what `tell` says where its metrics are. Raises ProxyError where a place is taken and that
    is to be the end."""

    def health(path: str) -> Answer:
        answer = kept.answer(path)
        counted = {"/healthz": metrics.healthz, "/livez": metrics.livez}.get(path)
        if counted is not None:
            counted.add(1, str(answer.status))
        return answer

    wanted = (
        ("healthz-bind-address", plan.healthz, health),
        ("metrics-bind-address", plan.metrics, tell),
    )
    for flag, place, _ in wanted:
        if place is not None and plan.hard_fail:
            _must_be_free(flag, place)
    return [keep_listening(respond, place.address, place.port, flag) for flag, place, respond in wanted if place]


def _must_be_free(flag: str, place: Place) -> None:
    family = socket.AF_INET6 if ":" in place.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((place.address, place.port))
        except OSError as error:
            raise ProxyError(f"--{flag} {place.address}, port {place.port}: {error.strerror}") from None


def _telling(plan: Plan, metrics: ProxyMetrics, requests: Requests, counters: ServiceCounters | None) -> Respond:
    """What is told where the metrics are."""

    async def respond(path: str) -> Answer:
        match path:
            case "/metrics":
                services = await counters.metrics() if counters else ()
                accounts = _accounts() if plan.mode is Mode.IPTABLES else ()
                page = exposition.text((*metrics.metrics(), *services, *accounts, *requests.metrics(), *_process()))
                return Answer(200, page.encode(), {"Content-Type": exposition.CONTENT_TYPE})
            case "/proxyMode":
                return Answer(200, plan.mode.encode(), {"Content-Type": "text/plain"})
            case "/configz":
                return Answer(200, msgspec.json.encode({proxyconfig.GROUP_VERSION.partition("/")[0]: plan.told}))
            case "/healthz" | "/livez":
                return Answer(200, b"ok", {"Content-Type": "text/plain"})
        return Answer(404, b"not found\n", {"Content-Type": "text/plain"})

    return respond


def _accounts() -> Iterator[exposition.Metric]:
    """What the rules of iptables mode count in accounting objects, where the kernel has these."""
    from fairway.dataplane.iptables import LOCALHOST_ACCOUNT
    from fairway.dataplane.iptables_base import INVALID_ACCOUNT
    from fairway.kernel.linux.netfilter import LinuxNetfilter

    wanted = (
        (INVALID_ACCOUNT, "ct_state_invalid_dropped", "Packets that connection tracking took for invalid, dropped."),
        (LOCALHOST_ACCOUNT, "localhost_nodeports_accepted", "Packets to node ports at 127.0.0.1, led on by rules."),
    )
    for account, name, about in wanted:
        try:
            packets = LinuxNetfilter().account(account)
        except KernelError:
            continue
        if packets is not None:
            yield exposition.Value(f"kubeproxy_iptables_{name}_packets_total", about, "counter", (), {(): packets})


def _process() -> list[exposition.Metric]:
    """What Prometheus clients tell of their process."""
    times = os.times()
    cpu = exposition.counter("process_cpu_seconds_total", "Processor time of this process, in seconds.")
    cpu.set(times.user + times.system)
    memory = exposition.gauge("process_resident_memory_bytes", "Memory of this process.")
    memory.set(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    files = exposition.gauge("process_open_fds", "Open files of this process.")
    files.set(sum(1 for _ in Path("/proc/self/fd").iterdir()))
    return [cpu, memory, files]
