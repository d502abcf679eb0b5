"""Builds the documentation as a site: `make docs`.

The pages are README.md and everything that its links lead to, directly or through other pages: Markdown becomes HTML, other
files are copied. Links are those of the repository, so nothing is written for the site alone. The navigation is that of
docs/README.md. Afterwards the HTML is checked: each internal link must lead to a file and an anchor, and no page may load
anything from another host. Exit code 1 when something is wrong.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).with_name("mkdocs.yml")
START = "README.md"
INDEX = "docs/README.md"
# Pages that the index does not list, in the order of the navigation.
PROJECT_PAGES = (
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "examples/README.md",
    "sql/README.md",
    "web/client/README.md",
    "clients/python/README.md",
)
# Attributes by which a page loads something; other links are followed by people.
LOADING = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")}
# Relations of <link> that load nothing.
NAMING = {"canonical", "next", "prev", "author", "license", "edit"}


def markdown_links(text: str) -> list[str]:
    """Targets of links and images in Markdown, without those in code."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    return re.findall(r"\]\(([^()\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)


def find_files() -> set[Path]:
    """Every file that can be reached from the start page by relative links. Paths are relative to the root."""
    found: set[Path] = set()
    waiting = [Path(START), Path(INDEX), *map(Path, PROJECT_PAGES)]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        if path.suffix != ".md":
            continue
        for link in markdown_links((ROOT / path).read_text(encoding="utf-8")):
            name = link.partition("#")[0]
            if not name or urlsplit(link).scheme:
                continue
            target = (ROOT / path.parent / name).resolve()
            if not target.is_file():
                raise SystemExit(f"{path}: the link {link} leads to no file")
            waiting.append(target.relative_to(ROOT))
    return found


def navigation() -> list[object]:
    """The start page, the sections of docs/README.md with their pages, and the project's pages."""
    text = (ROOT / INDEX).read_text(encoding="utf-8")
    tutorials = re.findall(r"\[tutorial: ([^]]+)\]\(([^)]+)\)", text)
    sections: list[object] = [{"Start": START}, {"All pages": INDEX}]
    sections.append({"Tutorial": [{title.capitalize(): f"docs/{page}"} for title, page in tutorials]})
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        pages = re.findall(r"^- \[(.+?)\]\(([^)#]+\.md)\)", body, flags=re.MULTILINE)
        sections.append({heading: [{title: f"docs/{page}"} for title, page in pages]})
    sections.append({"Project": [page for page in PROJECT_PAGES if (ROOT / page).exists()]})
    return sections


def build(site: Path) -> None:
    """Write the site. Raises SystemExit when the generator reports anything, a warning too."""
    with tempfile.TemporaryDirectory(prefix="orderwire-docs-") as directory:
        pages = Path(directory) / "pages"
        for path in find_files():
            (pages / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, pages / path)
        # JSON is YAML.
        added = {"docs_dir": "pages", "site_dir": "site", "nav": navigation()}
        config = Path(directory) / "mkdocs.yml"
        config.write_text(
            CONFIG.read_text(encoding="utf-8") + "".join(f"{name}: {json.dumps(value)}\n" for name, value in added.items()),
            encoding="utf-8",
        )
        command = [
            str(Path(sys.executable).with_name("zensical")),
            "build",
            "--clean",
            "--strict",
            "--config-file",
            str(config),
        ]
        done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{done.stdout}the site was not built: see the lines above")
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(Path(directory) / "site", site)


class Page(HTMLParser):
    """The anchors of a page, what it loads, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        for name, value in values.items():
            if (tag, name) in LOADING and values.get("rel") not in NAMING:
                self.loads.append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)


def check(site: Path) -> tuple[list[str], set[str]]:
    """What is wrong with the site, and the addresses of other hosts that people may follow."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    wrong: list[str] = []
    external: set[str] = set()
    for path, page in pages.items():
        name = path.relative_to(site)
        wrong += [f"{name} loads {target}" for target in page.loads if urlsplit(target).netloc]
        for link in [*page.loads, *page.links]:
            parts = urlsplit(link)
            if parts.netloc or parts.scheme:
                external.add(link)
                continue
            # The page for addresses that do not exist has links from the root.
            base = site if parts.path.startswith("/") else path.parent
            target = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
            if not target.is_file():
                wrong.append(f"{name}: {link} leads to no file")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                wrong.append(f"{name}: {link} leads to no heading")
    wrong += [f"{path.relative_to(site)} loads {url}" for path in site.rglob("*.css") for url in _loaded_by_css(path)]
    return wrong, external


def _loaded_by_css(path: Path) -> Iterator[str]:
    for url in re.findall(r"(?:url\(|@import )['\"]?([^'\")]+)", path.read_text(encoding="utf-8")):
        if urlsplit(url).netloc:
            yield url


def main() -> int:
    """Exit code 1 when something is wrong with the site."""
    parser = argparse.ArgumentParser(prog="build.py", description="Builds the documentation as a site.")
    parser.add_argument("site", type=Path, help="directory of the site; it is replaced")
    parser.add_argument("--external", action="store_true", help="list the links to other hosts, which are not checked")
    options = parser.parse_args()
    site: Path = options.site.resolve()
    build(site)
    wrong, external = check(site)
    for line in wrong:
        print(line)
    if options.external:
        print(*sorted(external), sep="\n")
    pages = sum(1 for _ in site.rglob("*.html"))
    print(f"{pages} pages in {site}: {len(wrong)} faults, {len(external)} links to other hosts (not followed)")
    print(f"look at it: python3 -m http.server --bind 127.0.0.1 --directory {site}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
