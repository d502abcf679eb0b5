"""WEBSOCKET_IO as an operator meets it: the best that the system allows, or one line."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from gateway.net import io_uring as uring
from gateway.net import linux_aio as aio
from tests.support import Client, Connect, Process, Server, StartServer

# What a container's seccomp profile does (seccomp(2), BPF): these system calls fail with EPERM.
FORBIDDEN = """
import ctypes, os, struct, sys
calls = [int(call) for call in sys.argv[1:]]
rules = [(0x20, 0, 0, 0), *((0x15, len(calls) - nth, 0, call) for nth, call in enumerate(calls))]
rules += [(6, 0, 0, 0x7fff0000), (6, 0, 0, 0x50001)]
count = len(rules)
rules = b"".join(struct.pack("HBBI", *rule) for rule in rules)
program = struct.pack("HxxxxxxP", count, ctypes.addressof(kept := ctypes.create_string_buffer(rules)))
program = ctypes.create_string_buffer(program)
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.addressof(program), 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.executable, [sys.executable, "server.py", "serve"])
"""
IO_URING, AIO, SUBMIT = uring.IO_URING_SETUP_NR, aio.SYSCALL_NRS[os.uname().machine][0], aio.SYSCALL_NRS[os.uname().machine][3]


async def forbidden(*calls: int, url: str, **settings: str) -> Server:
    program = [sys.executable, "-c", FORBIDDEN, *map(str, calls)]
    return await Server.start(*program, env={"PORT": "0", "DATABASE_URL": url, **settings})


@pytest.mark.parametrize(
    ("calls", "found"),
    [
        ([IO_URING], "aio"),
        ([IO_URING, AIO], "descriptor"),
        ([uring.IO_URING_ENTER_NR], "aio"),
        ([IO_URING, SUBMIT], "descriptor"),
    ],
)
async def test_where_the_best_is_forbidden_the_next_best_serves(
    connect: Connect, database_url: str, db: Any, calls: list[int], found: str
) -> None:
    server = await forbidden(*calls, url=database_url, LOG_LEVEL="DEBUG")
    try:
        await server.wait_until_ready()
        if IO_URING in calls:
            await server.wait_for_line("no io_uring for WebSockets: io_uring_setup: Operation not permitted")
        if AIO in calls:
            await server.wait_for_line("no aio for WebSockets: io_setup: Operation not permitted")
        await server.wait_for_line(f"WebSockets are written to by {found}")
        client: Client = await connect(server.ws_url)
        await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
        await client.wait_until(lambda c: len(c.events) == 1, "an event")
    finally:
        await server.kill()


async def test_what_is_demanded_and_cannot_be_had_is_one_line(database_url: str) -> None:
    server = await forbidden(IO_URING, url=database_url, WEBSOCKET_IO="io_uring")
    assert await server.wait_for_exit() == 1
    assert server.lines == [
        "server.py: WEBSOCKET_IO=io_uring cannot be had here: io_uring_setup: Operation not permitted",
    ]


async def test_with_tls_nothing_else_than_transports_is_demanded(database_url: str) -> None:
    env = {"DATABASE_URL": database_url, "WEBSOCKET_IO": "descriptor", "TLS_CERT_FILE": "a", "TLS_KEY_FILE": "b"}
    server = await Process.start(sys.executable, "server.py", "serve", env=env)
    assert await server.wait_for_exit() == 2
    assert server.lines == ["server.py: WEBSOCKET_IO=descriptor cannot be had with TLS: leave it out"]


@pytest.mark.parametrize("mode", ["transport", "descriptor", "aio", "io_uring"])
async def test_each_serves_many_at_once(
    start_server: StartServer, connect: Connect, database_url: str, db: Any, mode: str
) -> None:
    server: Server = await start_server(database_url, WEBSOCKET_IO=mode, LOG_LEVEL="DEBUG", wait=False)
    await server.wait_for_line_from_each_worker(f"WebSockets are written to by {mode}")
    await server.wait_until_ready()
    clients: list[Client] = [await connect(server.ws_url) for _ in range(30)]
    for number in range(20):
        await db.execute("insert into orders (customer_name, total) select 'Anna', 1 from generate_series(0, $1)", number)
    count = sum(range(21))
    for client in clients:
        await client.wait_until(lambda c: len(c.events) == count, "every event")
        assert [event["id"] for event in client.events] == [event["id"] for event in clients[0].events]
    assert await server.stop() == 0
    for client in clients:
        assert await client.wait_closed() == 3001
