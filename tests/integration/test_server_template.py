"""A server that the tests fork (tests/helpers/server_template.py) is like one that a new interpreter runs."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.support import Server


def announced(server: Server) -> list[str]:
    """What it printed, without what differs between two servers: times, ports, ids, and what the first one does at a broker."""
    lines = [line for line in server.lines if "created the stream" not in line]
    return [re.sub(r"^\d\d:\d\d:\d\d |:\d{4,5}\b|\b[0-9a-f]{6,}\b", "", line) for line in lines]


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
async def test_a_forked_server_prints_and_ends_like_another(database_url: str, sig: signal.Signals) -> None:
    outputs = []
    for start in (Server.serve, Server.fork):
        server = await start(database_url, WORKERS="1")
        try:
            await server.wait_until_ready()
            assert server.process.returncode is None
            assert Path(f"/proc/{server.process.pid}/cwd").readlink() == Path.cwd()
            assert await server.stop(sig) == 0
        finally:
            await server.kill()
        outputs.append(announced(server))
    assert outputs[0] == outputs[1]


async def test_the_exit_code_of_a_killed_fork_is_its_signal(database_url: str) -> None:
    server = await Server.fork(database_url, WORKERS="1")
    await server.wait_until_ready()
    await server.kill()
    assert server.process.returncode == -signal.SIGKILL


async def test_each_fork_has_settings_of_its_own(database_url: str) -> None:
    first = await Server.fork(database_url, WORKERS="1", LOG_FORMAT="json")
    second = await Server.fork(database_url, WORKERS="1", LOG_FORMAT="text")
    try:
        assert (await first.wait_for_line("ready")).startswith("{")
        assert not (await second.wait_for_line("ready")).startswith("{")
    finally:
        await first.kill()
        await second.kill()
