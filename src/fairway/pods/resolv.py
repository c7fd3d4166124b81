"""The files a pod sees in its /etc (pure): resolv.conf, hosts, hostname.

resolv.conf by the pod's dnsPolicy: ClusterFirst asks the cluster DNS with the search list and `ndots:5` that the
Kubernetes DNS specification (1.1.0) and its clients count on; limits on search lists are those of the API (32 paths,
2048 characters, three nameservers as resolv.conf(5) reads).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairway.pods.view import Pod

NDOTS = "ndots:5"
MAX_NAMESERVERS, MAX_SEARCHES, MAX_SEARCH_LENGTH = 3, 32, 2048
MAX_HOSTNAME = 63  # a label of RFC 1123; the kernel allows 64


@dataclass(frozen=True, slots=True)
class Resolver:
    """The settings of a resolv.conf."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def text(self) -> str:
        """As resolv.conf(5) reads it."""
        lines = [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"nameserver {address}" for address in self.nameservers]
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return "".join(line + "\n" for line in lines)


def parse(text: str) -> Resolver:
    """The settings in a resolv.conf; as resolv.conf(5) says, the last `search` (or old `domain`) line counts."""
    nameservers: list[str] = []
    searches: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.partition("#")[0].partition(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            nameservers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = tuple(words[1:])
        elif words[0] == "options":
            options += words[1:]
    return Resolver(tuple(nameservers), searches, tuple(options))


def resolver(pod: Pod, node: Resolver, cluster_dns: Sequence[str], cluster_domain: str) -> Resolver:
    """What a pod resolves names with. `node` is the node's own resolver, which dnsPolicy Default passes on; a
    host-network pod has it too unless it says ClusterFirstWithHostNet."""
    policy = pod.spec.dns_policy
    if policy == "ClusterFirst" and pod.spec.host_network:
        policy = "Default"
    if policy == "None":
        base = Resolver()
    elif policy == "Default" or not cluster_dns:
        base = node
    else:
        base = _cluster_first(pod, node, cluster_dns, cluster_domain)
    return _with_config(base, pod)


def _cluster_first(pod: Pod, node: Resolver, cluster_dns: Sequence[str], domain: str) -> Resolver:
    searches = (f"{pod.metadata.namespace}.svc.{domain}", f"svc.{domain}", domain)
    return Resolver(tuple(cluster_dns), _unique((*searches, *node.searches)), (NDOTS,))


def _with_config(base: Resolver, pod: Pod) -> Resolver:
    config = pod.spec.dns_config
    options = dict(_option(text) for text in base.options)
    options |= {option.name: option.value for option in config.options if option.name}
    return Resolver(
        _unique((*base.nameservers, *config.nameservers))[:MAX_NAMESERVERS],
        _bounded(_unique((*base.searches, *config.searches))),
        tuple(name if value is None else f"{name}:{value}" for name, value in options.items()),
    )


def _option(text: str) -> tuple[str, str | None]:
    name, colon, value = text.partition(":")
    return name, value if colon else None


def _unique(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _bounded(searches: tuple[str, ...]) -> tuple[str, ...]:
    kept = searches[:MAX_SEARCHES]
    while len(" ".join(kept)) > MAX_SEARCH_LENGTH:
        kept = kept[:-1]
    return kept


def hostname(pod: Pod, node_name: str) -> str:
    """The pod's host name: the node's on the host network, else spec.hostname, else the pod's name cut to a label."""
    if pod.spec.host_network:
        return node_name
    return pod.spec.hostname or pod.metadata.name[:MAX_HOSTNAME].rstrip("-.")


def domain(pod: Pod, cluster_domain: str) -> str:
    """The pod's domain when it has a subdomain, else ""."""
    if not pod.spec.subdomain or pod.spec.host_network:
        return ""
    return f"{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{cluster_domain}"


def kernel_hostname(pod: Pod, node_name: str, cluster_domain: str) -> str:
    """What gethostname() says in the pod: the short name, or all of it with setHostnameAsFQDN (if it fits)."""
    short, rest = hostname(pod, node_name), domain(pod, cluster_domain)
    full = f"{short}.{rest}" if rest and pod.spec.set_hostname_as_fqdn else short
    return full if len(full) <= 64 else short


def hosts(pod: Pod, node_name: str, cluster_domain: str, addresses: Sequence[str], node_hosts: str) -> str:
    """The pod's /etc/hosts: the loopback names, its own name, and spec.hostAliases. On the host network it is the
    node's file (`node_hosts`) with the aliases."""
    aliases = [f"{alias.ip}\t" + "\t".join(alias.hostnames) for alias in pod.spec.host_aliases]
    if pod.spec.host_network:
        return node_hosts + "".join(line + "\n" for line in aliases)
    name, rest = hostname(pod, node_name), domain(pod, cluster_domain)
    names = f"{name}.{rest}\t{name}" if rest else name
    lines = [
        "# This pod's own file, written by Fairway.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        *(f"{address}\t{names}" for address in addresses),
        *aliases,
    ]
    return "".join(line + "\n" for line in lines)
