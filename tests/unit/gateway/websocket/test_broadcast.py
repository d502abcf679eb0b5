"""What clients are written: once a turn, the same bytes for all, in order, and nothing to whoever takes nothing."""

from __future__ import annotations

import asyncio
import errno
from typing import Any, cast

from gateway.net.transports import TransportBackend
from gateway.websocket.broadcast import Broadcaster
from gateway.websocket.connection import MAX_MESSAGES_PER_TICK, WebSocketProtocol
from gateway.websocket.frames import OP_PING, Message, pong_frame, text_frames
from push.delivery.batch import Batch
from push.delivery.hub import Hub
from push.delivery.session import PING_MESSAGE as PING_FRAME
from push.metrics import Metrics
from tests.fuzz.octets import FINAL, frame


class Reading:
    """A client of the fan-out; what is written to it."""

    def __init__(self, fanout: Broadcaster) -> None:
        self.fanout = fanout
        self.waiting: list[Batch] = []
        self.written: list[bytes] = []
        self.was_cut = False
        self.bad = False

    def send(self, batch: Batch) -> None:
        if not self.waiting:
            self.fanout.schedule_flush(self)
        self.waiting.append(batch)

    def flush(self) -> None:
        batches, self.waiting = self.waiting, []
        if self.bad:
            raise ValueError("a fault of our own")
        self.written.append(self.fanout.encode(batches)[0])

    def abort(self) -> None:
        self.was_cut = True


async def test_one_write_a_turn_with_the_same_bytes_for_all() -> None:
    metrics = Metrics()
    fanout = Broadcaster(metrics, Hub(), TransportBackend())
    clients = [Reading(fanout) for _ in range(3)]
    for batch in (Batch([b"one", b"two"]), Batch([b"three"])):
        for client in clients:
            client.send(batch)
    assert [client.written for client in clients] == [[], [], []]
    await asyncio.sleep(0)
    assert clients[0].written == [text_frames([b"one", b"two", b"three"])]
    assert all(client.written[0] is clients[0].written[0] for client in clients)
    assert metrics.sent_messages.labels("websocket")._value.get() == 9
    assert metrics.sent_bytes.labels("websocket")._value.get() == 3 * len(b"onetwothree")


async def test_who_has_something_else_gets_that() -> None:
    fanout = Broadcaster(Metrics(), Hub(), TransportBackend())
    clients = [Reading(fanout) for _ in range(3)]
    shared = Batch([b"shared"])
    for n, client in enumerate(clients):
        client.send(shared)
        client.send(Batch([b"own %d" % n]))
    await asyncio.sleep(0)
    assert [client.written for client in clients] == [[text_frames([b"shared", b"own %d" % n])] for n in range(3)]


async def test_a_fault_with_one_client_is_no_other_ones(caplog: Any) -> None:
    fanout = Broadcaster(Metrics(), Hub(), TransportBackend())
    clients = [Reading(fanout) for _ in range(3)]
    clients[1].bad = True
    for client in clients:
        client.send(Batch([b"x"]))
    await asyncio.sleep(0)
    assert [client.was_cut for client in clients] == [False, True, False]
    assert clients[2].written == [text_frames([b"x"])]
    assert "a fault of our own" in caplog.text


async def test_a_heartbeat_is_a_ping_of_both_kinds() -> None:
    fanout = Broadcaster(Metrics(), Hub(), TransportBackend())
    client = Reading(fanout)
    client.send(Batch([PING_FRAME]))
    await asyncio.sleep(0)
    assert client.written == [text_frames([PING_FRAME]) + bytes((FINAL | OP_PING, 0))]


class Pipe(asyncio.Transport):
    """A transport whose other end may be full."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[bytes] = []
        self.calls: list[str] = []

    def write(self, data: Any) -> None:
        self.got.append(bytes(data))

    def __getattribute__(self, name: str) -> Any:
        if name in ("pause_reading", "resume_reading", "close", "abort", "set_write_buffer_limits", "write_eof"):
            return lambda *_, **__: self.calls.append(name)
        if name in ("can_write_eof", "is_closing"):
            return lambda: name == "can_write_eof"
        return super().__getattribute__(name)


class Line(WebSocketProtocol):
    """A connection that keeps what it reads."""

    def __init__(self) -> None:
        super().__init__(1000, lambda _: None)
        self.texts: list[str] = []
        self.pipe = Pipe()
        self.start(self.pipe, b"", b"")
        self.pipe.got.clear()

    def check_rate(self, size: int, frames: int) -> bool:
        return True

    def on_message(self, message: Message) -> None:
        self.texts.append(message.text)
        if message.text == "wait":
            self.pause()


def ping(payload: bytes) -> bytes:
    return frame(FINAL | OP_PING, payload, mask=b"abcd")


async def test_whoever_pings_and_takes_nothing_is_owed_one_pong() -> None:
    line = Line()
    line.data_received(ping(b"1"))
    line.pause_writing()
    line.data_received(ping(b"2") + ping(b"3"))
    assert line.pipe.got == [pong_frame(b"1")]
    line.resume_writing()
    assert line.pipe.got == [pong_frame(b"1"), pong_frame(b"3")]


async def test_nothing_is_read_while_something_is_being_done_for_the_client() -> None:
    line = Line()
    line.data_received(b"".join(frame(FINAL | 1, text, mask=b"abcd") for text in (b"wait", b"next", b"wait", b"last")))
    assert (line.texts, line.pipe.calls[-1]) == (["wait"], "pause_reading")
    line.resume()
    assert (line.texts, line.pipe.calls[-1]) == (["wait", "next", "wait"], "pause_reading")
    line.resume()
    assert line.texts == ["wait", "next", "wait", "last"]


async def test_many_messages_take_turns_with_everybody_else() -> None:
    line = Line()
    line.data_received(frame(FINAL | 1, b"x") * 35)
    assert len(line.texts) < 35
    while len(line.texts) < 35:
        before = len(line.texts)
        await asyncio.sleep(0)
        assert before < len(line.texts) <= before + MAX_MESSAGES_PER_TICK


async def test_a_breach_is_answered_and_then_it_hangs_up_by_half() -> None:
    line = Line()
    line.data_received(frame(FINAL | 3, b"") + ping(b"x"))
    (close,) = line.pipe.got
    assert close[:4] == bytes((FINAL | 8, close[1])) + (1002).to_bytes(2, "big")
    assert "write_eof" in line.pipe.calls
    line.connection_lost(None)
    assert cast(Any, line)._abort_timer is None


async def test_a_client_may_be_gone_by_the_time_that_it_is_hung_up_on() -> None:
    class Gone(Pipe):
        def __getattribute__(self, name: str) -> Any:
            if name == "write_eof":
                raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
            return super().__getattribute__(name)

    line = Line()
    line.start(Gone(), b"", b"")
    line.data_received(frame(FINAL | 3, b""))
    assert line.closing
    line.connection_lost(None)
