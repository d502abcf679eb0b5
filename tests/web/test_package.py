"""The web package: its own tests, the size of the page, and when ``web.build`` builds it."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import BASE_ENVIRONMENT, ROOT, copy_checkout
from web.build import WEB, node_and_npm, npm_run

pytestmark = pytest.mark.usefixtures("built")

# Limit for the compressed page with the scripts and styles that it names, which are loaded before anything is shown.
MAX_PAGE_BYTES = 120_000
# Limit for each compressed script that is loaded later, such as that of a view.
MAX_VIEW_BYTES = 60_000


def test_vitest_passes() -> None:
    done = npm_run("test")
    assert done.returncode == 0, done.stdout
    assert re.search(r"Tests\s.*[0-9]+ passed", done.stdout), done.stdout


def test_page_is_smaller_than_its_limit() -> None:
    page = (WEB / "dist" / "index.html").read_bytes()
    names = re.findall(rb'(?:src|href)="\./(assets/[^"]+)"', page)
    assert len(names) >= 3
    size = len(gzip.compress(page)) + sum((WEB / "dist" / f"{name.decode()}.gz").stat().st_size for name in names)
    print(f"the page: {size} bytes, gzip")
    assert size < MAX_PAGE_BYTES


def test_each_view_is_smaller_than_its_limit() -> None:
    page = (WEB / "dist" / "index.html").read_text(encoding="utf-8")
    views = [path for path in (WEB / "dist" / "assets").glob("*.js.gz") if path.name.removesuffix(".gz") not in page]
    sizes = {path.name: path.stat().st_size for path in views}
    print(sizes)
    assert sizes
    assert max(sizes.values()) < MAX_VIEW_BYTES


def test_the_service_worker_is_one_script_without_imports() -> None:
    script = (WEB / "dist" / "worker.js").read_text(encoding="utf-8")
    assert "skipWaiting" in script
    assert not re.search(r"\b(?:import|export)\b", script)


def test_lock_file_names_no_registry() -> None:
    lock = (WEB / "package-lock.json").read_text(encoding="utf-8")
    assert '"integrity"' in lock
    assert '"resolved"' not in lock


def test_client_can_be_installed_from_the_checkout(tmp_path: Path) -> None:
    """By the command that the pages print. A link instead of a copy would find the React of the checkout, not the project's."""
    printed = "npm install --install-links /path/to/orderwire/web/client\n"
    for page in ("docs/reference/client.md", "web/client/README.md", "examples/LiveOrders.tsx"):
        assert printed in (ROOT / page).read_text(encoding="utf-8")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "page.js").write_text(
        'import { isOrderEvent } from "@orderwire/client"; console.log(isOrderEvent({ type: "ping" }));'
    )
    node, npm = node_and_npm()
    arguments = printed.replace("/path/to/orderwire", str(ROOT)).split()[1:]
    for command in ([*npm, *arguments, "--offline", "--no-audit", "--no-fund"], [*node, "page.js"]):
        done = subprocess.run(command, cwd=tmp_path, env=BASE_ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert done.stdout == "false\n"
    package = tmp_path / "node_modules" / "@orderwire" / "client"
    assert not package.is_symlink()
    maps = list((package / "dist").rglob("*.map"))
    assert maps
    for path in maps:
        for source in json.loads(path.read_text(encoding="utf-8"))["sources"]:
            assert (path.parent / source).resolve().is_relative_to(package / "src"), path
            assert (path.parent / source).exists(), path


def run_build(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "web.build", *arguments],
        cwd=checkout,
        env={**BASE_ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.alone  # takes less than 2 s
def test_unchanged_sources_are_not_built_again(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    start = time.monotonic()
    # An unchanged page is not built, so npm need not be on the PATH.
    done = run_build(checkout, PATH="/nowhere")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - start < 2


def link_packages_of_the_build(checkout: Path) -> None:
    """Give the checkout what `npm ci --omit=dev` installs."""
    locked = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    names = [path for path, package in locked.items() if path and not package.get("dev") and (WEB / path).exists()]
    for name in [*names, "node_modules/.lock.sha256"]:
        link = checkout / "web" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(WEB / name)
    (checkout / "web" / "node_modules" / ".bin").mkdir()
    for program in ("vite", "tsc"):
        (checkout / "web" / "node_modules" / ".bin" / program).symlink_to((WEB / "node_modules" / ".bin" / program).resolve())


def test_changed_source_is_built_once_without_the_packages_of_tests(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    link_packages_of_the_build(checkout)
    assert not (checkout / "web" / "node_modules" / "vitest").exists()
    texts = checkout / "web" / "messages" / "ru.json"
    texts.write_text(texts.read_text(encoding="utf-8").replace("Офлайн", "Нет связи"), encoding="utf-8")
    done = run_build(checkout)
    assert (done.returncode, done.stdout) == (0, "building the page\n"), done.stderr
    scripts = (checkout / "web" / "dist" / "assets").glob("*.js")
    assert any("Нет связи" in script.read_text(encoding="utf-8") for script in scripts)
    assert run_build(checkout).stdout == ""


def test_compiler_error_is_printed_and_the_next_run_builds_again(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    os.symlink(WEB / "node_modules", checkout / "web" / "node_modules")
    (checkout / "web" / "src" / "main.tsx").write_text("this is no script")
    for _ in range(2):
        done = run_build(checkout)
        assert done.returncode == 1
        assert "the page does not build" in done.stderr
        assert "main.tsx" in done.stderr


def test_a_build_installs_fewer_packages_than_tests(tmp_path: Path) -> None:
    """Of npm, only what it is told to do is of interest here; a real one takes its packages from the registry."""
    checkout = copy_checkout(tmp_path / "checkout")
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    (programs / "node").symlink_to(str(shutil.which(node_and_npm()[0][0])))
    (programs / "npm").write_text(f'#!/bin/sh\nmkdir -p node_modules\necho "$1 $2" >> {calls}\n')
    (programs / "npm").chmod(0o755)

    def commands(*arguments: str) -> list[str]:
        calls.write_text("")
        done = run_build(checkout, *arguments, PATH=f"{programs}:/usr/bin:/bin")
        assert done.returncode == 0, done.stderr
        return calls.read_text().splitlines()

    def change_source() -> None:
        with (checkout / "web" / "src" / "main.tsx").open("a") as source:
            source.write("\n")

    change_source()
    assert commands() == ["ci --omit=dev", "run build"]
    assert commands() == []
    assert commands("check") == ["ci --ignore-scripts", "run check"]
    change_source()
    assert commands("--for-tests") == ["run build"]


@pytest.mark.parametrize(("built_before", "fallback"), [(True, "the page that was built before"), (False, "a plain page")])
def test_unreachable_npm_registry_is_reported_with_the_page_used_instead(
    tmp_path: Path, built_before: bool, fallback: str
) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    if not built_before:
        shutil.rmtree(checkout / "web" / "dist")
    (checkout / "web" / "src" / "new.ts").write_text("export {};")
    # No server listens on port 9.
    done = run_build(checkout, npm_config_registry="http://127.0.0.1:9/", npm_config_cache=str(tmp_path / "cache"))
    assert done.returncode == 1
    assert done.stdout == "installing npm packages\n"
    assert done.stderr.count("\n") == 1
    assert "the npm registry does not give the packages" in done.stderr
    assert fallback in done.stderr
    assert (checkout / "web" / "dist" / "index.html").exists() == built_before


def test_make_run_continues_if_the_page_cannot_be_built() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^run: .*\n\t@\$\(PY\) -m web\.build \|\| :\n\t@exec", makefile, flags=re.MULTILINE)
