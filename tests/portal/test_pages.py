"""The pages by HTTP: what they show, to whom, and what they keep a browser from doing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from tests.web.live import LIMIT_S, Live, bearer, http, quoted

from drawdown.portal.page import add_pages
from drawdown.query.app import create_app

pytestmark = pytest.mark.kafka

THIN = "\u202f"
MINUS = "\u2212"


class Page(HTMLParser):
    """A page as a reader sees it: the text of its parts, its links, scripts and amounts."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(answer.text)
        self.text = re.sub(r"[ \n\t]+", " ", self.text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag in ("p", "dt", "dd", "div", "li", "h1", "h2", "h3", "td", "th"):
            self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str | None]:
        """Every value of an attribute."""
        return [attributes[name] for _, attributes in self.tags if name in attributes]

    def live(self) -> dict[str | None, str | None]:
        """The amounts that change by themselves, by what they are."""
        return {
            attributes["data-live"]: attributes["value"]
            for _, attributes in self.tags
            if "data-live" in attributes
        }


@pytest.fixture
def browser(live: Live) -> Iterator[httpx.Client]:
    """A client with cookies and nothing else."""
    with http(base_url=live.address, timeout=LIMIT_S) as client:
        yield client


def sign_in(browser: httpx.Client, token: str) -> None:
    assert browser.post("/session", json={"token": token}).status_code == 200


def wallet_page(browser: httpx.Client, customer: str, status: int = 200) -> Page:
    answer = browser.get(f"/wallets/{quoted(customer)}")
    assert answer.status_code == status, answer.text
    return Page(answer)


# Signing in


def test_without_a_session_there_is_only_the_way_in(live: Live, browser: httpx.Client) -> None:
    answer = browser.get("/wallets/acme")
    assert answer.status_code == 401
    page = Page(answer)
    assert "Sign in" in page.text
    assert "/wallets/acme" in page.values("value")
    assert "acme" not in page.text


def test_a_link_is_exchanged_for_a_cookie_that_no_script_reads(
    live: Live, browser: httpx.Client
) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    answer = browser.post("/session", json={"token": live.token(customer)})
    assert answer.json() == {"customer": customer}
    cookies = answer.headers.get_list("set-cookie")
    assert {re.search(r"Path=([^;]+)", cookie)[1] for cookie in cookies} == {  # type: ignore[index]
        "/wallets",
        "/v1/customers",
    }
    for cookie in cookies:
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Max-Age=43200" in cookie
        assert "Secure" not in cookie  # came over plain HTTP
    assert "480" in wallet_page(browser, customer).text


def test_over_https_the_cookie_is_for_https(live: Live, browser: httpx.Client) -> None:
    origin = {"Origin": "https://pay.example", "Sec-Fetch-Site": "same-origin"}
    answer = browser.post("/session", json={"token": live.key("read")}, headers=origin)
    cookies = answer.headers.get_list("set-cookie")
    assert len(cookies) == 2
    assert all("Secure" in cookie for cookie in cookies)


def test_the_form_works_without_scripts(live: Live, browser: httpx.Client) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    form = {"token": f" {live.token(customer)} ", "next": f"/wallets/{customer}"}
    answer = browser.post("/session", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/wallets/{customer}")
    assert "480" in wallet_page(browser, customer).text
    out = browser.post("/session/end")
    assert (out.status_code, out.headers["location"]) == (303, "/wallets")
    wallet_page(browser, customer, 401)


@pytest.mark.parametrize(
    "elsewhere", ["//evil.example", "https://evil.example/", "/metrics", "/wallets\n", "/walletsx"]
)
def test_the_way_in_leads_nowhere_else(live: Live, browser: httpx.Client, elsewhere: str) -> None:
    form = {"token": live.key("read"), "next": elsewhere}
    assert browser.post("/session", data=form).headers["location"] == "/wallets"


def test_a_wrong_token_is_refused_and_not_repeated(live: Live, browser: httpx.Client) -> None:
    wrong = "drw_ct_aaaaaaaa_<script>"
    answer = browser.post("/session", json={"token": wrong})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    page = browser.post("/session", data={"token": wrong})
    assert page.status_code == 401
    for said in (answer, page):
        assert "unknown, expired or revoked" in said.text
        assert "aaaaaaaa" not in said.text
        assert "set-cookie" not in said.headers


def test_a_key_that_may_not_read_is_refused(live: Live, browser: httpx.Client) -> None:
    answer = browser.post("/session", json={"token": live.key("ingest")})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "text/plain"}, b'{"token": "x"}', 415),
        ({"Content-Type": "application/json"}, b'{"token": 1}', 400),
        ({"Content-Type": "application/json"}, b"\xff", 400),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"token=%FF&next=%FF", 401),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"a&" * 20, 400),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, b"{}", 403),
        ({"Content-Type": "application/json", "Origin": "https://evil.example"}, b"{}", 403),
    ],
)
def test_what_is_no_sign_in_is_refused(
    live: Live, browser: httpx.Client, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = browser.post("/session", content=body, headers=headers)
    assert answer.status_code == status
    assert "set-cookie" not in answer.headers


def test_nobody_else_can_sign_anybody_out(live: Live, browser: httpx.Client) -> None:
    answer = browser.post("/session/end", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_cookie_is_good_for_reading_only(live: Live, browser: httpx.Client) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    sign_in(browser, live.key("admin"))
    path = f"/v1/customers/{customer}"
    assert browser.get(f"{path}/wallet").status_code == 200
    assert browser.get(f"{path}/wallet", headers={"Authorization": ""}).status_code == 401
    cookies = {"drawdown_session": live.key("admin")}
    for method, door in (("POST", f"{path}/grants"), ("PUT", f"{path}/terms")):
        with http(base_url=live.gateways[0], cookies=cookies) as client:
            assert client.request(method, door, content=b"{}").status_code == 401


# Who sees what


def test_another_customers_page_is_refused_with_the_way_to_ones_own(
    live: Live, browser: httpx.Client
) -> None:
    customer, other = live.customer("mine"), live.customer("theirs")
    live.grant(customer, "credit", "480")
    live.grant(other, "credit", "777")
    sign_in(browser, live.token(customer))
    page = wallet_page(browser, other, 403)
    assert "may not see this page" in page.text
    assert f"/wallets/{customer}" in page.values("href")
    assert "777" not in page.text
    # Whether there is such a wallet is nobody's business either.
    assert wallet_page(browser, "nobody", 403).text == page.text
    # The overview is its own wallet.
    answer = browser.get("/wallets")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/wallets/{customer}")


def test_an_ended_session_says_so(live: Live, browser: httpx.Client) -> None:
    key_id, secret = live.new_key("read")
    sign_in(browser, secret)
    assert browser.get("/wallets").status_code == 200
    live.revoke(key_id)
    live.await_known(secret, known=False)
    answer = browser.get("/wallets")
    assert answer.status_code == 401
    assert "Your session has ended" in answer.text


def test_a_wallet_nobody_has_seen_is_waited_for(live: Live, browser: httpx.Client) -> None:
    customer = live.customer("<b>nobody</b>")
    sign_in(browser, live.token(customer))
    page = wallet_page(browser, customer, 404)
    assert "No wallet here yet" in page.text
    assert customer in page.text
    assert page.values("data-awaited") == [f"/v1/customers/{quoted(customer)}/stream"]


@pytest.mark.parametrize("customer", ["%00owner", "a%1Fhold%1Fb", "x" * 129])
def test_what_is_no_customers_id_has_no_page(
    live: Live, browser: httpx.Client, customer: str
) -> None:
    sign_in(browser, live.key("read"))
    assert browser.get(f"/wallets/{customer}").status_code == 404


def test_until_it_has_read_everything_the_service_says_so(live: Live, tmp_path: Path) -> None:
    app = create_app(live.cluster, live.environment, tmp_path)  # and never started
    add_pages(app)

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://query") as client:
            return await client.get("/wallets/acme")

    answer = asyncio.run(asked())
    assert answer.status_code == 503
    assert "not up to date yet" in answer.text


# The wallet


def test_the_wallet_shows_what_is_left_and_what_used_it(live: Live, browser: httpx.Client) -> None:
    customer = live.customer("team/north & <b>")
    live.grant(customer, "USD", "1234.5", id="invoice-1")
    usage = {"input": 1000, "cached_input": 1500, "output": 400}
    live.use(customer, "llm.request", model="gpt-5", feature="<i>chat</i>", **usage)
    sign_in(browser, live.token(customer))
    page = wallet_page(browser, customer)
    assert page.live()["available USD"] == "1234.4945625"
    assert page.live()["balance USD"] == "1234.4945625"
    assert page.live()["held USD"] == "0"
    assert page.live()["spent USD"] == "0.0054375"
    assert f"1{THIN}234.4945625 USD" in page.text
    assert f"{MINUS}0.0054375 USD" in page.text
    assert f"1{THIN}000 input, 1{THIN}500 cached input, 400 output" in page.text
    assert "by model USD gpt-5 1 × 0.0054375" in page.text
    assert "by feature USD <i>chat</i> 1 × 0.0054375" in page.text
    assert customer in page.text
    # What it cost us and what was recognized is not the customer's to see.
    assert not {"cost", "revenue", "margin"} & set(page.text.lower().split())


def test_whatever_a_name_holds_it_is_text(live: Live, browser: httpx.Client) -> None:
    name = "\"><script>alert('x')</script>{{ 7*7 }}&amp;"
    customer = live.customer(name)
    live.grant(customer, "credit", "480", id=name, metadata={"a": name})
    live.use(customer, responses=1, feature=name, agent="\u202egnitrevni")
    sign_in(browser, live.key("read"))
    for path in (f"/wallets/{quoted(customer)}", f"/wallets?find={quoted(name)}"):
        answer = browser.get(path)
        assert name in Page(answer).text
        assert "<script>alert" not in answer.text
        assert {tag for tag, _ in Page(answer).tags}.isdisjoint({"iframe", "object", "base"})


def test_limits_are_shown_below_each_other_with_what_is_used(
    live: Live, browser: httpx.Client
) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "48000")
    sign_in(browser, live.token(customer))
    assert "data-nothing" in browser.get(f"/wallets/{customer}").text
    live.budget(customer, "all", "1200")
    live.budget(customer, "team", "60", scope={"team": "a"}, window={"every": "total"})
    live.budget(customer, "keys", "24", scope={"team": "a", "key": "*"}, at_cap="alert")
    live.use(customer, responses=4, team="a", key="k<1>")
    live.block(customer, "<b>leaked</b>", key="k9")

    page = wallet_page(browser, customer)
    assert not any("data-nothing" in attributes for _, attributes in page.tags)
    limits = page.text[page.text.index("Limits") : page.text.index("What used it")]
    assert "Blocked: key=k9. <b>leaked</b>" in limits
    assert f"all 48 of 1{THIN}200 credit a month" in limits
    assert "team team=a 48 of 60 credit in all" in limits
    assert "12 left" in limits
    assert "keys team=a key=* each 24 credit a month" in limits
    assert "key=k<1>&team=a 48" in limits
    assert "Only told when it is reached." in limits
    bars = [name for name in page.values("class") if name and name.startswith("left used")]
    assert [bar.removeprefix("left used").strip() for bar in bars] == ["", "low", "full"]
    depths = [name for name in page.values("class") if name and name.startswith("budget in-")]
    assert depths == ["budget in-0", "budget in-1", "budget in-2"]
    assert "block key=k9" in page.text
    assert "budget all 48 of 1200 used" in page.text.replace(THIN, "")
    assert "budget keys of key=k<1>&team=a 48 of 24 used" in page.text


def test_of_many_budgets_the_first_are_shown(live: Live, browser: httpx.Client) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    for number in range(21):
        live.budget(customer, f"b{number:02}", "10", scope={"team": f"t{number}"})
    sign_in(browser, live.key("read"))
    text = wallet_page(browser, customer).text
    limits = text[text.index("Limits") : text.index("What used it")]
    assert ("b19" in limits, "b20" in limits) == (True, False)
    assert "There are more budgets than these." in limits


def test_grants_are_shown_in_the_order_they_are_spent(live: Live, browser: httpx.Client) -> None:
    customer = live.customer()
    soon = datetime.now(UTC) + timedelta(days=3, minutes=5)
    later = datetime.now(UTC) + timedelta(days=30)
    live.grant(customer, "credit", "100", id="bought")
    live.grant(customer, "credit", "200", id="plan", category="included", cost_basis="0")
    live.grant(customer, "credit", "50", id="gift", expires_at=soon.isoformat())
    live.grant(customer, "credit", "70", id="next-month", effective_at=later.isoformat())
    sign_in(browser, live.key("read"))
    text = wallet_page(browser, customer).text
    grants = text[text.index("Spent from the top down") : text.index("Last entries")]
    places = [grants.index(name) for name in ("plan", "gift", "bought", "next-month")]
    assert places == sorted(places)
    assert "next to expire, in 3 days" in grants
    assert "begins in 29 days" in grants
    assert "never expires" in grants
    assert f"available {'credit'}" in wallet_page(browser, customer).live()
    assert wallet_page(browser, customer).live()["available credit"] == "350"


def test_a_low_balance_an_empty_one_and_an_overdrawn_one_stand_out(
    live: Live, browser: httpx.Client
) -> None:
    customer = live.customer("overspender")
    sign_in(browser, live.key("read"))
    live.grant(customer, "credit", "36")
    live.terms(customer, thresholds={"credit": ["30", "20"]})
    assert "Low" not in wallet_page(browser, customer).text
    live.use(customer)
    assert "Low: below 30 credit." in wallet_page(browser, customer).text
    live.use(customer)
    assert "Low: below 20 credit." in wallet_page(browser, customer).text
    live.use(customer)
    page = wallet_page(browser, customer)
    assert "Nothing is left to spend." in page.text
    assert "No grant has anything left." in page.text
    live.use(customer)
    page = wallet_page(browser, customer)
    assert "Overdrawn by 12 credit. The next grant pays this first." in page.text
    assert page.live()["balance credit"] == "-12"
    assert f"balance {MINUS}12" in page.text
    overview = Page(browser.get("/wallets", params={"find": "overspender"}))
    assert "overdrawn" in overview.text
    live.grant(customer, "credit", "50")
    page = wallet_page(browser, customer)
    assert page.live()["available credit"] == "38"
    assert "12 of it paid back" in page.text


def test_credit_is_shown_where_there_is_some(live: Live, browser: httpx.Client) -> None:
    customer = live.customer()
    live.terms(customer, credit_limits={"credit": "100"})
    live.use(customer)
    sign_in(browser, live.key("read"))
    page = wallet_page(browser, customer)
    assert page.live()["available credit"] == "88"
    assert "Credit used 12 of 100" in page.text


def test_a_page_says_how_old_it_is(live: Live, browser: httpx.Client) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    sign_in(browser, live.key("read"))
    page = wallet_page(browser, customer)
    assert re.search(r"As of \d+ \w+ \d{4}, \d\d:\d\d:\d\d UTC", page.text)
    assert page.values("data-sequence") == ["1"]
    assert page.values("data-stream") == [f"/v1/customers/{customer}/stream"]


def test_the_newest_entries_come_first_and_twenty_of_them(
    live: Live, browser: httpx.Client
) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    events = [live.event(customer) for _ in range(22)]
    assert live.gateway.post("/v1/events", json=events).status_code == 202
    live.await_entry(customer, 23)
    sign_in(browser, live.key("read"))
    page = wallet_page(browser, customer)
    assert page.values("data-key") == [str(sequence) for sequence in range(23, 3, -1)]
    assert "by meter credit responses 22 × 264" in page.text


# The overview


def test_the_overview_finds_a_wallet_and_turns_pages(live: Live, browser: httpx.Client) -> None:
    names = sorted(live.customer("~page") for _ in range(3))
    for name in names:
        live.grant(name, "credit", "480")
    sign_in(browser, live.key("read"))
    assert browser.get("/").headers["location"] == "/wallets"
    found = browser.get("/wallets", params={"find": f" {names[1]} "})
    assert found.headers["location"] == f"/wallets/{quoted(names[1])}"
    after = Page(browser.get("/wallets", params={"after": names[0]}))
    assert names[0] not in after.text
    assert names[1] in after.text
    missing = Page(browser.get("/wallets", params={"find": "~"}))
    assert "There is no wallet ~; these come after it." in missing.text
    nothing = browser.get("/wallets", params={"find": "\U0010ffff"})
    assert "Back to the first page" in nothing.text


# What a browser is told


def test_pages_are_held_to_what_is_theirs(live: Live, browser: httpx.Client) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    refused = browser.get("/wallets")
    sign_in(browser, live.key("read"))
    for answer in (refused, browser.get("/wallets"), browser.get(f"/wallets/{customer}")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        page = Page(answer)
        # The policy allows no inline script or style, so there is none to be refused.
        assert not page.values("style")
        assert not [name for _, found in page.tags for name in found if name.startswith("on")]
        assert all(found.get("src") for tag, found in page.tags if tag == "script")
        assert "style" not in [tag for tag, _ in page.tags]


def test_static_files_are_kept_for_ever_under_a_name_of_their_content(
    live: Live, browser: httpx.Client
) -> None:
    page = Page(browser.get("/wallets"))
    names = [value for value in page.values("src") + page.values("href") if value]
    files = {name for name in names if name.startswith("/static/")}
    assert len(files) >= 4
    for name in files:
        answer = browser.get(name)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    for wrong in ("/static/portal.css", "/static/../page.py", "/static/%2e%2e%2fpage.py"):
        assert browser.get(wrong).status_code == 404


def test_the_pages_are_no_part_of_the_api(live: Live) -> None:
    paths = live.anyone.get(f"{live.address}/openapi.json", headers=bearer("x")).json()["paths"]
    assert all(path.startswith("/v1/") for path in paths)
