"""gateway.net.listening: socket options, the address for the operator, and the limit of open files."""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.net import listening
from gateway.net.listening import (
    LISTEN_BACKLOG,
    bind_sockets,
    listen_error,
    open_files_ratio,
    raise_open_file_limit,
    server_address,
    start_listening,
)
from tests.helpers.ipv6 import needs_ipv6


def test_accepted_sockets_inherit_the_options_of_the_listening_socket() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        start_listening(server, heartbeat_seconds=30)
        with socket.create_connection(server.getsockname()), server.accept()[0] as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 90_000


def test_backlog_holds_a_reconnect_storm() -> None:
    assert LISTEN_BACKLOG >= 1000


def answers(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except OSError:
        return False
    return True


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "answering", "printed"),
    [
        ("127.0.0.1", {"127.0.0.1"}, "127.0.0.1"),
        ("0.0.0.0", {"127.0.0.1"}, "127.0.0.1"),
        ("::1", {"::1"}, "[::1]"),
        ("::", {"127.0.0.1", "::1"}, "127.0.0.1"),
        ("localhost", {"127.0.0.1", "::1"}, "127.0.0.1"),
        ("LOCALHOST.", {"127.0.0.1", "::1"}, "127.0.0.1"),
    ],
)
async def test_a_host_stands_for_these_addresses_and_the_printed_one_answers(
    host: str, answering: set[str], printed: str
) -> None:
    sockets = await bind_sockets(host, 0)
    port = sockets[0].getsockname()[1]
    assert server_address(sockets) == f"{printed}:{port}"
    for sock in sockets:
        start_listening(sock, heartbeat_seconds=30)
    assert {address for address in ("127.0.0.1", "::1") if answers((address, port))} == answering
    for sock in sockets:
        sock.close()


@needs_ipv6
async def test_a_socket_for_ipv6_alone_is_reached_by_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "setsockopt", refuse_both_families)
    (sock,) = await bind_sockets("::", 0)
    with sock:
        assert server_address([sock]) == f"[::1]:{sock.getsockname()[1]}"


SETSOCKOPT = socket.socket.setsockopt


def refuse_both_families(sock: socket.socket, level: int, option: int, value: int) -> None:
    """As on OpenBSD."""
    SETSOCKOPT(sock, level, option, 1 if (level, option) == (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) else value)


async def test_localhost_needs_one_family_only(monkeypatch: pytest.MonkeyPatch) -> None:
    bind = listening._bind

    def bind_ipv4(family: int, address: Any, *, reuse_port: bool) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        return bind(family, address, reuse_port=reuse_port)

    monkeypatch.setattr(listening, "_bind", bind_ipv4)
    (sock,) = await bind_sockets("localhost", 0)
    with sock:
        assert sock.getsockname()[0] == "127.0.0.1"
    with pytest.raises(OSError, match=os.strerror(errno.EADDRNOTAVAIL)):
        await bind_sockets("::1", 0)


@needs_ipv6
async def test_a_free_port_is_free_at_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    bind = listening._bind
    failures = [OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))]

    def bind_or_fail(family: int, address: Any, *, reuse_port: bool) -> socket.socket:
        if family == socket.AF_INET6 and failures:
            raise failures.pop()
        return bind(family, address, reuse_port=reuse_port)

    monkeypatch.setattr(listening, "_bind", bind_or_fail)
    sockets = await bind_sockets("localhost", 0)
    assert len(sockets) == 2
    assert len({sock.getsockname()[1] for sock in sockets}) == 1
    for sock in sockets:
        sock.close()


async def test_a_port_in_use_is_an_error_and_leaves_no_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        await bind_sockets("localhost", taken.getsockname()[1])


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
    "error",
    [
        OSError(errno.EADDRNOTAVAIL, "no such address here"),
        OSError(errno.EAFNOSUPPORT, "no such family here"),
        socket.gaierror(socket.EAI_NONAME, "no such name"),
    ],
)
def test_listen_error_of_a_host_asks_for_another_host(error: OSError) -> None:
    assert str(listen_error("::1", 1, error)) == f"cannot listen on [::1]:1: {error.strerror}; choose another with HOST=…"


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
