"""The client's tarball in an application of Vite and one of Next.js: its types, the build, and an event in Chromium."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.page_helpers import insert_order
from tests.helpers.npm import installed, node_and_npm
from tests.support import ROOT, TIMEOUT_SECONDS, Process, Server, StartServer, free_port

APPS = Path(__file__).resolve().parent / "apps"
# Of each application: its build, and the command that serves it on a port.
COMMANDS = {
    "vite": (["vite/bin/vite.js", "build"], ["vite/bin/vite.js", "preview", "--host", "127.0.0.1", "--strictPort", "--port"]),
    "next": (["next/dist/bin/next", "build"], ["next/dist/bin/next", "start", "--hostname", "127.0.0.1", "--port"]),
}
ENVIRONMENT = {"CI": "1", "NEXT_TELEMETRY_DISABLED": "1"}


async def run(*command: str, cwd: Path, **environment: str) -> str:
    process = await Process.start(*command, cwd=cwd, env={**ENVIRONMENT, **environment})
    try:
        assert await process.wait_for_exit() == 0, process.output
    finally:
        await process.kill()
    return process.output


async def install_packed_client(app: Path, temporary: Path) -> None:
    """Pack the client as `npm publish` does, and install the tarball in the application."""
    _, npm = node_and_npm()
    name = await run(*npm, "pack", "--silent", "--pack-destination", str(temporary), cwd=ROOT / "web" / "client")
    options = ["--no-save", "--offline", "--ignore-scripts", "--no-audit", "--no-fund"]
    await run(*npm, "install", *options, str(temporary / name.splitlines()[-1]), cwd=app)


def copy_sources(name: str, app: Path) -> None:
    """Into the directory that has the application's packages: Next.js does not follow a link to them."""
    shutil.copytree(APPS / name, app, dirs_exist_ok=True)
    if name == "next":
        shutil.copy(ROOT / "examples" / "LiveOrders.tsx", app / "app")


@pytest.mark.parametrize(
    "name",
    [
        "vite",
        pytest.param(
            "next",
            marks=pytest.mark.skipif(
                not os.environ.get("CHECK_PACKAGE"), reason="installs Next.js, and takes a minute: make check-package"
            ),
        ),
    ],
)
async def test_packed_client_in_an_application(
    start_server: StartServer, database_url: str, db: Any, page: Page, tmp_path: Path, name: str
) -> None:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    server: Server = await start_server(database_url, ALLOWED_ORIGINS=origin)
    app = await asyncio.to_thread(installed, APPS / name)
    await asyncio.to_thread(copy_sources, name, app)
    await install_packed_client(app, tmp_path)
    node = [*node_and_npm()[0]]
    modules = app / "node_modules"
    (build, *build_options), (serve, *serve_options) = COMMANDS[name]
    urls = {"VITE_WS_URL": server.ws_url, "NEXT_PUBLIC_WS_URL": server.ws_url}
    await run(*node, str(modules / build), *build_options, cwd=app, **urls)
    # After the build: `next build` writes some of the types.
    await run(*node, str(modules / "typescript/bin/tsc"), "--noEmit", cwd=app)
    process = await Process.start(*node, str(modules / serve), *serve_options, port, cwd=app, env=ENVIRONMENT)
    try:
        await process.wait_for_line(port)
        await page.goto(origin)
        await expect(page.locator("h2")).to_have_text("🟢 Live", timeout=1_000 * TIMEOUT_SECONDS)
        await insert_order(db, "Анна")
        await expect(page.locator("body")).to_contain_text("Анна")
        await expect(page.locator("body")).to_contain_text("1 orders")
    finally:
        await process.stop_group()
