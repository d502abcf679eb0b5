"""The pytest plugin in the suite of a small application, examples/testing: green, and red for the right reasons."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from orderwire.testing import ServerFailed, embedded_postgres
from tests.support import BASE_ENVIRONMENT, ROOT

EXAMPLE = ROOT / "examples" / "testing"
COMMIT = "    await transaction.commit()\n"
RETURN = '    return bool(done == "UPDATE 1")\n'


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """A copy of the application with its tests."""
    return shutil.copytree(EXAMPLE, tmp_path / "application", ignore=shutil.ignore_patterns("__pycache__"))


def run_suite(application: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the application's tests by an interpreter of their own."""
    command = [sys.executable, "-m", "pytest", "-p", "orderwire.pytest_plugin", "-p", "no:cacheprovider", "-q", *arguments]
    return subprocess.run(
        command,
        cwd=application,
        env={
            **BASE_ENVIRONMENT,
            "ORDERWIRE_HOME": str(ROOT),
            "PYTHONPATH": os.pathsep.join((str(ROOT / "clients" / "python"), str(application))),
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def spoil(application: Path, old: str, new: str) -> None:
    source = application / "shop.py"
    text = source.read_text(encoding="utf-8")
    assert text.count(old) == 1
    source.write_text(text.replace(old, new), encoding="utf-8")


def test_the_suite_of_the_application_passes(application: Path, empty_database_url: str) -> None:
    done = run_suite(application, DATABASE_URL=empty_database_url)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_a_broken_application_fails_and_says_what_came_instead(application: Path, empty_database_url: str) -> None:
    """It forgets to commit Anna's order, writes a wrong status, and changes more than it should."""
    spoil(application, COMMIT, "    await (transaction.rollback() if customer == 'Anna' else transaction.commit())\n")
    spoil(application, "set state = 'paid'", "set state = 'payed'")
    spoil(
        application, RETURN, f"    await db.execute('update shop_order set amount = amount + 1 where id = $1', key)\n{RETURN}"
    )
    done = run_suite(application, "-o", "orderwire_timeout=0.5", DATABASE_URL=empty_database_url)
    assert done.returncode == 1, done.stdout
    assert "3 failed" in done.stdout
    for message in (
        r"no new_order of order 1 within 0\.5 s; nothing came: was the change committed,",
        r"no order_status_update of order 2 with status='paid', previous_status='new' within 0\.5 s; what came instead:\n"
        r"E +new_order of order 2 status='new' total='5\.00' customer_name='Bo'\n"
        r"E +order_status_update of order 2 status='payed' previous_status='new' total='5\.00'\n",
        r"there should be no order_update of order 3, and there is:\n"
        r"E +order_update of order 3 status='payed' total='6\.00'",
    ):
        assert re.search(rf"AssertionError: {message}", done.stdout), done.stdout
    # Each failure points to a line of the tests, not of the plugin.
    assert len(re.findall(r"^test_shop\.py:\d+: AssertionError$", done.stdout, re.MULTILINE)) == 3, done.stdout


def test_a_map_that_does_not_fit_is_one_clear_line(application: Path, empty_database_url: str) -> None:
    text = (application / "orders.toml").read_text(encoding="utf-8")
    (application / "orders.toml").write_text(text.replace('total = "amount"', 'total = "amout"'), encoding="utf-8")
    done = run_suite(application, "-k", "payment", DATABASE_URL=empty_database_url)
    assert done.returncode == 1, done.stdout
    assert "the table is not attached: " in done.stdout
    assert "amout" in done.stdout
    assert "Traceback" not in done.stdout


def test_without_a_checkout_the_setting_is_named(application: Path) -> None:
    done = run_suite(application, "-k", "payment", ORDERWIRE_HOME=str(application))
    assert done.returncode == 1, done.stdout
    assert f"there is no Orderwire in {application}: set ORDERWIRE_HOME to its checkout" in done.stdout


@pytest.mark.postgres
async def test_a_postgres_of_its_own_is_there_and_removed(tmp_path: Path) -> None:
    with embedded_postgres(ROOT, tmp_path / "postgres") as url:
        db = await asyncpg.connect(url)
        assert await db.fetchval("select 1") == 1
        await db.close()
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await asyncpg.connect(url)


def test_a_postgres_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerFailed, match="cannot create"), embedded_postgres(ROOT, tmp_path / "file" / "postgres"):
        pass
