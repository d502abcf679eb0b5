"""The suites of examples/ that need packages of their own, in an environment of their own: `make check-examples`.

The Python client is installed there as a user installs it, so pytest finds the plugin by its entry point.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.npm import installed, node_and_npm
from tests.support import BASE_ENVIRONMENT, ROOT, locked

pytestmark = pytest.mark.skipif("CHECK_EXAMPLES" not in os.environ, reason="installs packages for minutes: make check-examples")

CLIENT = ROOT / "clients" / "python"
LOCK = ROOT / "requirements" / "examples.txt"


@pytest.fixture(scope="session")
def interpreter() -> Path:
    """Python with the locked packages of the examples, and the client as it is now."""
    home = ROOT / ".cache" / f"examples-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    python = home / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    with locked(home.with_suffix(".lock")):
        if not home.exists():
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            subprocess.run([*pip, "--require-hashes", "--no-deps", "-r", str(LOCK)], check=True)
        # The back-end of the build is among the locked packages.
        subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--force-reinstall", str(CLIENT)], check=True)
    return python


def run_suite(python: Path, directory: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=directory,
        env={
            **BASE_ENVIRONMENT,
            "ORDERWIRE_HOME": str(ROOT),
            "PYTHONPATH": str(directory),
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(("name", "passed"), [("testing", 3), ("sqlalchemy", 2), ("django", 3)])
def test_the_suite_passes(interpreter: Path, name: str, passed: int) -> None:
    assert f"{passed} passed" in run_suite(interpreter, ROOT / "examples" / name)


def test_the_suite_of_prisma_passes(interpreter: Path, tmp_path: Path) -> None:
    source = ROOT / "examples" / "prisma"
    packages = installed(source)
    copy = shutil.copytree(source, tmp_path / "prisma", ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    (copy / "node_modules").symlink_to(packages / "node_modules")
    node, npm = node_and_npm()
    path = f"{Path(node[0]).parent}{os.pathsep}{BASE_ENVIRONMENT['PATH']}"
    # Else Prisma would download its engine for migrations, which `generate` does not run.
    environment = {**BASE_ENVIRONMENT, "PATH": path, "PRISMA_SCHEMA_ENGINE_BINARY": "/bin/true"}
    generate = subprocess.run([*npm, "run", "generate"], cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert generate.returncode == 0, generate.stderr
    assert "1 passed" in run_suite(interpreter, copy, PATH=path)


def test_the_package_has_its_types_and_its_plugin(interpreter: Path) -> None:
    command = (
        "import importlib.metadata as m, orderwire, pathlib;"
        "print([e.value for e in m.entry_points(group='pytest11') if e.name == 'orderwire'],"
        " pathlib.Path(orderwire.__file__).with_name('py.typed').exists(), m.requires('orderwire'))"
    )
    done = subprocess.run([str(interpreter), "-c", command], cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout.startswith("['orderwire.pytest_plugin'] True ['aiohttp")
