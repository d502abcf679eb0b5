"""db/embedded/postgres.py: the server survives `kill -9` of any process, and each failure is one clear error."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from db.embedded.postgres import EmbeddedPostgres
from db.errors import EmbeddedPostgresError
from tests.database.embedded.processes import USER_SCRIPT, fetch_value, is_running, server_pid, start_user_process, wait_until
from tests.support import ROOT, TIMEOUT_SECONDS

pytestmark = pytest.mark.postgres


async def test_new_directory_is_private_and_nothing_outside_is_changed(tmp_path: Path) -> None:
    tmp_path.chmod(0o751)
    server = EmbeddedPostgres(tmp_path / ".data")
    try:
        assert await fetch_value(server.start(), "show server_encoding") == "UTF8"
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o751
        assert stat.S_IMODE((tmp_path / ".data").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / ".data" / "state.json").stat().st_mode) == 0o600
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.url, password="guessed")
    finally:
        server.release()


async def test_release_stops_the_server_and_a_start_finds_the_data(server: EmbeddedPostgres) -> None:
    assert await fetch_value(server.start(), "select answer from kept") == 42
    pid = server.pid
    assert pid is not None
    server.release()
    assert not is_running(pid)
    server.release()  # a second call does nothing
    assert await fetch_value(server.start(), "select answer from kept") == 42


async def test_last_user_stops_the_server(server: EmbeddedPostgres, directory: Path) -> None:
    server.start()
    pid = server.pid
    other = await start_user_process(directory)
    assert await server_pid(other) == pid
    server.release()
    assert pid is not None
    assert is_running(pid)
    assert await other.stop() == 0
    await wait_until(lambda: not is_running(pid), "end of the server")
    assert server.pid is None


async def test_server_runs_on_when_the_process_that_started_it_releases_it(server: EmbeddedPostgres, directory: Path) -> None:
    first = await start_user_process(directory)
    pid = await server_pid(first)
    server.start()
    assert await first.stop() == 0
    assert is_running(pid)
    assert await fetch_value(server.url, "select answer from kept") == 42


async def test_attaches_to_the_server_of_a_killed_process(server: EmbeddedPostgres, directory: Path) -> None:
    owner = await start_user_process(directory)
    pid = await server_pid(owner)
    await owner.kill()
    assert is_running(pid)
    assert await fetch_value(server.start(), "select answer from kept") == 42
    assert server.pid == pid
    server.release()
    await wait_until(lambda: not is_running(pid), "end of the server")


async def test_restarts_a_killed_server(server: EmbeddedPostgres) -> None:
    server.start()
    killed = server.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    await wait_until(lambda: server.pid is None, "end of the server")
    assert await fetch_value(server.start(), "select answer from kept") == 42
    assert server.pid != killed


async def test_pid_file_of_a_killed_server_is_not_mistaken_for_that_of_the_new_one(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await wait_until(lambda: server.pid is None, "end of the server")
    status = server._status

    def slow() -> str:
        """Return what the old file says, but only after the new server has replaced it."""
        found, process = status(), server._process
        while process is not None and process.poll() is None and server._pid_file_lines()[:1] != [str(process.pid)]:
            time.sleep(0.001)
        return found

    monkeypatch.setattr(server, "_status", slow)
    server.start()
    assert status() == "ready"


async def test_recovers_from_a_killed_initdb(tmp_path: Path) -> None:
    directory = tmp_path / ".data"
    user = await start_user_process(directory)
    await wait_until((directory / "postgres.new").exists, "initdb at work")
    os.killpg(user.process.pid, signal.SIGKILL)  # the process group contains initdb
    await user.wait_for_exit()
    assert (directory / "postgres.new").exists()
    assert not (directory / "postgres").exists()
    server = EmbeddedPostgres(directory)
    try:
        assert await fetch_value(server.start(), "select 1") == 1
        assert not (directory / "postgres.new").exists()
    finally:
        server.release()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"port": 5432}', '{"port": "x", "password": 1}', "null", None])
def test_damaged_state_file_is_one_clear_error(server: EmbeddedPostgres, directory: Path, damage: str | None) -> None:
    (directory / "state.json").unlink()
    if damage is not None:
        (directory / "state.json").write_text(damage)
    with pytest.raises(EmbeddedPostgresError, match=r"state\.json is missing or damaged: restore it, or remove") as caught:
        server.start()
    assert "\n" not in str(caught.value)


async def test_chooses_another_port_when_its_own_is_in_use(server: EmbeddedPostgres, directory: Path) -> None:
    port = json.loads((directory / "state.json").read_text())["port"]
    with socket.create_server(("127.0.0.1", port)):
        assert await fetch_value(server.start(), "select answer from kept") == 42
    assert json.loads((directory / "state.json").read_text())["port"] != port


def test_directory_that_cannot_be_created_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match=r"cannot create .* set DATABASE_URL"):
        EmbeddedPostgres(tmp_path / "file" / ".data").start()


async def test_runs_as_an_ordinary_user(tmp_path: Path) -> None:
    """When the tests run as root, this one covers an ordinary user."""
    if os.geteuid() != 0:
        pytest.skip("all tests already run as an ordinary user")
    account = pwd.getpwnam("nobody")
    home = Path("/tmp") / f"orderwire-user-{os.getpid()}"  # other users cannot enter the directories of pytest
    home.mkdir()
    try:
        os.chown(home, account.pw_uid, account.pw_gid)
        shutil.copytree(ROOT / "db", home / "db")
        shutil.copytree(ROOT / "push", home / "push")
        probe = [sys.executable, "-c", "import db.embedded.binaries; db.embedded.binaries.find_binaries()"]
        try:
            subprocess.run(probe, cwd=home, user=account.pw_uid, group=account.pw_gid, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("other users cannot run this Python")
        script = USER_SCRIPT.replace("signal.sigwait([signal.SIGTERM])", "")
        result = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", script, str(home / ".data")],
            cwd=home,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
        assert result.returncode == 0, result.stderr
        assert "released" in result.stdout
        assert (home / ".data" / "state.json").stat().st_uid == account.pw_uid
    finally:
        shutil.rmtree(home)
