"""gateway.net.listening: socket options, the address for the operator, and the limit of open files."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.net.listening import (
    LISTEN_BACKLOG,
    listen_error,
    open_files_ratio,
    raise_open_file_limit,
    server_address,
    start_listening,
)


def test_accepted_sockets_inherit_the_options_of_the_listening_socket() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        start_listening(listening, heartbeat_seconds=30)
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 90_000


def test_backlog_holds_a_reconnect_storm() -> None:
    assert LISTEN_BACKLOG >= 1000


@pytest.mark.parametrize(
    ("bound", "address"),
    [
        (("127.0.0.1", 8080), "127.0.0.1:8080"),
        (("0.0.0.0", 8080), "127.0.0.1:8080"),
        (("::", 8080, 0, 0), "127.0.0.1:8080"),
        (("::1", 8080, 0, 0), "[::1]:8080"),
    ],
)
def test_server_address_can_be_used_in_a_url(bound: tuple[Any, ...], address: str) -> None:
    server = SimpleNamespace(sockets=[SimpleNamespace(getsockname=lambda: bound)])
    assert server_address(cast(asyncio.Server, server)) == address


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)), os.strerror(errno.EADDRINUSE)),
        (OSError("no address"), "no address"),
        (OverflowError("port must be 0-65535"), "port must be 0-65535"),
    ],
)
def test_listen_error_names_address_and_reason(error: OSError | OverflowError, reason: str) -> None:
    assert str(listen_error("h", 1, error)) == f"cannot listen on h:1: {reason}; choose another with PORT=…"


@pytest.mark.parametrize(
    ("limits", "set_to", "warns"),
    [
        ((1024, 1_000_000), (10_100, 1_000_000), False),
        ((1024, resource.RLIM_INFINITY), (10_100, resource.RLIM_INFINITY), False),
        ((1024, 4096), (4096, 4096), True),
        ((10_100, 10_100), None, False),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None, False),
    ],
)
def test_open_file_limit_is_raised_as_far_as_the_hard_limit(
    limits: tuple[int, int],
    set_to: tuple[int, int] | None,
    warns: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda which, new: calls.append(new))
    with caplog.at_level(logging.WARNING, "orderwire.listening"):
        raise_open_file_limit(10_000, 100)
    assert calls == ([] if set_to is None else [set_to])
    assert ("too few for MAX_CONNECTIONS=10000" in caplog.text) is warns


def test_open_file_limit_that_cannot_be_raised_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(which: int, new: tuple[int, int]) -> None:
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_open_file_limit(10_000, 100)
    assert "allows 256 open files" in caplog.text


def test_open_files_as_a_part_of_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1000, 1000))
    before = open_files_ratio()
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(Path("/dev/null").open())
        assert open_files_ratio() == pytest.approx(before + 0.1)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert open_files_ratio() == 0.0


def test_when_no_file_can_be_opened_all_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("os.listdir", fail)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1000, 1000))
    assert open_files_ratio() == 1.0
