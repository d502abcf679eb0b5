"""gateway.http.detach: the self-test passes with the pinned aiohttp, and detects one that behaves differently."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from gateway.http.detach import DetachUnsupported, self_test


async def test_self_test_passes_with_the_pinned_aiohttp() -> None:
    await self_test()


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("connection_lost", lambda self, error: None),  # aiohttp keeps the connection
        ("_message_tail", property(lambda self: b"", lambda self, value: None)),  # early bytes are lost
    ],
)
async def test_self_test_detects_an_incompatible_aiohttp(monkeypatch: pytest.MonkeyPatch, name: str, other: Any) -> None:
    monkeypatch.setattr("gateway.http.detach.SELF_TEST_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(web.RequestHandler, name, other)
    with pytest.raises(DetachUnsupported):
        await self_test()
    await asyncio.sleep(0)
