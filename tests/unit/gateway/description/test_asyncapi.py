"""/asyncapi.json: complete, its references lead somewhere, and its examples are what its schemas say."""

from __future__ import annotations

import json
from typing import Any

from gateway.description.asyncapi import asyncapi
from push.protocol.messages import CloseCode
from push.protocol.schema import CLIENT_MESSAGES, EVENTS, SERVER_MESSAGES
from tests.helpers.schemas import assert_references_lead_somewhere

DOCUMENT: dict[str, Any] = json.loads(json.dumps(asyncapi("0.1.0")))


def test_every_reference_leads_somewhere() -> None:
    assert_references_lead_somewhere(DOCUMENT)


def test_the_websocket_has_every_message() -> None:
    messages = set(DOCUMENT["channels"]["websocket"]["messages"])
    assert messages == {*SERVER_MESSAGES.values(), *CLIENT_MESSAGES.values(), *EVENTS.values()}


def test_every_close_code_is_listed() -> None:
    assert set(DOCUMENT["channels"]["websocket"]["x-close-codes"]) == {str(int(code)) for code in CloseCode}


def test_the_path_of_a_proxy_is_that_of_the_server() -> None:
    assert asyncapi("0.1.0", "/push")["servers"]["websocket"]["pathname"] == "/push"
    assert "pathname" not in DOCUMENT["servers"]["websocket"]
