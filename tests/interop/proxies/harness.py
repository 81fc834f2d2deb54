"""What every proxy's test stands on, under one name.

A proxy's module (`nginx.py`, `envoy.py`, …) offers `check(bench: Bench) -> None`. For each of its ways it opens a
`World`, starts the real program from the configuration in `config/proxies/` with `World.render`, and hands a `Target`
to `battery`. Everything happens on loopback; only processes started here are ended.
"""

from basics import (
    AUDIENCE,
    CONFIG,
    HOST,
    LONG_ROLES,
    PATH,
    ROLE,
    ROOT,
    Failed,
    Missing,
    Skipped,
    expect,
    free_port,
    program,
)
from battery import CASES, LAST, LIE, LIES, battery
from calls import DECISION_IDENTITY, Answer, Caller, Target, claim, joined_roles, passes, refused
from jwt import parts
from report import Bench, Case
from world import Program, World

__all__ = [
    "AUDIENCE",
    "CASES",
    "CONFIG",
    "DECISION_IDENTITY",
    "HOST",
    "LAST",
    "LIE",
    "LIES",
    "LONG_ROLES",
    "PATH",
    "ROLE",
    "ROOT",
    "Answer",
    "Bench",
    "Caller",
    "Case",
    "Failed",
    "Missing",
    "Program",
    "Skipped",
    "Target",
    "World",
    "battery",
    "claim",
    "expect",
    "free_port",
    "joined_roles",
    "parts",
    "passes",
    "program",
    "refused",
]
