"""Installs the pinned libraries and builds what is compiled, all below one work folder."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


class ToolError(Exception):
    """A tool is missing, or could not install or build."""


def command(arguments, folder, seconds, **environment):
    """Runs one installing or building command; its output is shown when it fails."""
    if shutil.which(arguments[0]) is None:
        raise ToolError(f"{arguments[0]} is not installed")
    try:
        done = subprocess.run(arguments, cwd=folder, timeout=seconds, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **environment})
    except subprocess.TimeoutExpired:
        raise ToolError(f"{' '.join(map(str, arguments))}: not done after {seconds} s") from None
    if done.returncode != 0:
        raise ToolError(f"{' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stdout[-4000:]}")


def copy(names, language, work):
    """Copies a language's pins to its work folder; says whether anything differed from what was there."""
    changed = False
    (work / language).mkdir(parents=True, exist_ok=True)
    for name in names:
        source, target = HERE / language / name, work / language / name
        if not target.exists() or target.read_bytes() != source.read_bytes():
            shutil.copyfile(source, target)
            changed = True
    return changed


def install_once(work, changed, install):
    """Runs `install` unless it succeeded before with the same pins."""
    done = work / "installed"
    if changed or not done.exists():
        done.unlink(missing_ok=True)
        install()
        done.touch()


def python(work):
    changed = copy(["requirements.txt"], "python", work)
    folder = work / "python"

    def install():
        command([sys.executable, "-m", "venv", "--clear", "venv"], folder, 120)
        command([str(folder / "venv/bin/pip"), "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                 "-r", "requirements.txt"], folder, 240)
    install_once(folder, changed, install)


def npm(work):
    changed = copy(["package.json", "package-lock.json"], "npm", work)
    command(["node", "--version"], work, 20)
    install_once(work / "npm", changed, lambda: command(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], work / "npm", 180))


def go(work):
    copy(["go.mod", "go.sum"], "go", work)
    command(["go", "build", "-mod=readonly", "-o", "bin/", "./..."], work / "go", 240)


def rust(work):
    copy(["Cargo.toml", "Cargo.lock"], "rust", work)
    command(["cargo", "build", "--quiet", "--locked"], work / "rust", 500, CARGO_TARGET_DIR=str(work / "rust/target"))


def spring(work):
    changed, folder = copy(["pom.xml"], "spring", work), work / "spring"

    def install():
        shutil.rmtree(folder / "libraries", ignore_errors=True)
        plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
        command(["mvn", "--quiet", "--batch-mode", f"{plugin}:copy-dependencies", "-DoutputDirectory=libraries"],
                folder, 300)
    command(["java", "-version"], folder, 20)
    install_once(folder, changed, install)
    lines = (folder / "Model.java").read_text()
    by_default = folder / "by-default" / "Model.java"  # what the page warns of: Spring's own decoder
    by_default.parent.mkdir(exist_ok=True)
    by_default.write_text(re.sub(r" +@Bean\n +JwtDecoder .*?\n    }\n", "", lines, flags=re.DOTALL))
    if by_default.read_text() == lines:
        raise ToolError("the block Model.java no longer has a JwtDecoder bean")
    for source, target in ((folder / "Model.java", "classes"), (by_default, "by-default-classes")):
        command(["javac", "-parameters", "-cp", "libraries/*", "-d", target, str(source)], folder, 120)


INSTALLERS = {"python": python, "npm": npm, "go": go, "rust": rust, "spring": spring}


def versions():
    """`{library: version}` of every pin, whatever the language."""
    pins = dict(re.findall(r"^(\S+)==(\S+)$", (HERE / "python/requirements.txt").read_text(), re.MULTILINE))
    pins.update(json.loads((HERE / "npm/package.json").read_text())["dependencies"])
    pins.update(re.findall(r"^\s+(\S+) v(\S+)$", (HERE / "go/go.mod").read_text(), re.MULTILINE))
    pins.update(re.findall(r'^(\w+) = \{ version = "=([^"]+)"', (HERE / "rust/Cargo.toml").read_text(), re.MULTILINE))
    pins["spring-boot"] = re.search(r"<parent>.*?<version>(.*?)<", (HERE / "spring/pom.xml").read_text(), re.DOTALL)[1]
    return pins
