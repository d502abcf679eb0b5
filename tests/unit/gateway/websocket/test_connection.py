"""gateway.websocket.connection: pongs, pausing, protocol errors and the closing handshake of one connection."""

from __future__ import annotations

import asyncio
import errno
from typing import Any, cast

import pytest

from gateway.websocket.connection import MAX_MESSAGES_PER_TICK, WebSocketProtocol
from gateway.websocket.frames import Message, pong_frame
from tests.helpers.recording_transport import RecordingTransport
from tests.helpers.websocket_frames import CLOSE, FINAL, PING, TEXT, frame


class RecordingProtocol(WebSocketProtocol):
    """Records the texts that it reads. The text "wait" pauses it, as a command does."""

    def __init__(self, transport: RecordingTransport | None = None) -> None:
        super().__init__(1000, lambda _: None)
        self.texts: list[str] = []
        self.close_received = False
        self.fake_transport = transport or RecordingTransport()
        self.start(self.fake_transport, b"", b"")
        self.fake_transport.written.clear()

    def check_rate(self, size: int, frames: int) -> bool:
        return True

    def on_message(self, message: Message) -> None:
        self.texts.append(message.text)
        if message.text == "wait":
            self.pause()

    def on_close_received(self) -> None:
        self.close_received = True


def ping(payload: bytes) -> bytes:
    return frame(FINAL | PING, payload, mask=b"abcd")


def text(payload: bytes) -> bytes:
    return frame(FINAL | TEXT, payload, mask=b"abcd")


async def test_only_the_newest_ping_is_answered_after_writing_was_paused() -> None:
    protocol = RecordingProtocol()
    protocol.data_received(ping(b"1"))
    protocol.pause_writing()
    protocol.data_received(ping(b"2") + ping(b"3"))
    assert protocol.fake_transport.written == [pong_frame(b"1")]
    protocol.resume_writing()
    assert protocol.fake_transport.written == [pong_frame(b"1"), pong_frame(b"3")]


async def test_nothing_is_read_while_paused() -> None:
    protocol = RecordingProtocol()
    protocol.data_received(b"".join(map(text, (b"wait", b"next", b"wait", b"last"))))
    assert (protocol.texts, protocol.fake_transport.calls[-1]) == (["wait"], "pause_reading")
    protocol.resume()
    assert (protocol.texts, protocol.fake_transport.calls[-1]) == (["wait", "next", "wait"], "pause_reading")
    protocol.resume()
    assert protocol.texts == ["wait", "next", "wait", "last"]


async def test_messages_per_tick_are_limited() -> None:
    protocol = RecordingProtocol()
    protocol.data_received(text(b"x") * 35)
    assert len(protocol.texts) < 35
    while len(protocol.texts) < 35:
        before = len(protocol.texts)
        await asyncio.sleep(0)
        assert before < len(protocol.texts) <= before + MAX_MESSAGES_PER_TICK


async def test_protocol_error_sends_a_close_frame_and_shuts_down_writing() -> None:
    protocol = RecordingProtocol()
    protocol.data_received(frame(FINAL | 3, b"") + ping(b"x"))
    (close,) = protocol.fake_transport.written
    assert close[:4] == bytes((FINAL | CLOSE, close[1])) + (1002).to_bytes(2, "big")
    assert "write_eof" in protocol.fake_transport.calls
    protocol.connection_lost(None)
    assert cast(Any, protocol)._abort_timer is None


async def test_write_eof_on_a_reset_connection_is_not_an_error() -> None:
    class ResetTransport(RecordingTransport):
        def write_eof(self) -> None:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    protocol = RecordingProtocol(ResetTransport())
    protocol.data_received(frame(FINAL | 3, b""))
    assert protocol.closing
    protocol.connection_lost(None)


@pytest.mark.parametrize(("payload", "echoed"), [((3000).to_bytes(2, "big") + b"bye", 3000), (b"", 1000)])
async def test_close_frame_of_the_client_is_answered_with_its_code(payload: bytes, echoed: int) -> None:
    protocol = RecordingProtocol()
    protocol.data_received(frame(FINAL | CLOSE, payload, mask=b"abcd") + text(b"x"))
    assert protocol.fake_transport.written == [bytes((FINAL | CLOSE, 2)) + echoed.to_bytes(2, "big")]
    assert protocol.fake_transport.calls[-1] == "close"
    assert (protocol.close_received, protocol.texts) == (True, [])
    protocol.connection_lost(None)


async def test_nothing_queued_is_written_before_the_answer_to_a_close_frame() -> None:
    class QueueingProtocol(RecordingProtocol):
        def flush(self) -> None:
            if self._transport is not None and not self.closing:
                self._transport.write(b"queued")

    protocol = QueueingProtocol()
    protocol.pause_writing()
    protocol.data_received(frame(FINAL | CLOSE, (1000).to_bytes(2, "big"), mask=b"abcd"))
    protocol.resume_writing()
    assert protocol.fake_transport.written == [bytes((FINAL | CLOSE, 2)) + (1000).to_bytes(2, "big")]
    protocol.connection_lost(None)


async def test_a_client_that_still_reads_what_was_written_before_its_close_frame_is_not_aborted_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The close frame is behind what the transport holds: aborted, the client would see 1006."""
    monkeypatch.setattr("gateway.websocket.connection.LINGER_SECONDS", 0.01)
    protocol = RecordingProtocol()
    protocol.pause_writing()
    protocol.data_received(frame(FINAL | CLOSE, (1000).to_bytes(2, "big"), mask=b"abcd"))
    await asyncio.sleep(0.05)
    assert protocol.fake_transport.calls[-1] == "close"
    protocol.connection_lost(None)


async def test_close_frame_that_answers_ours_closes_the_transport() -> None:
    protocol = RecordingProtocol()
    protocol.close(3001, "reason")
    protocol.close(3002, "a second close frame is not sent")
    protocol.data_received(text(b"ignored") + frame(FINAL | CLOSE, (3001).to_bytes(2, "big"), mask=b"abcd"))
    assert protocol.fake_transport.written == [bytes((FINAL | CLOSE, 8)) + (3001).to_bytes(2, "big") + b"reason"]
    assert protocol.fake_transport.calls[-1] == "close"
    assert (protocol.close_received, protocol.texts) == (False, [])
    protocol.connection_lost(None)


async def test_client_that_does_not_answer_the_close_frame_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.websocket.connection.CLOSE_TIMEOUT_SECONDS", 0.01)
    protocol = RecordingProtocol()
    protocol.close(3001, "")
    assert "abort" not in protocol.fake_transport.calls
    await asyncio.sleep(0.05)
    assert "abort" in protocol.fake_transport.calls
    protocol.connection_lost(None)
