"""gateway.websocket.endpoint: close codes of protocol errors, rejected clients, and the check before aiohttp."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from gateway.app_keys import RELAY, SETTINGS
from gateway.http.request_guard import REQUEST_GUARD, ConnectionSlot, Rejection
from gateway.http.request_head import REQUEST_HEAD
from gateway.websocket.endpoint import MAX_FRAMES_AFTER_REJECTION, _RejectedClient, check_upgrade, websocket_handler
from gateway.websocket.frames import MAX_FRAGMENTS
from push.protocol.access import AccessDenied
from push.protocol.messages import CloseCode
from settings import Settings
from tests.helpers.inflating_client import BroadcastSetup
from tests.helpers.recording_transport import RecordingTransport
from tests.helpers.request_heads import UPGRADE_HEADERS, make_request_head
from tests.helpers.websocket_frames import BINARY, CLOSE, COMPRESSED, CONTINUATION, FINAL, TEXT, frame


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(FINAL | 0x3, b""), CloseCode.PROTOCOL_ERROR),
        (frame(FINAL | TEXT, b"\xff"), CloseCode.INVALID_TEXT),
        (frame(FINAL | TEXT, b"", length=1001), CloseCode.TOO_BIG),
        (frame(FINAL | BINARY, b""), CloseCode.UNSUPPORTED),
    ],
)
async def test_protocol_error_closes_the_session_with_its_code(data: bytes, code: CloseCode) -> None:
    setup = BroadcastSetup()
    client = setup.add_client()
    client.data_received(data)
    assert client.session.close_code is code
    await setup.run_ticks()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (frame(FINAL | TEXT, b"\xff"), "the text is not valid UTF-8"),
        (frame(FINAL | COMPRESSED | TEXT, b"{}"), "the compressed message is not valid DEFLATE data"),
        (frame(FINAL | TEXT, b"", length=1001), "message too big"),
        (frame(TEXT, b"") + frame(CONTINUATION, b"") * MAX_FRAGMENTS, "message in too many fragments"),
    ],
)
async def test_the_close_frame_says_which_error_it_was(data: bytes, reason: str) -> None:
    setup = BroadcastSetup()
    client = setup.add_client()
    client.data_received(data)
    await setup.run_ticks()
    assert client.closed_with is not None
    assert client.closed_with[1] == reason


async def test_a_client_that_is_too_far_behind_is_told_so_although_it_violates_the_protocol() -> None:
    setup = BroadcastSetup(max_messages=3)
    client = setup.add_client()
    await setup.run_ticks()
    client.pause_writing()
    for _ in range(5):
        setup.publish()
    client.data_received(frame(FINAL | TEXT, b"\xff"))
    client.resume_writing()
    await setup.run_ticks()
    assert client.closed_with is not None
    assert client.closed_with == (CloseCode.SLOW_CONSUMER, CloseCode.SLOW_CONSUMER.reason)


class RejectedConnection:
    """A rejected client on a recording transport."""

    def __init__(self, early: bytes = b"") -> None:
        self.released = 0
        guard = SimpleNamespace(connection_lost=lambda _: None)
        app: Any = {SETTINGS: Settings.from_environment({}), REQUEST_GUARD: guard}
        denied = AccessDenied(CloseCode.BAD_REQUEST, "no such topic")
        self.client = _RejectedClient(app, ConnectionSlot(True, self._release), denied, None)
        self.transport = RecordingTransport()
        self.client.start(self.transport, b"response", early)

    def _release(self) -> None:
        self.released += 1


async def test_rejected_client_gets_the_response_and_a_close_code() -> None:
    connection = RejectedConnection(early=frame(FINAL | TEXT, b"ignored"))
    response, close = connection.transport.written
    assert response == b"response"
    assert close[0] == FINAL | CLOSE
    assert close[2:] == int(CloseCode.BAD_REQUEST).to_bytes(2, "big") + b"no such topic"
    connection.client.data_received(frame(FINAL | CLOSE, (3501).to_bytes(2, "big")))
    assert connection.transport.calls[-1] == "close"
    assert connection.released == 0
    connection.client.connection_lost(None)
    assert connection.released == 1


async def test_rejected_client_may_send_a_limited_number_of_frames() -> None:
    connection = RejectedConnection()
    connection.client.data_received(frame(FINAL | TEXT, b"x"))
    assert "pause_reading" not in connection.transport.calls
    for _ in range(MAX_FRAMES_AFTER_REJECTION - 1):
        connection.client.data_received(frame(FINAL | TEXT, b"x"))
    assert "pause_reading" not in connection.transport.calls
    connection.client.data_received(frame(FINAL | TEXT, b"x"))
    assert connection.transport.calls[-1] == "pause_reading"
    connection.client.connection_lost(None)


@pytest.mark.parametrize(
    ("headers", "rejection", "accepted"),
    [
        ({}, None, True),
        ({}, Rejection("origin", 403, "pages of another origin may not connect"), False),
        ({"Sec-WebSocket-Version": "8"}, None, False),
    ],
)
def test_check_upgrade_leaves_http_errors_to_aiohttp(
    headers: dict[str, str], rejection: Rejection | None, accepted: bool
) -> None:
    app: Any = {
        SETTINGS: Settings.from_environment({}),
        RELAY: SimpleNamespace(epoch="e1"),
        REQUEST_GUARD: SimpleNamespace(find_rejection=lambda _: rejection),
    }
    handshake = check_upgrade(app, make_request_head("GET", {**UPGRADE_HEADERS, **headers}))
    assert (handshake is not None) is accepted


class Request(dict[Any, Any]):
    """What ``websocket_handler`` reads of a request before it is admitted."""

    def __init__(self, app: Any, head: Any) -> None:
        super().__init__({REQUEST_HEAD: head})
        self.app = app


@pytest.mark.parametrize(
    ("headers", "epoch", "status", "reason"),
    [
        ({"Sec-WebSocket-Key": "short"}, "e1", 400, "malformed_handshake"),
        ({"Sec-WebSocket-Extensions": "="}, "e1", 400, "malformed_handshake"),
        ({"Sec-WebSocket-Version": "8"}, "e1", 426, "unsupported_version"),
        ({}, None, 503, "not_started"),
    ],
)
async def test_a_handshake_that_fails_is_reported_once_with_its_reason_and_not_counted(
    headers: dict[str, str], epoch: str | None, status: int, reason: str
) -> None:
    reports: list[tuple[Any, ...]] = []
    app: Any = {
        SETTINGS: Settings.from_environment({}),
        RELAY: SimpleNamespace(epoch=epoch, not_ready_reason="waiting for the database"),
        REQUEST_GUARD: SimpleNamespace(report_rejection=lambda *report, counted: reports.append((*report, counted))),
    }
    head = make_request_head("GET", {**UPGRADE_HEADERS, **headers})
    request: Any = Request(app, head)
    with pytest.raises(web.HTTPException) as raised:
        await websocket_handler(request)
    assert raised.value.status == status
    assert reports == [(reason, head.peer.address, False)]
