"""sbom.py: the packages of the page. Those of the server are listed by cyclonedx-py, which `make sbom` installs."""

from __future__ import annotations

import json
import re

from deploy.sbom import IMPORTED_BY_PAGE, page_packages
from tests.support import ROOT


def test_what_the_page_contains_is_listed_and_its_tools_are_not() -> None:
    components = {component["name"]: component for component in page_packages(ROOT)["components"]}
    package = json.loads((ROOT / "web/package.json").read_text(encoding="utf-8"))
    assert components.keys() == {*IMPORTED_BY_PAGE, "scheduler"}
    react = components["react"]
    assert react["purl"] == f"pkg:npm/react@{package['dependencies']['react']}"
    assert [hash_["alg"] for hash_ in react["hashes"]] == ["SHA-512"]
    assert re.fullmatch("[0-9a-f]{128}", react["hashes"][0]["content"])


def test_every_package_that_the_page_imports_is_listed() -> None:
    sources = [path for suffix in ("*.ts", "*.tsx") for path in (ROOT / "web").glob(f"src/**/{suffix}")]
    assert sources
    imported = {
        re.match(r"(?:@[^/]+/)?[^/]+", name)[0]  # type: ignore[index]
        for path in sources
        for name in re.findall(r"""(?:from|import) ["']([a-z@][^"']*)["']""", path.read_text(encoding="utf-8"))
    }
    assert imported - {"@orderwire/client"} == set(IMPORTED_BY_PAGE)
