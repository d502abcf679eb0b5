"""The JSON of each message, as docs/reference/protocol.md shows it, and the close codes."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from pathlib import Path
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
from tests.support import ROOT

PROTOCOL = Path(ROOT) / "docs" / "reference" / "protocol.md"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            AnalyticsUpdate(Totals(3, Decimal("12345678901234567.80"), 2), "PLN"),
            {
                "type": "analytics_update",
                "total_orders": 3,
                "total_revenue": "12345678901234567.80",
                "pending_orders": 2,
            },
        ),
        (
            AnalyticsUpdate(Totals(), "PLN"),
            {"type": "analytics_update", "total_orders": 0, "total_revenue": "0", "pending_orders": 0},
        ),
        (
            AnalyticsUpdate(Totals(2, Decimal(0), 0, {"PLN": Decimal("1.50"), "EUR": Decimal("1E+2")}), "PLN"),
            {
                "type": "analytics_update",
                "total_orders": 2,
                "total_revenue": "1.50",
                "pending_orders": 0,
                "revenue_by_currency": {"EUR": "100", "PLN": "1.50"},
            },
        ),
        (
            AnalyticsUpdate(Totals(0, Decimal(0), 0, {}), "PLN"),
            {
                "type": "analytics_update",
                "total_orders": 0,
                "total_revenue": "0",
                "pending_orders": 0,
                "revenue_by_currency": {},
            },
        ),
        (Ping(), {"type": "ping"}),
        (Pong(), {"type": "pong"}),
        (ErrorMessage("bad_json", "not JSON"), {"type": "error", "code": "bad_json", "message": "not JSON"}),
        (Resumed(recovered=True, replayed=7), {"type": "resumed", "recovered": True, "replayed": 7}),
        (Resumed(recovered=False), {"type": "resumed", "recovered": False, "replayed": 0}),
        (Subscribed({"orders", "analytics"}), {"type": "subscribed", "topics": ["analytics", "orders"]}),
        (Authenticated("admin", math.inf), {"type": "authenticated", "role": "admin", "expires": None}),
        (Authenticated("viewer", 1767268800.9), {"type": "authenticated", "role": "viewer", "expires": "2026-01-01T12:00:00Z"}),
        (Bulk(100000), {"type": "bulk", "events": 100000}),
        (PositionMessage("0a0b0c0d-1-2"), {"type": "position", "id": "0a0b0c0d-1-2"}),
    ],
)
def test_json_of_each_message(message: ServerMessage, expected: dict[str, Any]) -> None:
    encoded = encode(message)
    assert json.loads(encoded) == expected
    assert encoded.startswith(b'{"type":"')
    assert b"\n" not in encoded


def test_small_revenue_is_not_written_with_an_exponent() -> None:
    text = encode(AnalyticsUpdate(Totals(1, Decimal("1E-7"), 0), "PLN")).decode()
    assert '"total_revenue":"0.0000001"' in text


def test_text_is_utf_8_and_not_escaped() -> None:
    assert "Щи" in encode(ErrorMessage("bad_topic", "Щи")).decode()


def test_lone_surrogate_is_replaced() -> None:
    assert json.loads(encode(ErrorMessage("bad_topic", "a\ud800b"))) == {"type": "error", "code": "bad_topic", "message": "a?b"}


def test_close_codes_are_numbers_with_a_reason() -> None:
    assert [int(code) for code in (CloseCode.NORMAL, CloseCode.DRAIN)] == [1000, 3001]
    assert CloseCode.DRAIN.reason == "server is going away, come back"
    for code in CloseCode:
        assert len(code.reason.encode()) <= 123, "RFC 6455 section 5.5: a control frame has 125 bytes"


def test_protocol_page_lists_every_close_code_of_an_application() -> None:
    section = PROTOCOL.read_text().split("### Closing")[1].split("\n## ")[0]
    listed = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE) for code in row.split(", ")}
    assert listed == set(CloseCode) - {CloseCode.NORMAL}
