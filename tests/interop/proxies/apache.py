"""Apache httpd with mod_oauth2 and with mod_auth_openidc, each by the key set and by introspection."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import install
from harness import CONFIG, Bench, Missing, Target, World, battery, claim, expect, free_port
from more import AGES, TWISTED_PATHS

FOLDER = CONFIG / "apache"
MODULES = Path("/usr/lib/apache2/modules")
#: Debian's packages, and the modules in them.
PACKAGES = {"libapache2-mod-oauth2": "mod_oauth2.so", "libapache2-mod-auth-openidc": "mod_auth_openidc.so"}


def check(bench: Bench) -> None:
    """Each of the four ways."""
    apache = install.debian("apache2", "apache2")
    for package, module in PACKAGES.items():
        if not (MODULES / module).exists():
            install.debian_package(package)
        if not (MODULES / module).exists():
            raise Missing(f"{package} brought no {module}")
    told = subprocess.run([apache, "-v"], capture_output=True, text=True, timeout=10).stdout
    version = re.search(r"Apache/([\d.]+)", told)
    expect(version, "apache2 -v tells none")
    for way in ("oauth2-jwks", "oauth2-introspection", "auth_openidc-jwks", "auth_openidc-introspection"):
        with bench.world() as world:
            port = free_port()
            state = world.folder / "apache"
            state.mkdir()
            world.folder.chmod(0o711)  # Apache's workers are www-data.
            defined = {
                "CHECK": way,
                "EDI": world.issuer,
                "PROXY_LISTEN": f"127.0.0.1:{port}",
                "MODEL_FRAUD": f"http://127.0.0.1:{world.model.port}",
                "STATE": state,
            }
            if way.startswith("auth_openidc"):
                front = TlsFront(world)  # mod_auth_openidc takes no other URLs.
                defined |= {"EDI": front.url, "EDI_ISSUER": world.issuer, "EDI_CA": front.certificate}
            secret = world.cli("client", "create", "gateway", "--scope", "edi:introspect")["client_secret"]
            options = [part for name, value in defined.items() for part in ("-C", f"Define {name} {value}")]
            running = world.start(
                "apache",
                [apache, "-d", FOLDER, "-f", "httpd.conf", *options, "-D", "FOREGROUND"],
                ready=port,
                environment={"EDI_CLIENT_ID": "gateway", "EDI_CLIENT_SECRET": secret},
            )
            running.log = state / "error.log"
            target = Target(
                program="Apache",
                version=version[1],
                way=way.replace("-", ", "),
                port=port,
                asks_edi="introspection" in way,
                wrong_audience=(403,),
                identity={
                    "X-Auth-Request-User": claim("sub"),
                    "X-Edi-Client-Id": claim("client_id"),
                    "X-Edi-Token-Id": claim("jti"),
                },
                log=running,
            )
            battery(bench, world, target, [AGES, TWISTED_PATHS])


class TlsFront:
    """Terminates TLS in front of edi, as something does wherever edi is not on loopback. Ends with the process."""

    def __init__(self, world: World) -> None:
        self.certificate = world.folder / "front.pem"
        key = world.folder / "front.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
            + ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", self.certificate],
            check=True,
            capture_output=True,
        )
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)
        self._edi = ("127.0.0.1", world.public_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            caller, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        """One request a connection: TLS sockets of Python cannot be read and written by two threads at once."""
        try:
            with self._context.wrap_socket(caller, server_side=True) as inside, socket.create_connection(self._edi, 5) as edi:
                inside.settimeout(10)
                edi.settimeout(10)
                edi.sendall(_closing(_request(inside)))
                while chunk := edi.recv(65536):
                    inside.sendall(chunk)
        except OSError:
            caller.close()


def _request(wire: ssl.SSLSocket) -> bytes:
    """A whole request with a body of known length."""
    data = b""
    while b"\r\n\r\n" not in data and (chunk := wire.recv(65536)):
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    while length and len(body) < int(length[1]) and (chunk := wire.recv(65536)):
        body += chunk
    return head + b"\r\n\r\n" + body


def _closing(request: bytes) -> bytes:
    """The request, with the wish that edi closes after its answer."""
    line, rest = request.split(b"\r\n", 1)
    return line + b"\r\nConnection: close\r\n" + rest
