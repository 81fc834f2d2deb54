"""The tokens that verifiers are given: right ones, and one for each way of being wrong."""

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass

from issuer import AUDIENCE, ROLE, Issuer

ELSEWHERE = "https://other.example/api"
LIFETIME = 10  # seconds, of the token that is to expire: the shortest edi allows
FORGIVEN = 60  # seconds past `exp` that the most lenient library still accepts


@dataclass
class Case:
    """What a verifier is given, and the words one of which its refusal must hold (none: it must accept)."""

    name: str
    issuer: str
    token: str
    refusal: str = ""
    ripe: float = 0.0  # not before this instant


def encode(data):
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(part):
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def other_claims(token, **claims):
    """The same header and signature around other claims."""
    header, payload, signature = token.split(".")
    return ".".join([header, encode({**decode(payload), **claims}), signature])


def other_signature(token):
    """The same text with one bit of the signature turned over."""
    head, signature = token.rsplit(".", 1)
    raw = bytearray(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
    raw[len(raw) // 2] ^= 1
    return f"{head}.{encode(bytes(raw))}"


def unsigned(token):
    header, payload, _ = token.split(".")
    return f"{encode({**decode(header), 'alg': 'none'})}.{payload}."


def keyed_with_the_public_key(token, jwk):
    """HS256 under the published key, which a verifier that trusts the header's `alg` takes for a secret."""
    header, payload, _ = token.split(".")
    signed = f"{encode({**decode(header), 'alg': 'HS256'})}.{payload}"
    return f"{signed}.{encode(hmac.new(json.dumps(jwk).encode(), signed.encode(), hashlib.sha256).digest())}"


def start_issuers(program, folder):
    """Starts every issuer, registers the clients; returns the issuers to call, and the cases."""
    # The same keys and port under another issuer URL first: the one way to a token right in all but `iss`.
    before = Issuer(program, folder / "es256", "ES256,EdDSA", path="/before")
    main = Issuer(program, folder / "es256", "ES256,EdDSA", port=before.port)
    rsa = Issuer(program, folder / "rs256", "RS256")
    tenant = Issuer(program, folder / "tenant", "ES256", path="/tenant")
    # Another server's keys under the first one's issuer URL.
    impostor = Issuer(program, folder / "impostor", "ES256", issuer=main.url)
    started = {"ES256": main, "RS256": rsa, "path": tenant}
    try:
        before.start().register("caller", "--role", ROLE)
        other_issuer = before.token("caller")
        before.stop()
        for issuer in (main, rsa, tenant, impostor):
            issuer.start().register("fraud-caller", "--role", ROLE)
        for issuer in started.values():
            issuer.keygen("key-caller", "--role", ROLE)
        main.keygen("churn-key", "--role", "churn")
        main.register("brief", "--role", ROLE, "--lifetime", f"{LIFETIME}s")
        main.register("churn-caller", "--role", "churn")
        main.register("elsewhere", "--role", ROLE, "--audience", ELSEWHERE)
        main.register("edwards", "--role", ROLE, "--alg", "EdDSA")
        brief, gone = main.token("brief"), time.time() + LIFETIME + FORGIVEN + 2
        other_key = impostor.token("fraud-caller")
        impostor.stop()
        right = main.token("fraud-caller")
        expect = {"iss": main.url, "aud": AUDIENCE, "client_id": "fraud-caller", "roles": [ROLE]}
        assert expect.items() <= decode(right.split(".")[1]).items(), "edi issued another token than expected"
        algorithm = r"\balg\b|algorithm|alg_not_allowed|unsupported"
        cases = [Case(name, issuer.url, issuer.token("fraud-caller")) for name, issuer in started.items()]
        cases += [Case(name, main.url, token, refusal) for name, token, refusal in [
            ("audience", main.token("elsewhere", resource=ELSEWHERE), r"\baud\b|audience"),
            ("issuer", other_issuer, r"\biss\b|issuer|different provider"),
            ("key", other_key, r"\bkeys?\b|\bkid\b|signature"),
            ("claims", other_claims(main.token("churn-caller"), roles=[ROLE]), "signature"),
            ("signature", other_signature(right), "signature"),
            ("none", unsigned(right), algorithm + "|unknown variant `none`"),
            ("HS256", keyed_with_the_public_key(right, main.published_key()),
             algorithm + "|no key for kid"),
            ("EdDSA", main.token("edwards"), algorithm),
            ("role", main.token("churn-caller"), r"not a role of this token|insufficient_scope"),
        ]]
        cases.append(Case("expired", main.url, brief, r"expire|\bexp\b", gone))
        return started, cases
    except BaseException:
        for issuer in (before, main, rsa, tenant, impostor):
            issuer.stop()
        raise
