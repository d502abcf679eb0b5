"""WEBSOCKET_IO: the best backend that the system allows is selected, and an unavailable one is an error in one line."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from gateway.net.io_uring import IO_URING_ENTER_NR, IO_URING_SETUP_NR
from gateway.net.linux_aio import SYSCALL_NRS
from tests.support import Client, Connect, Process, Server, StartServer

# Makes these system calls fail with EPERM through a BPF filter (seccomp(2)), like a container runtime. Then starts the server.
RUN_WITHOUT_SYSCALLS = """
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
IO_SETUP_NR, _, _, IO_SUBMIT_NR = SYSCALL_NRS[os.uname().machine]


async def start_without_syscalls(*calls: int, url: str, **settings: str) -> Server:
    program = [sys.executable, "-c", RUN_WITHOUT_SYSCALLS, *map(str, calls)]
    return await Server.start(*program, env={"PORT": "0", "DATABASE_URL": url, **settings})


@pytest.mark.parametrize(
    ("calls", "selected"),
    [
        ([IO_URING_SETUP_NR], "aio"),
        ([IO_URING_SETUP_NR, IO_SETUP_NR], "descriptor"),
        ([IO_URING_ENTER_NR], "aio"),
        ([IO_URING_SETUP_NR, IO_SUBMIT_NR], "descriptor"),
    ],
)
async def test_next_backend_is_selected_where_the_best_is_forbidden(
    connect: Connect, database_url: str, db: Any, calls: list[int], selected: str
) -> None:
    server = await start_without_syscalls(*calls, url=database_url, LOG_LEVEL="DEBUG")
    try:
        await server.wait_until_ready()
        if IO_URING_SETUP_NR in calls:
            await server.wait_for_line("no io_uring for WebSockets: io_uring_setup: Operation not permitted")
        if IO_SETUP_NR in calls:
            await server.wait_for_line("no aio for WebSockets: io_setup: Operation not permitted")
        await server.wait_for_line(f"WebSockets are written to by {selected}")
        client: Client = await connect(server.ws_url)
        await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
        await client.wait_until(lambda c: len(c.events) == 1, "an event")
    finally:
        await server.kill()


async def test_unavailable_backend_is_an_error_in_one_line(database_url: str) -> None:
    server = await start_without_syscalls(IO_URING_SETUP_NR, url=database_url, WEBSOCKET_IO="io_uring")
    assert await server.wait_for_exit() == 1
    assert server.lines == [
        "server.py: WEBSOCKET_IO=io_uring cannot be had here: io_uring_setup: Operation not permitted",
    ]


async def test_other_backends_than_transport_are_an_error_with_tls(database_url: str) -> None:
    env = {"DATABASE_URL": database_url, "WEBSOCKET_IO": "descriptor", "TLS_CERT_FILE": "a", "TLS_KEY_FILE": "b"}
    server = await Process.start(sys.executable, "server.py", "serve", env=env)
    assert await server.wait_for_exit() == 2
    assert server.lines == ["server.py: WEBSOCKET_IO=descriptor cannot be had with TLS: leave it out"]


@pytest.mark.parametrize("mode", ["transport", "descriptor", "aio", "io_uring"])
async def test_each_backend_delivers_every_event_to_many_clients(
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
