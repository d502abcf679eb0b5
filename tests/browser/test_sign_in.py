"""Sign-in on a dashboard whose server requires a token: the token is pasted, or is in the fragment of the URL."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.page_helpers import expect_online, expect_order_count, insert_order, look_at, wait_until
from tests.helpers.tokens import SECRET, token
from tests.support import Server, StartServer


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    return server


async def sign_in(page: Page, text: str) -> None:
    await page.get_by_label("Токен").fill(text)
    await page.get_by_role("button", name="Войти").click()


@pytest.mark.every_browser
async def test_pasted_token_signs_in_and_is_stored_for_the_tab_only(server: Server, db: Any, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard")
    await expect(page.get_by_label("Токен")).to_be_visible()
    await expect(page.get_by_role("grid")).to_have_count(0)
    await sign_in(page, f"  {token()}\n")
    await expect_online(page)
    title = asyncio.create_task(look_at(page, ".toast-title", "title => title.textContent"), name="look at the toast")
    number = await insert_order(db, "Anna")
    await expect_order_count(page, 1)
    assert number in await title
    await page.reload()
    await expect_online(page)
    await expect_order_count(page, 1)
    assert await page.evaluate("localStorage.getItem('orderwire.token')") is None
    await page.get_by_role("button", name="Выйти").click()
    await expect(page.get_by_label("Токен")).to_be_visible()


async def test_rejected_token_is_reported_in_words(server: Server, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard")
    for bad, reason in (
        ("nonsense", "Токен не подошёл"),
        (token(ttl=-60), "Время входа истекло"),
        (token("owner"), "роли здесь ничего не видно"),
    ):
        await sign_in(page, bad)
        await expect(page.get_by_role("alert")).to_contain_text(reason)
    await server.stop()
    await sign_in(page, token())
    await expect(page.get_by_role("alert")).to_contain_text("Сервер недоступен")


async def test_the_form_is_one_that_password_managers_know(server: Server, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard")
    field = page.get_by_label("Токен")
    await expect(field).to_be_focused()
    await expect(field).to_have_attribute("type", "password")
    await expect(field).to_have_attribute("autocomplete", "current-password")
    await expect(page.locator("form input[autocomplete=username]")).to_have_value(urlsplit(server.http_url).netloc)
    await field.fill(token())
    await field.press("Enter")
    await expect_online(page)


async def test_token_in_the_url_signs_in_and_is_removed_from_the_url(server: Server, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard#token={token()}")
    await expect_online(page)
    assert page.url == f"{server.http_url}/admin/dashboard"
    assert await page.evaluate("history.length") <= 2


@pytest.mark.every_browser
async def test_expired_token_is_renewed_over_the_page_which_stays(server: Server, db: Any, page: Page) -> None:
    await db.execute("insert into orders (customer_name, total) select 'Anna ' || n, n from generate_series(1, 300) n")
    await page.goto(f"{server.http_url}/admin/dashboard#token={token(ttl=8)}")
    await expect_order_count(page, 300)
    await page.get_by_role("searchbox").fill("Anna")
    # The list begins anew with what the server finds.
    await wait_until(page, "location.search === '?q=Anna'")
    await expect(page.locator("[data-found='300']")).to_have_attribute("data-exact", "true")
    grid = page.get_by_role("grid")
    await grid.evaluate("grid => { grid.scrollTop = 2000; }")
    await page.evaluate("document.body.dataset.page = 'the same'")
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("Время входа истекло")
    await insert_order(db, "Anna Meanwhile")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_visible()
    await sign_in(page, token())
    await expect(dialog).to_have_count(0)
    await expect_online(page)
    await expect_order_count(page, 301)  # the feed has gone on from where it was
    await expect(page.get_by_role("searchbox")).to_have_value("Anna")
    assert await grid.evaluate("grid => grid.scrollTop") >= 2000
    assert await page.evaluate("document.body.dataset.page") == "the same"


async def test_the_token_of_another_user_loads_the_page_anew(server: Server, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard#token={token(ttl=5, sub='anna')}")
    await expect_online(page)
    await page.evaluate("document.body.dataset.page = 'the same'")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await sign_in(page, token(sub="bo"))
    await expect_online(page)
    assert await page.evaluate("document.body.dataset.page") is None


# Where people sign in. The page there gives back what the test has put into `answer`.
LOGIN_URL = "https://login.example/in?shop=7"


class LoginPage:
    """A page at LOGIN_URL."""

    def __init__(self) -> None:
        self.answer = ""
        self.visits: list[dict[str, list[str]]] = []

    async def install(self, page: Page) -> None:
        await page.context.route("https://login.example/**", self._send_back)

    async def _send_back(self, route: Route) -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        self.visits.append(query)
        fragment = self.answer.replace("STATE", query["state"][0])
        await route.fulfill(status=302, headers={"Location": f"{query['return_to'][0]}#{fragment}"})


@pytest.fixture
async def login_server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET, LOGIN_URL=LOGIN_URL)
    return server


@pytest.fixture
async def login_page(page: Page) -> LoginPage:
    login = LoginPage()
    await login.install(page)
    return login


@pytest.mark.every_browser
async def test_people_sign_in_at_the_login_url_and_come_back_to_where_they_were(
    login_server: Server, db: Any, page: Page, login_page: LoginPage
) -> None:
    number = await insert_order(db, "Anna")
    login_page.answer = f"token={token()}&state=STATE"
    await page.goto(f"{login_server.http_url}/admin/dashboard/orders/1?status=pending")
    await expect_online(page)
    assert page.url == f"{login_server.http_url}/admin/dashboard/orders/1?status=pending"
    [visit] = login_page.visits
    assert visit["return_to"] == [page.url]
    assert visit["shop"] == ["7"]
    assert len(visit["state"][0]) == 32
    assert number


async def test_a_token_with_another_state_is_refused(login_server: Server, page: Page, login_page: LoginPage) -> None:
    login_page.answer = f"token={token()}&state=wrong"
    await page.goto(f"{login_server.http_url}/admin/dashboard")
    await expect(page.get_by_role("alert")).to_contain_text("Вход отклонён")
    assert len(login_page.visits) == 1  # the page does not go there in circles
    login_page.answer = f"token={token()}&state=STATE"
    await page.get_by_role("button", name="Войти через login.example").click()
    await expect_online(page)


async def test_after_a_sign_out_the_page_does_not_sign_in_by_itself(
    login_server: Server, page: Page, login_page: LoginPage
) -> None:
    login_page.answer = f"token={token()}&state=STATE"
    await page.goto(f"{login_server.http_url}/admin/dashboard")
    await expect_online(page)
    await page.get_by_role("button", name="Выйти").click()
    await expect(page.get_by_role("button", name="Войти через login.example")).to_be_visible()
    assert len(login_page.visits) == 1
