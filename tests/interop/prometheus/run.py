#!/usr/bin/env python3
"""Alert rules and dashboard against a running edi and Prometheus's own promtool.

usage: run.py --edi target/release/edi

The rules parse and fire (promtool check rules, promtool test rules); edi's page passes promtool check metrics; every
metric that a rule, its test or the dashboard names is on that page, with the labels that are used of it; every expression
of the dashboard is one that promtool takes.
"""
import argparse
import base64
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from ports import free_port  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
ALERTS = ROOT / "config/prometheus/alerts.yaml"
ALERTS_TEST = ROOT / "config/prometheus/alerts_test.yaml"
DASHBOARD = ROOT / "config/grafana/edi.json"
# What Prometheus or its way of scraping adds.
GIVEN_LABELS = {"job", "instance", "le"}
GIVEN_METRICS = {"up"}
failures = []


def check(what, holds, why=""):
    print(f"{'pass' if holds else 'FAIL'}  {what}")
    if not holds:
        failures.append(what)
        print(f"      {why}")


def promtool(*arguments, text=None):
    run = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, timeout=120, cwd=ALERTS.parent)
    return run.returncode == 0, run.stdout + run.stderr


def fetch(url, trust, data=None, headers=None):
    request = urllib.request.Request(url, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10, context=trust) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def certificate(folder):
    """One for loopback: who trusts it, and the settings with which edi shows it. Its end is a metric too."""
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", "tls.key", "-out", "tls.crt"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    subprocess.run(["openssl", "req", *kind, *names, *files], cwd=folder, check=True, capture_output=True, timeout=60)
    (folder / "tls.key").chmod(0o600)
    files = {"EDI__LISTEN__CERTIFICATE_FILE": "tls.crt", "EDI__LISTEN__KEY_FILE": "tls.key"}
    return ssl.create_default_context(cafile=folder / "tls.crt"), {"EDI__LISTEN__TLS": "on"} | files


def page_of(edi):
    """What a running edi shows, after some traffic of every kind."""
    with tempfile.TemporaryDirectory() as folder:
        public, admin = free_port(), free_port()
        trust, environment = certificate(Path(folder))
        arguments = [edi, "serve", "--listen-public", f"127.0.0.1:{public}", "--listen-admin", f"127.0.0.1:{admin}"]
        process = subprocess.Popen(arguments, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(600):
                try:
                    if fetch(f"https://127.0.0.1:{public}/health/ready", trust)[0] == 200:
                        break
                except OSError:
                    pass
                time.sleep(0.05)
            operator = json.loads(Path(folder, "keys/operator.json").read_text())
            for secret in (operator["client_secret"], "wrong"):
                pair = base64.b64encode(f"{operator['client_id']}:{secret}".encode()).decode()
                form = urllib.parse.urlencode({"grant_type": "client_credentials", "scope": "edi:read"}).encode()
                fetch(f"https://127.0.0.1:{public}/oauth2/token", trust, form, {"Authorization": f"Basic {pair}"})
            return fetch(f"https://127.0.0.1:{admin}/metrics", trust)[1]
        finally:
            process.terminate()
            process.wait(timeout=30)


def series_of(page):
    """Each metric's name with the labels it has."""
    found = {}
    for line in page.splitlines():
        if line and not line.startswith("#"):
            name, labels = re.match(r"([a-z0-9_]+)(\{.*\})?", line).groups()
            found.setdefault(name, set()).update(re.findall(r'([a-z_]+)="', labels or ""))
    # Absent until something of the kind is decided; the reference lists them.
    found.setdefault("edi_key_next_transition_seconds", {"alg", "to"})
    return found


def used_in(expression):
    """Metrics of an expression, each with the labels its selector names."""
    return re.findall(r"\b((?:edi|process)_[a-z0-9_]+|up)\b(?:\{([^}]*)\})?", expression)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--edi", required=True, type=os.path.abspath)
    edi = parser.parse_args().edi

    check("the rules parse", *promtool("check", "rules", ALERTS.name))
    check("every alert fires, and none when all is well", *promtool("test", "rules", ALERTS_TEST.name))
    rules, tests = ALERTS.read_text(), ALERTS_TEST.read_text()
    for alert in re.findall(r"- alert: (\w+)", rules):
        check(f"{alert} is made to fire", f'alertname="{alert}"' in tests)

    page = page_of(edi)
    holds, said = promtool("check", "metrics", text=page)
    # Promtool's advice on names is for client libraries; what it must not find is an error.
    check("edi's page is one that Prometheus reads", "error" not in said.lower(), said)
    exported = series_of(page)

    dashboard = json.loads(DASHBOARD.read_text())
    expressions = [("dashboard", panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", [])]
    ids = [panel["id"] for panel in dashboard["panels"]]
    check("the dashboard's panels have ids of their own", len(ids) == len(set(ids)))
    for block in re.split(r"- alert: ", rules)[1:]:
        name = block.split("\n")[0]
        expression = re.search(r"expr: (.*?)\n        (?:for|labels|annotations):", block, re.S).group(1)
        expressions.append(("rule", name, expression.lstrip("|").strip()))
    for series in re.findall(r"series: '([^']*)'", tests):
        expressions.append(("rule test", series.split("{")[0], series))
    wrong = []
    for where, name, expression in expressions:
        for metric, selector in used_in(expression):
            labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", selector))
            if metric not in exported and metric not in GIVEN_METRICS:
                wrong.append(f"{where} {name}: {metric} is not exported")
            elif not labels <= exported.get(metric, set()) | GIVEN_LABELS:
                wrong.append(f"{where} {name}: {metric} has no label {labels - exported[metric] - GIVEN_LABELS}")
    check(f"what {len(expressions)} expressions name is exported", not wrong, "\n      ".join(wrong))

    # promtool parses expressions of rules: the dashboard's are given to it as such.
    recorded = [{"record": f"panel:{n}", "expr": expression.replace("$instance", ".*")} for n, (where, _, expression) in enumerate(expressions) if where == "dashboard"]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({"groups": [{"name": "dashboard", "rules": recorded}]}, file)
        file.flush()
        holds, said = promtool("check", "rules", "--lint=none", file.name)
        check("the dashboard's expressions parse", holds, said)

    named = {metric for _, _, expression in expressions for metric, _ in used_in(expression)}
    silent = sorted(name for name in exported if re.sub(r"_(bucket|sum|count)$", "", name) not in {re.sub(r"_(bucket|sum|count)$", "", it) for it in named})
    check("every metric is on the dashboard or in a rule", not silent, ", ".join(silent))
    print(f"{len(failures)} failed")
    sys.exit(1 if failures else 0)


main()
