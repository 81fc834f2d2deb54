"""A running edi on loopback, as an operator and as a service see it."""

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from ports import free_port  # noqa: E402

ROLE = "fraud-scoring"
AUDIENCE = "model-prediction-api"


class Issuer:
    """`edi serve` in a folder of its own. Ends the process it started, and no other."""

    def __init__(self, program, folder, algorithms, issuer=None, path="", port=None):
        self.program, self.folder, self.algorithms = program, folder, algorithms
        self.port, self.admin = port or free_port(), free_port()
        self.local = f"http://127.0.0.1:{self.port}"
        self.url = issuer or self.local + path
        self.secrets, self.keys = {}, {}
        self.process = None
        folder.mkdir(parents=True, exist_ok=True)

    def start(self):
        settings = {name: value for name, value in os.environ.items() if not name.startswith("EDI")}
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "serve", "--issuer", self.url, "--listen-public", f"127.0.0.1:{self.port}",
                 "--listen-admin", f"127.0.0.1:{self.admin}"],
                cwd=self.folder, env={**settings, "EDI__KEYS__ALGORITHMS": self.algorithms},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"{self.local}/health/ready", timeout=5).close()
                return self
            except OSError:
                time.sleep(0.1)
        self.stop()
        raise SystemExit(f"edi did not get ready:\n{(self.folder / 'log').read_text()[-3000:]}")

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def register(self, client, *flags):
        """`edi client create`."""
        self.secrets[client] = self.operate("client", "create", client, *flags)["client_secret"]

    def keygen(self, client, *flags):
        """`edi client keygen --create`: the client's private key is left in a file."""
        made = self.operate("client", "keygen", client, "--create", "--out", str(self.folder / f"{client}.jwk"), *flags)
        self.keys[client] = self.folder / made["private_key"]

    def operate(self, *command):
        """A command of `edi`, with credentials that reach this process whatever its issuer says."""
        known = json.loads((self.folder / "keys/operator.json").read_text())
        credentials = self.folder / "operator-here.json"
        credentials.write_text(json.dumps({**known, "issuer": self.local}))
        credentials.chmod(0o600)
        done = subprocess.run([self.program, *command, "--json", "--credentials", str(credentials),
                               "--server", f"http://127.0.0.1:{self.admin}"],
                              cwd=self.folder, text=True, capture_output=True, timeout=60)
        if done.returncode != 0:
            raise SystemExit(f"edi {' '.join(command)}: {done.stderr}")
        return json.loads(done.stdout)

    def token(self, client, **form):
        """A token, got with nothing but the standard library."""
        proof = base64.b64encode(f"{client}:{self.secrets[client]}".encode()).decode()
        request = urllib.request.Request(
            f"{self.local}/oauth2/token", headers={"Authorization": f"Basic {proof}"},
            data=urllib.parse.urlencode({"grant_type": "client_credentials", **form}).encode())
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.load(answer)["access_token"]
        except urllib.error.HTTPError as refusal:
            raise SystemExit(f"no token for {client}: {refusal.read().decode()}") from None

    def published_key(self):
        with urllib.request.urlopen(f"{self.local}/.well-known/jwks.json", timeout=20) as answer:
            return json.load(answer)["keys"][0]
