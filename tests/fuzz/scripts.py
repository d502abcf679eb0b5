"""Scripts: what the fuzzer does on one connection. Each counts its inputs and raises AssertionError for a failure."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.fuzz.inputs import fatal_message, handshake, nonfatal_message, request
from tests.fuzz.octets import mutate
from tests.fuzz.tokens import CANARY, odd_token, valid_token
from tests.helpers.websocket_frames import CLOSE, FINAL, PING, PONG, frame, inflate_messages

__all__ = ["CUSTOMER_NAME", "SCRIPTS", "Script", "Tally", "Target"]

# A customer's name that occurs in no input and that only an admin may receive.
CUSTOMER_NAME = f"{CANARY}-Customer"
TOTALS_FIELD = b'"total_orders"'
# The server is considered quiet after this time: it does not answer incomplete input.
QUIET_SECONDS = 0.15
ANSWER_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """A server."""

    name: str
    port: int
    login: bool
    epoch: str

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


@dataclass(slots=True)
class Tally:
    """The number of inputs by kind, and the failures."""

    inputs: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def sent(self) -> int:
        return self.inputs.total()


Script = Callable[[Target, random.Random, Tally], Awaitable[None]]


class RawConnection:
    """One TCP connection and everything received on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.received = bytearray()

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def _read_more(self) -> bool:
        """Read once; False at the end of the stream."""
        try:
            data = await self._reader.read(65536)
        except ConnectionError:
            return False
        self.received += data
        return bool(data)

    async def read_until(self, part: bytes) -> bool:
        """Read until ``part`` was received; False if the stream ends before."""
        start = 0
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            while (found := self.received.find(part, start)) < 0:
                start = max(0, len(self.received) - len(part))
                if not await self._read_more():
                    return False
        return found >= 0

    async def read_to_end(self) -> None:
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            while await self._read_more():
                pass

    async def read_until_quiet(self) -> None:
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout(QUIET_SECONDS):
                    if not await self._read_more():
                        return


@asynccontextmanager
async def _connect(target: Target, rng: random.Random) -> AsyncIterator[RawConnection]:
    # From many addresses, because closed connections occupy their ports for a while.
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port, local_addr=(f"127.0.0.{rng.randint(2, 250)}", 0))
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


def _check_permissions(line: RawConnection, role: str | None, target: Target) -> None:
    """Assert that there was no internal error and nothing was received that the role may not see."""
    if (
        b"HTTP/1.1 500" in line.received
        or b'"code": "internal_error"' in line.received
        or b"\x03\xf3internal error" in line.received
    ):
        raise AssertionError(f"internal error: {bytes(line.received[-300:])!r}")
    if not target.login or role == "admin":
        return
    got = inflate_messages(bytes(line.received))
    if CUSTOMER_NAME.encode() in got:
        raise AssertionError(f"the role {role} received a customer's name")
    if role != "viewer" and TOTALS_FIELD in got:
        raise AssertionError(f"the role {role} received the totals")


def _random_role(target: Target, rng: random.Random) -> str | None:
    return rng.choice(("admin", "viewer", "customer", "customer", None)) if target.login else "admin"


async def session(target: Target, rng: random.Random, tally: Tally) -> None:
    """A session with hundreds of messages that must not close it, then one that may."""
    role = _random_role(target, rng)
    token = valid_token(rng, role) if target.login and role else None
    compression = rng.random() < 0.5
    async with _connect(target, rng) as line:
        await line.send(handshake(rng, target.host, target.epoch, token, plain=True, compression=compression))
        if not await line.read_until(b"\r\n\r\n") or not line.received.startswith(b"HTTP/1.1 101 "):
            raise AssertionError(f"no session: {bytes(line.received[:200])!r}")
        tally.inputs["handshake"] += 1
        for count in rng.choices((20, 50, 100), k=rng.randint(1, 6)):
            marker = rng.randbytes(8)
            messages = [nonfatal_message(rng, login=target.login, compression=compression) for _ in range(count)]
            await line.send(b"".join(messages) + frame(FINAL | PING, marker))
            if not await line.read_until(bytes((FINAL | PONG, 8)) + marker):
                raise AssertionError(f"the session ended: {bytes(line.received[-200:])!r}")
            tally.inputs["message"] += count + 1
        _check_permissions(line, role, target)
        if rng.random() < 0.8:
            await line.send(fatal_message(rng, login=target.login, compression=compression))
            await line.read_until_quiet()
            tally.inputs["fatal message"] += 1
            role = role if role == "admin" else "viewer"  # an odd token may be valid after all, as a viewer
        elif rng.random() < 0.5:
            await line.send(frame(FINAL | CLOSE, (1000).to_bytes(2, "big")))
            if not await line.read_until(bytes((FINAL | CLOSE, 2)) + (1000).to_bytes(2, "big")):
                raise AssertionError(f"no answer to a close: {bytes(line.received[-200:])!r}")
            tally.inputs["message"] += 1
        _check_permissions(line, role, target)


async def handshakes(target: Target, rng: random.Random, tally: Tally) -> None:
    """An odd handshake, followed by a few messages, some of them before the response."""
    role = _random_role(target, rng)
    token = (
        rng.choice((lambda: None, lambda: valid_token(rng, role or "viewer"), lambda: odd_token(rng), lambda: odd_token(rng)))()
        if target.login
        else None
    )
    first = handshake(rng, target.host, target.epoch, token)
    async with _connect(target, rng) as line:
        messages = [nonfatal_message(rng, login=target.login) for _ in range(rng.randrange(4))]
        if rng.random() < 0.5:
            await line.send(first + b"".join(messages))
        else:
            await line.send(first)
            await line.read_until(b"\r\n")
            await line.send(b"".join(messages))
        await line.read_until_quiet()
        # Odd tokens have at most the role viewer.
        _check_permissions(
            line, role if role in ("admin", None) and token is None else role if role == "admin" else "viewer", target
        )
        tally.inputs["handshake"] += 1
        if line.received.startswith(b"HTTP/1.1 101 "):
            tally.inputs["message"] += len(messages)


async def requests(target: Target, rng: random.Random, tally: Tally) -> None:
    """Pipelined requests."""
    role = _random_role(target, rng)
    count = rng.randint(1, 40)
    async with _connect(target, rng) as line:
        await line.send(
            b"".join(request(rng, target.host, target.epoch, role, last=number == count - 1) for number in range(count))
        )
        await line.read_to_end()
        if not line.received.startswith((b"HTTP/1.1 ", b"HTTP/1.0 400 ")):  # aiohttp rejects unparsable requests with 1.0
            raise AssertionError(f"no answer: {bytes(line.received[:200])!r}")
        _check_permissions(line, "admin" if role == "admin" else "viewer", target)
        tally.inputs["request"] += line.received.count(b"HTTP/1.1 ") + line.received.count(b"HTTP/1.0 400 ")


async def stream(target: Target, rng: random.Random, tally: Tally) -> None:
    """A short stream of Server-Sent Events."""
    role = _random_role(target, rng)
    async with _connect(target, rng) as line:
        await line.send(request(rng, target.host, target.epoch, role, path="/api/sse"))
        await line.read_until_quiet()
        _check_permissions(line, "admin" if role == "admin" else "viewer", target)
        tally.inputs["stream"] += 1


async def mangled_requests(target: Target, rng: random.Random, tally: Tally) -> None:
    """Mutated requests and handshakes."""
    role = _random_role(target, rng)
    async with _connect(target, rng) as line:
        count = rng.randint(1, 3)
        whole = b"".join(request(rng, target.host, target.epoch, role) for _ in range(count))
        if rng.random() < 0.4:
            token = valid_token(rng, role) if target.login and role else None
            whole += handshake(rng, target.host, target.epoch, token, plain=True) + nonfatal_message(rng, login=target.login)
            count += 1
        await line.send(mutate(rng, whole))
        await line.read_until_quiet()
        _check_permissions(line, "admin" if role == "admin" else "viewer", target)
        tally.inputs["mangled request"] += count


async def mangled_frames(target: Target, rng: random.Random, tally: Tally) -> None:
    """Mutated frames in a session."""
    role = _random_role(target, rng)
    token = valid_token(rng, role) if target.login and role else None
    compression = rng.random() < 0.5
    async with _connect(target, rng) as line:
        await line.send(handshake(rng, target.host, target.epoch, token, plain=True, compression=compression))
        if not await line.read_until(b"\r\n\r\n"):
            raise AssertionError("no session")
        tally.inputs["handshake"] += 1
        whole = [nonfatal_message(rng, login=target.login, compression=compression) for _ in range(rng.randint(1, 8))]
        whole = [mutate(rng, message) if rng.random() < 0.6 else message for message in whole]
        await line.send(b"".join(whole) + frame(FINAL | PING, b"x"))
        await line.read_until_quiet()
        _check_permissions(line, role, target)
        tally.inputs["mangled frame"] += len(whole)


# The weight with which each script is drawn.
SCRIPTS: dict[Script, int] = {session: 12, handshakes: 30, requests: 20, mangled_requests: 16, mangled_frames: 16, stream: 4}
