"""What every client promises, over HTTP with TLS and in process: one suite, two ways to the same API server."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fairway.api.auth import User
from fairway.api.http import serve
from fairway.api.server import Api, ApiConfig
from fairway.client.base import ApiError, Client, Object, Unreachable
from fairway.client.follow import follow
from fairway.client.http import HttpClient
from fairway.client.informer import Cache, as_dict
from fairway.client.local import LocalClient
from fairway.objects.kinds import CONFIG_MAP, DEPLOYMENT, NAMESPACE, NODE, POD, SERVICE
from fairway.store.memory import MemoryStore

TOKEN = "letmein"


@dataclass
class Identity:
    """A self-signed server certificate for 127.0.0.1."""

    cert: str
    key: str


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    folder: Path = tmp_path_factory.mktemp("pki")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = builder.add_extension(alternative, critical=False).sign(key, hashes.SHA256())
    (folder / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return Identity(str(folder / "tls.crt"), str(folder / "tls.key"))


class Server:
    """An API server on a memory store that can be stopped and started again on the same port."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._store = MemoryStore()
        self.port = 0
        self.api: Api

    async def start(self) -> None:
        listening = socket.create_server(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        users = {TOKEN: User("admin", ("system:masters",))}
        config = ApiConfig(("10.96.0.0/12",), advertise_address="127.0.0.1", advertise_port=self.port, tokens=users)
        self.api = Api(self._store, config)
        await self.api.start()
        self._stop = asyncio.Event()
        identity = self._identity
        self._serving = asyncio.create_task(
            serve(self.api, [listening], certfile=identity.cert, keyfile=identity.key, client_ca=None, stop=self._stop)
        )

    async def stop(self) -> None:
        self._stop.set()
        await self._serving
        await self.api.stop()


@asynccontextmanager
async def served(how: str, identity: Identity) -> AsyncIterator[tuple[Client, Server]]:
    server = Server(identity)
    await server.start()
    client: Client = LocalClient(server.api.handlers)
    if how == "http":
        client = HttpClient(f"https://127.0.0.1:{server.port}", ca_file=identity.cert, token=TOKEN)
    try:
        yield client, server
    finally:
        await client.close()
        await server.stop()


@pytest.fixture(params=["http", "local"])
def ask(request: pytest.FixtureRequest, identity: Identity) -> Callable[[Callable[[Client], Awaitable[Any]]], Any]:
    """Runs a scene with a client of either sort."""

    def run(scene: Callable[[Client], Awaitable[Any]]) -> Any:
        async def play() -> Any:
            async with served(request.param, identity) as (client, _):
                return await scene(client)

        return asyncio.run(play())

    return run


Ask = Callable[[Callable[[Client], Awaitable[Any]]], Any]


def config_map(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


@pytest.mark.parametrize("how", ["http", "local"])
def test_a_client_may_act_in_anothers_name_and_with_his_rights(how: str, identity: Identity) -> None:
    async def play() -> None:
        name = "system:kube-scheduler"
        async with served(how, identity) as (client, server):
            other: Client = LocalClient(server.api.handlers, User(name, ("system:authenticated",)))
            if isinstance(client, HttpClient):
                other = client.acting_as(name)
            assert not (await other.list(NODE)).items
            with pytest.raises(ApiError, match=f'User "{name}" cannot create resource "configmaps"'):
                await other.create(CONFIG_MAP, config_map("a"), "default")
            await client.create(CONFIG_MAP, config_map("a"), "default")

    asyncio.run(play())


def test_an_object_lives_from_create_to_delete(ask: Ask) -> None:
    async def scene(client: Client) -> None:
        created = await client.create(CONFIG_MAP, config_map("a", colour="red"), "default")
        assert created["metadata"]["uid"]
        assert await client.get(CONFIG_MAP, "a", "default") == created
        updated = await client.update(CONFIG_MAP, {**created, "data": {"colour": "blue"}})
        assert updated["data"] == {"colour": "blue"}
        patched = await client.patch(CONFIG_MAP, "a", {"data": {"size": "big"}}, "default")
        assert patched["data"] == {"colour": "blue", "size": "big"}
        await client.delete(CONFIG_MAP, "a", "default", uid=created["metadata"]["uid"])
        with pytest.raises(ApiError) as refusal:
            await client.get(CONFIG_MAP, "a", "default")
        assert (refusal.value.code, refusal.value.reason) == (404, "NotFound")

    ask(scene)


@pytest.mark.parametrize(
    ("type_", "patch"),
    [
        ("json", [{"op": "add", "path": "/data/b", "value": "2"}]),
        ("merge", {"data": {"b": "2"}}),
        ("strategic", {"data": {"b": "2"}}),
    ],
)
def test_each_type_of_patch(ask: Ask, type_: Any, patch: Any) -> None:
    async def scene(client: Client) -> None:
        await client.create(CONFIG_MAP, config_map("a", a="1"), "default")
        assert (await client.patch(CONFIG_MAP, "a", patch, "default", type=type_))["data"] == {"a": "1", "b": "2"}

    ask(scene)


def test_refusals_carry_reason_and_cause(ask: Ask) -> None:
    async def scene(client: Client) -> None:
        created = await client.create(CONFIG_MAP, config_map("a"), "default")
        with pytest.raises(ApiError) as again:
            await client.create(CONFIG_MAP, config_map("a"), "default")
        assert (again.value.code, again.value.reason) == (409, "AlreadyExists")
        await client.update(CONFIG_MAP, {**created, "data": {"x": "1"}})
        with pytest.raises(ApiError) as stale:
            await client.update(CONFIG_MAP, {**created, "data": {"x": "2"}})
        assert (stale.value.code, stale.value.reason) == (409, "Conflict")
        bad = {"metadata": {"name": "b"}, "spec": {"ports": [{"port": 70000}]}}
        with pytest.raises(ApiError) as invalid:
            await client.create(SERVICE, {"apiVersion": "v1", "kind": "Service", **bad}, "default")
        assert (invalid.value.code, invalid.value.reason) == (422, "Invalid")
        assert invalid.value.details["causes"][0]["field"] == "spec.ports[0].port"
        with pytest.raises(ApiError) as foreign:
            await client.delete(CONFIG_MAP, "a", "default", uid="another")
        assert foreign.value.code == 409

    ask(scene)


def test_lists_select_and_come_in_pages(ask: Ask) -> None:
    async def scene(client: Client) -> None:
        for number in range(5):
            labelled = config_map(f"m{number}")
            labelled["metadata"]["labels"] = {"odd": str(number % 2)}
            await client.create(CONFIG_MAP, labelled, "default")
        odd = await client.list(CONFIG_MAP, "default", label_selector="odd=1")
        assert [msgspec.json.decode(raw)["metadata"]["name"] for raw in odd.items] == ["m1", "m3"]
        one = await client.list(CONFIG_MAP, field_selector="metadata.name=m4")
        assert [msgspec.json.decode(raw)["kind"] for raw in one.items] == ["ConfigMap"]
        first = await client.list(CONFIG_MAP, "default", limit=3)
        rest = await client.list(CONFIG_MAP, "default", limit=3, continue_token=first.continue_token)
        assert (len(first.items), len(rest.items), rest.continue_token) == (3, 2, "")
        assert first.resource_version == rest.resource_version

    ask(scene)


def test_a_watch_begins_after_its_revision_and_ends_when_asked(ask: Ask) -> None:
    async def scene(client: Client) -> None:
        before = (await client.list(CONFIG_MAP, "default")).resource_version
        created = await client.create(CONFIG_MAP, config_map("a"), "default")
        await client.update(CONFIG_MAP, {**created, "data": {"x": "1"}})
        await client.delete(CONFIG_MAP, "a", "default")
        seen = []
        async with aclosing(
            client.watch(CONFIG_MAP, "default", resource_version=before, timeout_seconds=30)  # type: ignore[type-var]
        ) as events:
            async for event in events:
                if event.type != "BOOKMARK":
                    seen.append((event.type, msgspec.json.decode(event.object)["metadata"]["name"]))
                if len(seen) == 3:
                    break
        assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
        ended = [event async for event in client.watch(NAMESPACE, resource_version=before, timeout_seconds=1)]
        assert all(event.type == "BOOKMARK" for event in ended)

    ask(scene)


def test_a_watch_from_an_unknown_past_or_future_is_refused(ask: Ask) -> None:
    async def scene(client: Client) -> None:
        with pytest.raises(ApiError):
            async for _ in client.watch(CONFIG_MAP, resource_version="999999999", timeout_seconds=5):
                pass

    ask(scene)


def test_status_and_other_subresources(ask: Ask) -> None:
    async def scene(client: Client) -> None:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"containers": [{"name": "c", "image": "httpd"}]},
        }
        created = await client.create(POD, pod)
        await client.post(POD, "p", "default", "binding", {"target": {"kind": "Node", "name": "node-a"}})
        assert (await client.get(POD, "p", "default"))["spec"]["nodeName"] == "node-a"
        phase = {"status": {"phase": "Running"}}
        running = await client.patch(POD, "p", phase, "default", subresource="status")
        assert running["status"]["phase"] == "Running"
        going = await client.delete(POD, "p", "default")
        assert going["metadata"]["deletionGracePeriodSeconds"] == 30
        await client.delete(POD, "p", "default", grace_seconds=0, uid=created["metadata"]["uid"])
        with pytest.raises(ApiError, match="not found"):
            await client.get(POD, "p", "default")

    ask(scene)


def test_what_is_named_oddly_stays_in_its_place(ask: Ask) -> None:
    """A name is data: it cannot climb out of its path."""

    async def scene(client: Client) -> None:
        for name in ("../secrets", "a/b", "x?watch=1", "%2e%2e"):
            with pytest.raises(ApiError) as refusal:
                await client.get(CONFIG_MAP, name, "default")
            assert refusal.value.code in (400, 404)

    ask(scene)


def test_a_cache_over_a_restart_of_the_server_loses_and_repeats_nothing(identity: Identity) -> None:
    async def scene() -> None:
        async with served("http", identity) as (client, server):
            cache = Cache(as_dict)
            told: list[tuple[str, str]] = []
            changed = asyncio.Event()

            def on_change(changes: Any) -> None:
                told.extend((change.kind, change.key[1]) for change in changes)
                changed.set()

            following = asyncio.create_task(follow(client, CONFIG_MAP, cache, namespace="default", on_change=on_change))
            await client.create(CONFIG_MAP, config_map("before"), "default")
            while len(told) < 1:
                await changed.wait()
                changed.clear()
            await server.stop()
            inside = LocalClient(server.api.handlers)
            await inside.create(CONFIG_MAP, config_map("between"), "default")
            await inside.delete(CONFIG_MAP, "before", "default")
            await server.start()
            while len(told) < 3:
                await changed.wait()
                changed.clear()
            following.cancel()
            assert told == [("added", "before"), ("added", "between"), ("deleted", "before")]
            assert set(cache.items) == {("default", "between")}

    asyncio.run(scene())


def test_no_server_is_unreachable_and_a_wrong_one_too(identity: Identity) -> None:
    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
        gone = HttpClient(f"https://127.0.0.1:{port}", ca_file=identity.cert)
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port} does not answer"):
            await gone.list(POD)
        async with served("http", identity) as (_, server):
            stranger = HttpClient(f"https://127.0.0.1:{server.port}", token=TOKEN)
            with pytest.raises(Unreachable, match="certificate"):
                await stranger.list(POD)
            unknown = HttpClient(f"https://127.0.0.1:{server.port}", ca_file=identity.cert, token="wrong")
            with pytest.raises(ApiError) as refusal:
                await unknown.list(POD)
            assert refusal.value.code == 401
            for client in (stranger, unknown):
                await client.close()

    asyncio.run(scene())


def test_old_versions_are_none_of_the_clients_business(ask: Ask) -> None:
    async def scene(client: Client) -> None:
        listing = await client.list(DEPLOYMENT)
        assert list(listing.items) == []
        assert listing.resource_version.isdecimal()

    ask(scene)
