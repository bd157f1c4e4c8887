"""Auto top-ups over HTTP: what each does to the money is tested in `tests/ledger`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.web.live import Live, bearer, quoted

from drawdown.client import Amount, AsyncClient, Client, RefusedError

pytestmark = pytest.mark.kafka

TERMS: dict[str, Any] = {
    "below": {"amount": "20"},
    "top_up": {"amount": "50"},
    "caps": {"per": "day", "requests": 2},
}


def at(customer: str, *parts: str) -> str:
    return "/".join([f"/v1/customers/{quoted(customer)}", *map(quoted, parts)])


def asked(live: Live, customer: str, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = live.query.get(at(customer, what)).json()["data"]
    return found


def test_terms_are_set_a_request_is_settled_and_all_of_it_is_shown(live: Live) -> None:
    customer = live.customer("a b/7 %")
    live.grant(customer, "USD", "10")
    answer = live.gateway.put(at(customer, "auto-topups", "USD"), json=TERMS)
    assert (answer.status_code, answer.json()["topup"]["change"]) == (200, "set")
    live.await_entry(customer, 3)
    (row,) = asked(live, customer, "auto-topups")
    (request,) = asked(live, customer, "topups")
    assert row["outstanding"] == request["id"] == "topup-USD-3"
    assert (request["amount"], request.get("state")) == ("50", None)

    door = at(customer, "topups", request["id"], "settlement")
    assert live.gateway.post(door, json={"outcome": "paid"}).status_code == 400, "it needs an id"
    for duplicate in (False, True):
        paid = live.gateway.post(door, json={"id": "pi_1", "outcome": "paid", "reference": "pi_1"})
        said = paid.json()
        assert (paid.status_code, said["grant"], said["balance"]) == (200, request["id"], "60")
        assert said.get("duplicate", False) is duplicate
    other = live.gateway.post(door, json={"id": "pi_2", "outcome": "paid"})
    assert (other.status_code, other.json()["code"]) == (409, "topup_settled")
    live.await_entry(customer, 4)
    (request,) = asked(live, customer, "topups")
    assert (request["state"], request["reference"]) == ("paid", "pi_1")

    removed = live.gateway.put(at(customer, "auto-topups", "USD"), json={"remove": True})
    assert removed.json()["topup"]["change"] == "remove"
    again = live.gateway.put(at(customer, "auto-topups", "USD"), json={"remove": True})
    assert (again.status_code, again.json()["code"]) == (404, "topup_unknown")


def test_a_token_of_a_customer_sees_that_customers_and_changes_nothing(live: Live) -> None:
    customer, other = live.customer(), live.customer()
    live.grant(customer, "USD", "100")
    live.grant(other, "USD", "100")
    headers = bearer(live.token(customer))
    for what in ("auto-topups", "topups"):
        mine = live.anyone.get(f"{live.address}{at(customer, what)}", headers=headers)
        theirs = live.anyone.get(f"{live.address}{at(other, what)}", headers=headers)
        assert (mine.status_code, theirs.status_code) == (200, 403)
    door = f"{live.gateways[0]}{at(customer, 'auto-topups', 'USD')}"
    assert live.anyone.put(door, json=TERMS, headers=headers).status_code == 403
    reader = bearer(live.key("read"))
    assert live.anyone.put(door, json=TERMS, headers=reader).status_code == 403


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({**TERMS, "below": {"amount": "-1"}}, "below.amount"),
        ({**TERMS, "below": {}}, "below"),
        ({**TERMS, "caps": {"per": "day", "requests": 2, "amount": "49"}}, "caps.amount"),
        ({**TERMS, "caps": {"per": "day", "requests": 2, "zone": "Mars"}}, "caps.zone"),
        ({**TERMS, "asset": "credit"}, "asset"),
        ({**TERMS, "unheard_of": 1}, "unheard_of"),
    ],
)
def test_what_cannot_be_is_a_problem_with_its_field(
    live: Live, content: dict[str, Any], field: str
) -> None:
    answer = live.gateway.put(at(live.customer(), "auto-topups", "USD"), json=content)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


def test_the_client_sets_and_settles(live: Live) -> None:
    customer = live.customer()
    with Client(live.gateways[0], live.key("admin")) as client:
        client.grant(customer, Amount("10", "USD"), id="g")
        assert client.auto_topup(customer, "USD", id="auto", **TERMS).topup is not None
        paid = client.settle_topup(customer, "topup-USD-3", "paid", id="p", reference="pi")
        assert (paid.grant, paid.balance) == ("topup-USD-3", "60")
        with pytest.raises(RefusedError, match="topup"):
            client.settle_topup(customer, "topup-USD-3", "failed", id="q")


async def _alike(live: Live, customer: str) -> str | None:
    async with AsyncClient(live.gateways[0], live.key("admin")) as client:
        await client.auto_topup(customer, "USD", id="auto", **TERMS)
        return (await client.settle_topup(customer, "topup-USD-2", "paid", id="p")).grant


def test_the_asynchronous_client_does_the_same(live: Live) -> None:
    assert asyncio.run(_alike(live, live.customer())) == "topup-USD-2"
