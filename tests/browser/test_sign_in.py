"""Signing in, on a server with a login: with a token that is pasted, or brought along in the address."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.page_helpers import expect_order_count, insert_order, expect_online, open_dashboard, expect_totals
from tests.support import Server, StartServer

SECRET = "a secret of at least thirty-two bytes"


def token(role: str = "admin", seconds: float = 3600) -> str:
    claims = {"sub": "anna", "role": role, "exp": int(time.time() + seconds)}
    signed = b".".join(base64url(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
    return b".".join([signed, base64url(signature)]).decode()


def base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    return server


async def paste(page: Page, text: str) -> None:
    await page.get_by_label("Токен").fill(text)
    await page.get_by_role("button", name="Войти").click()


async def test_a_pasted_token_lets_in_and_is_kept_for_the_tab_alone(server: Server, db: Any, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard")
    await expect(page.get_by_role("grid")).to_have_count(0)
    await paste(page, f"  {token()}\n")
    await expect_online(page)
    number = await insert_order(db, "Anna")
    await expect_order_count(page, 1)
    await expect(page.locator(".toast-title")).to_contain_text(number)
    await page.reload()
    await expect_online(page)
    await expect_order_count(page, 1)
    assert await page.evaluate("localStorage.getItem('orderwire.token')") is None
    await page.get_by_role("button", name="Выйти").click()
    await expect(page.get_by_label("Токен")).to_be_visible()


async def test_a_token_that_is_not_accepted_is_said(server: Server, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard")
    for bad in ("nonsense", token(seconds=-60)):
        await paste(page, bad)
        await expect(page.get_by_role("alert")).to_contain_text("не подошёл")


async def test_a_token_in_the_address_is_taken_out_of_it(server: Server, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard#token={token()}")
    await expect_online(page)
    assert page.url == f"{server.http_url}/admin/dashboard"
    assert await page.evaluate("history.length") <= 2


async def test_a_viewer_sees_totals_and_is_told_why_no_orders(server: Server, db: Any, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard#token={token('viewer')}")
    await expect(page.get_by_text("Ваша роль показывает только итоги")).to_be_visible()
    await expect(page.get_by_role("grid")).to_have_count(0)
    await insert_order(db, "Anna", "12.00")
    await expect_totals(page, "1", "12,00 zł", "1")


async def test_a_token_that_runs_out_leads_back_to_the_sign_in(server: Server, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard#token={token(seconds=5)}")
    await expect_online(page)
    await expect(page.get_by_label("Токен")).to_be_visible()
    await paste(page, token())
    await open_dashboard(page, server)
