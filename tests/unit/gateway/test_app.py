"""gateway.app: what HttpServer sets on its sockets. The application and its end: tests/gateway, tests/integration."""

from __future__ import annotations

import socket

import pytest

from gateway.app import HttpServer
from service.application import Service
from settings import Settings

# No database listens there: the server accepts connections nevertheless.
URL = "postgresql://unused@127.0.0.1:1/none"


def fail(name: str, error: BaseException) -> None:
    raise AssertionError(name) from error


@pytest.mark.parametrize("websocket_io", ["auto", "transport"])
@pytest.mark.parametrize(("heartbeat", "timeout_ms"), [({}, 90_000), ({"HEARTBEAT_SECONDS": "7"}, 21_000)])
async def test_data_may_be_unacknowledged_for_three_heartbeats(
    websocket_io: str, heartbeat: dict[str, str], timeout_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the server accepts connections itself or asyncio does."""
    monkeypatch.setattr("gateway.app.raise_open_file_limit", lambda *_: None)
    settings = Settings.from_environment({"DATABASE_URL": URL, "PORT": "0", "WEBSOCKET_IO": websocket_io, **heartbeat})
    server = HttpServer(Service(settings, fail).gateway, settings)
    try:
        await server.listen()
        assert len(server._sockets) == 1
        for sock in server._sockets:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == timeout_ms
    finally:
        await server.close()
