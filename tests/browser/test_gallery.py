"""Every component in every state, in both themes: no violation, no error in the console, and nothing wider than the screen."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.conftest import NewPage
from tests.browser.gallery import SCENES, build_gallery, serve_gallery
from tests.browser.page_helpers import fits_width
from tests.browser.test_access import violations
from tests.support import locked
from web.build import WEB

# Files of web/src/ui that are not on the page: the views, which have tests of their own, and the list of the wall, whose title
# is that of the toasts.
NOT_SHOWN = {
    *("App", "Dashboard", "ViewNotLoaded", "BoardView", "BoardColumns", "OrderView", "Wall", "NewestOrders", "Story"),
    *("CustomerPage", "ViewerPage"),
}


@pytest.fixture(scope="session")
def gallery_files(built: None, run_directory: Path) -> Path:
    """The built page, once for all processes of the run."""
    target = run_directory / "gallery"
    with locked(run_directory / "gallery.lock"):
        if not target.exists():
            build_gallery(target)
    return target


@pytest.fixture
async def gallery(gallery_files: Path) -> AsyncIterator[str]:
    async with serve_gallery(gallery_files) as address:
        yield address


@pytest.mark.every_browser
@pytest.mark.parametrize("scene", SCENES)
async def test_axe_finds_no_violation_and_nothing_is_too_wide(gallery: str, new_page: NewPage, scene: str) -> None:
    page = await new_page(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    await page.goto(f"{gallery}?scene={scene}")
    await expect(page.locator("[data-part]").last).to_be_visible()
    assert await fits_width(page)
    await page.set_viewport_size({"width": 1440, "height": 900})
    assert await fits_width(page)
    for theme in ("light", "dark"):
        await page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        assert await violations(page) == [], theme
    assert await page.locator(".panel-failed").count() == 1  # the component that fails by intention


def test_every_component_is_shown() -> None:
    """A new component becomes part of the page, or is named above."""
    sources = {path.stem: path.read_text(encoding="utf-8") for path in (WEB / "src" / "ui").rglob("*.tsx")}
    imported = re.compile(r'(?:from |import\()"[./\w-]*/([\w-]+)\.tsx"')
    found = imported.findall((WEB / "gallery" / "Gallery.tsx").read_text(encoding="utf-8"))
    shown: set[str] = set()
    while found:  # what a component that is shown uses is shown too
        name = found.pop()
        if name in sources and name not in shown:
            shown.add(name)
            found += imported.findall(sources[name])
    assert sources.keys() - shown == NOT_SHOWN
