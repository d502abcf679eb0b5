"""db/embedded/binaries.py: the programs are found, and data of another major version is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from db.embedded.binaries import MIN_MAJOR_VERSION, find_binaries, major_version
from db.embedded.postgres import EmbeddedPostgres
from db.errors import EmbeddedPostgresError


def fake_programs(directory: Path, version_output: str) -> Path:
    for name in ("postgres", "initdb", "psql"):
        (directory / name).write_text(f"#!/bin/sh\necho '{version_output}'\n")
        (directory / name).chmod(0o755)
    return directory


def test_finds_all_programs_of_a_supported_version() -> None:
    found = find_binaries()
    assert {path.name for path in found.iterdir()} >= {"postgres", "initdb", "psql"}
    assert (major_version(found) or 0) >= MIN_MAJOR_VERSION
    assert find_binaries(major_version(found)) == found


@pytest.mark.parametrize(
    ("output", "major"),
    [
        ("postgres (PostgreSQL) 18.6", 18),
        ("postgres (PostgreSQL) 17beta1", 17),
        ("postgres (PostgreSQL) 16devel", 16),
        ("postgres (PostgreSQL) 14.2 (Debian 14.2-1)", 14),
        ("something else", None),
    ],
)
def test_major_version_is_parsed(tmp_path: Path, output: str, major: int | None) -> None:
    assert major_version(fake_programs(tmp_path, output)) == major


@pytest.mark.parametrize("missing", ["postgres", "initdb", "psql"])
def test_directory_without_one_of_the_programs_is_ignored(tmp_path: Path, missing: str) -> None:
    (fake_programs(tmp_path, "postgres (PostgreSQL) 18.6") / missing).unlink()
    assert major_version(tmp_path) is None


def test_program_that_does_not_run_is_ignored(tmp_path: Path) -> None:
    (fake_programs(tmp_path, "postgres (PostgreSQL) 18.6") / "postgres").write_text("#!/bin/sh\nexit 1\n")
    assert major_version(tmp_path) is None


def test_no_suitable_version_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = fake_programs(tmp_path, "postgres (PostgreSQL) 9.6")
    monkeypatch.delenv("POSTGRES_BIN", raising=False)
    monkeypatch.setattr("db.embedded.binaries._candidate_directories", lambda: iter([old]))
    with pytest.raises(EmbeddedPostgresError, match=f"no PostgreSQL {MIN_MAJOR_VERSION} or newer found"):
        find_binaries()


def test_the_environment_chooses_the_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POSTGRES_BIN", str(fake_programs(tmp_path, "postgres (PostgreSQL) 15.7")))
    assert find_binaries() == tmp_path


def test_programs_that_the_environment_chooses_must_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POSTGRES_BIN", str(tmp_path))
    with pytest.raises(EmbeddedPostgresError, match=f"POSTGRES_BIN={tmp_path} has no postgres, initdb and psql that run"):
        find_binaries()


@pytest.mark.postgres
def test_data_of_another_major_version_is_one_clear_error(server: EmbeddedPostgres, directory: Path) -> None:
    (directory / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedPostgresError, match=r"PostgreSQL 9 wrote the data, but only version \d+ is installed"):
        server.start()
