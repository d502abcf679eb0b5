"""The JSON of the server's messages, and the reasons of close codes."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest

from push.journal.totals import Totals
from push.protocol.messages import (
    AnalyticsUpdate,
    Authenticated,
    Bulk,
    CloseCode,
    ErrorMessage,
    Ping,
    Pong,
    PositionMessage,
    Resumed,
    ServerMessage,
    Subscribed,
    encode,
)


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (Ping(), {"type": "ping"}),
        (Pong(), {"type": "pong"}),
        (Bulk(7), {"type": "bulk", "events": 7}),
        (PositionMessage("e.1"), {"type": "position", "id": "e.1"}),
        (ErrorMessage("bad_json", "why"), {"type": "error", "code": "bad_json", "message": "why"}),
        (Subscribed({"orders", "analytics"}), {"type": "subscribed", "topics": ["analytics", "orders"]}),
        (Authenticated("admin", math.inf), {"type": "authenticated", "role": "admin", "expires": None}),
        (Authenticated("admin", 0.0), {"type": "authenticated", "role": "admin", "expires": "1970-01-01T00:00:00Z"}),
        (
            AnalyticsUpdate(Totals(3, Decimal("1E+3"), 1)),
            {"type": "analytics_update", "total_orders": 3, "total_revenue": "1000", "pending_orders": 1},
        ),
        (
            AnalyticsUpdate(Totals(0, Decimal("0.00"), 0)),
            {"type": "analytics_update", "total_orders": 0, "total_revenue": "0", "pending_orders": 0},
        ),
    ],
)
def test_message_is_one_compact_json_object(message: ServerMessage, fields: dict[str, Any]) -> None:
    assert encode(message) == json.dumps(fields, separators=(",", ":")).encode()


def test_resumed_says_whether_and_how_much_was_replayed() -> None:
    recovered, lost = json.loads(encode(Resumed(recovered=True, replayed=5))), json.loads(encode(Resumed(recovered=False)))
    assert (recovered["type"], recovered["recovered"], recovered["replayed"]) == ("resumed", True, 5)
    assert (lost["type"], lost["recovered"]) == ("resumed", False)


def test_lone_surrogate_is_encoded_as_valid_utf8() -> None:
    assert json.loads(encode(ErrorMessage("bad_topic", "\ud800")).decode())["type"] == "error"


def test_close_reasons_fit_in_a_close_frame() -> None:
    for code in CloseCode:
        assert 0 < len(code.reason.encode()) <= 123, code  # RFC 6455 section 5.5: 125 bytes, less two for the code
