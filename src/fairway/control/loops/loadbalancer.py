"""Runs `control.loadbalancer_round`: gathers what is known, and writes as the controller of load balancers."""

from __future__ import annotations

import ipaddress

from fairway.client.base import ApiError, Object
from fairway.client.informer import Change
from fairway.control import loadbalancer_claims as ledger
from fairway.control import pods
from fairway.control.cluster import Cluster
from fairway.control.loadbalancer import Facts
from fairway.control.loadbalancer_claims import Claim, Record
from fairway.control.loadbalancer_pools import Settings, SettingsError, joined, read
from fairway.control.loadbalancer_requests import Request, ingress, style_of
from fairway.control.loadbalancer_round import Scene, settle
from fairway.control.loadbalancer_status import addresses_of, condition, ranges_of, serving
from fairway.control.reconcile import Reconciler
from fairway.control.writes import Note, Update
from fairway.node import Network
from fairway.objects.kinds import CONFIG_MAP, ENDPOINT_SLICE, NODE, SERVICE, SERVICE_CIDR

COMPONENT = "loadbalancer-controller"
SETTINGS = "fairway-loadbalancer"
FIELD = "config"
_ROUND = "addresses"
_OURS, _NODE_PORTS = "ours", "node ports"
_GATHER_SECONDS = 0.02
_API_SERVERS = "default/kubernetes"


class LoadBalancers:
    """The controller of load-balancer addresses. Without settings it rests: another one may be at work."""

    def __init__(self, cluster: Cluster) -> None:
        self.queue: Reconciler[str] = Reconciler(COMPONENT, self._work, concurrency=1, jitter=cluster.random)
        self._cluster = cluster
        self._services = cluster.mirrors[SERVICE]
        self._nodes = cluster.mirrors[NODE]
        self._slices = cluster.mirrors[ENDPOINT_SLICE]
        self._cidrs = cluster.mirrors[SERVICE_CIDR]
        self._sorts = self._services.index(_sorts)
        self._backing = self._slices.index(_backed)
        self._pod_ranges: tuple[Network, ...] = ()
        self._told = ""
        self._refusal: ApiError | None = None
        """Of this round: one Service's refused status does not keep the others' from being written."""
        self._services.listen(self._service_changed)
        self._nodes.listen(self._node_changed)
        self._slices.listen(self._slice_changed)
        self._cidrs.listen(lambda change: self.queue.add(_ROUND))
        cluster.mirrors[CONFIG_MAP].listen(self._config_changed)

    def _service_changed(self, change: Change[Object]) -> None:
        if any(each is not None and _sorts(each) for each in (change.old, change.new)):
            self.queue.after(_GATHER_SECONDS, _ROUND)

    def _node_changed(self, change: Change[Object]) -> None:
        if _bearing(change.old) != _bearing(change.new):
            self._pod_ranges = joined(text for node in self._nodes.items.values() for text in ranges_of(node))
            self.queue.add(_ROUND)

    def _slice_changed(self, change: Change[Object]) -> None:
        """Where there are ready endpoints matters to Services of policy Local."""
        for each in (change.old, change.new):
            for word in _backed(each) if each is not None else ():
                namespace, _, name = word.partition("/")
                service = self._services.items.get((namespace, name))
                if service is not None and (service.get("spec") or {}).get("externalTrafficPolicy") == "Local":
                    self.queue.after(_GATHER_SECONDS, _ROUND)

    def _config_changed(self, change: Change[Object]) -> None:
        if change.key in ((ledger.NAMESPACE, SETTINGS), (ledger.NAMESPACE, ledger.RECORD)):
            self.queue.after(_GATHER_SECONDS, _ROUND)

    async def _work(self, _: str) -> float | None:
        settings = self._settings()
        if settings is None:
            return None
        self._refusal = None
        try:
            done = await settle(self, lambda: self._scene(settings))
        except ApiError as error:
            if error.reason not in ("Conflict", "AlreadyExists"):
                raise
            done = False
        if self._refusal is not None:
            raise self._refusal
        return None if done else _GATHER_SECONDS

    def _settings(self) -> Settings | None:
        """The settings in force; None when there are none. What is wrong with them is told once a version."""
        found = self._cluster.get(CONFIG_MAP, SETTINGS, ledger.NAMESPACE)
        if found is None:
            return None
        try:
            settings = read(str((found.get("data") or {}).get(FIELD, "")), self._service_ranges(), self._pod_ranges)
        except SettingsError as error:
            self._tell(
                found, [("SettingsRefused", f"{FIELD}: {error}; nothing is given or taken back until it is put right")]
            )
            return None
        self._tell(found, [("PoolRefused", f"pool {each.name!r}: {each.why}") for each in settings.refused])
        return settings

    def _tell(self, config: Object, complaints: list[tuple[str, str]]) -> None:
        version = str(config["metadata"].get("resourceVersion", ""))
        if version == self._told:
            return
        self._told = version
        for reason, text in complaints:
            self._cluster.tell(Note(CONFIG_MAP, config, "Warning", reason, text), COMPONENT)

    def _service_ranges(self) -> tuple[Network, ...]:
        texts = [text for cidr in self._cidrs.items.values() for text in (cidr.get("spec") or {}).get("cidrs") or []]
        return tuple(ipaddress.ip_network(text) for text in sorted(texts))

    def _scene(self, settings: Settings) -> Scene:
        services = {pods.uid(each): each for each in self._services.look_up(self._sorts, _OURS)}
        record = ledger.read(self._cluster.get(CONFIG_MAP, ledger.RECORD, ledger.NAMESPACE))
        for claim in record.claims:
            service = self._services.items.get((claim.namespace, claim.name))
            if service is not None and pods.uid(service) == claim.uid:
                services[claim.uid] = service
        return Scene(
            services, settings, self._facts(settings), lambda wish: self._own(wish, settings), self._cluster.clock()
        )

    def _facts(self, settings: Settings) -> Facts:
        nodes = {text: node["metadata"]["name"] for node in self._nodes.items.values() for text in addresses_of(node)}
        node_ports = {
            (port.get("protocol", "TCP"), port["nodePort"]): "/".join(key)
            for key in self._sorts.get(_NODE_PORTS)
            for port in self._services.items[key]["spec"]["ports"]
            if port.get("nodePort")
        }
        return Facts(nodes, self._service_ranges(), self._pod_ranges, self._others(settings), node_ports)

    def _others(self, settings: Settings) -> dict[str, str]:
        """Addresses that are somebody else's: the API servers', and what other controllers gave Services of theirs."""
        servers = self._slices.look_up(self._backing, _API_SERVERS)
        found = {
            address: f"where {_API_SERVERS} is served"
            for piece in servers
            for endpoint in piece.get("endpoints") or []
            for address in endpoint.get("addresses") or []
        }
        for service in self._services.look_up(self._sorts, _OURS):
            if style_of(service, settings.style) is None and condition(service) is None:
                metadata = service["metadata"]
                who = f"the address of {metadata['namespace']}/{metadata['name']}, which is another controller's"
                found |= {each["ip"]: who for each in ingress(service) if each.get("ip")}
        return found

    def _own(self, wish: Request, settings: Settings) -> tuple[str, ...]:
        slices = self._slices.look_up(self._backing, wish.who)
        local = frozenset(
            endpoint["nodeName"]
            for each in slices
            for endpoint in each.get("endpoints") or []
            if endpoint.get("nodeName") and (endpoint.get("conditions") or {}).get("ready") is not False
        )
        return serving(wish, self._nodes.items.values(), local, settings)

    # What a round reads and writes.

    async def record(self) -> Record:
        try:
            client = self._cluster.client_of(COMPONENT)
            return ledger.read(await client.get(CONFIG_MAP, ledger.RECORD, ledger.NAMESPACE))
        except ApiError as error:
            if error.code != 404:
                raise
            return Record()

    async def keep(self, record: Object) -> Record:
        client = self._cluster.client_of(COMPONENT)
        if record["metadata"].get("resourceVersion"):
            return ledger.read(await client.update(CONFIG_MAP, record))
        return ledger.read(await client.create(CONFIG_MAP, record, ledger.NAMESPACE))

    async def show(self, update: Update) -> bool:
        try:
            await self._cluster.perform_one(update, COMPONENT)
        except ApiError as error:
            if error.code >= 500:
                raise
            if error.code not in (404, 409):  # of these the watch is about to tell
                self._refusal = error
            return False
        return True

    async def lives(self, claim: Claim) -> bool:
        try:
            found = await self._cluster.client_of(COMPONENT).get(SERVICE, claim.name, claim.namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            return False
        return pods.uid(found) == claim.uid


def _sorts(service: Object) -> list[str]:
    spec = service.get("spec") or {}
    ours = spec.get("type") == "LoadBalancer" or condition(service) is not None
    node_ports = any(port.get("nodePort") for port in spec.get("ports") or [])
    return [*([_OURS] if ours else []), *([_NODE_PORTS] if node_ports else [])]


def _backed(piece: Object) -> list[str]:
    name = pods.labels(piece).get("kubernetes.io/service-name")
    return [f"{piece['metadata'].get('namespace', '')}/{name}"] if name else []


def _bearing(node: Object | None) -> object:
    """What of a node bears on load balancers."""
    return None if node is None else (addresses_of(node), pods.is_ready(node), pods.labels(node), ranges_of(node))
