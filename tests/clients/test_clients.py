"""tornado, websockets, aiohttp, ws, undici (the WebSocket of Node.js) and that of the Java platform connect to the server."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from tests.helpers.npm import installed, node_and_npm
from tests.support import TIMEOUT_SECONDS, Server, StartServer, within

HERE = Path(__file__).resolve().parent
# Messages of a client, all alike, so that each but the first is compressed by reference to those before it.
MESSAGES = 4
SMALL_WINDOW = "permessage-deflate; client_max_window_bits=9"


def command(number: int) -> str:
    """A message that is answered with an error."""
    return json.dumps({"type": f"x{number}", "text": "the same text " * 200})


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url, COMPRESSION="1", HANDSHAKES_PER_SECOND="10000")
    return server


@pytest.fixture
async def node_packages() -> Path:
    return await asyncio.to_thread(installed, HERE)


async def run_node(packages: Path, *arguments: str) -> Any:
    """Run ``client.cjs`` to its end, and return what it prints."""
    node, _ = node_and_npm()
    process = await asyncio.create_subprocess_exec(
        *node,
        str(HERE / "client.cjs"),
        *arguments,
        env={"PATH": os.environ["PATH"], "NODE_PATH": str(packages / "node_modules")},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        printed, _ = await within(TIMEOUT_SECONDS, process.communicate(), "the end of the client")
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 0
    return json.loads(printed)


# ---------------------------------------------------------------- compression


@pytest.mark.parametrize("library", ["ws", "undici"])
async def test_clients_of_node_exchange_messages(server: Server, node_packages: Path, library: str) -> None:
    ended = await run_node(node_packages, library, "exchange", server.ws_url)
    assert ended == {
        # ws names the extension without its parameters.
        "extensions": SMALL_WINDOW if library == "undici" else "permessage-deflate",
        "answers": ["unknown_type"] * MESSAGES,
        "code": 1000,
        "wasClean": True,
    }


async def test_tornado_exchanges_messages(server: Server) -> None:
    websocket = pytest.importorskip("tornado.websocket", reason="tornado is not installed: make test installs it")
    connection = await websocket.websocket_connect(server.ws_url, compression_options={"compression_level": 9})
    answers: list[str] = []
    await within(TIMEOUT_SECONDS, connection.read_message(), "the totals")
    for number in range(MESSAGES):
        await connection.write_message(command(number))
        answer = await within(TIMEOUT_SECONDS, connection.read_message(), "an answer")
        assert answer is not None, (connection.close_code, connection.close_reason)
        answers.append(json.loads(answer)["code"])
    assert connection.headers["Sec-WebSocket-Extensions"] == SMALL_WINDOW
    connection.close(1000)
    assert await within(TIMEOUT_SECONDS, connection.read_message(), "the end") is None
    assert (answers, connection.close_code) == (["unknown_type"] * MESSAGES, 1000)


@pytest.mark.parametrize(
    ("options", "agreed"),
    [
        ({}, SMALL_WINDOW),
        ({"client_max_window_bits": None}, "permessage-deflate"),
        ({"client_max_window_bits": 12}, SMALL_WINDOW),
        ({"client_no_context_takeover": True}, "permessage-deflate; client_no_context_takeover; client_max_window_bits=9"),
        ({"server_no_context_takeover": True}, None),
    ],
)
async def test_websockets_exchanges_messages(server: Server, options: dict[str, Any], agreed: str | None) -> None:
    client = pytest.importorskip("websockets.asyncio.client", reason="websockets is not installed: make test installs it")
    deflate = pytest.importorskip("websockets.extensions.permessage_deflate")
    factory = deflate.ClientPerMessageDeflateFactory(**{"client_max_window_bits": True, **options})
    extensions = {} if not options else {"compression": None, "extensions": [factory]}
    async with client.connect(server.ws_url, **extensions) as connection:
        assert connection.response.headers.get("Sec-WebSocket-Extensions") == agreed
        answers: list[str] = []
        await within(TIMEOUT_SECONDS, connection.recv(), "the totals")
        for number in range(MESSAGES):
            await connection.send(command(number))
            answers.append(json.loads(await within(TIMEOUT_SECONDS, connection.recv(), "an answer"))["code"])
    assert (answers, connection.close_code) == (["unknown_type"] * MESSAGES, 1000)


async def test_aiohttp_exchanges_messages(server: Server) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(server.ws_url, compress=15) as connection:
        answers: list[str] = []
        await within(TIMEOUT_SECONDS, connection.receive_json(), "the totals")
        for number in range(MESSAGES):
            await connection.send_str(command(number))
            answers.append((await within(TIMEOUT_SECONDS, connection.receive_json(), "an answer"))["code"])
        assert connection.compress
    assert (answers, connection.close_code) == (["unknown_type"] * MESSAGES, 1000)


async def test_java_exchanges_messages(server: Server) -> None:
    if shutil.which("javac") is None:
        pytest.skip("a JDK is not installed: on Debian and Ubuntu, apt install default-jdk-headless")
    process = await asyncio.create_subprocess_exec(
        "java", str(HERE / "Client.java"), server.ws_url, env={"PATH": os.environ["PATH"]}, stdout=asyncio.subprocess.PIPE
    )
    try:
        printed, _ = await within(TIMEOUT_SECONDS, process.communicate(), "the end of the client")
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    assert json.loads(printed) == {"answers": ["unknown_type"] * MESSAGES, "code": 1000}


# ---------------------------------------------------------------- closing


@pytest.fixture
async def flood(server: Server, database_url: str) -> AsyncIterator[None]:
    """Events without end, more at a time than a socket takes."""
    writer = await asyncpg.connect(database_url)

    async def write() -> None:
        while True:
            await writer.execute(
                "insert into orders (customer_name, total) select repeat(md5(n::text), 15), n from generate_series(1, 300) n"
            )

    writing = asyncio.create_task(write())
    yield
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    writer.terminate()


@pytest.mark.usefixtures("flood")
async def test_a_client_that_closes_amid_a_flood_gets_its_code_back(server: Server, node_packages: Path) -> None:
    """ws, that is. undici drops what it has received and not parsed yet when the connection ends, the close frame too."""
    assert await run_node(node_packages, "ws", "close", server.ws_url, "40") == [1000] * 40
