"""The tutorial's statements and requests have the results that it describes."""

from __future__ import annotations

import re
from typing import Any

import aiohttp

from tests.support import ROOT, Server

TUTORIAL = (ROOT / "docs" / "tutorial" / "first-events.md").read_text(encoding="utf-8")
STATEMENTS = re.findall(r"```sql\n(.*?)```", TUTORIAL, flags=re.DOTALL)


async def read_until(response: aiohttp.ClientResponse, text: str) -> str:
    """Read the stream up to and including the line that contains ``text``; returns what was read."""
    received = ""
    async for line in response.content:
        received += line.decode()
        if text in received:
            return received
    raise AssertionError(f"the stream ended without {text}: {received}")


async def test_resume_after_a_lost_connection_replays_the_missed_event(start_server: Any, database_url: str, db: Any) -> None:
    insert, update_status, update_total = STATEMENTS
    server: Server = await start_server(database_url)
    url = server.http_url + "/api/sse"
    assert f"curl -N {url.replace(server.http_url, 'http://127.0.0.1:8000')}\n" in TUTORIAL
    await db.execute(insert)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        async with http.get(url) as response:
            await read_until(response, "analytics_update")
            await db.execute(update_status)
            received = await read_until(response, '"previous_status":"pending"')
            if not received.endswith("\n\n"):
                received += await read_until(response, "\n")
        cursor = re.findall(r"^id: (\S+)$", received, flags=re.MULTILINE)[-1]
        await db.execute(update_status)  # changes nothing: only one event is replayed
        await db.execute(update_total)
        async with http.get(url, headers={"Last-Event-ID": cursor}) as response:
            received = await read_until(response, '"total":"200.00"')
    assert '{"type":"resumed","recovered":true,"replayed":1}' in TUTORIAL
    assert '{"type":"resumed","recovered":true,"replayed":1}' in received
    assert received.index("analytics_update") < received.index("resumed") < received.index('"type":"order_update"')
