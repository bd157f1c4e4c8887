"""The wallet page in a real browser: it updates itself when something is spent.

Needs `pip install playwright` and a Chromium: Playwright's own, one on the path, or the one that
CHROMIUM names. Where either is missing these tests are skipped, and say which.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from tests.web.live import Live, quoted

pytestmark = [pytest.mark.kafka, pytest.mark.browser]

LIMIT_MS = 20_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    installed = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    with playwright.sync_playwright() as started:
        try:
            browser = started.chromium.launch(
                executable_path=os.environ.get("CHROMIUM") or installed,
                args=["--no-sandbox"] if os.geteuid() == 0 else [],
            )
        except playwright.Error as error:
            first = str(error).strip().splitlines()[0]
            pytest.skip(f"no Chromium could be started: playwright install chromium ({first})")
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page of a browser of its own; whatever its console complains of fails the test."""
    context = chromium.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.set_default_timeout(LIMIT_MS)
    complaints: list[str] = []

    def complain(message: Any) -> None:
        if "Content Security Policy" in message.text:
            complaints.append(message.text)

    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", complain)
    yield page
    context.close()
    assert complaints == []


def await_amount(page: Any, what: str, value: str) -> None:
    page.wait_for_selector(f'[data-live="{what}"][value="{value}"]')


def test_the_page_updates_itself_when_something_is_spent(live: Live, page: Any) -> None:
    customer = live.customer("team/north 7 %")
    live.grant(customer, "credit", "480")
    page.goto(f"{live.address}/wallets/{quoted(customer)}#token={live.token(customer)}")
    page.wait_for_selector('[data-state="live"]')
    await_amount(page, "available credit", "480")
    assert "token" not in page.url
    assert page.title().startswith("480 credit")
    page.evaluate("window.stillTheSamePage = true")

    live.use(customer, responses=2, feature="chat")
    await_amount(page, "available credit", "456")
    await_amount(page, "spent credit", "24")
    assert page.locator('[data-part="entries"] > li').count() == 2
    assert "chat" in page.locator('[data-part="usage"]').inner_text()
    assert "456" in page.locator('[data-part="grants"]').inner_text()
    assert page.title().startswith("456 credit")
    assert page.evaluate("window.stillTheSamePage")

    live.use(customer, responses=50)
    page.wait_for_selector("text=Overdrawn by 144 credit")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_what_is_open_stays_open_while_entries_arrive(live: Live, page: Any) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    page.goto(f"{live.address}/wallets/{customer}#token={live.token(customer)}")
    page.wait_for_selector('[data-state="live"]')
    page.click("#entry-1 summary")
    live.use(customer)
    page.wait_for_selector('[data-key="2"]')
    assert page.evaluate("document.getElementById('entry-1').open")
    page.click("#entry-2 summary")
    assert "response" in page.locator("#entry-2 dl").inner_text()


def test_the_limits_appear_and_fill_by_themselves(live: Live, page: Any) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    page.goto(f"{live.address}/wallets/{customer}#token={live.token(customer)}")
    page.wait_for_selector('[data-state="live"]')
    limits = page.locator('[data-part="limits"]')
    assert not limits.is_visible()
    live.budget(customer, "team", "60", scope={"team": "a"})
    limits.wait_for(state="visible")
    live.use(customer, responses=2, team="a")
    page.wait_for_selector('[data-part="limits"] >> text=36 left')
    live.use(customer, responses=3, team="a")
    page.wait_for_selector('[data-part="limits"] .left.full')
    live.block(customer, "leaked", key="k-17")
    page.wait_for_selector("text=Blocked: key=k-17")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_wallet_appears_with_its_first_grant(live: Live, page: Any) -> None:
    customer = live.customer()
    page.goto(f"{live.address}/wallets/{customer}#token={live.token(customer)}")
    page.wait_for_selector("text=No wallet here yet")
    live.grant(customer, "credit", "480")
    await_amount(page, "available credit", "480")


def test_a_session_that_ends_ends_on_the_page_too(live: Live, page: Any) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    key_id, secret = live.new_key("read")
    page.goto(f"{live.address}/wallets/{customer}#token={secret}")
    page.wait_for_selector('[data-state="live"]')
    live.revoke(key_id)
    live.await_known(secret, known=False)
    live.use(customer)
    page.wait_for_selector("text=Your session has ended")


def test_a_wrong_link_says_so(live: Live, page: Any) -> None:
    page.goto(f"{live.address}/wallets/acme#token=drw_ct_wrong")
    page.wait_for_selector("text=unknown, expired or revoked")
    assert "drw_ct" not in page.url
