"""The embedded PostgreSQL server, for a machine without one.

One directory contains the data, the log, the port and the password. The server survives ``kill -9`` of any process: the next
start attaches to a running server, and starts a dead one again.

Two file locks make this safe for any number of processes. They are flocks, so the kernel releases those of a killed process:

* ``lock`` is held exclusively while a process starts or stops the server.
* ``users`` is held shared by each process that uses the server. A process that can take it exclusively is the last user, and
  stops the server.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from db.embedded.binaries import MIN_MAJOR_VERSION, find_binaries, major_version
from db.errors import EmbeddedPostgresError

__all__ = ["EmbeddedPostgres"]

log = logging.getLogger("orderwire.embedded")

START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 30.0
PORT_RELEASE_TIMEOUT_SECONDS = 2.0
DATABASE_NAME = "shop"


@dataclass(frozen=True, slots=True)
class _State:
    """Port and superuser password, for the next process. Stored in ``state.json``, which only the owner can read."""

    port: int
    password: str


class EmbeddedPostgres:
    """This process's use of the server in ``directory``. All methods block, except the coroutine ``supervise``."""

    def __init__(self, directory: Path, report: Callable[[str], None] = log.info) -> None:
        self._directory = directory.absolute()
        self._data_directory = self._directory / "postgres"
        self._report = report
        self._process: subprocess.Popen[bytes] | None = None
        self._users_lock_file: IO[str] | None = None

    # ---------------------------------------------------------------- public methods

    def start(self) -> str:
        """Start the server or attach to the running one; return its libpq URL. Raises EmbeddedPostgresError."""
        self._prepare_directory()
        with self._exclusive_lock():
            if self._users_lock_file is None:
                self._users_lock_file = (self._directory / "users").open("a")
                fcntl.flock(self._users_lock_file, fcntl.LOCK_SH)
            if not self._data_directory.exists():
                self._initdb()
            if self._server_pid() is None:
                self._report("starting PostgreSQL")
                self._launch()
            else:
                self._wait_ready()
                log.debug("attached to the running PostgreSQL")
            self._create_database()
        return self.url

    def release(self) -> None:
        """Stop using the server. The last user also stops it. May be called more than once."""
        if self._users_lock_file is None:
            return
        with self._exclusive_lock():
            fcntl.flock(self._users_lock_file, fcntl.LOCK_UN)
            try:
                fcntl.flock(self._users_lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.debug("another process still uses PostgreSQL: not stopping it")
            else:
                self._stop()
                if self._process is not None:
                    # The server removes its files shortly before its process exits.
                    with suppress(subprocess.TimeoutExpired):
                        self._process.wait(STOP_TIMEOUT_SECONDS)
            self._users_lock_file.close()
            self._users_lock_file = None

    async def supervise(self) -> None:
        """Restart the server each time it dies, until this task is cancelled."""
        while True:
            await asyncio.sleep(0.5)
            if self._server_pid() is None:
                log.warning("PostgreSQL died: restarting it")
                await asyncio.to_thread(self.start)

    @property
    def url(self) -> str:
        """The libpq URL, password included."""
        state = self._load_state()
        return f"postgresql://postgres:{state.password}@127.0.0.1:{state.port}/{DATABASE_NAME}"

    @cached_property
    def bin_dir(self) -> Path:
        """The directory of the binaries that can read the data."""
        version_file = self._data_directory / "PG_VERSION"
        return find_binaries(int(version_file.read_text()) if version_file.exists() else None)

    @property
    def pid(self) -> int | None:
        """Process id of the running server; None if there is none."""
        return self._server_pid()

    # ---------------------------------------------------------------- directory, state, locks

    def _prepare_directory(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise EmbeddedPostgresError(
                f"cannot create {self._directory}, where a PostgreSQL of its own would have its data: {error.strerror}; set "
                "DATABASE_URL, or run it where it may write"
            ) from error

    @contextmanager
    def _exclusive_lock(self) -> Iterator[None]:
        try:
            file = (self._directory / "lock").open("a")
        except OSError as error:
            raise EmbeddedPostgresError(f"cannot write in {self._directory}: {error.strerror}") from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _load_state(self) -> _State:
        try:
            values = json.loads((self._directory / "state.json").read_text())
            state = _State(**values)
            if not isinstance(values["port"], int) or not isinstance(values["password"], str):
                raise TypeError("not a port and a password")
            return state
        except (OSError, ValueError, TypeError) as error:
            raise EmbeddedPostgresError(
                f"{self._directory / 'state.json'} is missing or damaged: restore it, or remove {self._directory} "
                "to start with an empty database"
            ) from error

    def _save_state(self, state: _State) -> None:
        temporary = self._directory / "state.json.new"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(state), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._directory / "state.json")

    # ---------------------------------------------------------------- the account that runs it

    @cached_property
    def run_as(self) -> tuple[list[str], dict[str, Any]]:
        """Command prefix and Popen arguments with which PostgreSQL does not run as root, which it refuses."""
        if os.geteuid() != 0:
            return [], {}
        in_namespace = [sys.executable, "-I", str(Path(__file__).with_name("user_namespace.py"))]
        probe = [*in_namespace, str(self.bin_dir / "postgres"), "--version"]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return in_namespace, {}
        # The kernel forbids user namespaces (a container's seccomp profile does): try an unprivileged account.
        for name in ("postgres", "nobody"):
            try:
                account = pwd.getpwnam(name)
            except KeyError:
                continue
            popen: dict[str, Any] = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            probe = [str(self.bin_dir / "postgres"), "--version"]
            try:
                if subprocess.run(probe, capture_output=True, check=False, **popen).returncode == 0:
                    os.chown(self._directory, account.pw_uid, account.pw_gid)
                    return [], popen
            except OSError:
                continue
        raise EmbeddedPostgresError(
            "PostgreSQL does not run as root, and neither a user namespace nor an unprivileged account "
            "can reach this directory: run as an ordinary user, or set DATABASE_URL"
        )

    def _run(self, program: str, *arguments: str, **extra: Any) -> subprocess.CompletedProcess[str]:
        prefix, popen = self.run_as
        command = [*prefix, str(self.bin_dir / program), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **popen, **extra)

    # ---------------------------------------------------------------- life cycle

    def _initdb(self) -> None:
        self._report("creating a database in " + str(self._directory))
        fresh = self._directory / "postgres.new"
        shutil.rmtree(fresh, ignore_errors=True)  # the remains of an initdb that was killed
        password = secrets.token_urlsafe(18)
        # The builtin C.UTF-8 does not depend on the machine's libc. PostgreSQL has it since version 17.
        major = major_version(self.bin_dir) or MIN_MAJOR_VERSION
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"] if major >= 17 else ["--locale=C"]
        # A file, not standard input: another account cannot open our pipe again.
        password_file = self._directory / "password.new"
        with open(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(password + "\n")
        account = self.run_as[1].get("user")
        if account is not None:
            os.chown(password_file, account, -1)
        options = [
            f"--pgdata={fresh}",
            "--username=postgres",
            "--auth=scram-sha-256",
            f"--pwfile={password_file}",
            "--encoding=UTF8",
            *locale,
        ]
        result = self._run("initdb", *options)
        password_file.unlink()
        if result.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise EmbeddedPostgresError("initdb failed: " + _error_line(result.stderr))
        self._save_state(_State(port=_free_port(), password=password))
        fresh.rename(self._data_directory)

    def _launch(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        if self._process is not None:
            # Our server was killed: until it is reaped, its process id exists and PostgreSQL takes it for alive.
            self._process.wait(START_TIMEOUT_SECONDS)
        while True:
            if not _wait_until_port_is_free(self._load_state().port):
                self._save_state(replace(self._load_state(), port=_free_port()))
            failure = self._try_launch(deadline)
            if failure is None:
                return
            # After a kill -9 the children of the old server take a moment to exit. Another process may bind the port first.
            is_transient = "still in use" in failure or "already exists" in failure or "already in use" in failure
            if not is_transient or time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"PostgreSQL did not start: {failure} (see {self._log_file})")
            time.sleep(0.1)

    def _try_launch(self, deadline: float) -> str | None:
        """Start the server once. Returns None when it is ready, else its error line."""
        prefix, popen = self.run_as
        settings = {
            "listen_addresses": "127.0.0.1",  # a Unix socket's path may have 107 bytes, a checkout's path may be longer
            "unix_socket_directories": "",
            "port": str(self._load_state().port),
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        if self._log_file.exists():
            self._log_file.replace(self._log_file.with_suffix(".log.1"))
        if self._process is not None:
            self._process.wait(START_TIMEOUT_SECONDS)  # returns soon: start() calls this only if the server is dead
        with self._log_file.open("ab") as output:
            self._process = subprocess.Popen(
                [*prefix, str(self.bin_dir / "postgres"), "-D", str(self._data_directory), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,  # Ctrl-C must not stop PostgreSQL before our server has drained
                **popen,
            )
        while self._process.poll() is None:
            # The file of a killed server may say "ready" too: check first which process wrote it.
            if self._server_pid() == self._process.pid and self._status() == "ready":
                return None
            if time.monotonic() > deadline:
                return f"not ready after {START_TIMEOUT_SECONDS:.0f} s"
            time.sleep(0.02)
        return _error_line(self._log_file.read_text(errors="replace"))

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while self._status() != "ready":
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"PostgreSQL runs but is not ready (see {self._log_file})")
            time.sleep(0.02)

    def _create_database(self) -> None:
        marker = self._directory / "database-created"
        if marker.exists():
            return
        environment = {**os.environ, "PGPASSWORD": self._load_state().password}
        address = ["-h", "127.0.0.1", "-p", str(self._load_state().port), "-U", "postgres"]
        result = self._run("createdb", *address, DATABASE_NAME, env=environment)
        if result.returncode != 0 and "already exists" not in result.stderr:
            raise EmbeddedPostgresError("createdb failed: " + _error_line(result.stderr))
        marker.touch()

    def _stop(self) -> None:
        pid = self._server_pid()
        if pid is None:
            return
        log.debug("stopping PostgreSQL")
        # SIGINT requests a "fast" shutdown; SIGTERM would wait until every client has disconnected (postgres(1)).
        for signal_number in (signal.SIGINT, signal.SIGQUIT):
            os.kill(pid, signal_number)
            deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
            while self._server_pid() == pid and time.monotonic() < deadline:
                time.sleep(0.02)
            if self._server_pid() != pid:
                # The server removes the file shortly before its process exits.
                if self._process is not None and self._process.pid == pid:
                    self._process.wait(STOP_TIMEOUT_SECONDS)
                return
            log.warning("PostgreSQL did not stop in %.0f s", STOP_TIMEOUT_SECONDS)

    # ---------------------------------------------------------------- state of the running server

    @property
    def _log_file(self) -> Path:
        return self._directory / "postgres.log"

    def _pid_file_lines(self) -> list[str]:
        # Line 1: process id. Line 8: status (pidfile.h of PostgreSQL).
        try:
            return (self._data_directory / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _status(self) -> str:
        lines = self._pid_file_lines()
        return lines[7].strip() if len(lines) > 7 else ""

    def _server_pid(self) -> int | None:
        if self._process is not None:
            self._process.poll()  # reaps it if it died
        lines = self._pid_file_lines()
        try:
            pid = int(lines[0])
            os.kill(pid, 0)
        except (IndexError, ValueError, ProcessLookupError):
            return None
        except PermissionError:
            pass
        # Another process may have the process id now, after a reboot for example: check that it is a server on our data.
        return pid if str(self._data_directory) in _command_line(pid) else None


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        result = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return result.stdout


def _free_port() -> int:
    # Below the ephemeral ports: an outgoing connection could take one of those while PostgreSQL is down.
    for port in random.sample(range(15000, 32000), 100):
        if _port_is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _wait_until_port_is_free(port: int) -> bool:
    """Whether the port becomes free in time. The kernel keeps that of a killed server until it has closed the sockets.

    Other processes have the URL with this port, so the caller changes it only if necessary.
    """
    deadline = time.monotonic() + PORT_RELEASE_TIMEOUT_SECONDS
    while not _port_is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _error_line(text: str) -> str:
    """The last line with an error in it, else the last line; without the prefix of PostgreSQL's log."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "FATAL" in line or "error:" in line or "could not" in line]
    line = (errors or lines or ["no output"])[-1]
    return re.sub(r"^[\d\-]+ [\d:.]+ \S+ \[\d+\] ", "", line)
