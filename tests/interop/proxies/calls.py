"""Calling the model through a proxy, and judging the answer by what the model saw of it."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from basics import HOST, PATH, expect
from world import Program, World


@dataclass
class Answer:
    """What the caller got, and what the model saw of it (`None`: the call did not reach the model)."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    model: dict | None

    def header(self, name: str) -> str | None:
        """All values of a header, joined by commas."""
        return joined(self.headers, name)

    def model_header(self, name: str) -> str | None:
        """The same of what the model saw."""
        return joined(self.model["headers"], name) if self.model else None


def joined(headers: Sequence[Sequence[str]], name: str) -> str | None:
    """All values of a header, joined by commas."""
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
    wanted = " or ".join(map(str, statuses))
    expect(answer.status in statuses, f"{what}: {answer.status} {answer.body[:200]!r}, not {wanted}")


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
