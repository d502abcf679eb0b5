"""Lists the packages in a release, as CycloneDX: those of the server and those in the page. ``make sbom``."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["IMPORTED_BY_PAGE", "ROOT", "SbomFailed", "page_packages", "write_sboms"]

ROOT = Path(__file__).resolve().parent.parent
# web/package.json cannot say which of its `dependencies` end up in the page and which build it.
IMPORTED_BY_PAGE = ("react", "react-dom", "uplot", "uqr")


class SbomFailed(Exception):
    """The list could not be made, or is no valid CycloneDX; the text says why."""


def write_sboms(repository: Path, directory: Path) -> list[Path]:
    """Write both documents to ``directory``. The same lock files give the same bytes. Raises SbomFailed."""
    directory.mkdir(exist_ok=True)
    return [
        _write(directory / "sbom-server.cdx.json", server_packages(repository)),
        _write(directory / "sbom-page.cdx.json", page_packages(repository)),
    ]


def server_packages(repository: Path) -> dict[str, Any]:
    """Of requirements/server.txt, by cyclonedx-py. Raises SbomFailed."""
    program = str(Path(sys.executable).with_name("cyclonedx-py"))
    command = [program, "requirements", "--output-reproducible", "requirements/server.txt"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SbomFailed(f"cyclonedx-py: {done.stderr.strip()}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def page_packages(repository: Path) -> dict[str, Any]:
    """Of web/package-lock.json: IMPORTED_BY_PAGE and what they depend on. (`npm sbom` would list the tools of the build.)"""
    packages = json.loads((repository / "web" / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    names, unread = set(IMPORTED_BY_PAGE), list(IMPORTED_BY_PAGE)
    while unread:
        found = packages[f"node_modules/{unread.pop()}"].get("dependencies", {}).keys() - names
        names |= found
        unread += found
    components = []
    for name in sorted(names):
        package = packages[f"node_modules/{name}"]
        algorithm, _, digest = package["integrity"].partition("-")
        components.append(
            {
                "type": "library",
                "bom-ref": f"{name}@{package['version']}",
                "name": name,
                "version": package["version"],
                "purl": f"pkg:npm/{name.replace('@', '%40')}@{package['version']}",
                "licenses": [{"license": {"id": package["license"]}}],
                "hashes": [{"alg": algorithm.upper().replace("SHA", "SHA-"), "content": base64.b64decode(digest).hex()}],
            }
        )
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}


def _write(target: Path, document: dict[str, Any]) -> Path:
    # Of .venv-deploy. The tests import this module without it.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    if error := JsonStrictValidator(SchemaVersion.from_version(document["specVersion"])).validate_str(text):
        raise SbomFailed(f"{target.name} is not valid: {error}")
    target.write_text(text, encoding="utf-8")
    return target


if __name__ == "__main__":
    for written in write_sboms(ROOT, ROOT / "dist"):
        print(written.relative_to(ROOT))
