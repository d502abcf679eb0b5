"""Locked packages of npm, with the machine's node and npm, or those that pip brings."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support import ROOT, locked
from web.build import node_and_npm

__all__ = ["installed", "node_and_npm"]


def installed(directory: Path) -> Path:
    """A copy of the directory with its locked packages, made once for each lock file under ``.cache``."""
    lock = (directory / "package-lock.json").read_bytes()
    home = ROOT / ".cache" / f"{directory.name}-{hashlib.sha256(lock).hexdigest()[:12]}"
    with locked(home.with_suffix(".lock")):
        if not home.exists():
            fresh = Path(tempfile.mkdtemp(dir=home.parent))
            for name in ("package.json", "package-lock.json"):
                shutil.copy(directory / name, fresh)
            install = [*node_and_npm()[1], "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(install, cwd=fresh, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            fresh.rename(home)
    return home
