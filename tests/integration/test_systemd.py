"""A server under a service manager that has named a NOTIFY_SOCKET: when the unit counts as started, and as ending."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.notify_socket import NotifySocket
from tests.support import Server


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_one_ready_when_events_flow_and_one_stopping(database_url: str, tmp_path: Path, workers: str) -> None:
    systemd = NotifySocket(str(tmp_path / "notify"))
    server = await Server.serve(database_url, WORKERS=workers, NOTIFY_SOCKET=systemd.address)
    try:
        assert await systemd.receive() == ["STATUS=waiting until events flow"]
        assert await systemd.receive() == ["READY=1", "STATUS="]
        await server.wait_until_ready()
        assert await server.stop() == 0
        assert await systemd.receive() == ["STOPPING=1", "STATUS=draining"]
        assert systemd.is_empty()  # of several workers only the supervisor reports
    finally:
        await server.kill()
        systemd.close()
