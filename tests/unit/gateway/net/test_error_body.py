"""gateway.net.error_body: one form for the errors of handlers and for the prepared one of the connection limits."""

from __future__ import annotations

from gateway.http.errors import error_response
from gateway.net.connection_limits import TOO_MANY_REQUESTS, TOO_MANY_REQUESTS_RESPONSE
from gateway.net.error_body import error_body


def test_it_is_compact_json_in_utf_8() -> None:
    assert error_body("gone", "за: \udcff") == '{"error":{"code":"gone","message":"за: ?"}}'.encode()


def test_the_prepared_response_has_the_body_of_every_other_429() -> None:
    head, _, body = TOO_MANY_REQUESTS_RESPONSE.partition(b"\r\n\r\n")
    assert body == error_response(429, TOO_MANY_REQUESTS).body
    assert b"Content-Length: %d" % len(body) in head.split(b"\r\n")
