"""The documentation pages, and what tests read from them."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["PAGES", "ROOT", "anchors", "code_spans", "links", "prose"]

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "examples/README.md", "sql/README.md")
    ),
    ROOT / "web/client/README.md",
    ROOT / "clients/python/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def prose(page: Path) -> str:
    """The text of a page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def links(text: str) -> list[str]:
    """The targets of Markdown links and images, and of HTML images. Code spans contain no links."""
    text = re.sub(r"`[^`\n]*`", "", text)
    return re.findall(r"\]\(([^()\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings; a repeated heading gets -1, -2 …"""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")
        count = sum(1 for anchor in found if anchor == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", anchor))
        found.add(f"{slug}-{count}" if count else slug)
    return found


def code_spans(text: str) -> list[str]:
    """The contents of all code spans, in the order of the page."""
    return re.findall(r"`([^`\n]+)`", text)
