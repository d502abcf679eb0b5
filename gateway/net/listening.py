"""The listening sockets: their addresses, options and backlog, the limit of open files, and what to say when binding fails.

Imports no framework: the supervisor of several workers uses it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import socket
from collections.abc import Sequence
from typing import Any

__all__ = [
    "ListenError",
    "bind_sockets",
    "listen_error",
    "open_files_ratio",
    "raise_open_file_limit",
    "server_address",
    "start_listening",
]

log = logging.getLogger("orderwire.listening")

# A reconnect storm fills a short backlog at once, and each SYN beyond it is retransmitted after a second.
LISTEN_BACKLOG = 4096
# With PORT=0, how often to try another port when the one that the first address got is taken at another address.
MAX_PORT_ATTEMPTS = 20
# This machine does not have the address, or not the family.
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class ListenError(Exception):
    """The server cannot listen on its address; the text is for the operator."""


def listen_error(host: str, port: int, error: OSError | OverflowError) -> ListenError:
    """The ListenError for what ``bind_sockets`` or ``start_listening`` raised."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    is_host = isinstance(error, socket.gaierror) or (isinstance(error, OSError) and error.errno in _ABSENT)
    return ListenError(f"cannot listen on {_join(host, port)}: {reason}; choose another with {'HOST' if is_host else 'PORT'}=…")


async def bind_sockets(host: str, port: int, *, reuse_port: bool = False) -> list[socket.socket]:
    """Bind a socket to each address that the host stands for, all to one port. They do not listen yet.

    The name localhost is 127.0.0.1 and ::1, and the address :: every address of both families. An address that this machine
    does not have is left out if there is another. ``reuse_port``: other processes may bind the same. Raises OSError,
    OverflowError.
    """
    if host.lower().removesuffix(".") == "localhost":
        # Not what the resolver says, which often knows one family only, while a browser tries both.
        addresses: list[tuple[int, Any]] = [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port))]
    else:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    for attempt in range(1, MAX_PORT_ATTEMPTS + 1):
        try:
            return _bind_all(addresses, reuse_port=reuse_port)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE or attempt == MAX_PORT_ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _bind_all(addresses: Sequence[tuple[int, Any]], *, reuse_port: bool) -> list[socket.socket]:
    bound: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, (address, port, *more) in addresses:
            port = port or (bound[0].getsockname()[1] if bound else 0)
            try:
                bound.append(_bind(family, (address, port, *more), reuse_port=reuse_port))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
        if not bound and absent is not None:
            raise absent
    except BaseException:
        for sock in bound:
            sock.close()
        raise
    return bound


def _bind(family: int, address: Any, *, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            with contextlib.suppress(OSError):  # OpenBSD does not let one socket serve both families
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def server_address(sockets: Sequence[socket.socket]) -> str:
    """``host:port`` at which a browser on this machine reaches one of the bound sockets; by IPv4 if that is possible."""
    return min((_loopback_address(sock) for sock in sockets), key=lambda address: address.startswith("["))


def _loopback_address(sock: socket.socket) -> str:
    """The socket's address; 127.0.0.1 or ::1 instead of a wildcard."""
    host, port = sock.getsockname()[:2]
    if host == "::":
        host = "::1" if sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) else "127.0.0.1"
    return _join("127.0.0.1" if host == "0.0.0.0" else host, port)


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def start_listening(sock: socket.socket, heartbeat_seconds: float) -> None:
    """Listen on a bound socket. Accepted sockets inherit the options set here (``sk_clone_lock`` in Linux)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        # The kernel buffers megabytes for a peer that has vanished without a FIN. TCP_USER_TIMEOUT ends the connection when
        # data stays unacknowledged for that long: three heartbeat intervals, longer than two missed heartbeats.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(3000 * heartbeat_seconds))
    sock.listen(LISTEN_BACKLOG)


def raise_open_file_limit(max_connections: int, other_files: int) -> None:
    """Raise RLIMIT_NOFILE to ``max_connections`` plus ``other_files``; warn if the hard limit does not allow it.

    With the usual soft limit of 1,024, one client address could use up all file descriptors, PostgreSQL's too.
    """
    wanted = max_connections + other_files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    except (OSError, ValueError):  # macOS has a lower limit of its own
        allowed = soft
    if allowed < wanted:
        log.warning(
            "the system allows %d open files, too few for MAX_CONNECTIONS=%d: raise the limit (ulimit -Hn %d)",
            allowed,
            max_connections,
            wanted,
        )


def open_files_ratio() -> float:
    """The open files of this process as a part of RLIMIT_NOFILE. 0 if there is no limit, or the system does not list them."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        return 0.0 if limit == resource.RLIM_INFINITY else len(os.listdir("/dev/fd")) / limit
    except OSError as error:
        return 1.0 if error.errno in (errno.EMFILE, errno.ENFILE) else 0.0
