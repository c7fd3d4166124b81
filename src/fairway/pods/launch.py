"""EDGE. Everything a container needs to start, put together: program, environment, working directory, user."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairway.client.base import ApiError, Client
from fairway.client.informer import Cache
from fairway.objects.kinds import CONFIG_MAP, SECRET
from fairway.pods import env, links, mounts, resolv
from fairway.pods.config import AgentConfig
from fairway.pods.env import Place
from fairway.pods.images import Launch
from fairway.pods.view import Container, Pod, Service

_KINDS = {"ConfigMap": CONFIG_MAP, "Secret": SECRET}


class Launcher:
    """Puts start requests together for the sandboxes of one node. `services` must be synced before."""

    def __init__(
        self, client: Client, services: Cache[Service], config: AgentConfig, allocatable: Mapping[str, str]
    ) -> None:
        self._client = client
        self._services = services
        self._config = config
        self._allocatable = allocatable

    def etc_files(self, pod: Pod, addresses: tuple[str, ...]) -> dict[str, str]:
        """The files of the pod's own /etc, by name."""
        config = self._config
        node_resolver = resolv.parse(_text(config.node_resolv_conf))
        cluster_dns = (config.cluster_dns,) if config.cluster_dns else ()
        resolver = resolv.resolver(pod, node_resolver, cluster_dns, config.cluster_domain)
        hosts = resolv.hosts(pod, config.node_name, config.cluster_domain, addresses, _text(config.node_hosts))
        return {"resolv.conf": resolver.text(), "hosts": hosts, "hostname": self.hostname(pod) + "\n"}

    def hostname(self, pod: Pod) -> str:
        """The pod's own host name."""
        return resolv.kernel_hostname(pod, self._config.node_name, self._config.cluster_domain)

    def place(self, pod: Pod, addresses: tuple[str, ...]) -> Place:
        """Where the pod runs, for the downward API."""
        config = self._config
        return Place(config.node_name, config.node_ips, addresses, self.hostname(pod), self._allocatable)

    async def request(
        self, pod: Pod, container: Container, addresses: tuple[str, ...]
    ) -> tuple[Launch, dict[str, Any]]:
        """How the container starts, and the request that starts it. Raises ConfigProblem, ApiError, Unreachable."""
        config = self._config
        place = self.place(pod, addresses)
        services = links.variables(links.visible(self._services.items.values(), pod))
        sources = {
            (kind, name): await self._data(kind, name, pod.metadata.namespace)
            for kind, name in sorted(env.references(container))
        }
        environment, known = env.environment(container, pod, place, services, sources)
        launch = config.images.launch(container, pod.metadata.name, config.node_name)
        own, common = container.security_context, pod.spec.security_context
        if container.tty:
            environment.setdefault("TERM", "xterm")
        request = {
            "argv": env.arguments(launch.argv, known),
            "env": environment,
            "cwd": container.working_dir,
            "user": common.run_as_user if own.run_as_user is None else own.run_as_user,
            "group": common.run_as_group if own.run_as_group is None else own.run_as_group,
            "groups": [*common.supplemental_groups, *filter(None, [common.fs_group])],
            "mounts": mounts.requests(pod, container, environment) + mounts.tools(launch.tools),
            "stdin": container.stdin,
            "once": container.stdin_once,
            "tty": container.tty,
            **mounts.rights(container),
        }
        return launch, request

    async def _data(self, kind: str, name: str, namespace: str) -> dict[str, str] | None:
        try:
            found = await self._client.get(_KINDS[kind], name, namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        data: dict[str, str] = found.get("data") or {}
        if kind == "Secret":
            return {key: base64.b64decode(value).decode(errors="surrogateescape") for key, value in data.items()}
        return data


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
