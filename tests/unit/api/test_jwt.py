"""Tokens that only the key's owner can make, whatever their header says."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.api.jwt import BadToken, SigningKey

KEY = SigningKey.generate()
TOKEN = KEY.sign({"sub": "ann"})


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_what_was_signed_is_read_back_also_by_the_same_key_from_its_file() -> None:
    assert KEY.verified(TOKEN) == {"sub": "ann"}
    again = SigningKey.load(KEY.pem())
    assert again.id == KEY.id and again.verified(TOKEN) == {"sub": "ann"}


def test_the_public_key_names_itself() -> None:
    jwk = KEY.jwk()
    assert (jwk["kid"], jwk["kty"], jwk["crv"], jwk["alg"]) == (KEY.id, "EC", "P-256", "ES256")
    assert json.loads(base64.urlsafe_b64decode(TOKEN.split(".")[0] + "==")) == {"alg": "ES256", "kid": KEY.id}


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c",
        SigningKey.generate().sign({"sub": "ann"}),
        ".".join([TOKEN.split(".")[0], part({"sub": "root"}), TOKEN.split(".")[2]]),
        ".".join([part({"alg": "none", "kid": KEY.id}), part({"sub": "root"}), ""]),
        ".".join([part({"alg": "HS256", "kid": KEY.id}), *TOKEN.split(".")[1:]]),
        ".".join([part([]), *TOKEN.split(".")[1:]]),
        TOKEN[:-4],
        TOKEN + "AAAA",
    ],
)
def test_what_it_did_not_sign_is_not_believed(token: str) -> None:
    with pytest.raises(BadToken):
        KEY.verified(token)


@given(st.integers(0, len(TOKEN) - 1), st.sampled_from("AZaz09-_."))
def test_no_letter_of_a_token_may_change(position: int, letter: str) -> None:
    forged = TOKEN[:position] + letter + TOKEN[position + 1 :]
    try:
        # The last letter of a part has bits that belong to no byte: only there may another letter mean the same.
        assert KEY.verified(forged) == {"sub": "ann"}
        assert forged == TOKEN or position in [len(".".join(TOKEN.split(".")[:n])) - 1 for n in (1, 2, 3)]
    except BadToken:
        assert forged != TOKEN


@given(st.text(max_size=100))
def test_no_text_does_worse_than_bad(text: str) -> None:
    with pytest.raises(BadToken):
        KEY.verified(text)
