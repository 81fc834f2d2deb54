"""Runs cases against a target, prints each as it goes, and a table at the end."""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from basics import ROOT, Failed, Skipped
from calls import Caller, Target
from world import World


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
            began, crashes = time.monotonic(), _crashes(target)
            for last in (False, False, True):
                result, note = _outcome(case, caller)
                # A program that crashed says nothing of edi, so the case is tried again; that it did is told.
                if result != "FAIL" or last or _crashes(target) == crashes:
                    break
                note, crashes = "", _crashes(target)
                print(f"      {column}: crashed; once more: {case.rule}", flush=True)
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


def _outcome(case: Case, caller: Caller) -> tuple[str, str]:
    """What became of a case: pass, FAIL or skip, and why."""
    try:
        case.run(caller)
    except Skipped as why:
        return "skip", f": {why}"
    except (Failed, OSError, http.client.HTTPException, subprocess.SubprocessError) as why:
        return "FAIL", f": {why if isinstance(why, Failed) else repr(why)}"
    return "pass", ""


def _crashes(target: Target) -> int:
    """How often a worker of the proxy was ended by a signal so far, by its own log."""
    return target.log.log.read_text(errors="replace").count("exited on signal") if target.log else 0
