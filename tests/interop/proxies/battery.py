"""The cases that each way of putting a proxy in front of the model has to pass."""

from __future__ import annotations

import concurrent.futures
import hashlib
import http.client
import json
import time
from collections.abc import Sequence

from basics import HOST, PATH, ROLE, Failed, Skipped, expect
from calls import Answer, Caller, Target, joined, passes, refused
from jwt import parts
from report import Bench, Case
from world import World

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
        json_type = {"Content-Type": "application/json"}
        answer = caller.call(token, method="POST", body=body, chunked=chunked, headers=json_type)
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
    for spelt in (str, str.lower, lambda name: name.replace("-", "_")):
        headers = {spelt(name): value for name, value in LIES.items()}
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
        both = [f"Authorization: Bearer {token}" for token in (first, second)]
        lines = [f"GET {PATH} HTTP/1.1", f"Host: {HOST}", *both]
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
        "/model/fraud/..\\other/predict",
        "/model/fraud//../../other/predict",
        "/model/fraud/x/%2e%2e/..;/..%5cother/predict",
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
    elsewhere = "elsewhere.example.com"
    for line, host in ((f"http://{HOST}{PATH}", elsewhere), (f"http://{elsewhere}{PATH}", HOST)):
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
            if user and joined(model["headers"], user) != parts(token)[1]["sub"]:
                return f"call {number} went by the name of {joined(model['headers'], user)}"
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
