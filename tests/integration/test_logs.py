"""Log lines: JSON on request, with the connection that they are about, and without secrets or customers."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from push.protocol.messages import CloseCode
from tests.helpers.tokens import SECRET, token
from tests.support import Client, Connect, Server, StartServer


async def test_json_lines_with_a_connection_and_no_secret(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET, LOG_FORMAT="json", LOG_LEVEL="DEBUG")
    shown = [
        token("admin", sub="alice"),
        token("customer", sub="Иван Иванов"),
        token(key="wrong" * 10),
        "garbage0.garbage1.garbage2",
    ]
    order = await db.fetchval(
        "insert into orders (customer_name, customer_id, total) values ('Пётр', 'Иван Иванов', 77.77) returning id"
    )
    for one in shown:
        for options in ({"headers": {"Authorization": f"Bearer {one}"}}, {"protocols": ["orderwire", f"bearer.{one}"]}):
            client: Client = await connect(f"{server.ws_url}?topics=order:{order}", **options)
            await client.send('{"type":"ping"}')
            await client.disconnect()
        client = await connect(server.ws_url, protocols=["unknown", f"x{one}"])
        await client.send(json.dumps({"type": "auth", "token": one}))
        await client.disconnect()
        async with aiohttp.ClientSession() as http:
            await (await http.get(server.http_url + f"/api/orders?token={one}", headers={"Authorization": one})).release()
    await db.execute("update orders set status = 'ready'")
    await server.stop()
    lines = [json.loads(line) for line in server.lines if line.startswith("{")]
    opened = [line for line in lines if line["message"] == "session opened"]
    closed = [line for line in lines if line["message"] == "session closed"]
    assert {line["role"] for line in opened} == {"admin", "customer"}
    assert {line["subject"] for line in opened if line["role"] == "admin"} == {"alice"}
    assert all("subject" not in line for line in opened if line["role"] == "customer")
    for line in opened + closed:
        assert line["connection_id"]
        assert line["level"] == "DEBUG"
        assert line["timestamp"].endswith("Z")
    for line in closed:
        assert line["close_reason"] == {int(code): code.reason for code in CloseCode}[line["close_code"]]
    assert {line["connection_id"] for line in opened} <= {line["connection_id"] for line in closed}
    assert len({line["connection_id"] for line in opened}) == len(opened)
    for secret in (SECRET, *(part for one in shown for part in one.split(".")[1:]), "Иван", "Пётр", "77.77"):
        assert secret not in server.output, secret
