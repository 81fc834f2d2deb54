#!/usr/bin/env python3
"""Schemathesis against both listeners of the real program, by its own `/openapi.json`.

    tests/interop/schemathesis/run.py --edi target/release/edi [--seconds 60] [--seed N]

Starts edi in a throw-away folder on free ports, registers a service and a deployment, and runs every check there is, with
good and bad data, on each listener. Prints the figures; any failure ends it with 1.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

import issuer as issuers  # noqa: E402
import tools  # noqa: E402

ADMIN = r"^/(admin/|openapi|metrics|swagger|health)"


#: Whether the schemas are as narrow as edi is: each finds a corner now and then, by luck.
TASTE = "positive_data_acceptance,negative_data_rejection"

def install(work):
    pins = HERE / "requirements.txt"
    done = work / "installed"
    if not done.exists() or done.read_bytes() != pins.read_bytes():
        tools.command([sys.executable, "-m", "venv", "--clear", "venv"], work, 120)
        tools.command([str(work / "venv/bin/pip"), "install", "--quiet", "--disable-pip-version-check", "-r", str(pins)],
                      work, 400)
        done.write_bytes(pins.read_bytes())
    return work / "venv/bin/schemathesis"


def run(program, edi, name, url, filters, options, work):
    report = work / f"{name}.json"
    report.unlink(missing_ok=True)
    known = json.loads((edi.folder / "keys/operator.json").read_text())
    settings = {
        **os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE), "EDI_PUBLIC": edi.local,
        "EDI_OPERATOR": known["client_id"], "EDI_OPERATOR_SECRET": known["client_secret"],
        "EDI_SERVICE": "fuzzed", "EDI_SERVICE_SECRET": edi.secrets["fuzzed"], "PYTHONDONTWRITEBYTECODE": "1",
    }
    made = subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
                          text=True, capture_output=True, timeout=30, check=True)
    settings["EDI_PRIVATE_KEY"] = made.stdout
    seed = ["--seed", str(options.seed)] if options.seed is not None else []
    done = subprocess.run(
        [program, "run", f"http://127.0.0.1:{edi.admin}/openapi.json",
         "--url", url, *filters, "--max-time", str(options.seconds), "--checks", "all", "--no-color", *(["--exclude-checks", TASTE] if options.gate else []),
         "--continue-on-failure", "--generation-database", "none", "--report-json-path", str(report), *seed],
        cwd=work, env=settings, text=True, capture_output=True, timeout=options.seconds * 3 + 240)
    print(f"=== {name}\n{done.stdout[-12000:] if done.returncode or options.verbose else ''}{done.stderr[-3000:]}")
    cases = re.search(r"Test cases:\s*\n?\s*(.*?)\n", done.stdout)
    return done.returncode, cases.group(1) if cases else "no figures"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edi", required=True)
    parser.add_argument("--seconds", type=int, default=60, help="for each listener")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--gate", action="store_true", help="without the checks that judge the document and not edi")
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--only", choices=["public", "admin"])
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    program = install(options.work)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        edi = issuers.Issuer(str(Path(options.edi).resolve()), Path(folder), "ES256,EdDSA").start()
        try:
            edi.register("fuzzed", "--role", issuers.ROLE)
            for name, url, filters in [
                ("public", edi.local, ["--exclude-path-regex", ADMIN.replace("|health", "")]),
                ("admin", f"http://127.0.0.1:{edi.admin}", ["--include-path-regex", ADMIN]),
            ]:
                if options.only in (None, name):
                    code, figures = run(str(program), edi, name, url, filters, options, options.work)
                    print(f"schemathesis, {name} listener: {'nothing found' if code == 0 else 'FAILED'}; {figures}")
                    failed += code != 0
            alive = edi.process.poll() is None
            faults = [line for line in (Path(folder) / "log").read_text().splitlines() if "panicked" in line]
        finally:
            edi.stop()
    if not alive or faults:
        print("edi itself:", "it stopped" if not alive else faults[:5])
        failed += 1
    print(f"{2 - failed if not options.only else 1 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
