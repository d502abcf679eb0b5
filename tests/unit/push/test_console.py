"""What `server.py watch` prints."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest

from push.console import ConsoleSink, format_event
from push.journal.totals import Totals
from tests.helpers.builders import make_event


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            {"type": "new_order", "customer_name": "Anna", "total": "5.00", "status": "pending"},
            "new      ORD-1  Anna  5.00  pending",
        ),
        (
            {"type": "order_status_update", "previous_status": "pending", "status": "ready"},
            "status   ORD-1  pending → ready",
        ),
        ({"type": "order_delete"}, "deleted  ORD-1"),
        ({"type": "order_update", "total": "6.00", "previous_total": "5.00"}, "changed  ORD-1  total: 6.00"),
        ({"type": "order_update", "total": "6.00", "currency": "EUR"}, "changed  ORD-1  other columns"),
        (
            {"type": "order_update", "customer_name": "Bo", "total": "6.00", "previous_total": None},
            "changed  ORD-1  customer_name: Bo, total: 6.00",
        ),
        ({"type": "order_update"}, "changed  ORD-1  other columns"),
        (
            {"type": "new_order", "customer_name": None, "total": None, "status": None},
            "new      ORD-1  -  -  -",
        ),
        (
            {"type": "new_order", "customer_name": "Anna", "total": "5.00", "currency": "EUR", "status": "7"},
            "new      ORD-1  Anna  5.00 EUR  7",
        ),
        (
            {"type": "order_status_update", "previous_status": None, "status": "ready"},
            "status   ORD-1  - → ready",
        ),
        (
            {"type": "order_update", "total": None, "previous_total": "1", "data": {"table": 7, "notes": ["a"]}},
            'changed  ORD-1  total: -, table: 7, notes: ["a"]',
        ),
        ({"type": "order_delete", "order_number": None}, "deleted  k/1"),
        (
            {"type": "row_insert", "stream": "stock", "order_number": None, "data": {"left": 3}},
            "new      stock k/1  left: 3",
        ),
        ({"type": "row_delete", "stream": "stock", "order_number": None}, "deleted  stock k/1"),
    ],
)
def test_line_of_each_event(event: dict[str, Any], expected: str) -> None:
    assert format_event(json.dumps({"order_number": "ORD-1", "key": "k/1", **event}).encode()) == expected


def test_control_sequences_are_not_printed() -> None:
    name = "a\x1b[31m\nb\u202e"
    line = format_event(json.dumps({"type": "order_update", "key": "1", "customer_name": name}).encode())
    assert line == "changed  1  customer_name: a\ufffd[31m\ufffdb\ufffd"


def test_long_names_are_cut() -> None:
    line = format_event(json.dumps({"type": "order_update", "key": "1", "customer_name": "x" * 5000}).encode())
    assert len(line) == 300


async def test_sink_prints_events_then_totals_that_have_changed() -> None:
    lines: list[str] = []
    sink = ConsoleSink(lines.append)
    event = make_event(payload=b'{"type":"order_delete","order_number":"ORD-1"}')
    sink.set_totals(Totals(1, Decimal("5.00"), 1))
    sink.publish([event, event], Totals(0, Decimal(0), 0))
    sink.set_totals(Totals(0, Decimal(0), 0))
    sink.set_totals(Totals(1, Decimal(0), 0, {"PLN": Decimal(3), "EUR": Decimal("2.50")}))
    await sink.wait_writable()
    sink.announce_gap()
    assert [re.sub(r"^\d\d:\d\d:\d\d", "TIME", line) for line in lines] == [
        "         1 orders, revenue 5.00, 1 pending",
        "TIME deleted  ORD-1",
        "TIME deleted  ORD-1",
        "         0 orders, revenue 0, 0 pending",
        "         1 orders, revenue 2.50 EUR, 3 PLN, 0 pending",
        "         events were lost for good: the journal is another one, or was trimmed",
    ]
