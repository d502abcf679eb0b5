"""Checks every file of deploy/ with the tool that knows its kind. ``make check-deploy``.

A tool of a machine that is not installed (systemd-analyze, promtool, nginx, buildah) is named at the end: what it would have
checked is unproven then. With REQUIRE_ALL=1 that is a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.executable).parent
# The newest version of Kubernetes whose schemas the pinned kubernetes-validate has, and the oldest that is still maintained.
KUBERNETES_VERSIONS = ("1.37", "1.34")
# Of systemd-analyze security, times ten: 0 is best, 100 a service without any restriction.
MAX_EXPOSURE = 20


class CheckFailed(Exception):
    """What the tool said."""


class ToolMissing(Exception):
    """The name of a program that this machine does not have."""


def run(*command: str | Path) -> str:
    """What a command prints, errors included. Raises ToolMissing and CheckFailed."""
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except FileNotFoundError:
        raise ToolMissing(str(command[0])) from None
    if done.returncode != 0:
        raise CheckFailed(done.stdout.strip())
    return done.stdout


def find(name: str) -> str:
    """A program of this machine. Raises ToolMissing."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise ToolMissing(name)
    return path


def check_containerfile() -> None:
    """hadolint: mistakes in the Containerfile."""
    run(TOOLS / "hadolint", "--failure-threshold", "style", "deploy/Containerfile")


def check_compose() -> None:
    """compose.yaml against the schema of the Compose specification."""
    run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "deploy/compose/compose.yaml")


def check_workflow() -> None:
    """The workflow against the schema of GitHub."""
    run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", ".github/workflows/ci.yml")


def check_scripts() -> None:
    """shellcheck: all scripts of the shell."""
    run(TOOLS / "shellcheck", ".ci/run", *sorted(ROOT.glob("deploy/*/*.sh")))


def check_kubernetes() -> None:
    """kustomize builds the manifests, and each is valid for several versions of Kubernetes; unknown fields are errors."""
    for name in ("migrate", "example"):
        manifests = list(yaml.safe_load_all(run(TOOLS / "kubectl", "kustomize", f"deploy/kubernetes/{name}")))
        for version in KUBERNETES_VERSIONS:
            for manifest in manifests:
                try:
                    kubernetes_validate.validate(manifest, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    raise CheckFailed(f"{name}, {manifest['kind']}, Kubernetes {version}: {error.message}") from None


def check_unit() -> None:
    """systemd-analyze: the unit is valid, and its exposure is low."""
    analyze = find("systemd-analyze")
    with tempfile.TemporaryDirectory() as directory:
        # Its program is not installed here.
        unit = (ROOT / "deploy/systemd/orderwire.service").read_text(encoding="utf-8")
        copy = Path(directory) / "orderwire.service"
        copy.write_text(unit.replace("/opt/orderwire/.venv/bin/python", sys.executable), encoding="utf-8")
        # It warns of an unknown directive, and ends with 0.
        if warnings := run(analyze, "verify", "--man=no", copy):
            raise CheckFailed(warnings)
        run(analyze, "security", "--no-pager", "--offline=yes", f"--threshold={MAX_EXPOSURE}", copy)


def check_prometheus() -> None:
    """promtool: the configuration of Prometheus, with the alerts."""
    promtool = find("promtool")
    with tempfile.TemporaryDirectory() as directory:
        config = (ROOT / "deploy/compose/prometheus.yml").read_text(encoding="utf-8")
        config = config.replace("/etc/prometheus/alerts.yml", str(ROOT / "docs/ops/alerts.yml"))
        token = Path(directory) / "metrics.token"
        token.touch()
        copy = Path(directory) / "prometheus.yml"
        copy.write_text(config.replace("/run/orderwire/metrics.token", str(token)), encoding="utf-8")
        run(promtool, "check", "config", copy)


def check_nginx() -> None:
    """nginx -t: its configuration, as the container makes it, with the certificate that prepare.sh makes."""
    nginx = find("nginx")
    compose = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text(encoding="utf-8"))
    (script,) = (word for word in compose["services"]["nginx"]["command"] if word.startswith("sed "))
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        shutil.copytree(ROOT / "deploy/compose", home / "compose", ignore=shutil.ignore_patterns(".env", "tls"))
        run("sh", home / "compose" / "prepare.sh")
        sed = script.partition(" > ")[0].replace("/etc/orderwire/nginx.conf", str(ROOT / "docs/ops/nginx.conf"))
        server = run("sh", "-c", sed)
        if "172.31.250.2:8000" not in server:
            raise CheckFailed(f"{sed}: docs/ops/nginx.conf has no server 127.0.0.1:8000 any more")
        server = server.replace("/etc/letsencrypt/live/shop.example", str(home / "compose" / "tls"))
        config = home / "nginx.conf"
        config.write_text(f"pid {home}/pid; error_log stderr; events {{}}\nhttp {{ access_log off;\n{server}}}\n")
        run(nginx, "-t", "-q", "-e", "stderr", "-c", config)


CHECKS: Sequence[Callable[[], None]] = (
    check_containerfile,
    check_compose,
    check_workflow,
    check_scripts,
    check_kubernetes,
    check_unit,
    check_prometheus,
    check_nginx,
)


def main() -> int:
    """Run all checks, and print a line for each."""
    failed = missing = 0
    for check in CHECKS:
        description = re.sub(r"\s+", " ", check.__doc__ or "")
        try:
            check()
        except CheckFailed as error:
            failed += 1
            print(f"failed   {description}\n{error}")
        except ToolMissing as error:
            missing += 1
            print(f"skipped  {description} ({error} is not installed)")
        else:
            print(f"ok       {description}")
    return 1 if failed or (missing and os.environ.get("REQUIRE_ALL") == "1") else 0


if __name__ == "__main__":
    sys.exit(main())
