"""What the query service tells: every answer exact, and with where it stands."""

from __future__ import annotations

import base64
import re
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from confluent_kafka import OFFSET_BEGINNING, TopicPartition
from tests.web.live import Live, bearer, http, quoted

from drawdown.events.catalogue import BALANCES
from drawdown.events.codec import decode_any
from drawdown.events.numbers import amount_of
from drawdown.stream import kafka

pytestmark = pytest.mark.kafka


def get(live: Live, customer: str, what: str, **params: Any) -> Any:
    answer = live.query.get(f"/v1/customers/{quoted(customer)}/{what}", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said: dict[str, Any] = answer.json()
    assert said["code"] == code
    assert said["request_id"] == answer.headers["x-request-id"]
    return said


def assert_stands(position: dict[str, Any]) -> None:
    assert position["partition"] in (0, 1)
    assert position["offset"] > 0
    assert 0 <= position["stale_ms"] < 20_000
    assert re.fullmatch(r"2\d{3}-[-0-9T:.]+Z", position["as_of"])


# A wallet


def test_the_wallet_is_the_row_as_settlement_left_it(live: Live) -> None:
    customer = live.customer("team/north 7 %")
    live.grant(customer, "credit", "480")
    live.use(customer)
    answer = get(live, customer, "wallet")
    assert_stands(answer["position"])
    wallet = answer["wallet"]
    assert (wallet["customer"], wallet["sequence"]) == (customer, 2)
    account = wallet["accounts"][0]
    assert (account["granted"], account["debited"], account["balance"]) == ("480", "12", "468")


def test_the_balance_is_per_asset_and_exact(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "USD", "0.000000000001")
    live.grant(customer, "credit", "12345678901234567890")
    answer = get(live, customer, "balance")
    assert_stands(answer["position"])
    assert (answer["customer"], answer["sequence"]) == (customer, 2)
    left = {account["asset"]: account["available"] for account in answer["balances"]}
    assert left == {"USD": "0.000000000001", "credit": "12345678901234567890"}


def test_grants_come_in_the_order_they_are_spent(live: Live) -> None:
    customer = live.customer()
    soon = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    later = (datetime.now(UTC) + timedelta(days=30)).isoformat()
    live.grant(customer, "credit", "100", id="never")
    live.grant(customer, "credit", "100", id="later", expires_at=later)
    live.grant(customer, "credit", "100", id="soon", expires_at=soon)
    live.grant(customer, "credit", "100", id="gift", expires_at=soon, category="promotional")
    live.grant(customer, "credit", "100", id="first", priority=1)
    answer = get(live, customer, "grants")
    assert_stands(answer["position"])
    order = ["first", "gift", "soon", "later", "never"]
    assert [grant["id"] for grant in answer["data"]] == order
    live.use(customer, responses=10)
    grants = get(live, customer, "grants")["data"]
    assert [(grant["id"], grant["remaining"]) for grant in grants] == [
        ("gift", "80"),
        ("soon", "100"),
        ("later", "100"),
        ("never", "100"),
    ]


def test_entries_come_newest_first_in_pages(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    for _ in range(6):
        live.use(customer)
    pages: list[list[int]] = []
    cursor = ""
    while True:
        answer = get(live, customer, "entries", limit=3, cursor=cursor)
        assert_stands(answer["position"])
        pages.append([entry["data"]["sequence"] for entry in answer["data"]])
        assert answer["has_more"] is (answer["next_cursor"] is not None)
        if not answer["has_more"]:
            break
        cursor = answer["next_cursor"]
    assert pages == [[7, 6, 5], [4, 3, 2], [1]]
    newest = get(live, customer, "entries", limit=1)["data"][0]
    assert (newest["type"], newest["data"]["after"]) == ("drawdown.entry.debit", "408")


def test_entries_of_one_customer_are_not_anothers(live: Live) -> None:
    one = live.customer("a")
    other = f"{one}b"
    live.grant(one, "credit", "12")
    live.grant(other, "credit", "24")
    assert len(get(live, one, "entries")["data"]) == 1
    assert len(get(live, other, "entries")["data"]) == 1


def test_all_customers_come_by_id_in_pages(live: Live) -> None:
    names = [live.customer("0-page") for _ in range(5)]
    for name in names:
        live.grant(name, "credit", "12")
    found: list[str] = []
    cursor = base64.urlsafe_b64encode(b"0-page").decode()
    while len(found) < 5:
        answer = live.query.get("/v1/customers", params={"limit": 2, "cursor": cursor}).json()
        assert len(answer["data"]) == 2
        assert [position["partition"] for position in answer["positions"]] == [0, 1]
        for position in answer["positions"]:
            assert position["stale_ms"] is not None
        found.extend(wallet["customer"] for wallet in answer["data"])
        cursor = answer["next_cursor"]
    assert found[:5] == sorted(names)


# What is not there, and what is wrong


@pytest.mark.parametrize("what", ["wallet", "balance", "grants"])
def test_an_unknown_customer_is_not_found(live: Live, what: str) -> None:
    answer = live.query.get(f"/v1/customers/nobody/{what}")
    assert "'nobody'" in problem(answer, 404, "unknown_customer")["detail"]


def test_an_unknown_customer_has_no_entries(live: Live) -> None:
    assert get(live, "nobody", "entries")["data"] == []


@pytest.mark.parametrize(
    ("path", "params", "field"),
    [
        ("/v1/customers", {"limit": 0}, "limit"),
        ("/v1/customers", {"limit": 101}, "limit"),
        ("/v1/customers", {"limit": "many"}, "limit"),
        ("/v1/customers", {"cursor": "x" * 513}, "cursor"),
        ("/v1/customers", {"cursor": "%%%"}, "cursor"),
        ("/v1/customers", {"cursor": "_w=="}, "cursor"),
        ("/v1/customers/c/entries", {"cursor": "bm90IGEgbnVtYmVy"}, "cursor"),
        ("/v1/customers/c/entries", {"cursor": "MA=="}, "cursor"),
        ("/v1/customers/c/entries", {"cursor": "LTE="}, "cursor"),
        ("/v1/customers/c/entries", {"cursor": "OTk5" * 100}, "cursor"),
        ("/v1/customers/c/entries", {"cursor": "wrI="}, "cursor"),
        (f"/v1/customers/{'x' * 129}/wallet", {}, "customer"),
        ("/v1/customers/a%1Fb/wallet", {}, "customer"),
        ("/v1/customers/%00/wallet", {}, "customer"),
    ],
)
def test_a_wrong_parameter_is_named(
    live: Live, path: str, params: dict[str, Any], field: str
) -> None:
    said = problem(live.query.get(path, params=params), 400, "invalid")
    assert said["field"] == field
    assert said["detail"]


def test_what_is_no_door_is_a_problem_too(live: Live) -> None:
    problem(live.query.get("/v2/customers"), 404, "not_found")
    answer = live.query.post("/v1/customers/c/wallet")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


# Who may


DOORS = ("wallet", "balance", "grants", "entries", "stream")


def test_every_door_needs_a_key(live: Live) -> None:
    paths = ["/v1/customers", *(f"/v1/customers/c/{door}" for door in DOORS)]
    for path in paths:
        answer = live.anyone.get(live.address + path)
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
        ingest = live.anyone.get(live.address + path, headers=bearer(live.key("ingest")))
        assert "'read'" in problem(ingest, 403, "forbidden")["detail"]


def test_a_customers_token_sees_that_customer_and_nobody_else(live: Live) -> None:
    customer, other = live.customer(), live.customer()
    live.grant(customer, "credit", "480")
    live.grant(other, "credit", "480")
    headers = bearer(live.token(customer))
    for door in ("wallet", "balance", "grants", "entries"):
        mine = live.anyone.get(f"{live.address}/v1/customers/{customer}/{door}", headers=headers)
        assert mine.status_code == 200
    for path in ["", *(f"/{other}/{door}" for door in DOORS), "/nobody/wallet"]:
        answer = live.anyone.get(f"{live.address}/v1/customers{path}", headers=headers)
        assert "one customer" in problem(answer, 403, "forbidden")["detail"]


def test_a_token_ends_by_its_own_time(live: Live) -> None:
    token = live.token("c", timedelta(hours=1))
    settings = live.query_service.state.settings
    now = datetime.now(UTC)
    assert settings.caller(token, now + timedelta(minutes=59)).customer == "c"
    assert settings.caller(token, now + timedelta(minutes=61)) is None


# While it changes


def test_rows_that_change_while_they_are_read_are_whole_and_as_new_as_they_say(
    live: Live,
) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "12000")
    answers: list[dict[str, Any]] = []
    entries: list[list[int]] = []
    done = threading.Event()

    def read() -> None:
        with http(base_url=live.address, headers=live.query.headers) as client:
            while not done.is_set():
                answers.append(client.get(f"/v1/customers/{customer}/wallet").json())
                found = client.get(f"/v1/customers/{customer}/entries").json()["data"]
                entries.append([entry["data"]["sequence"] for entry in found])

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    events = [live.event(customer) for _ in range(400)]
    for at in range(0, 400, 20):
        assert live.gateway.post("/v1/events", json=events[at : at + 20]).status_code == 202
    live.await_entry(customer, 401)
    done.set()
    for reader in readers:
        reader.join()

    # What stood on the topic below each answer's position is in the answer.
    written = sequences_written(live, customer)
    for answer in answers:
        wallet, position = answer["wallet"], answer["position"]
        below = [said for at, said in written if at < position["offset"]]
        assert wallet["sequence"] >= max(below)
        account = {
            name: amount_of(value)
            for name, value in wallet["accounts"][0].items()
            if name != "asset"
        }
        debited = account.get("debited", 0)
        assert account["granted"] == debited + account["balance"]
        assert debited == 12_000_000_000_000 * (wallet["sequence"] - 1)
    for sequences in entries:
        assert sequences == list(range(sequences[0], sequences[0] - len(sequences), -1))
    assert len({answer["wallet"]["sequence"] for answer in answers}) > 1


def sequences_written(live: Live, customer: str) -> list[tuple[int, int]]:
    """Offset and sequence of every row of the customer's wallet on `balances`."""
    consumer = live.cluster.consumer(kafka.reader())
    topic = live.environment.topic(BALANCES)
    partition = get(live, customer, "balance")["position"]["partition"]
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
    found: list[tuple[int, int]] = []
    while True:
        message = consumer.poll(20)
        assert message is not None
        if message.error() is not None:
            consumer.close()
            return found
        if message.key() == customer.encode():
            row = decode_any(message.value() or b"")
            found.append((message.offset() or 0, row["sequence"]))
