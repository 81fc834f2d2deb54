"""HAProxy, offline: it verifies by the public keys that `config/proxies/haproxy/take-keys` wrote."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time

import install
from harness import (
    CASES,
    CONFIG,
    LAST,
    Bench,
    Caller,
    Case,
    Program,
    Skipped,
    Target,
    World,
    claim,
    expect,
    free_port,
    parts,
    passes,
    refused,
)
from jwt import public_pem
from more import AGES, TWISTED_PATHS

FOLDER = CONFIG / "haproxy"
#: take-keys: the keys are as they were.
UNCHANGED = 3


def check(bench: Bench) -> None:
    """The battery, and how changes of the key set are taken in."""
    haproxy = install.debian("haproxy", "haproxy")
    version = re.search(r"version ([\d.]+)", _output(haproxy, "-v"))
    expect(version, "haproxy -v tells no version")
    expect(shutil.which("openssl"), "take-keys needs the openssl program")
    with bench.world() as world:
        expect(take_keys(world) == 0, "take-keys took no keys")
        port = free_port()
        keys = world.folder / "keys-of-edi" / "keys.cfg"
        running = world.start(
            "haproxy",
            [haproxy, "-W", "-f", keys, "-f", FOLDER / "haproxy.cfg"],
            ready=port,
            environment={
                "EDI_ISSUER": world.issuer,
                "PROXY_LISTEN": f"127.0.0.1:{port}",
                "MODEL_FRAUD": f"127.0.0.1:{world.model.port}",
            },
        )
        target = Target(
            program="HAProxy",
            version=version[1],
            way="jwt_verify",
            port=port,
            asks_edi=False,
            identity={
                "X-Auth-Request-User": claim("sub"),
                "X-Edi-Client-Id": claim("client_id"),
                "X-Edi-Token-Id": claim("jti"),
            },
            log=running,
        )
        rotated, key_revoked, gone = LAST
        own = [
            Case("an unchanged key set asks for no reload", _unchanged),
            Case("take-keys with a key missing or damaged writes nothing", _damaged),
            rotated,
            Case("a reload takes the next standby key in", lambda caller: _taken_in(caller, running)),
            key_revoked,
            Case("a reload ends trust in a revoked key", lambda caller: _distrust(caller, running)),
            gone,
        ]
        bench.run(world, target, [*CASES, TWISTED_PATHS, AGES, *own])


def take_keys(world: World, pem: str | None = None) -> int:
    """Runs the shipped program as its README says; its exit code."""
    if pem is None:
        pem = published(world)
    done = subprocess.run(
        [FOLDER / "take-keys", world.folder / "keys-of-edi"], input=pem, capture_output=True, text=True, timeout=30
    )
    return done.returncode


def published(world: World) -> str:
    """What `edi key export --pem` prints, or the same made from the key set where this edi cannot."""
    if not world.offers("key", "export"):
        return "".join(public_pem(jwk).decode() for jwk in world.jwks()["keys"])
    done = subprocess.run(
        [world.edi, "key", "export", "--pem", "--issuer", world.issuer], capture_output=True, text=True, timeout=30
    )
    expect(done.returncode == 0, f"edi key export: {done.stderr}")
    return done.stdout


def reload(world: World, running: Program) -> None:
    """Takes the published keys in, as a timer would."""
    expect(take_keys(world) == 0, "take-keys saw no change")
    reloads = running.log.read_text().count("Loading success")
    running.process.send_signal(signal.SIGUSR2)
    deadline = time.monotonic() + 10
    while running.log.read_text().count("Loading success") == reloads:
        expect(time.monotonic() < deadline, f"no reload:\n{running.tail()}")
        time.sleep(0.05)
    # The former worker is told to stop only now, and may take another connection until it has heard.
    time.sleep(1)


def _unchanged(caller: Caller) -> None:
    expect(take_keys(caller.world) == UNCHANGED, "take-keys saw a change where there is none")


def _damaged(caller: Caller) -> None:
    keys = caller.world.folder / "keys-of-edi" / "keys.cfg"
    before, whole = keys.read_text(), published(caller.world)
    for what, pem in {"no key": "", "half a key": whole[:-80], "an error message": "error: connection refused\n"}.items():
        expect(take_keys(caller.world, pem) == 1, f"take-keys accepted {what}")
        expect(keys.read_text() == before, f"{what}: take-keys changed the rules")


def _taken_in(caller: Caller, running: Program) -> None:
    _needs_rotation(caller.world)
    token = caller.world.token()
    reload(caller.world, running)
    passes(caller.call(token), "after the reload")


def _distrust(caller: Caller, running: Program) -> None:
    world = caller.world
    _needs_rotation(world)
    token = world.token()
    passes(caller.call(token))
    world.cli("key", "revoke", parts(token)[0]["kid"], "--yes")
    reload(world, running)
    refused(caller.call(token), (401,), "a token of a key that left the key set")
    passes(caller.call(world.token()), "a token of the key after it")


def _needs_rotation(world: World) -> None:
    if not world.offers("key", "rotate"):
        raise Skipped("this edi has no `key rotate` yet")


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout
