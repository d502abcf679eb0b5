"""gateway.http.expect: 417 for an unknown expectation, also one whose bytes are not UTF-8."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web, web_urldispatcher
from aiohttp.http import HttpVersion10, HttpVersion11

from gateway.http import expect
from gateway.http.expect import handle_expect, handle_expect_everywhere


@pytest.mark.parametrize("expectation", ["nonsense", "\udcff", ""])
async def test_an_unknown_expectation_is_417(expectation: str) -> None:
    request: Any = SimpleNamespace(version=HttpVersion11, headers={"Expect": expectation})
    with pytest.raises(web.HTTPExpectationFailed) as raised:
        await handle_expect(request)
    assert raised.value.text == "of expectations only 100-continue is understood"


@pytest.mark.parametrize(("version", "expectation"), [(HttpVersion11, "100-Continue"), (HttpVersion10, "nonsense")])
async def test_others_are_left_to_aiohttp(monkeypatch: pytest.MonkeyPatch, version: Any, expectation: str) -> None:
    left: list[Any] = []

    async def handle(request: Any) -> None:
        left.append(request)

    monkeypatch.setattr(expect, "_aiohttp_expect_handler", handle)
    request: Any = SimpleNamespace(version=version, headers={"Expect": expectation})
    await handle_expect(request)
    assert left == [request]


def test_it_replaces_the_default_of_paths_without_a_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_urldispatcher, "_default_expect_handler", expect._aiohttp_expect_handler)
    handle_expect_everywhere()
    assert web_urldispatcher.SystemRoute(web.HTTPNotFound())._expect_handler is handle_expect
