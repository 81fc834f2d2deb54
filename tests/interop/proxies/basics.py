"""What the tests share: the names in the shipped configurations, outcomes, and small helpers."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from ports import free_port  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "config" / "proxies"

#: What the shipped configurations protect: this host and path, for this role and audience.
HOST = "models.example.com"
PATH = "/model/fraud/predict"
ROLE = "fraud-scoring"
AUDIENCE = "model-prediction-api"

#: Role names of the greatest length, 63 characters (Kubernetes' label values).
LONG_ROLES = [f"team-{number:02}-".ljust(62, "x") + "z" for number in range(20)]


class Failed(AssertionError):
    """A case's expectation did not hold."""


class Skipped(Exception):
    """A case that this program or this edi cannot be asked; the text says why."""


class Missing(Exception):
    """A program is not installed and could not be."""


def expect(holds: object, message: str) -> None:
    """Fails the case unless `holds`."""
    if not holds:
        raise Failed(message)


def program(name: str, *more: str) -> str:
    """The path of a program, looked for under the given paths first, then in PATH and the sbin folders."""
    places = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin"
    for candidate in (*more, shutil.which(name, path=places)):
        if candidate and Path(candidate).is_file():
            return str(candidate)
    raise Missing(f"{name} is not installed")
