"""LOGIN_URL: where a client without a valid token is sent, and examples/login_page.py, which hands one back."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient
from yarl import URL

from tests.docs.pages import ROOT
from tests.gateway.conftest import StartApp
from tests.helpers.tokens import SECRET, token

DASHBOARD = "http://127.0.0.1:8000/admin/dashboard"


@pytest.fixture
def login_app(monkeypatch: pytest.MonkeyPatch) -> web.Application:
    """The example, as it is."""
    for name, value in {"JWT_SECRET": SECRET, "DASHBOARD": DASHBOARD, "STAFF_PASSWORD": "pass-word"}.items():
        monkeypatch.setenv(name, value)
    path = Path(ROOT) / "examples" / "login_page.py"
    spec = importlib.util.spec_from_file_location("login_page", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.app
    assert isinstance(found, web.Application)
    return found


async def test_the_example_hands_back_a_token_that_the_server_takes(
    login_app: web.Application, aiohttp_client: AiohttpClient, start_app: StartApp
) -> None:
    login: Any = await aiohttp_client(login_app)
    address = str(login.make_url("/login"))
    server = await start_app(JWT_SECRET=SECRET, LOGIN_URL=address)
    async with server.http.get("/api/orders") as response:
        assert response.status == 401
        assert (await response.json())["error"]["login_url"] == address
    visited = URL(address).with_query(return_to=f"{DASHBOARD}?view=wall", state="s&1")
    async with login.get(visited.path_qs) as response:
        assert (response.status, response.content_type) == (200, "text/html")
    form = {"name": "anna", "password": "pass-word"}
    async with login.post(visited.path_qs, data=form, allow_redirects=False) as response:
        assert response.status == 303
        back, _, fragment = response.headers["Location"].partition("#")
    assert back == f"{DASHBOARD}?view=wall"
    handed = parse_qs(fragment)
    assert handed["state"] == ["s&1"]
    async with server.http.get("/api/orders", headers={"Authorization": f"Bearer {handed['token'][0]}"}) as response:
        assert response.status == 200


async def test_the_example_gives_no_token_for_a_wrong_password_or_to_another_page(
    login_app: web.Application, aiohttp_client: AiohttpClient
) -> None:
    login: Any = await aiohttp_client(login_app)
    for return_to, password, status in (
        (DASHBOARD, "other", 403),
        ("https://evil.example/admin/dashboard", "pass-word", 400),
        (f"{DASHBOARD}.evil.example", "pass-word", 400),
        ("", "pass-word", 400),
    ):
        path = URL("/login").with_query(return_to=return_to, state="s")
        async with login.post(str(path), data={"name": "x", "password": password}, allow_redirects=False) as response:
            assert (response.status, "Location" in response.headers) == (status, False)


async def test_every_401_says_where_to_log_in_and_nothing_else_does(start_app: StartApp) -> None:
    app = await start_app(JWT_SECRET=SECRET, LOGIN_URL="/login")
    for shown, status in ((None, 401), ("garbage", 401), (token(ttl=-1), 401), (token("viewer"), 403)):
        headers = {} if shown is None else {"Authorization": f"Bearer {shown}"}
        for path in ("/api/orders", "/api/orders.csv", "/api/events"):
            async with app.http.get(path, headers=headers) as response:
                assert response.status == status
                error = (await response.json())["error"]
                assert error.get("login_url") == ("/login" if status == 401 else None)
