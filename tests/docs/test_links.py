"""Every relative link of the documentation leads to a file, and every anchor to a heading."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, links, prose

EXTERNAL = ("https://", "http://", "mailto:")


def broken_links(page: Path, text: str) -> list[str]:
    """The links in ``text``, which stands in ``page``, that lead nowhere."""
    broken = []
    for link in links(text):
        if link.startswith(EXTERNAL):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        exists = target.is_relative_to(ROOT) and target.exists()
        if not exists or (anchor and anchor not in anchors(prose(target))):
            broken.append(link)
    return broken


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_link_is_broken(page: Path) -> None:
    assert broken_links(page, prose(page)) == []


@pytest.mark.parametrize(
    "link",
    ["no-such-page.md", "reference/protocol.md#no-such-heading", "#no-such-heading", "../../outside.md"],
)
def test_a_broken_link_is_found(link: str) -> None:
    assert broken_links(ROOT / "docs" / "README.md", f"See [this]({link}).") == [link]


def test_a_link_to_a_heading_with_punctuation_is_found() -> None:
    page = ROOT / "docs" / "README.md"
    assert broken_links(page, "[resume](reference/protocol.md#resume), [who](reference/protocol.md#who-may-see-what)") == []


def test_every_page_can_be_reached_from_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    reached: set[Path] = set()
    waiting = [index]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = [(page.parent / link.partition("#")[0]).resolve() for link in links(prose(page)) if "://" not in link]
        waiting += [target for target in targets if target.suffix == ".md" and target.is_file()]
    assert {name_of(page) for page in PAGES if page.is_relative_to(ROOT / "docs")} <= {name_of(page) for page in reached}


def test_the_index_itself_lists_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / link).resolve() for link in links(prose(index)) if "://" not in link}
    assert [name_of(page) for page in PAGES if page.is_relative_to(index.parent) and page != index and page not in listed] == []
