"""edi, a model, and whatever program stands between them: a world for one test, in a temporary folder."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from basics import CONFIG, HOST, LONG_ROLES, ROLE, Failed, expect, free_port
from jwt import forgeries, parts
from stub import Stub


@dataclass
class Program:
    """A process of ours. Its output goes to `log`."""

    name: str
    process: subprocess.Popen
    log: Path

    def stop(self) -> None:
        """Ends it and the children in its group: politely, then not."""
        for sign, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            if self.process.poll() is not None:
                return
            os.killpg(self.process.pid, sign)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue

    def tail(self, lines: int = 25) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


# --- the world -------------------------------------------------------------------------------------------------------


class World:
    """edi in a temporary folder, a model behind it all, and clients:

    - `fraud-caller` holds `fraud-scoring` and may also name the audience `other-api`;
    - `other-caller` holds `other` (its deployment answers at /model/other/);
    - `short-lived` holds `fraud-scoring`, its tokens live for 10 seconds;
    - `both-caller` holds `fraud-scoring` and `third`;
    - `many-roles` holds `fraud-scoring` and twenty roles with the longest names there are;
    - `auditor` holds the admin scope `edi:read` and `fraud-scoring`.

    Deployments: `fraud` (role fraud-scoring, models.example.com/model/fraud/) and `other` (role other, /model/other/),
    both of the default audience. Use as a context manager.
    """

    def __init__(self, edi: str | Path) -> None:
        self.edi = str(Path(edi).resolve())
        self.folder = Path(tempfile.mkdtemp(prefix="edi-proxies-"))
        self.public_port = free_port()
        self.admin_port = free_port()
        self.issuer = f"http://127.0.0.1:{self.public_port}"
        self.programs: list[Program] = []
        self.secrets: dict[str, str] = {}
        self.model = Stub()
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends what was started, newest first, and removes the folder."""
        for one in reversed(self.programs):
            one.stop()
        self.model.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _begin(self) -> None:
        self.server = self._serve()
        self.cli("deployment", "create", "fraud", "--role", ROLE, "--host", HOST, "--path", "/model/fraud/")
        self.cli("deployment", "create", "other", "--role", "other", "--host", HOST, "--path", "/model/other/")
        for client, options in {
            "fraud-caller": ["--role", ROLE, "--audience", "other-api"],
            "other-caller": ["--role", "other"],
            "both-caller": ["--role", ROLE, "--role", "third"],
            "many-roles": ["--role", ROLE, *(part for role in LONG_ROLES for part in ("--role", role))],
            "auditor": ["--role", ROLE, "--scope", "edi:read"],
            "short-lived": ["--role", ROLE, "--lifetime", "10s"],
        }.items():
            self.secrets[client] = self.cli("client", "create", client, *options)["client_secret"]
        self._expiring = self.token("short-lived")

    def _serve(self) -> Program:
        options = ["--listen-public", f"127.0.0.1:{self.public_port}", "--listen-admin", f"127.0.0.1:{self.admin_port}"]
        return self.start(
            "edi",
            [self.edi, "serve", *options, "--issuer", self.issuer],
            ready=f"{self.issuer}/health/ready",
            environment={"EDI__KEYS__PUBLISH_BEFORE": "1s"},
        )

    # Programs

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        ready: int | str | Callable[[], bool],
        environment: dict[str, str] | None = None,
        within: float = 20,
    ) -> Program:
        """Starts a program in the world's folder and waits until it is ready: a port that accepts, a URL that answers
        2xx, or a callable that says so. It ends with the world."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.folder,
                env=os.environ | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started = Program(name, process, log)
        self.programs.append(started)
        deadline = time.monotonic() + within
        while not _is_ready(ready):
            if process.poll() is not None:
                raise Failed(f"{name} ended with {process.returncode} at once:\n{started.tail()}")
            if time.monotonic() > deadline:
                raise Failed(f"{name} was not ready within {within:.0f} s:\n{started.tail()}")
            time.sleep(0.05)
        return started

    def stop_edi(self) -> None:
        """edi is gone from now on."""
        self.server.stop()

    def start_edi(self) -> None:
        """edi is back, with what it stored."""
        self.server = self._serve()

    def render(self, config: Path | str, replace: dict[str, object], name: str | None = None) -> Path:
        """Copies a configuration of `config/proxies/` (a path in there) into the world's folder and replaces
        addresses, ports, URLs and paths in it, nothing else: each key must occur, and neither side may hold more than
        one word. The copy keeps its name unless `name` is given."""
        source = CONFIG / config
        text = source.read_text()
        for old in sorted(replace, key=len, reverse=True):
            new = str(replace[old])
            word = re.compile(r"[\w.:/@-]+")
            expect(word.fullmatch(old) and word.fullmatch(new), f"not an address: {old!r}, {new!r}")
            # A number or name alone, not a part of a longer one.
            text, found = re.subn(rf"(?<![\w.]){re.escape(old)}(?!\w)", new.replace("\\", "\\\\"), text)
            expect(found, f"{source.name} does not mention {old}")
        rendered = self.folder / (name or source.name)
        rendered.write_text(text)
        return rendered

    # edi

    def cli(self, *arguments: str, stdin: str | None = None) -> dict:
        """Runs the command line as the operator; its JSON."""
        done = subprocess.run(
            [self.edi, "--json", *arguments],
            cwd=self.folder,
            env=os.environ | {"EDI_CREDENTIALS": str(self.folder / "keys" / "operator.json")},
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=30,
        )
        expect(done.returncode == 0, f"edi {' '.join(arguments)}: exit {done.returncode}: {done.stderr.strip()}")
        try:
            return json.loads(done.stdout)
        except ValueError:
            return {"text": done.stdout}

    def offers(self, *command: str) -> bool:
        """Whether this edi has a subcommand."""
        done = subprocess.run([self.edi, *command, "--help"], capture_output=True, text=True, timeout=10)
        return done.returncode == 0

    def token(self, client: str = "fraud-caller", **form: str) -> str:
        """A fresh token of a client; `form` may name scope and resource."""
        basic = base64.b64encode(f"{client}:{self.secrets[client]}".encode()).decode()
        request = urllib.request.Request(
            f"{self.issuer}/oauth2/token",
            urllib.parse.urlencode({"grant_type": "client_credentials"} | form).encode(),
            {"Authorization": f"Basic {basic}"},
        )
        deadline = time.monotonic() + 15
        while True:
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    return json.load(answer)["access_token"]
            except urllib.error.HTTPError as error:
                # 503: a bulk revocation still covers this second.
                if error.code != 503 or time.monotonic() > deadline:
                    raise Failed(f"no token for {client}: {error.code} {error.read()[:300]!r}") from error
                time.sleep(0.3)

    def expired(self, leeway: float = 0) -> str:
        """A token that was good when the world began; waits until it is past its end by more than `leeway` seconds."""
        left = parts(self._expiring)[1]["exp"] + leeway + 1 - time.time()
        time.sleep(max(0.0, left))
        return self._expiring

    def wrong_audience(self) -> str:
        """A token with the right role for another audience."""
        token = self.token(resource="other-api", scope=ROLE)
        expect(parts(token)[1]["aud"] == "other-api", "edi issued another audience than asked for")
        return token

    def jwks(self) -> dict:
        """The published key set."""
        with urllib.request.urlopen(f"{self.issuer}/.well-known/jwks.json", timeout=5) as answer:
            return json.load(answer)

    def forged(self) -> dict[str, str]:
        """Forgeries by name, all claiming the wanted role."""
        return forgeries(self.token("other-caller"), ROLE, self.jwks())

    def revoke(self, token: str) -> None:
        """Revokes one token as the operator."""
        self.cli("revoke", "--token", "-", "--yes", stdin=token)

    def rotate(self) -> None:
        """Plans a rotation and waits until the next key signs."""
        before = self._kid()
        time.sleep(1.1)  # keys.publish_before is one second here.
        self.cli("key", "rotate")
        deadline = time.monotonic() + 60
        while self._kid() == before:
            expect(time.monotonic() < deadline, "the next key did not take over within a minute")
            time.sleep(0.5)

    def revoke_key(self) -> str:
        """Revokes the key that signs, as after a leak; its kid."""
        kid = self._kid()
        self.cli("key", "revoke", "--yes", "--", kid)  # A kid may begin with a hyphen.
        return kid

    def _kid(self) -> str:
        return parts(self.token())[0]["kid"]


def _is_ready(ready: int | str | Callable[[], bool]) -> bool:
    if callable(ready):
        return ready()
    try:
        if isinstance(ready, int):
            socket.create_connection(("127.0.0.1", ready), 0.5).close()
            return True
        with urllib.request.urlopen(ready, timeout=1):
            return True
    except OSError:
        return False
