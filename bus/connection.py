"""One connection to one node of NATS: opened, watched, and closed without waiting for a node that does not answer.

``nats-py`` can reconnect by itself, but then its buffer fills while it is away, ``publish`` may wait, and ``close`` waits for a
frozen node. Here a connection that is lost is given up, and ``NatsBus`` opens another one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client

from bus.credentials import Credentials
from push.errors import BusUnavailable

__all__ = ["BrokerOptions", "Connection", "NoResponders", "describe_error", "open_connection", "server_name", "tls_context"]

log = logging.getLogger("orderwire.broker")

# It logs with a traceback what it also reports to ``error_cb``, and the answer to a ping that was given up.
logging.getLogger("nats.aio.client").setLevel(logging.CRITICAL)

# All times are in seconds. To open a connection, the log-in included.
CONNECT_TIMEOUT = 2.0
# How often a connection is tried, and how long a node may take to answer.
PING_INTERVAL = 1.0
PING_TIMEOUT = 1.5
CLOSE_TIMEOUT = 1.0
# Bytes that may wait for a node that does not read; with more, messages are refused.
MAX_PENDING_BYTES = 8 * 1024 * 1024
# Of NATS: the first one with batches of direct gets.
MIN_VERSION = (2, 11)
# In bytes: a fact, and what NATS adds to it.
MIN_MAX_PAYLOAD = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """How to reach NATS: the settings BROKER_…. ``name`` is this process's, as the monitoring of NATS shows it."""

    servers: tuple[str, ...]
    name: str = "orderwire"
    credentials_file: str | None = None
    tls: ssl.SSLContext | None = None


def tls_context(ca_file: str | None, cert_file: str | None, key_file: str | None) -> ssl.SSLContext:
    """A context that verifies the nodes' certificates. Raises OSError or ssl.SSLError for a file that cannot be used."""
    context = ssl.create_default_context(cafile=ca_file)
    if cert_file is not None:
        context.load_cert_chain(cert_file, key_file)
    return context


class _Client(Client):
    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Called with what the node says first, before the credentials are sent."""
        if initial_connection and "tls" in self.options and not info.get("tls_required"):
            raise nats.errors.Error("this node does not require TLS, and BROKER_URL does (tls://)")
        await super()._process_info(info, initial_connection)


class Connection:
    """An open connection. ``lost`` is set when it has ended, in whatever way; ``loss`` says why."""

    def __init__(self, server: str) -> None:
        self.server = server_name(server)
        self.client: Client = _Client()
        self.lost = asyncio.Event()
        self.loss = ""

    def mark_lost(self, why: str) -> None:
        """End the use of this connection; the first reason counts."""
        if not self.lost.is_set():
            self.loss = why if self.server in why else f"NATS at {self.server}: {why}"
            self.lost.set()

    @property
    def is_usable(self) -> bool:
        """Whether it can take another message."""
        return not self.lost.is_set() and self.client.is_connected and self.client.pending_data_size < MAX_PENDING_BYTES

    @property
    def has_batches(self) -> bool:
        """Whether the node answers a direct get of many messages. An older one sends the first message, and then nothing."""
        version = self._version
        return version is not None and version >= MIN_VERSION

    @property
    def _version(self) -> tuple[int, int] | None:
        match = re.search(r"(\d+)\.(\d+)", str(self.client.connected_server_version))
        return None if match is None else (int(match[1]), int(match[2]))

    def problems(self) -> list[tuple[str, str]]:
        """Pairs of what makes this node of less use than it could be, and how to mend that."""
        problems = []
        if not self.has_batches:
            version = self._version
            shown = "an unknown version" if version is None else f"version {version[0]}.{version[1]}"
            problems.append(
                (
                    f"NATS at {self.server} is {shown}",
                    "upgrade it to 2.11 or newer: until then servers that have missed something read PostgreSQL",
                )
            )
        if self.client.max_payload < MIN_MAX_PAYLOAD:
            problems.append(
                (
                    f"NATS at {self.server} takes messages of {self.client.max_payload:,} bytes at most",
                    "set its max_payload to 1MB, the default: larger changes come from PostgreSQL, at each edge",
                )
            )
        return problems

    async def publish(self, subject: str, message: bytes, reply: str = "") -> None:
        """Put a message into the connection's buffer. Raises BusUnavailable, and never waits for a node that does not read."""
        if not self.is_usable:
            raise BusUnavailable(self.loss or f"NATS at {self.server}: it does not read what is sent")
        try:
            await self.client.publish(subject, message, reply=reply)
        except nats.errors.MaxPayloadError:
            raise BusUnavailable(
                f"a message of {len(message):,} bytes is too large for NATS at {self.server}: set max_payload to 1MB there"
            ) from None
        except (OSError, nats.errors.Error) as error:
            raise BusUnavailable(f"NATS at {self.server}: {describe_error(error)}") from error

    async def request(self, subject: str, payload: bytes, timeout: float) -> Any:
        """The first answer (``nats.aio.msg.Msg``). Raises BusUnavailable, also where no subscriber answers that subject."""
        if not self.is_usable:
            raise BusUnavailable(f"there is no connection to NATS at {self.server}")
        try:
            return await self.client.request(subject, payload, timeout=timeout)
        except nats.errors.NoRespondersError:
            raise NoResponders(f"NATS at {self.server}: no one answers {subject}") from None
        except (OSError, TimeoutError, nats.errors.Error) as error:
            raise BusUnavailable(f"NATS at {self.server}: {describe_error(error)}") from error

    async def subscribe(self, subject: str, receive: Callable[[Any], Awaitable[None]], max_bytes: int = 1 << 24) -> Any:
        """Call ``receive`` with each message (``nats.aio.msg.Msg``), one at a time. Messages that would make more than
        ``max_bytes`` wait are dropped. Returns the ``nats.aio.subscription.Subscription``. Raises BusUnavailable.
        """

        async def guarded(message: Any) -> None:
            try:
                await receive(message)
            except Exception:
                log.exception("a message of NATS on %s could not be handled", message.subject)

        try:
            return await self.client.subscribe(subject, cb=guarded, pending_bytes_limit=max_bytes)
        except (OSError, nats.errors.Error) as error:
            raise BusUnavailable(f"NATS at {self.server}: {describe_error(error)}") from error

    async def flush(self) -> None:
        """Return when the node has handled all that was sent: subscriptions hold from then on. Raises BusUnavailable."""
        try:
            async with asyncio.timeout(PING_TIMEOUT):
                for _ in range(2):  # the client's first ping may overtake what it has not written yet
                    await self.client.flush(timeout=60)  # the time-out is ours
        except TimeoutError:
            raise BusUnavailable(f"NATS at {self.server}: no answer within {PING_TIMEOUT:g} s") from None
        except (OSError, nats.errors.Error) as error:
            raise BusUnavailable(f"NATS at {self.server}: {describe_error(error)}") from error

    async def unsubscribe(self, subscription: Any) -> None:
        """End a subscription. Raises BusUnavailable."""
        try:
            await subscription.unsubscribe()
        except (OSError, nats.errors.Error) as error:
            raise BusUnavailable(f"NATS at {self.server}: {describe_error(error)}") from error

    async def watch(self) -> None:
        """Ask the node for a sign of life every PING_INTERVAL until the connection is lost."""
        while not self.lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PING_INTERVAL):
                    await self.lost.wait()
            if self.lost.is_set():
                return
            try:
                await self.flush()
            except BusUnavailable as error:
                self.mark_lost(str(error))


class NoResponders(BusUnavailable):
    """No one is subscribed to that subject: there is no relay, or no stream."""


@asynccontextmanager
async def open_connection(
    options: BrokerOptions, server: str, on_error: Callable[[str], None] = lambda _text: None
) -> AsyncIterator[Connection]:
    """Connect to one node; the connection is closed at the end. Raises BusUnavailable.

    ``on_error`` is called with what a node reports that does not end the connection, such as a permission that is missing.
    """
    connection = Connection(server)
    failed = asyncio.Event()
    failures: list[Exception] = []

    async def report(error: Exception) -> None:
        if isinstance(error, nats.errors.SlowConsumerError) or "permissions violation" in str(error).lower():
            on_error(describe_error(error))
            return
        failures.append(error)
        failed.set()
        connection.mark_lost(describe_error(error))

    async def closed() -> None:
        connection.mark_lost(describe_error(connection.client.last_error) if connection.client.last_error else "it was closed")

    connecting = asyncio.create_task(
        connection.client.connect(
            [server],
            name=options.name,
            error_cb=report,
            disconnected_cb=closed,
            closed_cb=closed,
            allow_reconnect=False,
            no_echo=True,
            connect_timeout=CONNECT_TIMEOUT,  # type: ignore[arg-type]  # any number
            ping_interval=3600,  # ``watch`` does it
            pending_size=4 * MAX_PENDING_BYTES,  # with more the client waits: ``publish`` refuses before that
            tls=options.tls if server.startswith("tls:") else None,
            **_login(options.credentials_file),
        ),
        name="connect to the broker",
    )
    failing = asyncio.create_task(failed.wait(), name="failure of the connection to the broker")
    try:
        # The client goes on trying after an error that it has reported, and where a node does not answer.
        await asyncio.wait({connecting, failing}, timeout=CONNECT_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done() or failures:
            raise BusUnavailable(f"NATS at {connection.server}: {describe_error(failures[0] if failures else TimeoutError())}")
        if (error := connecting.exception()) is not None:
            raise BusUnavailable(f"NATS at {connection.server}: {describe_error(error)}") from error
        yield connection
    finally:
        connection.mark_lost("it was closed")
        for task in (connecting, failing):
            task.cancel()
        await asyncio.gather(connecting, failing, return_exceptions=True)
        await _abandon(connection.client)


def _login(credentials_file: str | None) -> dict[str, Any]:
    """What proves who we are, where it is not in the address. The file is read for each connection: it may have changed."""
    if credentials_file is None:
        return {}
    try:
        credentials = Credentials.read(credentials_file)
    except (OSError, ValueError) as error:
        raise BusUnavailable(f"BROKER_CREDENTIALS_FILE: {error}") from error
    return {"user_jwt_cb": lambda: credentials.jwt, "signature_cb": credentials.sign}


async def _abandon(client: Client) -> None:
    """Close the client, whatever state it is in, without waiting for the node: ``Client.close`` alone writes what is left over
    and waits until the node has read it.
    """
    writer = getattr(client._transport, "_io_writer", None)
    client._pending, client._pending_data_size = [], 0
    subscriptions = list(client._subs.values())
    if writer is not None:
        writer.transport.abort()
    with suppress(OSError, TimeoutError, nats.errors.Error):
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await client.close()
    # Where a close that was under way already has stopped half-way.
    for subscription in subscriptions:
        task: asyncio.Task[None] | None = getattr(subscription, "_wait_for_msgs_task", None)
        if task is not None:
            task.cancel()


def server_name(url: str) -> str:
    """host:port of a node, without the credentials."""
    return urlsplit(url).netloc.rpartition("@")[2]


def describe_error(error: BaseException) -> str:
    """One line for people."""
    if isinstance(error, nats.errors.UnexpectedEOF):
        return "the node closed the connection"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return str(error.strerror)
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)  # asyncio's text repeats the address
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].removeprefix("nats: ").strip("'")
