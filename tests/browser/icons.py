"""``make icons``: draws the icons of the installed page from web/src/icon.svg."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.browser.chromium import find_chromium
from tests.support import ROOT

SOURCE = ROOT / "web" / "src" / "icon.svg"
TARGET = ROOT / "web" / "public"
BACKGROUND = "#3a51d4"  # of the drawing, whose corners are round
# Name, width in pixels, and the part of the width that the drawing takes. Systems cut a maskable icon to a shape: what is
# within 80 % of it is always visible.
ICONS = [("icon-192", 192, 1.0), ("icon-512", 512, 1.0), ("icon-maskable-512", 512, 0.8)]


async def main() -> None:
    svg = SOURCE.read_text(encoding="utf-8")
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        async with find_chromium(Path(directory)).launch() as browser:
            for name, width, part in ICONS:
                page = await browser.new_page(viewport={"width": width, "height": width})
                ground = BACKGROUND if part < 1 else "transparent"
                drawing = svg.replace("<svg ", f'<svg width="{width * part}" height="{width * part}" ', 1)
                style = f"margin:0;height:100vh;display:grid;place-items:center;background:{ground}"
                await page.set_content(f'<body style="{style}">{drawing}')
                path = TARGET / f"{name}.png"
                await page.screenshot(path=path, omit_background=True)
                print(f"{path.relative_to(ROOT)}  {path.stat().st_size} bytes")
                await page.close()


if __name__ == "__main__":
    asyncio.run(main())
