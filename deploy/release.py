"""Makes a release: the version in its files, the changelog's heading, a commit, a tag, and archives with checksums.

``make release VERSION=0.2.0`` does it all in a clone, and leaves the archives in dist/ to be looked at; the checkout stays as
it is. ``ARGS=--apply`` then takes the commit and the tag over into the checkout. Nothing is pushed.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

from deploy.sbom import ROOT, SbomFailed, write_sboms

DIST = ROOT / "dist"
CHANGELOG = "CHANGELOG.md"
# Where the version stands: a file, and what is before it and behind it.
VERSION_PLACES = (
    ("service/application.py", r'(?m)^(__version__ = ")[^"]+(")$'),
    ("web/client/package.json", r'(?m)^(  "version": ")[^"]+(",)$'),
    ("deploy/kubernetes/migrate/kustomization.yaml", r"(newTag: )[^ }]+( *\})"),
    ("deploy/kubernetes/example/kustomization.yaml", r"(newTag: )[^ }]+( *\})"),
)
# What the build of the page makes; the archive has it beside the sources.
BUILT = ("web/dist", "web/client/dist")


class ReleaseError(Exception):
    """Why there is no release; one line."""


def git(repository: Path, *arguments: str) -> str:
    """The output of a command of git. Raises ReleaseError."""
    done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def parse_version(text: str) -> tuple[int, int, int]:
    """Raises ReleaseError."""
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", text)
    if match is None:
        raise ReleaseError(f"{text!r} is not a version: expected three numbers, like 0.2.0")
    return int(match[1]), int(match[2]), int(match[3])


def check_repository(repository: Path, version: str) -> None:
    """Raises ReleaseError where uncommitted changes would be missing in the release, or there is such a release already."""
    if changes := git(repository, "status", "--porcelain"):
        names = ", ".join(line.split(maxsplit=1)[1] for line in changes.splitlines())
        raise ReleaseError(f"the checkout has changes that are not committed: {names}")
    if git(repository, "tag", "--list", f"v{version}"):
        raise ReleaseError(f"there is a tag v{version} already")
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (repository / CHANGELOG).read_text(encoding="utf-8"), re.MULTILINE)
    if newer := [name for name in released if parse_version(name) >= parse_version(version)]:
        raise ReleaseError(f"{CHANGELOG} has version {newer[0]}: choose a later one than that")


def with_heading(changelog: str, version: str, day: date) -> str:
    """The changelog with the entries of "Unreleased" under a heading of their own. Raises ReleaseError if there are none."""
    before, marker, rest = changelog.partition("## [Unreleased]\n")
    entries, heading, released = rest.partition("\n## [")
    if not marker or not entries.strip():
        raise ReleaseError(f'{CHANGELOG} has no entries under "Unreleased"')
    return f"{before}{marker}\n## [{version}] - {day.isoformat()}\n{entries}{heading}{released}"


def write_version(repository: Path, version: str, day: date) -> None:
    """Edit all files of VERSION_PLACES, and the changelog. Raises ReleaseError."""
    for name, pattern in VERSION_PLACES:
        path = repository / name
        text, count = re.subn(pattern, rf"\g<1>{version}\g<2>", path.read_text(encoding="utf-8"))
        if count != 1:
            raise ReleaseError(f"{name}: the version was not found")
        path.write_text(text, encoding="utf-8")
    path = repository / CHANGELOG
    path.write_text(with_heading(path.read_text(encoding="utf-8"), version, day), encoding="utf-8")


def write_archive(repository: Path, name: str, target: Path) -> None:
    """A tar archive of the committed files and of BUILT, below the directory ``name``. The same commit gives the same bytes:
    names are sorted, all have the time of the commit, and belong to root.
    """
    committed = int(git(repository, "log", "-1", "--format=%ct"))
    files = [*git(repository, "ls-files").splitlines()]
    for directory in BUILT:
        files += [str(path.relative_to(repository)) for path in (repository / directory).rglob("*") if path.is_file()]

    def normalize(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = committed, 0, 0, "root", "root"
        entry.mode = 0o755 if entry.mode & 0o100 else 0o644
        return entry

    with (
        target.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=committed) as packed,
        tarfile.open(mode="w", fileobj=packed, format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in sorted(set(files)):
            archive.add(repository / path, arcname=f"{name}/{path}", filter=normalize)


def build(repository: Path, version: str) -> list[Path]:
    """Build the page in ``repository``, and write the archive, the lists of components and the checksums to DIST."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": git(repository, "log", "-1", "--format=%ct")}
    done = subprocess.run([sys.executable, "-m", "web.build"], cwd=repository, env=environment, check=False)
    if done.returncode != 0:
        raise ReleaseError("the page could not be built")
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    archive = DIST / f"orderwire-{version}.tar.gz"
    write_archive(repository, f"orderwire-{version}", archive)
    made = [archive, *write_sboms(repository, DIST)]
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made)
    (DIST / "SHA256SUMS").write_text(sums)
    return [*made, DIST / "SHA256SUMS"]


def main() -> int:
    """Make the release in a clone, then with ``--apply`` in the checkout."""
    parser = argparse.ArgumentParser(prog="release.py", description=__doc__)
    parser.add_argument("version", help="the new version, like 0.2.0")
    parser.add_argument("--apply", action="store_true", help="commit and tag in this checkout too")
    options = parser.parse_args()
    try:
        parse_version(options.version)
        check_repository(ROOT, options.version)
        with tempfile.TemporaryDirectory() as directory:
            clone = Path(directory) / "orderwire"
            git(ROOT, "clone", "--quiet", str(ROOT), str(clone))
            write_version(clone, options.version, datetime.now(UTC).date())
            for name in ("user.name", "user.email"):
                git(clone, "config", name, git(ROOT, "config", name))
            git(clone, "commit", "--quiet", "--all", "--message", f"release: {options.version}")
            git(clone, "tag", "--annotate", f"v{options.version}", "--message", f"Orderwire {options.version}")
            for path in build(clone, options.version):
                print(path.relative_to(ROOT))
            if options.apply:
                git(ROOT, "pull", "--quiet", "--ff-only", "--tags", str(clone))
    except (ReleaseError, SbomFailed) as error:
        print(f"release.py: {error}", file=sys.stderr)
        return 1
    if options.apply:
        print(f"committed and tagged: git push --follow-tags publishes v{options.version}")
    else:
        print("this checkout is unchanged; with make: ARGS=--apply commits and tags")
    return 0


if __name__ == "__main__":
    sys.exit(main())
