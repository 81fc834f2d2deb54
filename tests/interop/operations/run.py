"""Runs every `sh` block of docs/operations.md in order, as an operator would: `run.py --edi PATH`."""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
#: One shell for all of it: folders, jobs and variables carry over. `errexit` ends it at the first command that fails.
PROLOGUE = """set -Eeuo pipefail
set -m
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
"""


def blocks(text: str) -> list[str]:
    """The `sh` blocks in order."""
    return re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--edi", type=Path, default=ROOT / "target" / "release" / "edi", help="the edi program")
    edi = arguments.parse_args().edi.resolve()
    found = blocks((ROOT / "docs" / "operations.md").read_text())
    script = PROLOGUE
    for number, block in enumerate(found, 1):
        script += f"echo '== block {number} of {len(found)}' >&2\n{block}"
    # `wait` tells how the server ended, SIGTERM included.
    script = re.sub(r"^wait$", "wait || true", script, flags=re.MULTILINE) + "echo all-done\n"
    with tempfile.TemporaryDirectory(prefix="edi-operations-") as folder:
        (Path(folder) / "bin").mkdir()
        (Path(folder) / "bin" / "edi").symlink_to(edi)
        environment = {
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "HOME": folder,
            "EDI__LISTEN__PUBLIC": f"127.0.0.1:{free_port()}",
            "EDI__LISTEN__ADMIN": f"127.0.0.1:{free_port()}",
        }
        process = subprocess.Popen(
            ["timeout", "180", "bash", "-c", script],
            cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )
        output, _ = process.communicate()
        logs = "\n".join(log.read_text()[-3000:] for log in Path(folder).glob("*/edi.log"))
    done = process.returncode == 0 and output.rstrip().endswith("all-done")
    if not done:
        print(output, logs, sep="\n")
    reached = output.count("== block ")
    print(f"operations.md: {reached} of {len(found)} blocks ran")
    print(f"\n{reached if done else reached - 1} passed, {0 if done else 1} failed")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
