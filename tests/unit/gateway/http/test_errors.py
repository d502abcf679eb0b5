"""gateway.http.errors: a status for every close code, one form for every error, and what is logged."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.http.errors import denied_response, error_middleware, error_response, unavailable_response
from push.errors import StoreError
from push.protocol.access import AccessDenied
from push.protocol.messages import CloseCode

STATUS = {
    CloseCode.BAD_REQUEST: 400,
    CloseCode.NOT_AUTHENTICATED: 401,
    CloseCode.INVALID_TOKEN: 401,
    CloseCode.TOKEN_EXPIRED: 401,
    CloseCode.NOT_PERMITTED: 403,
    CloseCode.TOO_MANY_CONNECTIONS: 429,
}


def error_of(response: web.StreamResponse) -> dict[str, Any]:
    assert isinstance(response, web.Response)
    assert response.content_type == "application/json"
    assert isinstance(response.body, bytes)
    content = json.loads(response.body)
    assert set(content) == {"error"}
    error: dict[str, Any] = content["error"]
    assert set(error) == {"code", "message"}
    return error


@pytest.mark.parametrize("close_code", CloseCode)
def test_every_close_code_has_a_status(close_code: CloseCode) -> None:
    """All others are 503, "come back": none of them is in the range 3500-3999, "do not"."""
    response = denied_response(AccessDenied(close_code, "because"))
    assert response.status == STATUS.get(close_code, 503)
    assert error_of(response)["message"] == "because"
    assert ("Retry-After" in response.headers) == (response.status in (429, 503))


def test_a_code_without_an_entry_takes_the_status_of_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.http.errors._HTTP_STATUS", {})
    for close_code in CloseCode:
        expected = 403 if 3500 <= close_code < 4000 else 503
        assert denied_response(AccessDenied(close_code, "because")).status == expected


@pytest.mark.parametrize(
    ("close_code", "challenge", "code"),
    [
        (CloseCode.NOT_AUTHENTICATED, 'Bearer realm="orderwire"', "unauthorized"),
        (CloseCode.INVALID_TOKEN, 'Bearer realm="orderwire", error="invalid_token"', "invalid_token"),
        (CloseCode.TOKEN_EXPIRED, 'Bearer realm="orderwire", error="invalid_token"', "token_expired"),
    ],
)
def test_401_has_a_challenge(close_code: CloseCode, challenge: str, code: str) -> None:
    response = denied_response(AccessDenied(close_code, "because"))
    assert response.headers["WWW-Authenticate"] == challenge
    assert error_of(response)["code"] == code


def test_a_message_with_bytes_that_are_not_utf_8_can_be_sent() -> None:
    assert error_of(error_response(404, "no such path: /\udcff"))["message"] == "no such path: /?"


def test_an_unknown_status_has_a_code() -> None:
    assert error_of(error_response(418, "teapot"))["code"] == "error"


def test_unavailable_has_retry_after() -> None:
    response = unavailable_response("not yet")
    assert (response.status, response.headers["Retry-After"]) == (503, "1")


async def respond(error: Exception) -> web.StreamResponse:
    async def handler(_request: web.Request) -> web.StreamResponse:
        raise error

    return await error_middleware(make_mocked_request("GET", "/path"), handler)


async def test_a_redirect_passes() -> None:
    with pytest.raises(web.HTTPFound):
        await respond(web.HTTPFound("/elsewhere"))


async def test_the_end_of_a_connection_passes() -> None:
    with pytest.raises(ConnectionResetError):
        await respond(ConnectionResetError())


async def test_an_http_error_keeps_the_headers_that_it_needs() -> None:
    response = await respond(web.HTTPMethodNotAllowed("POST", ["GET"]))
    assert (response.status, response.headers["Allow"]) == (405, "GET")
    assert error_of(response)["code"] == "method_not_allowed"
    assert error_of(await respond(web.HTTPNotFound()))["message"] == "no such path: /path"
    assert error_of(await respond(web.HTTPGone(text="trimmed"))) == {"code": "gone", "message": "trimmed"}


async def test_an_unavailable_database_is_503_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    response = await respond(StoreError("refused"))
    assert error_of(response) == {"code": "unavailable", "message": "the database cannot be reached"}
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("WARNING", "/path: refused")]


async def test_the_client_is_told_why_the_database_did_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    class TookLong(StoreError):
        public_text = "the database took too long"

    response = await respond(TookLong("a query of the role web took 10 s"))
    assert error_of(response) == {"code": "unavailable", "message": "the database took too long"}
    assert caplog.messages == ["/path: a query of the role web took 10 s"]


async def test_an_unexpected_error_is_500_and_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = await respond(ValueError("secret"))
    assert response.status == 500
    assert error_of(response)["message"] == "internal error"
    assert caplog.records[0].exc_info is not None
