"""Cases beyond the battery that several proxies share."""

from __future__ import annotations

import re
import time

from harness import HOST, Caller, Case, expect, parts, passes, refused

#: Path pieces that a model may read otherwise than the proxy in front of it.
TWISTED = re.compile(r"//|/\.{1,2}(/|$)|[\\;]|%(2e|2f|5c|25)", re.IGNORECASE)


def _ages(caller: Caller) -> None:
    """Who remembers verdicts may not remember them longer than the token lives."""
    token = caller.world.token("short-lived")
    passes(caller.call(token))
    time.sleep(max(0.0, parts(token)[1]["exp"] + caller.target.leeway + 1 - time.time()))
    refused(caller.call(token), (401,), "a remembered token past its end")


def _twisted(caller: Caller) -> None:
    """What the model gets under its own prefix is written in one way only."""
    token = caller.world.token()
    for piece in ("a\\..\\b", "a;b", "a//b", "./b", "a/../b", "a/..", "a/.", "%2e%2e/b", "%2E/b", "a%2fb", "a%5Cb", "a%252fb"):
        path = f"/model/fraud/{piece}"
        expect(TWISTED.search(path), f"{path} is plain")
        answer = caller.raw(
            f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n".encode()
        )
        if answer.model is None:
            expect(300 <= answer.status < 500, f"{path}: {answer.status}")
        else:
            target = answer.model["target"]
            expect(not TWISTED.search(target), f"{path} reached the model as {target}")
    passes(caller.call(token, path="/model/fraud/a%20b?next=//c/../d;e"), "a plain path with a strange query")


AGES = Case("a token that passed is refused from its end on", _ages)
TWISTED_PATHS = Case("a path that could be read in two ways reaches no model", _twisted)
