"""Lists the packages in a release, as CycloneDX: those of the server and those in the page. ``make sbom``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from web.build import node_and_npm

__all__ = ["ROOT", "SbomFailed", "write_sboms"]

ROOT = Path(__file__).resolve().parent.parent


class SbomFailed(Exception):
    """A program that lists packages has failed; the text is what it said."""


def write_sboms(repository: Path, directory: Path) -> list[Path]:
    """Write both documents to ``directory``. The same lock files give the same bytes. Raises SbomFailed and NodeNotFound."""
    directory.mkdir(exist_ok=True)
    python = [str(Path(sys.executable).with_name("cyclonedx-py")), "requirements", "requirements/server.txt"]
    _, npm = node_and_npm()
    page = [*npm, "sbom", "--package-lock-only", "--omit", "dev", "--sbom-format", "cyclonedx", "--sbom-type", "application"]
    return [
        _write(directory / "sbom-python.cdx.json", python, repository),
        _write(directory / "sbom-page.cdx.json", page, repository / "web"),
    ]


def _write(target: Path, command: list[str], directory: Path) -> Path:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SbomFailed(f"{Path(command[0]).name} {command[1]}: {done.stderr.strip() or done.stdout.strip()}")
    document = json.loads(done.stdout)
    # These differ from run to run. The archives' checksums name the time and the document.
    document.pop("serialNumber", None)
    document.get("metadata", {}).pop("timestamp", None)
    target.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return target


if __name__ == "__main__":
    for written in write_sboms(ROOT, ROOT / "dist"):
        print(written.relative_to(ROOT))
