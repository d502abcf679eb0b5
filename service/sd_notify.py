"""Tells systemd how far the server is, for a unit with Type=notify (sd_notify(3))."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import MutableMapping

__all__ = ["SystemdNotifier"]

# How long a message may wait for room in the queue of systemd's socket. The event loop waits too.
SEND_TIMEOUT_SECONDS = 1.0

log = logging.getLogger("orderwire.serving")


class SystemdNotifier:
    """Sends to systemd's socket: ready, draining, and that the event loop runs. Without a socket nothing has an effect."""

    def __init__(self, address: str | None, watchdog_seconds: float | None) -> None:
        """``address``: path of a Unix datagram socket, or @ and an abstract name.

        ``watchdog_seconds``: systemd aborts a process that says nothing for so long.
        """
        self._address = address
        self._watchdog_seconds = watchdog_seconds

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> SystemdNotifier:
        """Take NOTIFY_SOCKET and the variables of the watchdog out of ``environment``: child processes, like a PostgreSQL that
        the server starts, must not report their own state as that of the unit.
        """
        address = environment.pop("NOTIFY_SOCKET", "")
        watchdog_microseconds = environment.pop("WATCHDOG_USEC", "")
        watchdog_pid = environment.pop("WATCHDOG_PID", "")
        watched = watchdog_microseconds.isdecimal() and watchdog_pid in ("", str(os.getpid()))
        return cls(address or None, int(watchdog_microseconds) / 1e6 if watched else None)

    async def run(self, started: asyncio.Event) -> None:
        """Report READY=1 once ``started`` is set, then WATCHDOG=1 twice in each watchdog period, until it is cancelled."""
        self._send("STATUS=waiting until events flow")
        await started.wait()
        self._send("READY=1\nSTATUS=")
        while self._watchdog_seconds:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_seconds / 2)

    def report_drain(self) -> None:
        """The process has begun to end."""
        self._send("STOPPING=1\nSTATUS=draining")

    def _send(self, state: str) -> None:
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(SEND_TIMEOUT_SECONDS)
                sock.sendto(state.encode(), address)
        except OSError as error:
            log.warning("systemd does not take a message at NOTIFY_SOCKET=%s: %s", self._address, error)
