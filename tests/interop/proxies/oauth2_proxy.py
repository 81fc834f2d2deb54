"""oauth2-proxy, asked by nginx. edi is an extra issuer there; the company's identity provider, which oauth2-proxy
insists on discovering, is a document of ours."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import install
import nginx
from harness import Bench, Target, World, battery, claim, free_port, joined_roles, program


def check(bench: Bench) -> None:
    """With oauth2-proxy v7 from PATH or from where `OAUTH2_PROXY` says; nothing here installs it."""
    binary = program("oauth2-proxy", os.environ.get("OAUTH2_PROXY", ""))
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10)
    version = re.search(r"v?(\d[\d.]*)", said.stdout + said.stderr)[1]
    in_front = install.debian("nginx", "nginx")
    with bench.world() as world, IdentityProvider() as people:
        battery(bench, world, _asked(world, binary, version, in_front, people))


def _asked(world: World, binary: str, version: str, in_front: str, people: IdentityProvider) -> Target:
    port, asked = free_port(), free_port()
    issuers = {"https://login.example.com": people.issuer, "https://tokens.example.com": world.issuer}
    config = world.render("oauth2-proxy/oauth2-proxy.cfg", issuers | {"127.0.0.1:4180": f"127.0.0.1:{asked}"})
    # Of no use to anybody: nobody logs in here.
    secrets = {"OAUTH2_PROXY_CLIENT_SECRET": "unused", "OAUTH2_PROXY_COOKIE_SECRET": "0123456789abcdef"}
    started = world.start("oauth2-proxy", [binary, "--config", config], ready=asked, environment=secrets)
    addresses = {
        "80": f"127.0.0.1:{port}",
        "127.0.0.1:4180": f"127.0.0.1:{asked}",
        "127.0.0.1:9000": f"127.0.0.1:{world.model.port}",
    }
    nginx.start(world, in_front, world.render("oauth2-proxy/nginx.conf", addresses, name="site.conf"), port)
    identity = {"X-Auth-Request-User": claim("sub"), "X-Auth-Request-Groups": joined_roles()}
    return Target("oauth2-proxy", version, "asked by nginx", port, False, identity=identity, log=started)


class IdentityProvider:
    """An OIDC provider as far as discovery goes."""

    def __enter__(self) -> IdentityProvider:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        people = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer = people.issuer
                document = {
                    "issuer": issuer,
                    "authorization_endpoint": f"{issuer}/authorize",
                    "token_endpoint": f"{issuer}/token",
                    "jwks_uri": f"{issuer}/keys",
                    "response_types_supported": ["code"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256"],
                }
                body = json.dumps({"keys": []} if self.path == "/keys" else document).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Silence."""

        return Answers
