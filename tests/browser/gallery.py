"""The page of ``web/gallery``, which shows every component: builds it, and serves it from this process."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from tests.helpers.npm import node_and_npm
from web.build import WEB

SCENES = ("usual", "waiting", "away", "extreme")


def build_gallery(target: Path) -> None:
    """Build it into this directory. Needs the npm packages of ``web/``."""
    vite = [*node_and_npm()[0], "node_modules/vite/bin/vite.js", "build", "--config", "gallery/vite.config.ts"]
    done = subprocess.run([*vite, "--outDir", str(target)], cwd=WEB, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@asynccontextmanager
async def serve_gallery(directory: Path) -> AsyncIterator[str]:
    """The address of the page; a scene is chosen by ``?scene=``."""
    app = web.Application()
    app.router.add_static("/", directory)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    yield f"http://127.0.0.1:{port}/index.html"
    await runner.cleanup()
