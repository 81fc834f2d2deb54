"""Runs every `sh` block of the operator's pages in order, as an operator would: `run.py --edi PATH [PAGE…]`.

Each page runs in a folder and a shell of its own. A `text` block right after an `sh` block is a recording of what that block
prints: it must still have the shape of what is printed now, which is every word, line by line, but for times, numbers and
ids. `--record` writes the recordings anew instead: read the difference before you commit it.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from ports import free_port  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "docs" / "operations.md", ROOT / "docs" / "first-hour.md"]
#: One shell for all of a page: folders, jobs and variables carry over. `errexit` ends it at the first command that fails.
PROLOGUE = """set -Eeuo pipefail
set -m
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
"""
#: An `sh` block, and its recording if there is one.
BLOCK = re.compile(r"^```sh\n(?P<commands>.*?)^```\n(?:\n?```text\n(?P<recording>.*?)^```\n)?", re.MULTILINE | re.DOTALL)


#: Random ids by chance without a digit: letters of both cases mixed as nobody writes them (key ids and their beginnings,
#: token ids, file names), and twelve small letters (ids of secrets). That a real word is taken for one does no harm.
RANDOM = re.compile(r"(?=.*[a-z]).+[A-Z].*|[a-z]{12}")


def shape(output: str) -> list[str]:
    """What stays the same from run to run: the words of each line, without what holds digits and without ids."""
    lines = []
    for line in output.strip("\n").splitlines():
        tokens = [token.strip(".") for token in re.split(r"[^A-Za-z0-9_.-]+", line)]
        # One letter is a mark in a drawing, or the unit of a number.
        words = [token for token in tokens if re.search("[A-Za-z]{2}", token) and not re.search("[0-9]", token)]
        lines.append(" ".join(word for word in words if not RANDOM.fullmatch(word)))
    return lines


def run(page: Path, edi: Path) -> tuple[list[str] | None, str]:
    """What each block printed, or nothing and the reason."""
    found = [match["commands"] for match in BLOCK.finditer(page.read_text())]
    with tempfile.TemporaryDirectory(prefix=f"edi-{page.stem}-") as folder:
        work, printed = Path(folder) / "work", Path(folder) / "printed"
        for made in (work, work / "bin", printed):
            made.mkdir()
        (work / "bin" / "edi").symlink_to(edi)
        public, admin = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        # A login's file is named after the listener too.
        shown_as = {str(work): "~", public: "127.0.0.1:8080", admin: "127.0.0.1:8081", admin.replace(":", "-"): "127.0.0.1-8081"}
        script = PROLOGUE
        for number, commands in enumerate(found):
            # Nobody types two blocks in one moment; what edi draws then (`edi key plan`) has its start and now in one line.
            script += f"sleep 0.3\nexec > {printed}/{number} 2>&1\n{commands}"
        # `wait` tells how the server ended, SIGTERM included.
        script = re.sub(r"^wait$", "wait || true", script, flags=re.MULTILINE) + f"exec > {printed}/done\n"
        environment = {
            "PATH": f"{work}/bin:{os.environ['PATH']}",
            "HOME": str(work),
            "EDI__LISTEN__PUBLIC": public,
            "EDI__LISTEN__ADMIN": admin,
        }
        ended = subprocess.run(
            ["timeout", "180", "bash", "-c", script],
            cwd=work, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        ).returncode
        outputs = []
        for number in range(len(found)):
            output = printed / str(number)
            if output.exists():
                text = output.read_text()
                for meant, shown in shown_as.items():
                    text = text.replace(meant, shown)
                outputs.append(text)
        if ended == 0 and (printed / "done").exists():
            return outputs, ""
        logs = "\n".join(log.read_text()[-3000:] for log in work.glob("*/edi.log"))
        block = len(outputs)
        last = f"$ {found[block - 1]}\n{outputs[-1]}" if outputs else ""
        return None, f"{page.name}: block {block} of {len(found)} failed ({ended})\n{last}\n{logs}"


def differences(page: Path, outputs: list[str]) -> list[str]:
    """What is recorded in the page and is printed otherwise now."""
    told = []
    for match, output in zip(BLOCK.finditer(page.read_text()), outputs, strict=True):
        if match["recording"] is None:
            continue
        if not match["recording"].strip():
            told.append(f"$ {match['commands']}the recording is empty")
        difference = list(difflib.unified_diff(shape(match["recording"]), shape(output), "recorded", "printed", lineterm=""))
        if difference:
            told.append(f"$ {match['commands']}" + "\n".join(difference) + f"\nprinted in full:\n{output}")
    return told


def record(page: Path, outputs: list[str]) -> None:
    """Puts what was printed where the recordings stand."""
    left = iter(outputs)

    def renewed(match: re.Match[str]) -> str:
        output = "\n".join(line.rstrip() for line in next(left).strip("\n").splitlines())
        if match["recording"] is None:
            return match[0]
        return f"```sh\n{match['commands']}```\n```text\n{output}\n```\n"

    page.write_text(BLOCK.sub(renewed, page.read_text()))


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--edi", type=Path, default=ROOT / "target" / "release" / "edi", help="the edi program")
    arguments.add_argument("--record", action="store_true", help="write the recordings of the pages anew")
    arguments.add_argument("pages", nargs="*", type=Path, default=PAGES, metavar="PAGE", help="by default all of them")
    given = arguments.parse_args()
    passed = failed = 0
    for page in given.pages:
        outputs, reason = run(page, given.edi.resolve())
        if outputs is None:
            print(reason)
            failed += 1
            continue
        if given.record:
            record(page, outputs)
        stale = differences(page, outputs)
        for told in stale:
            print(f"{page.name}: this recording is stale (`run.py --edi PATH --record {page}` writes it anew)\n{told}\n")
        recordings = sum(match["recording"] is not None for match in BLOCK.finditer(page.read_text()))
        print(f"{page.name}: {len(outputs)} blocks ran, {recordings - len(stale)} of {recordings} recordings hold")
        failed += len(stale)
        passed += len(outputs) - len(stale)
    print(f"\n{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
