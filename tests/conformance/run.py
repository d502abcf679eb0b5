"""Runs the cases against a server and formats the report."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.conformance.cases import Case, Pause, close_frame, rfc_6455_cases
from tests.conformance.compression import rfc_7692_cases
from tests.helpers.websocket_frames import CLOSE, FINAL, PING, PONG, TEXT
from tests.support import TIMEOUT_SECONDS

__all__ = ["SETTINGS", "Result", "report", "run_all"]

# Raises the limits that the suite would exceed. Other tests cover the limits.
SETTINGS = {
    "FRAMES_PER_SECOND": "100000",
    "BYTES_PER_SECOND": "100MiB",
    "SEND_QUEUE_FRAMES": "10000",
    "HANDSHAKES_PER_SECOND": "10000",
}
PAUSE_SECONDS = 0.3
CONCURRENT_CASES = 20

PASS, NON_STRICT, DEVIATION = "pass", "non-strict", "deviation"


@dataclass(frozen=True, slots=True)
class Result:
    case: Case
    outcome: str
    note: str = ""


@dataclass(slots=True)
class Received:
    """The frames that the server sent, and errors in them."""

    answers: list[str] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    # None: no close frame. 1005: a close frame without a code (RFC 6455 section 7.1.5).
    close: int | None = None
    failures: list[str] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_for_answers(self, case: Case, listening: asyncio.Task[None]) -> None:
        """Wait until all expected answers and pongs have arrived: after our close frame the server would not send them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while len(self.answers) < case.answers or len(self.pongs) < len(case.pongs):
                    self._changed.clear()
                    if listening.done():
                        return
                    await self._changed.wait()

    async def read_frames(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError), self._notify_at_end():
            while True:
                head, length = await reader.readexactly(2)
                if length & 0x80:
                    self.failures.append("a frame of the server is masked (5.1)")
                if not head & FINAL or head & 0x70:
                    self.failures.append(f"a frame of the server begins with {head:#x}")
                if length & 0x7F == 126:
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                elif length & 0x7F == 127:
                    (length,) = struct.unpack("!Q", await reader.readexactly(8))
                self._handle_frame(head & 0x0F, await reader.readexactly(length))
                self._changed.set()

    @contextmanager
    def _notify_at_end(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._changed.set()

    def _handle_frame(self, opcode: int, payload: bytes) -> None:
        if self.close is not None:
            self.failures.append("a frame after the close frame (5.5.1)")
        if opcode == TEXT:
            fields = json.loads(payload.decode())
            if fields["type"] in ("error", "pong"):
                self.answers.append(fields.get("message", "pong"))
        elif opcode == PONG:
            self.pongs.append(payload)
        elif opcode == CLOSE:
            self.close = struct.unpack("!H", payload[:2])[0] if payload else 1005
            payload[2:].decode()
        elif opcode != PING:
            self.failures.append(f"opcode {opcode}")


async def run_case(url: str, case: Case) -> Result:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    offers = f"Sec-WebSocket-Extensions: {case.offers}\r\n" if case.offers else ""
    writer.write(
        f"GET /api/ws HTTP/1.1\r\nHost: {address.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{offers}"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    agreed = re.search(rb"\r\nSec-WebSocket-Extensions: (.*?)\r\n", head)
    if b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" not in head or (agreed[1].decode() if agreed else None) != case.agreed:
        return Result(case, DEVIATION, f"handshake: {head!r}")
    heard = Received()
    listening = asyncio.create_task(heard.read_frames(reader), name="listener")
    ended_early = False
    try:
        for number, step in enumerate(case.steps):
            if isinstance(step, Pause):
                await asyncio.wait([listening], timeout=PAUSE_SECONDS)
            else:
                ended_early = listening.done() and number == len(case.steps) - 1
                writer.write(step)
                with suppress(ConnectionError):
                    await writer.drain()
        if not case.close:
            await heard.wait_for_answers(case, listening)
            writer.write(close_frame(1000))
        done, _ = await asyncio.wait([listening], timeout=TIMEOUT_SECONDS)
        if not done:
            return Result(case, DEVIATION, "the connection stays open")
        await listening
    finally:
        listening.cancel()
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
    return _evaluate(case, heard, ended_early)


def _evaluate(case: Case, heard: Received, ended_early: bool) -> Result:
    failed = bool(case.close) and 1000 not in case.close
    if heard.close is not None and heard.close not in (case.close or (1000,)):
        return Result(case, DEVIATION, f"closed with {heard.close}")
    if heard.failures:
        return Result(case, DEVIATION, "; ".join(heard.failures))
    if case.informational:
        return Result(case, PASS)
    if heard.close is None:
        return Result(case, DEVIATION, "no close frame")
    if tuple(heard.pongs) != case.pongs:
        return Result(case, DEVIATION, f"pongs: {heard.pongs}")
    if len(heard.answers) > case.answers or (len(heard.answers) < case.answers and not failed):
        return Result(case, DEVIATION, f"{len(heard.answers)} answers instead of {case.answers}")
    if case.must_fail_early and not ended_early:
        return Result(case, NON_STRICT, "fails at the end of the message, not inside it")
    if len(heard.answers) < case.answers:
        return Result(case, NON_STRICT, "the answer to the message before the protocol error is not sent")
    return Result(case, PASS)


async def run_all(url: str) -> list[Result]:
    """Run all cases, several at a time; return the results in order."""
    semaphore = asyncio.Semaphore(CONCURRENT_CASES)

    async def run_limited(case: Case) -> Result:
        async with semaphore:
            return await run_case(url, case)

    return list(await asyncio.gather(*map(run_limited, (*rfc_6455_cases(), *rfc_7692_cases()))))


FAMILIES = {
    "1": ("framing", "5.2; binary is closed with 1003"),
    "2": ("pings and pongs", "5.5.2, 5.5.3"),
    "3": ("reserved bits", "5.2"),
    "4": ("opcodes", "5.2"),
    "5": ("fragmentation", "5.4"),
    "6": ("UTF-8", "8.1"),
    "7": ("closing", "5.5.1, 7.4"),
    "9": ("limits, at 64 KiB", "10.4; what is larger is closed with 1009, binary with 1003"),
    "10": ("fragments of which the last is shorter", "5.4"),
    "12": ("compressed messages, five kinds in all sizes", "RFC 7692, 7.2; what is too large is closed with 1009"),
    "13": ("the same with parameters; what is not negotiated is a protocol error", "RFC 7692, 7.1"),
    "+": (
        "cases that the suite does not have: masks, empty fragments, invalid compression",
        "5.1, 5.3, 5.4; RFC 7692, 6.1, 7.2.2",
    ),
}


def report(results: Iterable[Result]) -> str:
    """The text of docs/reference/conformance.md."""
    results = list(results)
    rows = []
    for key, (what, sections) in FAMILIES.items():
        own = [result for result in results if _family(result) == key]
        counts = [sum(result.outcome == outcome for result in own) for outcome in (PASS, NON_STRICT, DEVIATION)]
        rows.append(f"| {key} | {what} | {sections} | {len(own)} | {counts[0]} | {counts[1]} | {counts[2]} |")
    total = [sum(result.outcome == outcome for result in results) for outcome in (PASS, NON_STRICT, DEVIATION)]
    rows.append(f"| | **all** | | **{len(results)}** | **{total[0]}** | **{total[1]}** | **{total[2]}** |")
    notes: dict[str, list[str]] = {}
    for result in results:
        if result.note:
            notes.setdefault(f"{result.outcome}: {result.note}", []).append(result.case.number)
    listed = "\n".join(f"- {note}. Cases {', '.join(numbers)}." for note, numbers in notes.items()) or "- none"
    return PAGE.format(rows="\n".join(rows), notes=listed, settings=", ".join(f"`{k}={v}`" for k, v in SETTINGS.items()))


def _family(result: Result) -> str:
    number = result.case.number
    return "+" if number.startswith("+") else number.partition(".")[0]


PAGE = """# Conformance to RFC 6455 and RFC 7692

`make conformance` writes this page from a run against `/api/ws`. A test asserts that a new run would write the same
page.

The cases are those of the Autobahn|Testsuite's fuzzing client, by their numbers, sent by a client of our own
(`tests/conformance/`). The suite itself is not part of the run. Its package on PyPI is Python 2 source: 25.10.1 does not
import under Python 3, and 0.8.2 runs under Python 2.7 only, of which PyPI, npm and Debian 12 have no interpreter that can
open a socket. It expects the server to echo each message, too, while this endpoint answers JSON commands. Therefore:

- A text message that arrived completely is recognized by its answer, an error that repeats the beginning of an unknown
  `type`.
- The endpoint accepts no binary messages: where the suite expects an echo, 1003 is correct.
- A message is limited to 64 KiB: the suite's sizes from 64 KiB up are closed with 1009, and its large fragmented
  messages have 64 KiB.
- Compression (groups 12 and 13) is negotiated with the server's context takeover and its largest window: each case sends
  ten messages, every other one compressed, by one compressor with the window that was negotiated. Any other offer is
  declined, and compressed frames are then a protocol error. `tests/integration/test_compression.py` tests that clients
  can read what the server compresses.
- *non-strict* is the suite's word for behaviour that the RFC allows and the suite discourages.
- All frames of the server are checked too: not masked, no reserved bits (messages for one client alone are never
  compressed), nothing after a close frame, valid UTF-8.

These settings differ from the defaults, because the suite sends more at once than the limits allow: {settings}.

| group | what | RFC 6455, section | cases | pass | non-strict | deviation |
|---|---|---|---|---|---|---|
{rows}

{notes}

`tests/conformance/test_conformance.py` tests the opening handshake (section 4.2). Five other implementations connect to
the server in the tests: aiohttp, tornado, websockets, and on Node.js ws and undici (`tests/clients/test_clients.py`).
"""
