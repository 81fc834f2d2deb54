#!/usr/bin/env python3
"""Runs the programs of docs/clients.md, line for line, against real issuers.

    tests/interop/clients/run.py --edi target/debug/edi

Needs Python 3.10, node with npm, Go, cargo, a JDK with Maven, and their package registries (or warm caches); everything
it installs goes below --work. Loopback only otherwise. Ends with `N passed, N failed`, and with 1 if anything failed or
was missing.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True  # the source tree stays clean

import blocks
import tools
from issuer import AUDIENCE, ROLE
from model import start_model
from programs import CALLERS, KEY_CALLERS, VERIFIERS
from spring import SpringModels
from tokens import start_issuers

SECONDS = 60  # for one program, on a busy machine


class Report:
    """Results by program and case; prints them as tables."""

    def __init__(self):
        self.tables, self.failures, self.passed = {}, [], 0

    def add(self, table, program, case, problem):
        self.tables.setdefault(table, {}).setdefault(program, {})[case] = "FAILED" if problem else "ok"
        if problem:
            self.failures.append(f"{program}, {case}: {problem}")
        else:
            self.passed += 1

    def print(self):
        for title, rows in self.tables.items():
            cases = list(dict.fromkeys(case for row in rows.values() for case in row))
            for name, row in [(title, {case: case for case in cases}), *rows.items()]:
                cells = [row.get(case, "-").ljust(max(len(case), len("FAILED"))) for case in cases]
                print("  ".join([name.ljust(max(map(len, [title, *rows]))), *cells]).rstrip())
            print()
        for failure in self.failures:
            print(f"FAILED {failure}\n")
        print(f"{self.passed} passed, {len(self.failures)} failed")


def run(work, program, given="", **environment):
    """One program on its own: exit code, standard output, standard error."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("EDI", "OAUTHLIB"))}
    folder = work / program.folder
    try:
        done = subprocess.run([str(folder / program.run[0]) if "/" in program.run[0] else program.run[0],
                               *program.run[1:]], cwd=folder, input=given, text=True, capture_output=True,
                              timeout=SECONDS, env={**settings, **program.environment, **environment})
        return done.returncode, done.stdout.strip(), done.stderr.strip()
    except subprocess.TimeoutExpired:
        return 124, "", f"not done after {SECONDS} s"
    except OSError as error:
        return 127, "", f"not run: {error}"


def accepted(result):
    code, out, err = result
    return "" if code == 0 and out else f"exit code {code}, {out or 'no output'}\n{err[-1500:]}"


def reason(err):
    """The part of standard error that states the error: no quoted source lines, no stack, no claims."""
    return "\n".join(line for line in err.splitlines()
                     if re.match(r"(?!\s|file:|Traceback|Node\.js)|  (code|status|error|reason): ", line))


def refused(result, words):
    code, out, err = result
    if code == 0 or out:
        return f"was not refused: exit code {code}, {out}"
    if re.search(words, reason(err), re.IGNORECASE):
        return ""
    return f"refused for another reason than {words}:\n{err[-1500:]}"


def is_token(text):
    return re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", text) is not None


def right_claims(issuer, client, result):
    problem = accepted(result)
    if problem:
        return problem
    claims = json.loads(result[1])
    audience = claims.get("aud")
    expected = {"iss": issuer, "client_id": client, "sub": client, "roles": [ROLE]}
    got = {name: claims.get(name) for name in expected}
    if got != expected or audience not in (AUDIENCE, [AUDIENCE]):
        return f"other claims than expected: {claims}"
    return ""


def judge_callers(work, report, issuers, model, pool, label):
    verifiers = {program.name: program for program in VERIFIERS}

    def cases(program):
        def call(issuer, client="fraud-caller", secret=None):
            return run(work, program, EDI_ISSUER=issuer.url, EDI_CLIENT_ID=client, MODEL_URL=model,
                       EDI_CLIENT_SECRET=secret or issuer.secrets[client])
        for name, issuer in issuers.items():
            got = call(issuer)
            problem = accepted(got) or ("" if is_token(got[1]) else f"no token: {got[1]}")
            if not problem:
                verified = run(work, verifiers[program.verifier], got[1], EDI_ISSUER=issuer.url)
                problem = right_claims(issuer.url, "fraud-caller", verified)
            yield name, problem
        main = issuers["ES256"]
        right = main.secrets["fraud-caller"]
        yield "wrong secret", refused(call(main, secret=right[:-1] + ("A" if right[-1] != "A" else "B")),
                                      r"invalid_client|\b401\b")
        yield "role not held", refused(call(main, "churn-caller"), r"invalid_scope|\b400\b")

    for program, results in zip(CALLERS, pool.map(lambda program: list(cases(program)), CALLERS)):
        for case, problem in results:
            report.add("get a token", label(program), case, problem)


def judge_key_callers(work, report, issuers, pool, label):
    verifiers = {program.name: program for program in VERIFIERS}

    def cases(program):
        def call(issuer, client="key-caller", key=None):
            return run(work, program, EDI_ISSUER=issuer.url, EDI_CLIENT_ID=client,
                       EDI_CLIENT_KEY=str(issuer.keys[key or client]))
        for name, issuer in issuers.items():
            for again in ("", " again"):  # each run signs anew
                got = call(issuer)
                problem = accepted(got) or ("" if is_token(got[1]) else f"no token: {got[1]}")
                if not problem:
                    verified = run(work, verifiers[program.verifier], got[1], EDI_ISSUER=issuer.url)
                    problem = right_claims(issuer.url, "key-caller", verified)
                yield name + again, problem
        main = issuers["ES256"]
        yield "wrong key", refused(call(main, key="churn-key"), r"invalid_client|\b401\b")
        yield "role not held", refused(call(main, "churn-key"), r"invalid_scope|\b400\b")

    for program, results in zip(KEY_CALLERS, pool.map(lambda program: list(cases(program)), KEY_CALLERS)):
        for case, problem in results:
            report.add("get a token with a key", label(program), case, problem)


def judge_verifiers(work, report, cases, pool, label, **environment):
    def judge_one(job):
        program, case = job
        result = run(work, program, case.token, EDI_ISSUER=case.issuer, **environment)
        return refused(result, case.refusal) if case.refusal else right_claims(case.issuer, "fraud-caller", result)

    ripe = max(case.ripe for case in cases)
    for group in ([case for case in cases if not case.ripe], [case for case in cases if case.ripe]):
        if group and group[0].ripe:
            time.sleep(max(0, ripe - time.time()))
        jobs = [(program, case) for program in VERIFIERS for case in group if case.name not in program.exempt]
        for (program, case), problem in zip(jobs, pool.map(judge_one, jobs)):
            report.add("verify a token", label(program), case.name, problem)


def judge_httpx(work, report, environment):
    script = Path(__file__).with_name("httpx_cases.py")
    done = subprocess.run([work / "python/venv/bin/python", script], cwd=work / "python", text=True, timeout=SECONDS,
                          capture_output=True, env={**os.environ, **environment})
    seen = re.findall(r"^(ok|FAILED) (\w+)(.*)$", done.stdout, re.MULTILINE)
    if done.returncode != 0 or not seen:
        report.add("said on the page", "EdiAuth", "runs", done.stderr[-1500:] or "said nothing")
    for outcome, name, problem in seen:
        report.add("said on the page", "EdiAuth: " + name.replace("_", " "), "holds",
                   "" if outcome == "ok" else problem or "failed")


def judge_requests_oauthlib(work, report, environment):
    """The two errors the page names: each happens, in the words the page quotes, and the remedy helps."""
    program = next(program for program in CALLERS if program.name == "requests_oauthlib_get.py")
    page = blocks.PAGE.read_text()

    def check(name, switches, lines, quote=None, words=None):
        changed = work / "python" / "requests_oauthlib_changed.py"
        changed.write_text(lines)
        result = run(work, type(program)(changed.name, (), "python", (program.run[0], changed.name)),
                     **environment, **switches)
        problem = accepted(result) if quote is None else refused(result, words or re.escape(quote))
        if quote is not None and not problem and f"`{quote}" not in page:
            problem = f"docs/clients.md does not quote: {quote}"
        report.add("said on the page", f"requests-oauthlib: {name}", "holds", problem)

    lines = blocks.read_all()[program.name][1]
    more = lines.replace('scope="fraud-scoring"', 'scope="openid fraud-scoring"')
    assert more != lines, "the block no longer names its scope"
    plain = {"OAUTHLIB_INSECURE_TRANSPORT": "1"}
    check("plain http is refused", {}, lines,
          "InsecureTransportError: (insecure_transport) OAuth 2 MUST utilize https.")
    check("a changed scope is an error", plain, more,
          'Warning: Scope has changed from "openid fraud-scoring" to "fraud-scoring".',
          r'Warning: Scope has changed from "(openid fraud-scoring|fraud-scoring openid)" to "fraud-scoring"\.')
    check("a changed scope can be accepted", {**plain, "OAUTHLIB_RELAX_TOKEN_SCOPE": "1"}, more)


def judge_spring(work, report, issuer):
    """The error the page names: without a decoder of its own no token passes."""
    program = next(program for program in VERIFIERS if program.name == "Model.java")
    quote = "the given typ value needs to be one of [JWT]"
    with SpringModels(work / "spring", "by-default-classes", [issuer.url]) as models:
        result = run(work, program, issuer.token("fraud-caller"), EDI_ISSUER=issuer.url,
                     SPRING_MODELS=json.dumps(models.urls))
    problem = refused(result, re.escape(quote))
    if f"`{quote}`" not in blocks.PAGE.read_text():
        problem = problem or f"docs/clients.md does not quote: {quote}"
    report.add("said on the page", "Spring: typ at+jwt is refused by default", "holds", problem)


def judge(work, report, issuers, cases, pool, label):
    model, main_issuer = start_model(), issuers["ES256"]
    environment = {"EDI_ISSUER": main_issuer.url, "EDI_CLIENT_ID": "fraud-caller", "MODEL_URL": model,
                   "EDI_CLIENT_SECRET": main_issuer.secrets["fraud-caller"]}
    judge_callers(work, report, issuers, model, pool, label)
    judge_key_callers(work, report, issuers, pool, label)
    judge_httpx(work, report, environment)
    judge_requests_oauthlib(work, report, environment)
    judge_spring(work, report, main_issuer)
    with SpringModels(work / "spring", "classes", [issuer.url for issuer in issuers.values()]) as models:
        judge_verifiers(work, report, cases, pool, label, SPRING_MODELS=json.dumps(models.urls))


def install(work, report):
    """Installs and builds everything; false if something could not be."""
    listed = {program.name for program in CALLERS + KEY_CALLERS + VERIFIERS}
    written = blocks.write_all(work)
    for name in sorted(listed ^ written):
        report.add("tools", name, "on the page and in the list", "is only on one side")
    for language, installer in tools.INSTALLERS.items():
        try:
            installer(work)
        except tools.ToolError as error:
            report.add("tools", language, "installs", str(error))
    return not report.failures


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--edi", required=True, type=Path, help="the edi program")
    arguments.add_argument("--work", type=Path, default=blocks.ROOT / "target/interop-clients",
                           help="where libraries and builds are kept between runs")
    given = arguments.parse_args()
    work, report, pins = given.work.resolve(), Report(), tools.versions()
    work.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended

    def label(program):
        return " + ".join(f"{library} {pins[library]}" for library in program.libraries)

    with tempfile.TemporaryDirectory(prefix="edi-clients-") as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        issuers, cases = start_issuers(str(given.edi.resolve()), Path(folder))  # first: a token has to expire meanwhile
        try:
            if install(work, report):
                judge(work, report, issuers, cases, pool, label)
        finally:
            for issuer in issuers.values():
                issuer.stop()
    report.print()
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
