"""sbom.py: the packages of the page. Those of the server are listed by cyclonedx-py, which `make sbom` installs."""

from __future__ import annotations

import json
import re

from deploy.sbom import page_packages
from tests.support import ROOT


def test_what_the_page_contains_is_listed_and_its_tools_are_not() -> None:
    components = {component["name"]: component for component in page_packages(ROOT)["components"]}
    package = json.loads((ROOT / "web/package.json").read_text(encoding="utf-8"))
    assert package["dependencies"].keys() | {"scheduler"} <= components.keys()
    assert package["devDependencies"].keys() & components.keys() == set()
    react = components["react"]
    assert react["purl"] == f"pkg:npm/react@{package['dependencies']['react']}"
    assert [hash_["alg"] for hash_ in react["hashes"]] == ["SHA-512"]
    assert re.fullmatch("[0-9a-f]{128}", react["hashes"][0]["content"])
