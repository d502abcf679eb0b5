"""The documentation as a site: what is in it. `make docs` builds it, and checks the HTML."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.pages import PAGES, ROOT


@pytest.fixture(scope="module")
def site() -> ModuleType:
    """docs/site/build.py, which is a program and no module of a package."""
    spec = importlib.util.spec_from_file_location("docs_site_build", ROOT / "docs/site/build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages_in(navigation: object) -> list[str]:
    match navigation:
        case str():
            return [navigation]
        case dict():
            return [page for entry in navigation.values() for page in pages_in(entry)]
        case list():
            return [page for entry in navigation for page in pages_in(entry)]
    raise AssertionError(navigation)


def test_the_navigation_has_every_page_once(site: ModuleType) -> None:
    listed = pages_in(site.navigation())
    assert sorted(listed) == sorted(str(page.relative_to(ROOT)) for page in PAGES)


def test_what_pages_link_to_is_part_of_the_site(site: ModuleType) -> None:
    files = site.find_files()
    assert {Path("docs/ops/nginx.conf"), Path("docs/screenshots/desktop-light.png"), Path("examples/login_page.py")} <= files
    assert all((ROOT / path).is_file() for path in files)


@pytest.mark.parametrize(
    ("html", "wrong"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "index.html loads https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="//fonts.example/f.css">', "index.html loads //fonts.example/f.css"),
        ('<a href="no-such.html">', "index.html: no-such.html leads to no file"),
        ('<a href="#no-such">', "index.html: #no-such leads to no heading"),
    ],
)
def test_a_fault_of_the_site_is_found(site: ModuleType, tmp_path: Path, html: str, wrong: str) -> None:
    (tmp_path / "index.html").write_text(html)
    assert site.check(tmp_path)[0] == [wrong]


def test_stylesheets_are_checked_too(site: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "index.css").write_text('@import "https://fonts.example/f.css"; a {background: url(data:image/png;base64,x)}')
    assert site.check(tmp_path)[0] == ["index.css loads https://fonts.example/f.css"]


def test_links_that_people_follow_are_listed_and_canonical_addresses_load_nothing(site: ModuleType, tmp_path: Path) -> None:
    canonical = '<link rel="canonical" href="https://shop.example/">'
    links = '<a href="https://shop.example/x">x</a><h1 id="top"></h1><a href="#top">top</a>'
    (tmp_path / "index.html").write_text(canonical + links)
    assert site.check(tmp_path) == ([], {"https://shop.example/x"})
