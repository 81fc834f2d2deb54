"""A stand-in for a model behind a proxy: answers with the bearer token it was called with."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Model(BaseHTTPRequestHandler):
    """`/` takes any token, `/revoked` none, `/once` refuses the first one it sees."""

    refused = None

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.path == "/once" and Model.refused is None:
            Model.refused = token
        refuse = not token or self.path == "/revoked" or (self.path == "/once" and token == Model.refused)
        body = token.encode()
        self.send_response(401 if refuse else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def start_model():
    """The URL of a model that lives as long as this process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"
