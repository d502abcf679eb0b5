"""The PostgreSQL of our own: it survives `kill -9` of anything, and says in one line what it cannot mend."""

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
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from db.embedded.postgres import EmbeddedPostgres
from db.errors import EmbeddedPostgresError
from db.migrate import migrate
from tests.support import ROOT, TIMEOUT_SECONDS, Process, within

pytestmark = pytest.mark.postgres

USER_SCRIPT = """
import signal, sys
from pathlib import Path
from db.embedded.postgres import EmbeddedPostgres
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
server = EmbeddedPostgres(Path(sys.argv[1]), print)
server.start()
print("pid", server.pid, flush=True)
signal.sigwait([signal.SIGTERM])
server.release()
print("released", flush=True)
"""


async def start_user_process(directory: Path) -> Process:
    return await Process.start(sys.executable, "-c", USER_SCRIPT, str(directory))


async def server_pid(user: Process) -> int:
    return int((await user.wait_for_line("pid")).split()[1])


async def wait_until(condition: Callable[[], bool], what: str) -> None:
    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.01)

    await within(TIMEOUT_SECONDS, wait(), what)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def fetch_value(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def stopped_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose server has run and been stopped: initdb takes long enough to do it once."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("used") / ".data")
    asyncio.run(fetch_value(server.start(), "create table kept as select 42 as answer"))
    server.release()
    return server._directory


@pytest.fixture
def directory(used_once: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-a", used_once, tmp_path / ".data"], check=True)
    return tmp_path / ".data"


@pytest.fixture
def server(directory: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(directory)
    yield server
    server.release()


async def test_fresh_start_is_private_and_touches_nothing_around_it(tmp_path: Path) -> None:
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


async def test_data_is_kept_and_release_stops_the_server(server: EmbeddedPostgres) -> None:
    assert await fetch_value(server.start(), "select answer from kept") == 42
    pid = server.pid
    assert pid is not None
    server.release()
    assert not is_running(pid)
    server.release()  # once more is harmless
    assert await fetch_value(server.start(), "select answer from kept") == 42


async def test_only_the_last_user_stops_it(server: EmbeddedPostgres, directory: Path) -> None:
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


async def test_the_first_user_may_leave_first(server: EmbeddedPostgres, directory: Path) -> None:
    first = await start_user_process(directory)
    pid = await server_pid(first)
    server.start()
    assert await first.stop() == 0
    assert is_running(pid)
    assert await fetch_value(server.url, "select answer from kept") == 42


async def test_attaches_to_what_a_killed_process_left_running(server: EmbeddedPostgres, directory: Path) -> None:
    owner = await start_user_process(directory)
    pid = await server_pid(owner)
    await owner.kill()
    assert is_running(pid)
    assert await fetch_value(server.start(), "select answer from kept") == 42
    assert server.pid == pid
    server.release()
    await wait_until(lambda: not is_running(pid), "end of the server")


async def test_starts_again_after_the_server_was_killed(server: EmbeddedPostgres) -> None:
    server.start()
    killed = server.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    await wait_until(lambda: server.pid is None, "end of the server")
    assert await fetch_value(server.start(), "select answer from kept") == 42
    assert server.pid != killed


async def test_the_file_of_a_server_that_was_killed_is_not_taken_for_the_new_ones(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await wait_until(lambda: server.pid is None, "end of the server")
    status = server._status

    def slow() -> str:
        """Reads the file, and is back only when it is another one."""
        found, process = status(), server._process
        while process is not None and process.poll() is None and server._pid_file_lines()[:1] != [str(process.pid)]:
            time.sleep(0.001)
        return found

    monkeypatch.setattr(server, "_status", slow)
    server.start()
    assert status() == "ready"


async def test_recovers_from_an_initdb_that_was_killed(tmp_path: Path) -> None:
    directory = tmp_path / ".data"
    user = await start_user_process(directory)
    await wait_until((directory / "postgres.new").exists, "initdb at work")
    os.killpg(user.process.pid, signal.SIGKILL)  # the session that Process has opened: initdb is in it
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
def test_a_damaged_state_file_is_one_clear_error(server: EmbeddedPostgres, directory: Path, damage: str | None) -> None:
    (directory / "state.json").unlink()
    if damage is not None:
        (directory / "state.json").write_text(damage)
    with pytest.raises(EmbeddedPostgresError, match=r"state\.json is missing or damaged: restore it, or remove") as caught:
        server.start()
    assert "\n" not in str(caught.value)


async def test_takes_another_port_when_its_own_is_taken(server: EmbeddedPostgres, directory: Path) -> None:
    port = json.loads((directory / "state.json").read_text())["port"]
    with socket.create_server(("127.0.0.1", port)):
        assert await fetch_value(server.start(), "select answer from kept") == 42
    assert json.loads((directory / "state.json").read_text())["port"] != port


def test_data_of_another_major_version_is_one_clear_error(server: EmbeddedPostgres, directory: Path) -> None:
    (directory / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedPostgresError, match=r"written by PostgreSQL 9, but only version \d+ is here"):
        server.start()


def test_a_directory_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match="cannot create"):
        EmbeddedPostgres(tmp_path / "file" / ".data").start()


async def test_two_phase_commit_with_ringing_switched_off(server: EmbeddedPostgres) -> None:
    """PREPARE TRANSACTION fails after a NOTIFY, so this is what `orders.notify` is for."""
    await fetch_value(server.start(), "alter system set max_prepared_transactions = 2")
    server.release()
    url = server.start()
    await migrate(url)
    connection = await asyncpg.connect(url)
    add = "insert into orders (customer_name, total) values ('c', 1)"
    try:
        with pytest.raises(asyncpg.FeatureNotSupportedError):
            await connection.execute(f"begin; {add}; prepare transaction 'loud'")
        await connection.execute("rollback; set orders.notify = off")
        await connection.execute(f"begin; {add}; prepare transaction 'quiet'")
        assert await connection.fetchval("select count(*) from orderwire.journal") == 0
        await connection.execute("commit prepared 'quiet'")
        assert await connection.fetchval("select count(*) from orderwire.journal") == 1
    finally:
        await connection.close()


async def test_runs_as_an_ordinary_user(tmp_path: Path) -> None:
    """Tests themselves may well run as root; this then is the other half."""
    if os.geteuid() != 0:
        pytest.skip("everything here runs as an ordinary user already")
    nobody = pwd.getpwnam("nobody")
    home = Path("/tmp") / f"orderwire-nobody-{os.getpid()}"  # pytest's own directories are closed to others
    home.mkdir()
    try:
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        shutil.copytree(ROOT / "db", home / "db")
        shutil.copytree(ROOT / "push", home / "push")
        probe = [sys.executable, "-c", "import db.embedded.binaries; db.embedded.binaries.find_binaries()"]
        try:
            subprocess.run(probe, cwd=home, user=nobody.pw_uid, group=nobody.pw_gid, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("this Python is closed to other users")
        script = USER_SCRIPT.replace("signal.sigwait([signal.SIGTERM])", "")
        result = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", script, str(home / ".data")],
            cwd=home,
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
        assert result.returncode == 0, result.stderr
        assert "released" in result.stdout
        assert (home / ".data" / "state.json").stat().st_uid == nobody.pw_uid
    finally:
        shutil.rmtree(home)
