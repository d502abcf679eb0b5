"""Clusters of a test's own: a primary that streams to standbys, and that can be copied, crashed and promoted."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import create_starter, migrate
from tests.support import free_port

__all__ = ["Cluster"]


class Cluster(EmbeddedPostgres):
    """One PostgreSQL with the starter table in its database."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, report=lambda line: None)

    def create(self) -> None:
        """Make the data. The server runs only meanwhile."""

        async def prepare() -> None:
            await migrate(self.url)
            await create_starter(self.url)
            # Nothing here has to survive a crash of the machine.
            await self.execute("alter system set fsync = off", "alter system set shared_buffers = '16MB'")

        self.start()
        asyncio.run(prepare())
        self.release()

    def copy_to(self, directory: Path, *, standby_of: Cluster | None = None) -> Cluster:
        """A copy of the files, while the server is stopped. A standby streams from another server, which runs."""
        copy = Cluster(directory)
        copy.bin_dir = self.bin_dir
        copy._prepare_directory()
        shutil.copy(self._directory / "state.json", directory)
        copy._save_state(replace(self._load_state(), port=int(free_port())))
        (directory / "database-created").touch()
        copy.replace_files(self)
        if standby_of is not None:
            conninfo = standby_of.url.rsplit("/", 1)[0]
            copy._run_command("touch", copy._data_directory / "standby.signal")
            with (copy._data_directory / "postgresql.auto.conf").open("a") as file:
                file.write(f"primary_conninfo = '{conninfo}'\n")
        return copy

    def base_backup_to(self, directory: Path) -> Cluster:
        """A standby of this server, which runs, made with pg_basebackup."""
        standby = Cluster(directory)
        standby.bin_dir = self.bin_dir
        standby._prepare_directory()
        shutil.copy(self._directory / "state.json", directory)
        standby._save_state(replace(self._load_state(), port=int(free_port())))
        (directory / "database-created").touch()
        address = self.url.rsplit("/", 1)[0] + "/postgres"
        options = ["--checkpoint=fast", "--no-sync", "--wal-method=stream", "--write-recovery-conf"]
        result = standby._run("pg_basebackup", "-D", str(standby._data_directory), "-d", address, *options)
        assert result.returncode == 0, result.stderr
        return standby

    @property
    def has_base_backup(self) -> bool:
        """Whether pg_basebackup comes with this PostgreSQL."""
        return (self.bin_dir / "pg_basebackup").exists()

    def replace_files(self, source: Cluster) -> None:
        """Put a copy of another server's data here; both are stopped."""
        shutil.rmtree(self._data_directory, ignore_errors=True)
        self._run_command("cp", "-r", "--preserve=mode", source._data_directory, self._data_directory)

    def _run_command(self, *command: str | Path) -> None:
        """As the account that the server runs as."""
        prefix, popen = self.run_as
        subprocess.run([*prefix, shutil.which(command[0]) or "", *command[1:]], check=True, **popen)

    def run_program(self, program: str, *arguments: str) -> None:
        """One of PostgreSQL's programs, on this database."""
        result = self._run(program, "-d", self.url, *arguments)
        assert result.returncode == 0, result.stderr

    @property
    def port(self) -> int:
        return self._load_state().port

    async def crash(self) -> None:
        """Stop without a checkpoint, and without sending the rest to a standby."""
        pid, process = self.pid, self._process
        assert pid is not None
        assert process is not None
        os.kill(pid, signal.SIGQUIT)
        await asyncio.to_thread(process.wait)

    async def promote(self) -> None:
        async with self.connection() as connection:
            assert await connection.fetchval("select pg_promote()")

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(self.url)
        try:
            yield connection
        finally:
            await connection.close()

    async def fetchval(self, query: str) -> Any:
        async with self.connection() as connection:
            return await connection.fetchval(query)

    async def execute(self, *queries: str) -> None:
        """Each in a transaction of its own."""
        async with self.connection() as connection:
            for query in queries:
                await connection.execute(query)
