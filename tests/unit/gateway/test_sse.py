"""gateway.sse: messages as events of a stream."""

from __future__ import annotations

import pytest

from gateway.sse import _encode_event


@pytest.mark.parametrize(
    ("message", "head"),
    [
        ('{"type":"new_order","id":"0a0b0c0d-1-2","order_id":1}', "event: new_order\nid: 0a0b0c0d-1-2\n"),
        ('{"type":"row_update","id":"0a0b0c0d-1-2"}', "event: row_update\nid: 0a0b0c0d-1-2\n"),
        ('{"type":"position","id":"0a0b0c0d-s3.5.4"}', "event: position\nid: 0a0b0c0d-s3.5.4\n"),
        ('{"id":"0a0b0c0d-1-2","type":"new_order"}', "event: new_order\nid: 0a0b0c0d-1-2\n"),
        ('{"type":"analytics_update","total_orders":1}', "event: analytics_update\n"),
        ('{"type":"error","message":"{\\"type\\":\\"x\\",\\"id\\":\\"1\\"}"}', "event: error\n"),
    ],
)
def test_event_has_the_type_and_the_cursor_of_its_message(message: str, head: str) -> None:
    assert _encode_event(message.encode()).decode() == f"{head}data: {message}\n\n"
