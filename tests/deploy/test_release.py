"""release.py: what it refuses, what it writes, and that archives of one commit are equal."""

from __future__ import annotations

import subprocess
import tarfile
from datetime import date
from pathlib import Path

import pytest

from deploy.release import (
    BUILT,
    VERSION_PLACES,
    ReleaseError,
    check_repository,
    git,
    parse_version,
    with_heading,
    write_archive,
    write_version,
)
from tests.support import ROOT

CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- Something.\n\n## [0.1.0] - 2026-01-02\n\n- The first.\n"
DAY = date(2026, 3, 4)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the files that a release edits, committed."""
    directory = tmp_path / "repository"
    for name, _ in VERSION_PLACES:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes((ROOT / name).read_bytes())
    (directory / "CHANGELOG.md").write_text(CHANGELOG)
    (directory / ".gitignore").write_text("dist/\n")
    script = directory / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o700)
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", directory], check=True)
    git(directory, "config", "user.name", "Test")
    git(directory, "config", "user.email", "test@shop.example")
    git(directory, "add", ".")
    git(directory, "commit", "--quiet", "--message", "test: a commit")
    return directory


@pytest.mark.parametrize("text", ["", "1.2", "v1.2.3", "1.2.3-rc1", "1.2.x"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ReleaseError, match=r"expected three numbers"):
        parse_version(text)


def test_entries_move_under_the_new_heading() -> None:
    new = with_heading(CHANGELOG, "0.2.0", DAY)
    assert new == CHANGELOG.replace("## [Unreleased]\n", "## [Unreleased]\n\n## [0.2.0] - 2026-03-04\n")


@pytest.mark.parametrize("text", ["# Changelog\n", CHANGELOG.replace("### Added\n\n- Something.\n\n", "")])
def test_without_entries_there_is_no_release(text: str) -> None:
    with pytest.raises(ReleaseError, match="no entries"):
        with_heading(text, "0.2.0", DAY)


def test_a_release_is_refused_for_changes_for_its_tag_and_for_an_old_version(repository: Path) -> None:
    check_repository(repository, "0.2.0")
    for version in ("0.1.0", "0.0.9"):
        with pytest.raises(ReleaseError, match=r"has version 0\.1\.0: choose a later"):
            check_repository(repository, version)
    git(repository, "tag", "v0.2.0")
    with pytest.raises(ReleaseError, match=r"a tag v0\.2\.0 already"):
        check_repository(repository, "0.2.0")
    (repository / "service/application.py").write_text("")
    (repository / "new file").write_text("")
    with pytest.raises(ReleaseError, match=r'not committed: service/application.py, "new file"'):
        check_repository(repository, "0.3.0")


def test_the_version_is_written_everywhere(repository: Path) -> None:
    write_version(repository, "10.20.30", DAY)
    for name, _ in VERSION_PLACES:
        assert "10.20.30" in (repository / name).read_text(), name
    assert "## [10.20.30] - 2026-03-04\n" in (repository / "CHANGELOG.md").read_text()
    changed = git(repository, "diff", "--numstat").splitlines()
    assert len(changed) == len(VERSION_PLACES) + 1
    assert all(line.startswith(("1\t1\t", "2\t0\t")) for line in changed), changed


def test_two_archives_of_one_commit_are_equal_and_have_the_page(repository: Path, tmp_path: Path) -> None:
    for directory in BUILT:
        (repository / directory).mkdir(parents=True)
        (repository / directory / "index.html").write_text("built")
    for name in ("first", "second"):
        write_archive(repository, "orderwire-0.2.0", tmp_path / name)
        (repository / "service/application.py").touch()
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    with tarfile.open(tmp_path / "first") as archive:
        members = {member.name: member for member in archive}
    assert {f"orderwire-0.2.0/{directory}/index.html" for directory in BUILT} <= members.keys()
    assert members["orderwire-0.2.0/run.sh"].mode == 0o755
    assert {(member.uid, member.uname) for member in members.values()} == {(0, "root")}
