"""sd_notify: what is sent to systemd's socket, a real Unix datagram socket here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.sd_notify import SystemdNotifier
from tests.helpers.notify_socket import NotifySocket


@pytest.fixture(params=["path", "abstract"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NotifySocket]:
    end = NotifySocket(str(tmp_path / "notify") if request.param == "path" else f"@orderwire-test-{os.getpid()}")
    yield end
    end.close()


async def test_it_reports_ready_when_started_and_then_keeps_the_watchdog_quiet(receiver: NotifySocket) -> None:
    environment = {"NOTIFY_SOCKET": receiver.address, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid()), "PORT": "1"}
    notifier = SystemdNotifier.from_environment(environment)
    assert environment == {"PORT": "1"}  # child processes have no part in it
    started = asyncio.Event()
    running = asyncio.create_task(notifier.run(started))
    assert await receiver.receive() == ["STATUS=waiting until events flow"]
    await asyncio.sleep(0)
    assert receiver.is_empty()
    started.set()
    assert await receiver.receive() == ["READY=1", "STATUS="]
    for _ in range(3):
        assert await receiver.receive() == ["WATCHDOG=1"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    while not receiver.is_empty():
        pass
    notifier.report_drain()
    assert await receiver.receive() == ["STOPPING=1", "STATUS=draining"]


@pytest.mark.parametrize(
    "watchdog", [{}, {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}], ids=["without", "that of another process"]
)
async def test_without_a_watchdog_it_ends_after_ready(receiver: NotifySocket, watchdog: dict[str, str]) -> None:
    started = asyncio.Event()
    started.set()
    await SystemdNotifier.from_environment({"NOTIFY_SOCKET": receiver.address, **watchdog}).run(started)
    assert await receiver.receive() == ["STATUS=waiting until events flow"]
    assert await receiver.receive() == ["READY=1", "STATUS="]
    assert receiver.is_empty()


async def test_without_systemd_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    started = asyncio.Event()
    started.set()
    notifier = SystemdNotifier.from_environment({})
    await notifier.run(started)
    notifier.report_drain()
    assert caplog.records == []


def test_a_socket_that_is_gone_is_logged_and_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    SystemdNotifier(str(tmp_path / "gone"), None).report_drain()
    (record,) = caplog.records
    assert "NOTIFY_SOCKET" in record.getMessage()
