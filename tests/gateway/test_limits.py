"""Budgets and blocks over HTTP: what each does to a decision is tested in `tests/ledger`."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest
from tests.web.live import Live, bearer, quoted

pytestmark = pytest.mark.kafka


def at(customer: str, *parts: str) -> str:
    return "/".join([f"/v1/customers/{quoted(customer)}", *map(quoted, parts)])


def asked(live: Live, customer: str, responses: int, **more: Any) -> Any:
    content = {
        "customer": customer,
        "meter": "responses",
        "estimate": {"quantities": {"responses": responses}},
        **more,
    }
    return live.gateway.post("/v1/authorizations", json=content).json()


def test_a_budget_is_set_changed_and_removed(live: Live) -> None:
    customer = live.customer("team/north 7 %")
    live.grant(customer, "credit", "480")
    budget = at(customer, "budgets", "a/b #1")
    team = {"scope": {"team": "a"}, "asset": "credit"}
    done = live.gateway.put(budget, json={"budget": {**team, "cap": "24"}})
    assert (done.status_code, done.json()["command"]) == (200, "set_budget")

    denied = asked(live, customer, 3, dimensions={"team": "a"})
    assert (denied["reason"], denied["limits"][0]["left"]) == ("budget_exceeded", "24")
    live.gateway.put(budget, json={"budget": {**team, "cap": "36"}})
    assert asked(live, customer, 3, dimensions={"team": "a"})["allowed"]

    removed = live.gateway.post(f"{budget}/remove")
    assert (removed.status_code, removed.json()["command"]) == (200, "remove_budget")
    again = live.gateway.post(f"{budget}/remove", json={"reason": "twice"})
    assert (again.status_code, again.json()["code"]) == (404, "budget_unknown")
    assert asked(live, customer, 30, dimensions={"team": "a"})["allowed"]


def test_a_repeated_command_is_done_once(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    content = {"id": "b1", "scope": {"key": "k"}, "reason": "leaked"}
    first, again = (live.gateway.post(at(customer, "blocks"), json=content) for _ in range(2))
    assert (first.json()["sequence"], again.json()["sequence"]) == (2, 2)
    assert again.json()["duplicate"]
    other = live.gateway.post(at(customer, "blocks"), json={**content, "reason": "other"})
    assert (other.status_code, other.json()["code"]) == (422, "conflict")


def test_a_block_counts_for_every_request_decided_after_its_answer(live: Live) -> None:
    """Askers on both gateways go on while the key is blocked: what is asked once the answer is
    there is denied, each time."""
    customer = live.customer()
    live.grant(customer, "credit", "48000")
    blocked = threading.Event()
    stop = threading.Event()
    late: list[bool] = []
    early: list[bool] = []

    def ask(gateway: httpx.Client) -> None:
        while not stop.is_set():
            after = blocked.is_set()
            content = {"customer": customer, "meter": "responses", "dimensions": {"key": "k"}}
            answer = gateway.post("/v1/authorizations", json=content).json()
            (late if after else early).append(answer["allowed"])

    gateways = [live.gateway, live.other_gateway] * 2
    askers = [threading.Thread(target=ask, args=(gateway,)) for gateway in gateways]
    for asker in askers:
        asker.start()
    while not any(early):
        assert not stop.wait(0.01)
    answer = live.gateway.post(at(customer, "blocks"), json={"scope": {"key": "k"}, "reason": "x"})
    blocked.set()
    assert answer.json()["allowed"]
    while len(late) < 40:
        assert not stop.wait(0.01)
    stop.set()
    for asker in askers:
        asker.join()
    assert not any(late)


def test_a_scope_is_blocked_and_unblocked(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    key = {"key": "k-17"}
    none = live.gateway.post(at(customer, "unblocks"), json={"scope": key})
    assert (none.status_code, none.json()["allowed"], none.json()["reason"]) == (
        200,
        False,
        "not_blocked",
    )
    assert live.gateway.post(
        at(customer, "blocks"), json={"scope": key, "reason": "leaked"}
    ).json()["allowed"]
    denied = asked(live, customer, 1, dimensions=key)
    assert (denied["reason"], "key=k-17 is blocked" in denied["detail"]) == ("blocked", True)
    assert denied["detail"].endswith(": leaked")
    assert asked(live, customer, 1, dimensions={"key": "k-18"})["allowed"]
    assert live.gateway.post(at(customer, "unblocks"), json={"scope": key}).json()["allowed"]
    assert asked(live, customer, 1, dimensions=key)["allowed"]


CAP = {"asset": "credit", "cap": "1"}


@pytest.mark.parametrize(
    ("door", "content", "status", "field"),
    [
        ("budgets/b", {"budget": {"asset": "credit", "cap": "-1"}}, 400, "budget.cap"),
        ("budgets/b", {"budget": {"cap": "1"}}, 400, "budget.asset"),
        ("budgets/b", {"budget": {**CAP, "window": {"every": "year"}}}, 400, "budget.window.every"),
        (
            "budgets/b",
            {"budget": {**CAP, "window": {"zone": "Mars/Olympus"}}},
            400,
            "budget.window.zone",
        ),
        ("budgets/b", {"budget": {**CAP, "within": "none"}}, 404, "budget.within"),
        ("budgets/b", {"budget": {**CAP, "scope": {"team": "x" * 10_000}}}, 400, None),
        ("budgets/b", {"budget_id": "c", "budget": CAP}, 400, "budget_id"),
        ("budgets/b", {}, 400, "budget"),
        ("blocks", {"scope": {"key": "k"}}, 400, "reason"),
        ("blocks", {"scope": {"key": "*"}, "reason": "all"}, 400, "scope"),
        ("blocks", {"scope": {}, "reason": "x", "until_at": "2020-01-01T00:00:00Z"}, 400, None),
        ("unblocks", {"scope": "k"}, 400, "scope"),
    ],
)
def test_what_cannot_be_is_a_problem_with_its_field(
    live: Live, door: str, content: dict[str, Any], status: int, field: str | None
) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    method = "PUT" if door.startswith("budgets") else "POST"
    answer = live.gateway.request(method, f"{at(customer)}/{door}", json=content)
    assert answer.status_code == status, answer.text
    if field is not None:
        assert answer.json()["field"] == field
    assert live.sequence(customer) == 1, "nothing changed"


def test_only_an_operator_sets_limits(live: Live) -> None:
    customer = live.customer()
    for secret in (live.key("authorize"), live.key("read"), live.token(customer)):
        answer = live.anyone.post(
            live.gateways[0] + at(customer, "blocks"),
            json={"scope": {}, "reason": "mine"},
            headers=bearer(secret),
        )
        assert answer.status_code == 403, answer.text
