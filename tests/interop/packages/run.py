"""Checks what edi is installed with, without Docker and without a cluster: `run.py --edi PATH`.

The container is put together by the script that the Dockerfile runs, and started as the Dockerfile says: read-only,
without root, alone in its file system. The systemd unit goes through `systemd-analyze`, the Helm chart through `helm`
and the API schemas of Kubernetes. Installs what is missing under target/, and fails when it cannot.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from ports import free_port  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
TOOLS = ROOT / "target" / "interop-packages"
HELM = "helm.sh/helm/v3/cmd/helm@v3.16.4"
#: Versions of Kubernetes whose schemas the manifests must satisfy.
KUBERNETES = ("1.30.0", "1.37.0")

passed = failed = 0


def note(what: str, ok: bool, detail: str = "") -> bool:
    """Counts and prints one result."""
    global passed, failed
    passed, failed = passed + ok, failed + (not ok)
    print(f"{'ok  ' if ok else 'FAIL'}  {what}{'' if ok else ': ' + detail}", flush=True)
    return ok


def run(*command: str | Path, **keywords) -> subprocess.CompletedProcess:
    """Runs a command to its end, output taken."""
    keywords.setdefault("timeout", 120)
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **keywords)


# -- the container ---------------------------------------------------------------------------------------------------


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile in order."""
    joined = re.sub(r"\\\n", " ", text)
    lines = (line.strip() for line in joined.splitlines())
    return [tuple(line.split(None, 1)) for line in lines if line and not line.startswith("#")]  # type: ignore[misc]


def port_in_use(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def container(edi: Path) -> None:
    """The Dockerfile's last stage, run by hand."""
    all_of_it = instructions((ROOT / "Dockerfile").read_text())
    final = all_of_it[max(i for i, (word, _) in enumerate(all_of_it) if word == "FROM") :]
    one = {word: value for word, value in final}
    note("Dockerfile: the last stage starts from nothing", one["FROM"] == "scratch", one["FROM"])
    steps = [value for word, value in all_of_it if word == "RUN"]
    note("Dockerfile: builds what Cargo.lock says", steps[0].startswith("cargo build --locked --release"), steps[0])
    note("Dockerfile: a user without privileges", one["USER"].split(":")[0] not in ("0", "root"), one["USER"])
    note("Dockerfile: state is on a volume", one["VOLUME"] == "/var/lib/edi", one["VOLUME"])
    environment = dict(value.split("=", 1) for word, value in final if word == "ENV")
    entry, arguments = json.loads(one["ENTRYPOINT"]), json.loads(one["CMD"])
    health = json.loads(one["HEALTHCHECK"].split("CMD", 1)[1])

    with tempfile.TemporaryDirectory(prefix="edi-container-") as folder:
        root = Path(folder) / "rootfs"
        script = shlex.split(steps[1])[0]
        built = run(ROOT / script, edi, root)
        if not note("container: its file system is put together", built.returncode == 0, built.stderr):
            return
        size = sum(file.stat().st_size for file in root.rglob("*") if file.is_file() and not file.is_symlink())
        print(f"      {size / 1e6:.1f} MB, {sum(1 for file in root.rglob('*') if file.is_file())} files")
        note("container: no shell inside", not any((root / "bin").glob("*")) and not (root / "usr/bin/sh").exists())
        public, admin = free_port(), free_port()
        # Ports of this run's own; the Dockerfile's may be taken here.
        environment |= {
            "EDI__LISTEN__PUBLIC": f"0.0.0.0:{public}",
            "EDI__LISTEN__ADMIN": f"0.0.0.0:{admin}",
            "EDI_PUBLIC": f"http://127.0.0.1:{public}",
            "EDI__ISSUER": "https://edi.example.com",
        }
        state = Path(folder) / "state"
        state.mkdir()
        os.chown(state, 65532, 65532)

        def inside(*command: str) -> list[str]:
            """The command line that runs `command` in the container: its root read-only, the volume mounted."""
            variables = " ".join(f"{key}={shlex.quote(value)}" for key, value in environment.items())
            script = (
                f"mount --bind {root} {root} && mount --bind {state} {root}/var/lib/edi && "
                f"mount -o remount,bind,ro {root} && mount -o remount,bind,rw {root}/var/lib/edi && "
                f"exec env -i {variables} /usr/sbin/chroot --userspec={one['USER']} {root} {shlex.join(command)}"
            )
            return ["unshare", "--mount", "sh", "-c", script]

        log = open(Path(folder) / "log", "wb")  # noqa: SIM115
        server = subprocess.Popen(inside(*entry, *arguments), stderr=log, cwd="/")
        try:
            healthy = False
            for _ in range(100):
                healthy = run(*inside(*health)).returncode == 0
                if healthy or server.poll() is not None:
                    break
                time.sleep(0.2)
            said = (Path(folder) / "log").read_text()
            if not note("container: the health check turns good on an empty volume", healthy, said[-2000:]):
                return
            operator = state / "keys" / "operator.json"
            mode = operator.stat().st_mode & 0o777
            note("container: the operator's file is on the volume and private", mode == 0o600, oct(mode))
            listed = run(*inside(*entry, "client", "list", "--json"))
            note("container: the command line works inside", listed.returncode == 0, listed.stderr)
            made = run(*inside(*entry, "client", "create", "svc", "--role", "fraud", "--json"))
            note("container: a client is registered", made.returncode == 0, made.stderr)
            wrote = run(*inside(*entry, "demo", "--once"))
            note("container: nothing but the volume can be written", wrote.returncode != 0 and "ead-only" in wrote.stderr, wrote.stderr)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                code = server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                code = -9
        note("container: stops at SIGTERM", code in (0, -signal.SIGTERM), str(code))
        note("container: the health check is bad once it is gone", run(*inside(*health)).returncode != 0)


# -- systemd ---------------------------------------------------------------------------------------------------------


def systemd(edi: Path) -> None:
    """The unit, by systemd's own judgement."""
    unit = ROOT / "config" / "systemd" / "edi.service"
    if not shutil.which("systemd-analyze"):
        note("systemd: systemd-analyze is there", False, "install the package systemd")
        return
    judged = run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)
    overall = re.search(r"Overall exposure level.*", judged.stdout)
    note("systemd: exposure of 2.0 or better", judged.returncode == 0, judged.stdout[-500:] + judged.stderr)
    print(f"      {overall[0] if overall else ''}")
    with tempfile.TemporaryDirectory(prefix="edi-unit-") as folder:
        copy = Path(folder) / "edi.service"
        copy.write_text(unit.read_text().replace("/usr/local/bin/edi", str(edi)))
        verified = run("systemd-analyze", "verify", "--man=no", copy)
        ours = [line for line in (verified.stdout + verified.stderr).splitlines() if "edi.service" in line]
        note("systemd: the unit is understood", verified.returncode == 0 and not ours, "\n".join(ours) or verified.stderr)


# -- Kubernetes ------------------------------------------------------------------------------------------------------


def tools() -> tuple[Path, Path]:
    """helm and a Python with the schemas of Kubernetes."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    helm = TOOLS / "helm"
    if not helm.exists():
        got = run("go", "install", HELM, env=os.environ | {"GOBIN": str(TOOLS)}, timeout=900)
        if got.returncode:
            raise SystemExit(f"helm cannot be had: {got.stderr[-1000:]}")
    python = TOOLS / "venv" / "bin" / "python"
    if not python.exists():
        venv.create(TOOLS / "venv", with_pip=True)
        got = run(python, "-m", "pip", "-q", "install", "kubernetes-validate", "pyyaml", timeout=300)
        if got.returncode:
            raise SystemExit(f"kubernetes-validate cannot be had: {got.stderr[-1000:]}")
    return helm, python


JUDGE = """
import json, sys, yaml, kubernetes_validate
version, text = sys.argv[1], sys.stdin.read()
documents = [document for document in yaml.safe_load_all(text) if document]
problems = []
for document in documents:
    if "coreos.com" in document["apiVersion"] or "istio.io" in document["apiVersion"]:
        continue
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.VersionNotSupportedError:
        problems.append(f"no schemas of {version}")
    except Exception as why:
        problems.append(f"{document['kind']}/{document['metadata']['name']}: {str(why)[:300]}")
print(json.dumps({"documents": documents, "problems": problems}))
"""


def kubernetes() -> None:
    """The chart in several settings, and the plain manifests."""
    helm, python = tools()
    chart = ROOT / "config" / "helm" / "edi"
    issuer = ["--set", "issuer=https://edi.example.com"]
    linted = run(helm, "lint", "--strict", chart, *issuer)
    note("helm: lint", linted.returncode == 0, linted.stdout + linted.stderr)
    bare = run(helm, "template", "edi", chart)
    note("helm: without an issuer it says so", bare.returncode != 0 and "issuer" in bare.stderr, bare.stderr)

    def judge(name: str, text: str) -> list[dict]:
        found: list[dict] = []
        for version in KUBERNETES:
            judged = run(python, "-c", JUDGE, version, input=text)
            if judged.returncode:
                note(f"{name}: parsed", False, judged.stderr[-500:])
                return []
            answer = json.loads(judged.stdout)
            found = answer["documents"]
            note(f"{name}: valid for Kubernetes {version}", not answer["problems"], "; ".join(answer["problems"]))
        return found

    settings = {
        "defaults": [],
        "everything": [
            *("--set", "serviceMonitor.enabled=true", "--set", "ingress.enabled=true"),
            *("--set", "ingress.host=edi.example.com", "--set", "ingress.className=nginx"),
            *("--set", "ingress.tlsSecretName=edi-tls", "--set", "trustedProxies={10.0.0.0/8,192.168.0.0/16}"),
            *("--set", "store.storageClassName=fast", "--set", "podAnnotations.a=b", "--set", "podLabels.c=d"),
            *("--set-string", "config=[tokens]\nttl = \"5m\"", "--set", "prometheusRule.enabled=true"),
        ],
        "tls": ["--set", "tls.mode=on", "--set", "tls.secretName=edi-tls", "--set", "serviceMonitor.enabled=true"],
    }
    for name, flags in settings.items():
        made = run(helm, "template", "edi", chart, "--namespace", "edi", *issuer, *flags)
        if not note(f"helm {name}: rendered", made.returncode == 0, made.stderr):
            continue
        documents = judge(f"helm {name}", made.stdout)
        by_kind = {document["kind"]: document for document in documents}
        sets = by_kind.get("StatefulSet", {})
        pod = sets.get("spec", {}).get("template", {}).get("spec", {})
        box = (pod.get("containers") or [{}])[0]
        for rule, holds in {
            "one replica": sets.get("spec", {}).get("replicas") == 1,
            "no disruption budget": "PodDisruptionBudget" not in by_kind,
            "no privileges": box.get("securityContext")
            == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            and pod["securityContext"]["runAsNonRoot"] is True,
            "no service account token": pod.get("automountServiceAccountToken") is False,
            "the master key is closed to others": next(
                (v["secret"]["defaultMode"] for v in pod.get("volumes", []) if v["name"] == "master-key"), 0
            )
            == 0o440,
            "probes ask /health": all(
                box.get(probe, {}).get("httpGet", {}).get("path", "").startswith("/health/")
                for probe in ("startupProbe", "livenessProbe", "readinessProbe")
            ),
            "the public listener is open, the admin listener to monitoring alone": network_policy(by_kind),
        }.items():
            note(f"helm {name}: {rule}", holds)
        if name == "defaults":
            plain = (ROOT / "config" / "kubernetes" / "edi.yaml").read_text()
            note(
                "config/kubernetes/edi.yaml is what the chart renders",
                plain.split("---\n", 1)[1] == made.stdout.split("---\n", 1)[1],
                "run: helm template edi config/helm/edi --namespace edi --set issuer=https://edi.example.com",
            )
            judge("config/kubernetes/edi.yaml", plain)


def network_policy(by_kind: dict) -> bool:
    rules = by_kind.get("NetworkPolicy", {}).get("spec", {}).get("ingress", [])
    public = [rule for rule in rules if rule["ports"][0]["port"] == "public"]
    admin = [rule for rule in rules if rule["ports"][0]["port"] == "admin"]
    only = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    return len(rules) == 2 and "from" not in public[0] and admin[0]["from"] == [only]


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--edi", type=Path, default=ROOT / "target" / "release" / "edi", help="the edi program")
    edi = arguments.parse_args().edi.resolve()
    if os.geteuid() != 0:
        raise SystemExit("needs root: it mounts file systems, in a namespace of its own")
    container(edi)
    systemd(edi)
    kubernetes()
    print(f"\n{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
