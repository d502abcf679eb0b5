"""What one stranger does with one connection. Each script counts what it sent, and says what must not have happened."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.fuzz.inputs import deadly, handshake, harmless, request
from tests.fuzz.octets import CLOSE, FINAL, PING, PONG, frame, mutated, plain
from tests.fuzz.tokens import CANARY, good, odd

__all__ = ["NAME", "SCRIPTS", "Script", "Tally", "Target"]

# Of a customer; no input holds it, and only an admin may read it.
NAME = f"{CANARY}-Customer"
TOTALS = b'"total_orders"'
# The server answers faster than this, or not at all since it waits for more.
QUIET_SECONDS = 0.15
ANSWER_SECONDS = 60.0


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
    """What was sent, by kind, and what went wrong."""

    inputs: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def sent(self) -> int:
        return self.inputs.total()


Script = Callable[[Target, random.Random, Tally], Awaitable[None]]


class Line:
    """One TCP connection, with all that has come in on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.got = bytearray()

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def _more(self) -> bool:
        """False at the end."""
        try:
            data = await self._reader.read(65536)
        except ConnectionError:
            return False
        self.got += data
        return bool(data)

    async def until(self, part: bytes) -> bool:
        """Whether it comes before the end."""
        start = 0
        async with asyncio.timeout(ANSWER_SECONDS):
            while (found := self.got.find(part, start)) < 0:
                start = max(0, len(self.got) - len(part))
                if not await self._more():
                    return False
        return found >= 0

    async def to_the_end(self) -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            while await self._more():
                pass

    async def until_quiet(self) -> None:
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout(QUIET_SECONDS):
                    if not await self._more():
                        return


@asynccontextmanager
async def _line(target: Target, rng: random.Random) -> AsyncIterator[Line]:
    # From many addresses: closed connections keep their ports for a while.
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port, local_addr=(f"127.0.0.{rng.randint(2, 250)}", 0))
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


def _check(line: Line, role: str | None, target: Target) -> None:
    """Nobody is told what their role may not see, and nothing unexpected has happened."""
    if b"HTTP/1.1 500" in line.got or b'"code": "internal_error"' in line.got or b"\x03\xf3internal error" in line.got:
        raise AssertionError(f"internal error: {bytes(line.got[-300:])!r}")
    if not target.login or role == "admin":
        return
    got = plain(bytes(line.got))
    if NAME.encode() in got:
        raise AssertionError(f"the role {role} was told a name")
    if role != "viewer" and TOTALS in got:
        raise AssertionError(f"the role {role} was told the totals")


def _role(target: Target, rng: random.Random) -> str | None:
    return rng.choice(("admin", "viewer", "customer", "customer", None)) if target.login else "admin"


async def session(target: Target, rng: random.Random, tally: Tally) -> None:
    """A session in which hundreds of messages are said that must not end it; then one that may."""
    role = _role(target, rng)
    token = good(rng, role) if target.login and role else None
    compression = rng.random() < 0.5
    async with _line(target, rng) as line:
        await line.send(handshake(rng, target.host, target.epoch, token, plain=True, compression=compression))
        if not await line.until(b"\r\n\r\n") or not line.got.startswith(b"HTTP/1.1 101 "):
            raise AssertionError(f"no session: {bytes(line.got[:200])!r}")
        tally.inputs["handshake"] += 1
        for count in rng.choices((20, 50, 100), k=rng.randint(1, 6)):
            marker = rng.randbytes(8)
            messages = [harmless(rng, login=target.login, compression=compression) for _ in range(count)]
            await line.send(b"".join(messages) + frame(FINAL | PING, marker))
            if not await line.until(bytes((FINAL | PONG, 8)) + marker):
                raise AssertionError(f"the session ended: {bytes(line.got[-200:])!r}")
            tally.inputs["message"] += count + 1
        _check(line, role, target)
        if rng.random() < 0.8:
            await line.send(deadly(rng, login=target.login, compression=compression))
            await line.until_quiet()
            tally.inputs["deadly message"] += 1
            role = role if role == "admin" else "viewer"  # as which an odd token may let in after all
        elif rng.random() < 0.5:
            await line.send(frame(FINAL | CLOSE, (1000).to_bytes(2, "big")))
            if not await line.until(bytes((FINAL | CLOSE, 2)) + (1000).to_bytes(2, "big")):
                raise AssertionError(f"no answer to a close: {bytes(line.got[-200:])!r}")
            tally.inputs["message"] += 1
        _check(line, role, target)


async def handshakes(target: Target, rng: random.Random, tally: Tally) -> None:
    """An odd handshake; whoever gets through says a few things, some before an answer can have come."""
    role = _role(target, rng)
    token = (
        rng.choice((lambda: None, lambda: good(rng, role or "viewer"), lambda: odd(rng), lambda: odd(rng)))()
        if target.login
        else None
    )
    first = handshake(rng, target.host, target.epoch, token)
    async with _line(target, rng) as line:
        messages = [harmless(rng, login=target.login) for _ in range(rng.randrange(4))]
        if rng.random() < 0.5:
            await line.send(first + b"".join(messages))
        else:
            await line.send(first)
            await line.until(b"\r\n")
            await line.send(b"".join(messages))
        await line.until_quiet()
        # Odd tokens are the viewer's or a customer's.
        _check(line, role if role in ("admin", None) and token is None else role if role == "admin" else "viewer", target)
        tally.inputs["handshake"] += 1
        if line.got.startswith(b"HTTP/1.1 101 "):
            tally.inputs["message"] += len(messages)


async def requests(target: Target, rng: random.Random, tally: Tally) -> None:
    """Requests one behind the other, without waiting for answers."""
    role = _role(target, rng)
    count = rng.randint(1, 40)
    async with _line(target, rng) as line:
        await line.send(
            b"".join(request(rng, target.host, target.epoch, role, last=number == count - 1) for number in range(count))
        )
        await line.to_the_end()
        if not line.got.startswith((b"HTTP/1.1 ", b"HTTP/1.0 400 ")):  # that is how aiohttp refuses what it cannot parse
            raise AssertionError(f"no answer: {bytes(line.got[:200])!r}")
        _check(line, "admin" if role == "admin" else "viewer", target)
        tally.inputs["request"] += line.got.count(b"HTTP/1.1 ") + line.got.count(b"HTTP/1.0 400 ")


async def stream(target: Target, rng: random.Random, tally: Tally) -> None:
    """Server-Sent Events, for a moment."""
    role = _role(target, rng)
    async with _line(target, rng) as line:
        await line.send(request(rng, target.host, target.epoch, role, path="/api/sse"))
        await line.until_quiet()
        _check(line, "admin" if role == "admin" else "viewer", target)
        tally.inputs["stream"] += 1


async def mangled_requests(target: Target, rng: random.Random, tally: Tally) -> None:
    """Bytes that were requests, or handshakes."""
    role = _role(target, rng)
    async with _line(target, rng) as line:
        count = rng.randint(1, 3)
        whole = b"".join(request(rng, target.host, target.epoch, role) for _ in range(count))
        if rng.random() < 0.4:
            token = good(rng, role) if target.login and role else None
            whole += handshake(rng, target.host, target.epoch, token, plain=True) + harmless(rng, login=target.login)
            count += 1
        await line.send(mutated(rng, whole))
        await line.until_quiet()
        _check(line, "admin" if role == "admin" else "viewer", target)
        tally.inputs["mangled request"] += count


async def mangled_frames(target: Target, rng: random.Random, tally: Tally) -> None:
    """Bytes that were frames, in a session."""
    role = _role(target, rng)
    token = good(rng, role) if target.login and role else None
    compression = rng.random() < 0.5
    async with _line(target, rng) as line:
        await line.send(handshake(rng, target.host, target.epoch, token, plain=True, compression=compression))
        if not await line.until(b"\r\n\r\n"):
            raise AssertionError("no session")
        tally.inputs["handshake"] += 1
        whole = [harmless(rng, login=target.login, compression=compression) for _ in range(rng.randint(1, 8))]
        whole = [mutated(rng, message) if rng.random() < 0.6 else message for message in whole]
        await line.send(b"".join(whole) + frame(FINAL | PING, b"x"))
        await line.until_quiet()
        _check(line, role, target)
        tally.inputs["mangled frame"] += len(whole)


# With how often each is drawn.
SCRIPTS: dict[Script, int] = {session: 12, handshakes: 30, requests: 20, mangled_requests: 16, mangled_frames: 16, stream: 4}
