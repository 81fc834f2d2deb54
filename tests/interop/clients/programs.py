"""The programs of docs/clients.md: how each is run, which libraries it stands for, what it is exempt from."""

import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Program:
    name: str  # the block's file name
    libraries: tuple  # names as they are pinned
    folder: str
    run: tuple  # the command, in that folder
    verifier: str = ""  # of a caller: the block that judges its tokens
    environment: dict = field(default_factory=dict, hash=False)
    exempt: tuple = ()  # cases that do not apply


def python(name, *libraries, **more):
    return Program(name, libraries, "python", ("venv/bin/python", name), **more)


def node(name, *libraries, **more):
    return Program(name, libraries, "npm", ("node", name), **more)


def go(name, *libraries, **more):
    return Program(f"{name}/main.go", libraries, "go", (f"bin/{name}",), **more)


def rust(name, *libraries, **more):
    return Program(f"src/bin/{name}.rs", libraries, "rust", (f"target/debug/{name}",), **more)


CALLERS = [
    python("httpx_auth.py", "httpx", verifier="pyjwt_verify.py"),
    python("authlib_get.py", "Authlib", verifier="authlib_verify.py"),
    python("requests_oauthlib_get.py", "requests-oauthlib", "oauthlib", verifier="joserfc_verify.py",
           environment={"OAUTHLIB_INSECURE_TRANSPORT": "1"}),
    node("oauth4webapi_get.mjs", "oauth4webapi", verifier="oauth4webapi_verify.mjs"),
    node("openid_client_get.mjs", "openid-client", verifier="jose_verify.mjs"),
    go("get", "golang.org/x/oauth2", verifier="verify/main.go"),
    rust("get", "oauth2", verifier="src/bin/verify.rs"),
]

# Callers that hold a key instead of a secret.
KEY_CALLERS = [
    python("authlib_key_get.py", "Authlib", verifier="authlib_verify.py"),
    node("oauth4webapi_key_get.mjs", "oauth4webapi", verifier="oauth4webapi_verify.mjs"),
    node("openid_client_key_get.mjs", "openid-client", verifier="jose_verify.mjs"),
    go("key_get", "golang.org/x/oauth2", "github.com/go-jose/go-jose/v4", verifier="verify/main.go"),
]

VERIFIERS = [
    python("pyjwt_verify.py", "PyJWT"),
    python("joserfc_verify.py", "joserfc"),
    python("authlib_verify.py", "Authlib"),
    node("jose_verify.mjs", "jose"),
    node("oauth4webapi_verify.mjs", "oauth4webapi"),
    # Allows what the discovery document lists, and that issuer has an EdDSA key too.
    go("verify", "github.com/coreos/go-oidc/v3", exempt=("EdDSA",)),
    rust("verify", "jsonwebtoken"),
    # A server, started for each issuer; this calls it.
    Program("Model.java", ("spring-boot",), "spring",
            (sys.executable, str(Path(__file__).with_name("spring_call.py")))),
]
