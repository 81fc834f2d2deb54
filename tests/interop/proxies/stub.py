"""A stand-in for a deployed model: answers every request with what arrived, as JSON, and keeps it.

A test compares what the caller sent with what the model saw, and proves by the count of requests that a refused call
never came this far.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: Bodies longer than this come back as length and digest alone.
ECHO_LIMIT = 64 * 1024


class Stub:
    """The model. `seen` holds every request in order, each a dict: method, target, headers (a list of pairs),
    body_length, body_sha256 and, up to `ECHO_LIMIT` bytes, body_base64."""

    def __init__(self) -> None:
        self.seen: list[dict] = []
        self._server = _Server(("127.0.0.1", 0), _handler(self.seen))
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stops answering."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Proxies drop connections as they like; anything else is a fault of the stub's and is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _handler(seen: list[dict]) -> type[BaseHTTPRequestHandler]:
    class Echo(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def _answer(self) -> None:
            body = self._body()
            got = {
                "method": self.command,
                "target": self.path,
                "headers": [[name, value] for name, value in self.headers.items()],
                "body_length": len(body),
                "body_sha256": hashlib.sha256(body).hexdigest(),
            }
            if len(body) <= ECHO_LIMIT:
                got["body_base64"] = base64.b64encode(body).decode()
            seen.append(got)
            answer = json.dumps(got).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Model", "stub")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

        def _body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline() not in (b"\r\n", b"\n", b""):
                pass
            return body

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer

        def log_message(self, *_: object) -> None:
            """Silence: the harness reports."""

    return Echo
