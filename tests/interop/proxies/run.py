"""Checks edi behind and beside real proxies: `run.py --edi PATH [names…]`.

Installs what is missing (Debian packages, Python wheels and Go programs under target/), runs each proxy's battery and
prints a table. A program that cannot be had fails the run; one of `OPTIONAL` does so only when it was named.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from pathlib import Path

from harness import Bench, Missing, ROOT

#: In order of the table.
NAMES = ("nginx", "envoy", "oauth2_proxy", "traefik", "caddy", "haproxy", "apache", "generated")

#: Not every registry has these; a run over all proxies goes on without them, and says so.
OPTIONAL = ("oauth2_proxy",)


def main() -> int:
    """The exit code."""
    here = Path(__file__).parent
    known = [name for name in NAMES if (here / f"{name}.py").exists()]
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--edi", type=Path, default=ROOT / "target" / "release" / "edi", help="the edi program")
    arguments.add_argument("names", nargs="*", help=f"which to check: {', '.join(known)} [default: all]")
    given = arguments.parse_args()
    if not given.edi.is_file():
        arguments.error(f"no program at {given.edi}")
    if unknown := [name for name in given.names if name not in known]:
        arguments.error(f"unknown: {', '.join(unknown)}")
    bench = Bench(given.edi)
    for name in given.names or known:
        try:
            module = importlib.import_module(name)
            module.check(bench)
        except Missing as why:
            result = "skip" if name in OPTIONAL and name not in given.names else "FAIL"
            bench.note(name, "the program is there", result, f": {why}")
        except Exception:  # One proxy's trouble must not hide the others' results.
            bench.note(name, "the check ran to its end", "FAIL", f"\n{traceback.format_exc()}")
    return bench.close()


if __name__ == "__main__":
    sys.exit(main())
