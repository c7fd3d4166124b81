"""Signed claims: JSON Web Tokens (RFC 7519) by ECDSA over P-256 (ES256, RFC 7518 section 3.4). Pure.

Only that algorithm is ever believed, whatever a token's header says.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

ALGORITHM = "ES256"
MAX_LENGTH = 16 * 1024
_HALF = 32  # bytes of each of a signature's two numbers


class BadToken(Exception):
    """The text is no token that this key signed; the message says in what it fails."""


class SigningKey:
    """A private key, its public half, and the id by which tokens name it."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self._public = private.public_key()
        spki = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.id = _text(hashlib.sha256(spki).digest())

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, pem: bytes) -> SigningKey:
        """A key from its PEM. Raises ValueError."""
        private = serialization.load_pem_private_key(pem, None)
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
            raise ValueError("the signing key is not an EC key on P-256")
        return cls(private)

    def pem(self) -> bytes:
        """The private key, PEM."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def jwk(self) -> dict[str, str]:
        """The public key as a JSON Web Key (RFC 7517; RFC 7518 section 6.2)."""
        numbers = self._public.public_numbers()
        x, y = (_text(number.to_bytes(_HALF, "big")) for number in (numbers.x, numbers.y))
        return {"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": ALGORITHM, "x": x, "y": y}

    def sign(self, claims: dict[str, Any]) -> str:
        """The token that says `claims`."""
        header = {"alg": ALGORITHM, "kid": self.id}
        signed = f"{_text(msgspec.json.encode(header))}.{_text(msgspec.json.encode(claims))}"
        r, s = decode_dss_signature(self._private.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_text(r.to_bytes(_HALF, 'big') + s.to_bytes(_HALF, 'big'))}"

    def verified(self, token: str) -> dict[str, Any]:
        """The claims of a token that this key signed. Raises BadToken. Times and audiences are the caller's."""
        parts = token.split(".")
        if len(parts) != 3 or len(token) > MAX_LENGTH:
            raise BadToken("it has not the form of a token")
        header, claims, signature = _object(parts[0]), _object(parts[1]), _data(parts[2])
        if header.get("alg") != ALGORITHM or header.get("kid") != self.id:
            raise BadToken("another key signed it")
        if len(signature) != 2 * _HALF:
            raise BadToken("its signature has the wrong length")
        r, s = int.from_bytes(signature[:_HALF], "big"), int.from_bytes(signature[_HALF:], "big")
        try:
            signed = f"{parts[0]}.{parts[1]}".encode()
            self._public.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise BadToken("its signature is wrong") from None
        return claims


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _data(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise BadToken("it is not base64url") from None


def _object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(_data(text), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadToken("it does not hold JSON objects") from None
