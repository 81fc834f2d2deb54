"""What every proxy's test stands on: a world of edi and a model, and the one battery of cases that each way of putting
a proxy in front of the model has to pass.

A proxy's module (`nginx.py`, `envoy.py`, …) offers `check(bench: Bench) -> None`. For each of its ways it opens a
`World`, starts the real program from the configuration in `config/proxies/` with `World.render`, and hands a `Target`
to `battery`. Everything happens on loopback; only processes started here are ended.
"""

from __future__ import annotations

import base64
import concurrent.futures
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jwt import forgeries, parts
from stub import Stub

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "config" / "proxies"

#: What the shipped configurations protect: this host and path, for this role and audience.
HOST = "models.example.com"
PATH = "/model/fraud/predict"
ROLE = "fraud-scoring"
AUDIENCE = "model-prediction-api"

#: Role names of the greatest length, 63 characters (Kubernetes' label values).
LONG_ROLES = [f"team-{number:02}-".ljust(62, "x") + "z" for number in range(20)]

#: A caller's lies carry this word; the model must never see it.
LIE = "spoofed"

#: Headers that callers may send to pretend an identity or another request.
LIES = {
    "X-Forwarded-For": LIE,
    "X-Forwarded-Host": f"{LIE}.example.com",
    "X-Forwarded-Uri": f"/model/other/{LIE}",
    "X-Forwarded-Method": LIE.upper(),
    "X-Forwarded-User": LIE,
    "X-Forwarded-Groups": f"{LIE},{ROLE}",
    "X-Forwarded-Email": f"{LIE}@example.com",
    "X-Forwarded-Preferred-Username": LIE,
    "X-Forwarded-Access-Token": LIE,
    "X-Original-URL": f"http://{HOST}/model/other/{LIE}",
    "X-Original-URI": f"/model/other/{LIE}",
    "X-Original-Method": LIE.upper(),
    "X-Rewrite-URL": f"/model/other/{LIE}",
    "X-Envoy-Original-Path": f"/model/other/{LIE}",
    "X-Auth-Request-User": LIE,
    "X-Auth-Request-Groups": f"{LIE},{ROLE}",
    "X-Auth-Request-Email": f"{LIE}@example.com",
    "X-Auth-Request-Preferred-Username": LIE,
    "X-Auth-Request-Redirect": f"/{LIE}",
    "X-Edi-Client-Id": LIE,
    "X-Edi-Token-Id": LIE,
    "X-Edi-Roles": LIE,
}


class Failed(AssertionError):
    """A case's expectation did not hold."""


class Skipped(Exception):
    """A case that this program or this edi cannot be asked; the text says why."""


class Missing(Exception):
    """A program is not installed and could not be."""


def expect(holds: object, message: str) -> None:
    """Fails the case unless `holds`."""
    if not holds:
        raise Failed(message)


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program(name: str, *more: str) -> str:
    """The path of a program, looked for under the given paths first, then in PATH and the sbin folders."""
    places = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin"
    for candidate in (*more, shutil.which(name, path=places)):
        if candidate and Path(candidate).is_file():
            return str(candidate)
    raise Missing(f"{name} is not installed")


# --- processes -------------------------------------------------------------------------------------------------------


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
        """Copies a configuration of `config/proxies/` (a path in there) into the world's folder and replaces addresses,
        ports, URLs and paths in it, nothing else: each key must occur, and neither side may hold more than one word. The
        copy keeps its name unless
        `name` is given."""
        source = CONFIG / config
        text = source.read_text()
        for old in sorted(replace, key=len, reverse=True):
            new = str(replace[old])
            expect(re.fullmatch(r"[\w.:/@-]+", old) and re.fullmatch(r"[\w.:/@-]+", new), f"not an address: {old!r}, {new!r}")
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
        return done.returncode == 0 and f"edi {' '.join(command)}" in done.stdout

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
        """Plans a rotation and waits until the next key signs.

        Raises `Skipped` where this edi cannot rotate."""
        if not self.offers("key", "rotate"):
            raise Skipped("this edi has no `key rotate` yet")
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


# --- calls -----------------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    """What the caller got, and what the model saw of it (`None`: the call did not reach the model)."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    model: dict | None

    def header(self, name: str) -> str | None:
        """All values of a header, joined by commas."""
        return _joined(self.headers, name)

    def model_header(self, name: str) -> str | None:
        """The same of what the model saw."""
        return _joined(self.model["headers"], name) if self.model else None


def _joined(headers: Sequence[Sequence[str]], name: str) -> str | None:
    values = [value for key, value in headers if key.lower() == name.lower()]
    return ", ".join(values) if values else None


@dataclass
class Target:
    """One way of putting a program in front of the model, running.

    - `leeway`: seconds past its end for which the program still takes a token;
    - `wrong_audience`: the statuses it answers a token for another audience with;
    - `asks_edi`: it asks edi about every call, so it knows of revocations at once and must refuse when edi is gone;
      otherwise it verifies by the key set alone;
    - `identity`: headers that the model gets from the program, and the values they must have for `both-caller`'s token
      (a callable gets the claims);
    - `unauthenticated`: the status for a call without a usable token;
    - `keeps_token`: the token itself reaches the model;
    - `relearn`: makes the program fetch the key set now, as the end of its cache's time would; for programs that do not
      fetch it for an unknown key.
    """

    program: str
    version: str
    way: str
    port: int
    asks_edi: bool
    leeway: float = 0
    wrong_audience: tuple[int, ...] = (401,)
    unauthenticated: tuple[int, ...] = (401,)
    challenge: bool = True
    identity: dict[str, Callable[[dict], str]] = field(default_factory=dict)
    keeps_token: bool = False
    relearn: Callable[[], None] | None = None
    log: Program | None = None


class Caller:
    """Calls the model through a target."""

    def __init__(self, world: World, target: Target) -> None:
        self.world = world
        self.target = target

    def call(
        self,
        token: str | None,
        *,
        method: str = "GET",
        path: str = PATH,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        scheme: str = "Bearer",
        host: str = HOST,
        chunked: bool = False,
    ) -> Answer:
        """One request on its own connection. `path` goes out byte for byte."""
        sent = {"Host": host} | ({"Authorization": f"{scheme} {token}"} if token is not None else {}) | (headers or {})
        before = len(self.world.model.seen)
        connection = http.client.HTTPConnection("127.0.0.1", self.target.port, timeout=15)
        try:
            payload = iter([body[:7], body[7:]]) if chunked and body else body
            connection.request(method, path, payload, sent, encode_chunked=chunked)
            return self._read(connection, before)
        finally:
            connection.close()

    def on_one_connection(self, tokens: Sequence[str | None]) -> list[Answer]:
        """The same request once per token, one after the other on a kept connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.target.port, timeout=15)
        answers = []
        try:
            for token in tokens:
                before = len(self.world.model.seen)
                bearer = {"Authorization": f"Bearer {token}"} if token else {}
                connection.request("GET", PATH, headers={"Host": HOST} | bearer)
                answers.append(self._read(connection, before))
        finally:
            connection.close()
        return answers

    def raw(self, request: bytes) -> Answer:
        """Bytes as they are; reads one answer. A connection closed without one has status 0."""
        before = len(self.world.model.seen)
        with socket.create_connection(("127.0.0.1", self.target.port), 15) as wire:
            wire.sendall(request)
            answer = http.client.HTTPResponse(wire)
            try:
                answer.begin()
                body = answer.read()
            except (http.client.HTTPException, OSError):
                return Answer(0, [], b"", self._seen(before))
            return Answer(answer.status, answer.getheaders(), body, self._seen(before))

    def _read(self, connection: http.client.HTTPConnection, before: int) -> Answer:
        answer = connection.getresponse()
        body = answer.read()
        return Answer(answer.status, answer.getheaders(), body, self._seen(before))

    def _seen(self, before: int) -> dict | None:
        seen = self.world.model.seen[before:]
        expect(len(seen) <= 1, f"one call reached the model {len(seen)} times")
        return seen[0] if seen else None


def passes(answer: Answer, what: str = "a good call") -> None:
    """It was answered by the model."""
    expect(answer.status == 200, f"{what}: {answer.status} {answer.body[:200]!r}, not 200")
    expect(answer.model is not None, f"{what}: 200, but not from the model")


def refused(answer: Answer, statuses: Sequence[int], what: str) -> None:
    """It was not, and did not reach the model."""
    expect(answer.model is None, f"{what} reached the model (status {answer.status})")
    expect(answer.status in statuses, f"{what}: {answer.status} {answer.body[:200]!r}, not {' or '.join(map(str, statuses))}")


# --- the report ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A row of the report: a rule, and what tries it."""

    rule: str
    run: Callable[[Caller], None]


class Bench:
    """Runs cases, prints each as it goes, and the table at the end."""

    def __init__(self, edi: str | Path, tools: Path | None = None) -> None:
        self.edi = Path(edi)
        #: Where the runner put what it installed: `venv/`, `go/`.
        self.tools = tools or ROOT / "target" / "interop-proxies"
        self.results: dict[tuple[str, str], str] = {}

    def world(self) -> World:
        """A new world."""
        return World(self.edi)

    def run(self, world: World, target: Target, cases: Sequence[Case]) -> None:
        """Every case against a target, in order."""
        column = f"{target.program} {target.version}, {target.way}"
        caller = Caller(world, target)
        for case in cases:
            began = time.monotonic()
            try:
                case.run(caller)
                result, note = "pass", ""
            except Skipped as why:
                result, note = "skip", f": {why}"
            except (Failed, OSError, http.client.HTTPException, subprocess.SubprocessError) as why:
                result, note = "FAIL", f": {why if isinstance(why, Failed) else repr(why)}"
            self.note(column, case.rule, result, note, time.monotonic() - began)
            if result == "FAIL" and target.log:
                print("      " + target.log.tail(8).replace("\n", "\n      "), flush=True)

    def note(self, column: str, rule: str, result: str, note: str = "", took: float = 0) -> None:
        """One result; `result` is pass, FAIL or skip."""
        self.results[column, rule] = result
        print(f"{result:4}  {column}: {rule}{note}{f' ({took:.1f} s)' if took > 2 else ''}", flush=True)

    def close(self) -> int:
        """Prints the table; 1 if anything failed or nothing ran."""
        columns = list(dict.fromkeys(column for column, _ in self.results))
        rules = list(dict.fromkeys(rule for _, rule in self.results))
        print()
        for number, column in enumerate(columns, 1):
            print(f"{number:>3} = {column}")
        width = max((len(rule) for rule in rules), default=0)
        print(" " * width + "".join(f"{number:>6}" for number in range(1, len(columns) + 1)))
        for rule in rules:
            print(rule.ljust(width) + "".join(f"{self.results.get((column, rule), '-'):>6}" for column in columns))
        counts = {result: list(self.results.values()).count(result) for result in ("pass", "FAIL", "skip")}
        print()
        print(f"{counts['pass']} passed, {counts['FAIL']} failed, {counts['skip']} skipped", flush=True)
        return 0 if counts["pass"] and not counts["FAIL"] else 1


# --- the battery -----------------------------------------------------------------------------------------------------


def battery(bench: Bench, world: World, target: Target, more: Sequence[Case] = ()) -> None:
    """The cases every way has to pass, then `more`, then those that spend the world: keys change, edi goes away."""
    bench.run(world, target, [*CASES, *more, *LAST])


def _good(caller: Caller) -> None:
    answer = caller.call(caller.world.token(), path=f"{PATH}?x=1&y=a%20b")
    passes(answer)
    expect(answer.model["target"] == f"{PATH}?x=1&y=a%20b", f"the model saw {answer.model['target']}")
    expect(answer.header("X-Model") == "stub", "the model's headers do not come back")


def _none(caller: Caller) -> None:
    answer = caller.call(None)
    refused(answer, caller.target.unauthenticated, "a call without a token")
    if caller.target.challenge:
        challenge = answer.header("WWW-Authenticate") or ""
        expect(challenge.lower().startswith("bearer"), f"the challenge is {challenge!r} (RFC 6750 §3)")


def _malformed(caller: Caller) -> None:
    good = caller.world.token()
    unusable = {401, 400, *caller.target.unauthenticated}
    for what, value in {
        "an empty bearer": "Bearer ",
        "a scheme alone": "Bearer",
        "two tokens": f"Bearer {good} {good}",
        "no JWT": "Bearer abc",
        "empty parts": "Bearer ..",
        "Basic": "Basic ZnJhdWQ6eA==",
        "a token without a scheme": good,
        "another scheme": f"Token {good}",
        "a token cut short": f"Bearer {good[:-4]}",
        "a fourth part": f"Bearer {good}.x",
    }.items():
        refused(caller.call(None, headers={"Authorization": value}), sorted(unusable), what)


def _elsewhere(caller: Caller) -> None:
    good = caller.world.token()
    answer = caller.call(None, path=f"{PATH}?access_token={good}")
    refused(answer, caller.target.unauthenticated, "a token in the query")
    answer = caller.call(None, headers={"Cookie": f"access_token={good}; token={good}"})
    refused(answer, caller.target.unauthenticated, "a token in a cookie")


def _wrong_role(caller: Caller) -> None:
    refused(caller.call(caller.world.token("other-caller")), (403,), "a token of another role")


def _several_roles(caller: Caller) -> None:
    token = caller.world.token("both-caller")
    answer = caller.call(token)
    passes(answer, "a token with two roles")
    _identity(caller, answer, token)


def _many_roles(caller: Caller) -> None:
    """A token of five kilobytes."""
    token = caller.world.token("many-roles")
    answer = caller.call(token)
    passes(answer, f"a token of {len(token)} bytes")
    _identity(caller, answer, token)


def _operator(caller: Caller) -> None:
    """A token with an admin scope has edi for its audience, and no roles, whatever its client holds."""
    refused(caller.call(caller.world.token("auditor", scope="edi:read")), (401, 403), "an operator's token")
    passes(caller.call(caller.world.token("auditor")), "the same client's token for the model")


def _identity(caller: Caller, answer: Answer, token: str) -> None:
    claims = parts(token)[1]
    for name, value in caller.target.identity.items():
        saw, wanted = answer.model_header(name), value(claims)
        expect(saw == wanted, f"the model saw {name}: {saw}, not {wanted}")


def _no_token_at_model(caller: Caller) -> None:
    if caller.target.keeps_token:
        raise Skipped("this way passes the token on")
    token = caller.world.token()
    answer = caller.call(token)
    passes(answer)
    expect(token not in json.dumps(answer.model), "the model saw the token")


def _expired(caller: Caller) -> None:
    refused(caller.call(caller.world.expired(caller.target.leeway)), (401,), "an expired token")


def _wrong_audience(caller: Caller) -> None:
    refused(caller.call(caller.world.wrong_audience()), caller.target.wrong_audience, "a token for another audience")


def _forged(caller: Caller) -> None:
    for what, token in caller.world.forged().items():
        refused(caller.call(token), sorted({401, *caller.target.unauthenticated}), what)


def _revoked(caller: Caller) -> None:
    if not caller.target.asks_edi:
        raise Skipped("by the key set alone: a revoked token passes until it expires")
    token = caller.world.token()
    passes(caller.call(token))
    caller.world.revoke(token)
    refused(caller.call(token), (401,), "a revoked token")
    passes(caller.call(caller.world.token()), "another token after the revocation")


def _lower_case(caller: Caller) -> None:
    for scheme in ("bearer", "BEARER"):
        passes(caller.call(caller.world.token(), scheme=scheme), f"the scheme written {scheme}")


def _bodies(caller: Caller) -> None:
    token = caller.world.token()
    big = hashlib.shake_256(b"edi").digest(3 * 1024 * 1024)
    for what, body, chunked in (
        ("an empty body", b"", False),
        ("JSON", b'{"instances": [[1.0, 2.0]]}', False),
        ("a chunked body", bytes(range(256)) * 16, True),
        ("three megabytes", big, False),
    ):
        answer = caller.call(token, method="POST", body=body, chunked=chunked, headers={"Content-Type": "application/json"})
        passes(answer, what)
        expect(answer.model["method"] == "POST", f"{what}: the model saw {answer.model['method']}")
        expect(answer.model["body_length"] == len(body), f"{what}: {answer.model['body_length']} of {len(body)} bytes")
        expect(answer.model["body_sha256"] == hashlib.sha256(body).hexdigest(), f"{what}: other bytes arrived")
    answer = caller.call(None, method="POST", body=b'{"instances": []}')
    refused(answer, caller.target.unauthenticated, "a POST without a token")


def _methods(caller: Caller) -> None:
    token = caller.world.token()
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"):
        refused(caller.call(None, method=method), caller.target.unauthenticated, f"{method} without a token")
        answer = caller.call(token, method=method)
        passes(answer, method)
        expect(answer.model["method"] == method, f"the model saw {answer.model['method']}, not {method}")


def _lies(caller: Caller) -> None:
    world, target = caller.world, caller.target
    refused(caller.call(None, headers=LIES), target.unauthenticated, "a caller with false headers and no token")
    wrong = world.token("other-caller")
    refused(caller.call(wrong, headers=LIES), (403,), "another role with false headers")
    towards = LIES | {
        "X-Forwarded-Host": HOST,
        "X-Forwarded-Uri": "/model/other/predict",
        "X-Forwarded-Method": "GET",
        "X-Original-URL": f"http://{HOST}/model/other/predict",
        "X-Original-URI": "/model/other/predict",
    }
    refused(caller.call(wrong, headers=towards), (403,), "another role that points at a model it may call")
    for headers in (LIES, {name.lower(): value for name, value in LIES.items()}, {n.replace("-", "_"): v for n, v in LIES.items()}):
        token = world.token()
        answer = caller.call(token, headers=headers)
        if answer.status == 400:
            refused(answer, (400,), "false headers")
            continue
        passes(answer, "a good call with false headers")
        expect(answer.model["target"] == PATH, f"the model saw {answer.model['target']}")
        lies = [f"{name}: {value}" for name, value in answer.model["headers"] if LIE in value.lower()]
        expect(not lies, f"the model believed {'; '.join(lies)}")
        _identity(caller, answer, token)


def _doubled(caller: Caller) -> None:
    """Two Authorization headers: whichever is judged, a bad one must not ride on a good one to the model."""
    good, bad = caller.world.token(), caller.world.token("other-caller")
    for first, second in ((good, bad), (bad, good), (bad, bad)):
        lines = [f"GET {PATH} HTTP/1.1", f"Host: {HOST}", f"Authorization: Bearer {first}", f"Authorization: Bearer {second}"]
        answer = caller.raw("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        expect(answer.status < 500, f"two Authorization headers: {answer.status}")
        if answer.model is not None:
            expect(good in (first, second), "two bad tokens reached the model")
            expect(bad not in json.dumps(answer.model), "a bad token reached the model beside a good one")


def _other_paths(caller: Caller) -> None:
    """However a path is written, a token for one model opens no other."""
    token = caller.world.token()
    for path in (
        "/model/other/predict",
        "/model/fraud/../other/predict",
        "/model/fraud/%2e%2e/other/predict",
        "/model/fraud/..%2fother/predict",
        "/model/fraud/..%5cother/predict",
        "/model/fraud/..;/other/predict",
        "/model/fraud/.%2e/other/predict",
        "/model//other/predict",
        "//model/other/predict",
        "/model/./other/predict",
        "/model/%6fther/predict",
        "/model/fraudulent/predict",
        "/model/Other/predict",
        "/",
    ):
        answer = caller.call(token, path=path)
        expect(answer.status < 500 or answer.model is None, f"{path}: {answer.status}")
        if answer.model is not None:
            raise Failed(f"{path} reached the model as {answer.model['target']}")
        expect(answer.status != 200, f"{path}: 200")


def _other_host(caller: Caller) -> None:
    """A request line with its own host, and a Host header with another."""
    wrong = caller.world.token("other-caller")
    for line, host in ((f"http://{HOST}{PATH}", "elsewhere.example.com"), (f"http://elsewhere.example.com{PATH}", HOST)):
        for token in (None, wrong):
            bearer = [f"Authorization: Bearer {token}"] if token else []
            lines = [f"GET {line} HTTP/1.1", f"Host: {host}", *bearer, "Connection: close", "", ""]
            answer = caller.raw("\r\n".join(lines).encode())
            expect(answer.model is None, f"{line} with Host {host} reached the model")
            expect(400 <= answer.status < 500 or answer.status == 0, f"{line} with Host {host}: {answer.status}")


def _connection(caller: Caller) -> None:
    good, wrong = caller.world.token(), caller.world.token("other-caller")
    answers = caller.on_one_connection([good, None, wrong, good])
    passes(answers[0], "the first call")
    refused(answers[1], caller.target.unauthenticated, "a call without a token after a good one")
    refused(answers[2], (403,), "another role after a good one")
    passes(answers[3], "a good call after bad ones")


def _hidden(caller: Caller) -> None:
    """A body that looks like a second request, framed so that two programs could disagree where it begins."""
    good = caller.world.token()
    inner = f"GET /model/other/predict HTTP/1.1\r\nHost: {HOST}\r\nX-Auth-Request-User: {LIE}\r\n\r\n"
    head = f"POST {PATH} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {good}\r\n"
    for framing in (
        f"Content-Length: {len(inner) + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        f"Transfer-Encoding: chunked\r\nContent-Length: {len(inner) + 5}\r\n\r\n0\r\n\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: xchunked\r\n\r\n",
        f"Transfer-Encoding: \tchunked\r\nContent-Length: {len(inner) + 5}\r\n\r\n0\r\n\r\n",
        f"Content-Length: 0\r\nContent-Length: {len(inner)}\r\n\r\n",
    ):
        before = len(caller.world.model.seen)
        caller.raw((head + framing + inner).encode())
        time.sleep(0.05)
        seen = [got["target"] for got in caller.world.model.seen[before:]]
        expect(all(target == PATH for target in seen), f"with {framing!r} the model saw {seen}")


def _together(caller: Caller) -> None:
    """Good and bad calls side by side: nobody gets another's answer or name."""
    world, user = caller.world, caller.target.identity.get("X-Auth-Request-User") and "X-Auth-Request-User"
    kinds = [(world.token("fraud-caller"), 200), (world.token("both-caller"), 200), (world.token("other-caller"), 403)]

    def one(number: int) -> str | None:
        token, status = kinds[number % len(kinds)]
        connection = http.client.HTTPConnection("127.0.0.1", caller.target.port, timeout=30)
        try:
            connection.request("GET", f"{PATH}?n={number}", headers={"Host": HOST, "Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != status:
            return f"call {number}: {answer.status}, not {status}"
        if status == 200:
            model = json.loads(body)
            if model["target"] != f"{PATH}?n={number}":
                return f"call {number} got the answer to {model['target']}"
            if user and _joined(model["headers"], user) != parts(token)[1]["sub"]:
                return f"call {number} went by the name of {_joined(model['headers'], user)}"
        return None

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        wrong = [trouble for trouble in pool.map(one, range(240)) if trouble]
    expect(not wrong, "; ".join(wrong[:3]))


def _rotated(caller: Caller) -> None:
    before = caller.world.token()
    passes(caller.call(before))
    caller.world.rotate()
    after = caller.world.token()
    expect(parts(after)[0]["kid"] != parts(before)[0]["kid"], "the rotation changed no key")
    passes(caller.call(after), "a token of the new key")
    passes(caller.call(before), "a token of the retiring key")


def _key_revoked(caller: Caller) -> None:
    if caller.target.relearn:
        caller.target.relearn()  # The standby was published after the rotation just now.
    before = caller.world.token()
    passes(caller.call(before))
    caller.world.revoke_key()
    passes(caller.call(caller.world.token()), "a token of the standby key, at once")
    if caller.target.relearn:
        caller.target.relearn()
    if caller.target.asks_edi or caller.target.relearn:
        refused(caller.call(before), (401,), "a token of the revoked key")


def _gone(caller: Caller) -> None:
    good, forged = caller.world.token(), caller.world.forged()["another key under the same kid"]
    passes(caller.call(good))
    caller.world.stop_edi()
    for token in (None, forged):
        answer = caller.call(token)
        expect(answer.model is None, "without edi, a bad call reached the model")
        expect(answer.status >= 400, f"without edi: {answer.status}")
    answer = caller.call(good)
    if caller.target.asks_edi:
        expect(answer.model is None and answer.status >= 400, f"edi is gone, yet {answer.status}")
    else:
        passes(answer, "by cached keys, while edi is gone")
    caller.world.start_edi()
    deadline = time.monotonic() + 20
    while (answer := caller.call(good)).status != 200 and time.monotonic() < deadline:
        time.sleep(0.5)
    passes(answer, "after edi came back")


CASES = (
    Case("a good token reaches the model", _good),
    Case("no token is 401 with a challenge", _none),
    Case("malformed credentials are refused", _malformed),
    Case("a token counts in the header alone", _elsewhere),
    Case("another role is 403", _wrong_role),
    Case("one of several roles is enough", _several_roles),
    Case("a long token passes", _many_roles),
    Case("an operator's token opens no model", _operator),
    Case("the token stays with the proxy", _no_token_at_model),
    Case("another audience is refused", _wrong_audience),
    Case("forgeries are refused", _forged),
    Case("a revoked token is refused", _revoked),
    Case("the scheme's case does not matter", _lower_case),
    Case("bodies arrive whole", _bodies),
    Case("every method is judged", _methods),
    Case("a caller's false headers change nothing", _lies),
    Case("two Authorization headers gain nothing", _doubled),
    Case("a token opens no other path", _other_paths),
    Case("a foreign host gains nothing", _other_host),
    Case("a connection lends no authority", _connection),
    Case("a request hidden in a body stays there", _hidden),
    Case("calls side by side are kept apart", _together),
    Case("an expired token is refused", _expired),
)

LAST = (
    Case("a rotated key changes nothing", _rotated),
    Case("a revoked key's successor works at once", _key_revoked),
    Case("edi gone and back", _gone),
)


def joined_roles(separator: str = ",") -> Callable[[dict], str]:
    """For `Target.identity`: the roles of a token in order."""
    return lambda claims: separator.join(claims["roles"])


def claim(name: str) -> Callable[[dict], str]:
    """For `Target.identity`: a claim as it is."""
    return lambda claims: str(claims[name])


#: What the decision endpoint answers with, as the model should see it.
DECISION_IDENTITY: dict[str, Callable[[dict], str]] = {
    "X-Auth-Request-User": claim("sub"),
    "X-Auth-Request-Groups": joined_roles(),
    "X-Edi-Client-Id": claim("client_id"),
    "X-Edi-Token-Id": claim("jti"),
}

if __name__ == "__main__":
    sys.exit("run.py runs the checks")
