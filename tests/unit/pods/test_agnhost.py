"""The stand-in for agnhost: flags, durations, and what its servers say."""

from __future__ import annotations

import json
import socket

import pytest

from fairway.pods.agnhost import netcat
from fairway.pods.agnhost.commands import main, seconds, split
from fairway.pods.agnhost.netexec import datagram, hostname, page, parameters
from fairway.pods.agnhost.serving import Answer
from fairway.pods.standin import Request, read_request

PEER = "10.244.0.9:4711"


def request(line: str, body: str = "", **headers: str) -> Request:
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    found = read_request(f"{line} HTTP/1.1\r\n{fields}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    assert found is not None
    return found


def said(path: str) -> str:
    return page(request(f"GET {path}"), PEER).body.decode()


def test_netexec_tells_who_it_is_and_whom_it_sees() -> None:
    assert said("/hostname") == said("/hostName") == hostname()
    assert said("/clientip") == PEER
    assert page(request("GET /header?key=X-Mine", X_Mine="yes"), PEER).body == b"yes"
    assert said("/echo?msg=one%20two+three%25") == "one two three%"
    assert page(request("GET /echo?msg=x&code=418"), PEER).status == 418
    assert page(request("GET /healthz"), PEER).status == 200
    assert page(request("GET /nothing"), PEER).status == 404
    assert page(request("GET /redirect?location=/hostname&code=301"), PEER).headers == {"Location": "/hostname"}


def test_netexec_over_datagrams() -> None:
    assert datagram("hostname", PEER) == hostname()
    assert datagram("clientip", PEER) == PEER
    assert datagram("echo one two", PEER) == "one two"
    assert datagram("nonsense", PEER) is None


def test_a_shell_command_tells_its_output_and_how_it_ended() -> None:
    assert json.loads(said("/shell?cmd=echo%20out;echo%20err%20>%262")) == {"output": "out\nerr\n"}
    assert json.loads(said("/shell?cmd=exit%203")) == {"output": "", "error": "exit status 3"}


def test_a_dial_that_cannot_be_is_refused_and_one_that_fails_is_told() -> None:
    assert page(request("GET /dial?host=a&port=1"), PEER).status == 400
    assert page(request("GET /dial?host=a&port=1&request=x&protocol=carrier-pigeon"), PEER).status == 400
    found = json.loads(said("/dial?host=127.0.0.1&port=1&request=hostname&tries=2"))
    assert found["responses"] == []
    assert len(found["errors"]) == 2 and "refused" in found["errors"][0]


def test_parameters_come_from_the_query_and_from_forms() -> None:
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    assert parameters(request("POST /?a=1&b=%2", "c=3&a=4", **form)) == {"a": "1", "b": "%2", "c": "3"}
    assert parameters(request("POST /", "c=3")) == {}


def test_a_head_has_the_headers_and_no_body() -> None:
    answer = Answer("four").text(request("HEAD /"))
    assert b"Content-Length: 4\r\n" in answer and answer.endswith(b"\r\n\r\n")


def test_flags_in_every_spelling() -> None:
    words = ["--http-port=80", "--udp-port", "-1", "there:80", "--json-response", "more"]
    assert split(words) == (["there:80", "more"], {"http-port": "80", "udp-port": "-1", "json-response": "true"})


@pytest.mark.parametrize(("text", "value"), [("1s", 1), ("500ms", 0.5), ("1m30s", 90), ("2h", 7200), ("3", 3)])
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


def test_connect_says_why_not(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["connect", "127.0.0.1:1", "--timeout=1s"]) == 1
    assert capfd.readouterr().err == "REFUSED\n"
    assert main(["connect", "no-such-name.invalid:1", "--timeout=1s"]) == 1
    assert capfd.readouterr().err.startswith("DNS: ")
    assert main(["fly"]) == 1
    assert "no command 'fly'" in capfd.readouterr().err


def test_options_of_nc() -> None:
    assert netcat.parse(["-vuz", "-w", "5", "10.0.0.11", "53"]) == (
        ["10.0.0.11", "53"],
        {"v": "", "u": "", "z": "", "w": "5"},
    )
    assert netcat.parse(["-zw2", "a", "1"])[1] == {"z": "", "w": "2"}
    with pytest.raises(ValueError, match="no option -l"):
        netcat.parse(["-l", "1"])


def test_nc_says_whether_somebody_listens(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert main(["nc", "-zv", "-w", "2", "127.0.0.1", str(server.getsockname()[1])]) == 0
    assert "succeeded" in capfd.readouterr().err
    for words in (["-z"], ["-zu"]):
        assert main(["nc", *words, "-w", "2", "127.0.0.1", "1"]) == 1
        assert "failed: Connection refused" in capfd.readouterr().err
