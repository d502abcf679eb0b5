"""What web/client/package.json lacks before the client can be published on npm. `make check-package` prints it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

__all__ = ["missing_fields"]

PACKAGE = Path(__file__).resolve().parent / "client" / "package.json"


def missing_fields(package: Mapping[str, object]) -> list[str]:
    """The fields that the publisher has to set."""
    missing = [] if package.get("license", "UNLICENSED") != "UNLICENSED" else ["license (it is UNLICENSED: nobody may use it)"]
    return missing + [name for name in ("repository",) if not package.get(name)]


if __name__ == "__main__":
    for field in missing_fields(json.loads(PACKAGE.read_text(encoding="utf-8"))):
        print(f"warning: before npm publish, set in web/client/package.json: {field}")
