"""The standalone API server's options: what they mean, and who is told what is wrong with them."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.api.users import User
from fairway.assemble import apiserver, stores
from fairway.assemble.apiserver import OptionError, Options
from fairway.client.kubeconfig import load
from fairway.lab.authority import CertificateError, ServingFiles, admin_kubeconfig, checked, own_files

OPTIONS = Options("sqlite", "127.0.0.1:6443", "10.96.0.0/12", "30000-32767")
NOW = datetime.datetime.now(datetime.UTC)


def test_a_store_is_a_file_memory_or_the_members_of_a_cluster() -> None:
    home = Path("home/store.db")
    assert stores.parse("sqlite", home).file == home
    assert stores.parse("sqlite:other.db", home).file == Path("other.db")
    assert stores.parse("memory", home) == stores.StoreChoice()
    assert stores.parse("etcd://a:1,[::1]:2", home).endpoints == ("a:1", "[::1]:2")


@pytest.mark.parametrize(
    "text", ["", "sqlite:", "etcd", "etcd:a:1", "etcd://", "etcd://a", "etcd://a:1,", "redis://a:1"]
)
def test_any_other_store_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--store"):
        stores.parse(text, Path("store.db"))


def test_options_become_a_configuration() -> None:
    options = replace(OPTIONS, service_cluster_ip_range="10.96.0.0/12, fd00::/108", service_node_port_range="80-90")
    config = apiserver.parse_config(options, "127.0.0.1")
    assert config.service_cidrs == ("10.96.0.0/12", "fd00::/108")
    assert (config.node_ports, config.advertise_address) == ((80, 90), "127.0.0.1")
    assert (
        apiserver.parse_config(replace(OPTIONS, advertise_address="10.0.0.1"), "0.0.0.0").advertise_address
        == "10.0.0.1"
    )


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"service_cluster_ip_range": "10.96.0.1/12"}, "--service-cluster-ip-range"),
        ({"service_cluster_ip_range": "10.0.0.0/16,10.1.0.0/16"}, "--service-cluster-ip-range"),
        ({"service_node_port_range": "30000"}, "--service-node-port-range"),
        ({"service_node_port_range": "2-1"}, "--service-node-port-range"),
        ({"service_node_port_range": "1-65536"}, "--service-node-port-range"),
        ({"advertise_address": "here"}, "--advertise-address"),
        ({"token_auth_file": "no/such/file"}, "--token-auth-file"),
    ],
)
def test_an_option_that_cannot_be_is_named(wrong: dict[str, str], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        apiserver.parse_config(replace(OPTIONS, **wrong), "127.0.0.1")


def test_a_server_that_listens_everywhere_must_say_where_it_is() -> None:
    with pytest.raises(OptionError, match="--advertise-address"):
        apiserver.parse_config(OPTIONS, "0.0.0.0")


def test_listening_is_an_address_and_a_port() -> None:
    assert apiserver.parse_listen("127.0.0.1:0") == ("127.0.0.1", 0)
    assert apiserver.parse_listen("[::1]:6443") == ("::1", 6443)
    for wrong in ("6443", "localhost:6443", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:x"):
        with pytest.raises(OptionError, match="--listen"):
            apiserver.parse_listen(wrong)


def test_a_token_file_names_users_and_their_groups(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text('t1,ann,1\nt2, bob, 2, "dev, ops"\n\n')
    assert apiserver.parse_tokens(path) == {"t1": User("ann", (), "1"), "t2": User("bob", ("dev", "ops"), "2")}
    for wrong in ("t1,ann\n", ",ann,1\n", "t1,ann,1\nt1,bob,2\n"):
        path.write_text(wrong)
        with pytest.raises(OptionError, match="record"):
            apiserver.parse_tokens(path)


def test_certificates_are_made_once_and_found_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    files = own_files(home, ["localhost", "127.0.0.1"], NOW)
    made = files.certificate.read_bytes()
    assert checked(files) == own_files(home, ["127.0.0.1"], NOW) and files.certificate.read_bytes() == made
    assert {path.stat().st_mode & 0o077 for path in (files.key, home)} == {0}
    with pytest.raises(CertificateError, match=r"does not hold for 10\.0\.0\.1"):
        own_files(home, ["10.0.0.1"], NOW)


def test_each_server_of_a_directory_has_its_kubeconfig(tmp_path: Path) -> None:
    own_files(tmp_path, ["127.0.0.1"], NOW)
    first = admin_kubeconfig(tmp_path, "https://127.0.0.1:6443")
    second = admin_kubeconfig(tmp_path, "https://127.0.0.1:6444")
    assert admin_kubeconfig(tmp_path, "https://127.0.0.1:6443") == first != second
    assert load(str(second)).server == "https://127.0.0.1:6444"


def test_files_that_are_no_certificates_are_named(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"missing\.crt"):
        checked(ServingFiles(tmp_path / "missing.crt", tmp_path / "missing.key", None))
