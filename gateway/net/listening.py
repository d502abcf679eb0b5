"""The listening sockets: options, backlog, the limit of open files, and the error for an address that cannot be bound.

Imports no framework: the supervisor of several workers uses it too.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket

__all__ = ["ListenError", "listen_error", "open_files_ratio", "raise_open_file_limit", "server_address", "start_listening"]

log = logging.getLogger("orderwire.listening")

# A reconnect storm fills a short backlog at once, and each SYN beyond it is retransmitted after a second.
LISTEN_BACKLOG = 4096


class ListenError(Exception):
    """The server cannot listen on its address; the text is for the operator."""


def listen_error(host: str, port: int, error: OSError | OverflowError) -> ListenError:
    """The ListenError for what ``bind`` or ``listen`` raised."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ListenError(f"cannot listen on {host}:{port}: {reason}; choose another with PORT=…")


def server_address(server: asyncio.Server) -> str:
    """``host:port`` of the server, usable in a URL on this machine: a wildcard address becomes 127.0.0.1."""
    host, port = server.sockets[0].getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
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
