"""The drawdown order: which grants a debit takes first."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.till import DAY, START_MS, Till, price_book

from drawdown.ledger.drawdown import ORDERS as POLICIES

NOW = START_MS
SOON, LATER = NOW + 5 * DAY, NOW + 50 * DAY


PEERS: dict[str, dict[str, str]] = {
    "drawdown": {"G2": "50", "G1": "70"},
    "stigg": {"G2": "50", "G1": "70"},
    "stripe": {"G2": "50", "G1": "70"},
    "metronome": {"G2": "50", "G1": "70"},
    "openmeter": {"G1": "100", "G2": "20"},
    "orb": {"G3": "80", "G2": "40"},
    "lago": {"G2": "50", "G4": "70"},
    "flexprice": {"G1": "100", "G2": "20"},
}


@pytest.mark.parametrize("by", ["wallet", "wallet, later", "book"])
@pytest.mark.parametrize("policy", PEERS)
def test_27_the_table_of_the_peers(policy: Any, by: str) -> None:
    """domain.md, "Drawdown orders of the peers": one policy per peer, of a wallet or of a book."""
    till = Till(price_book(drawdown=policy if by == "book" else "drawdown"))
    end_of_august, end_of_september = NOW + 10 * DAY, NOW + 40 * DAY
    if by == "wallet":
        till.command("set_terms", "ada", drawdown=policy)
    till.grant("ada", "200", "G4", priority=10)
    till.grant("ada", "100", "G1", priority=10, expires_at=end_of_september)
    till.grant("ada", "50", "G2", priority=10, expires_at=end_of_september, category="promotional")
    till.grant("ada", "80", "G3", priority=20, expires_at=end_of_august, category="promotional")
    if by == "wallet, later":
        till.command("set_terms", "ada", drawdown=policy)
    till.use("ada", 120)
    assert till.statement("ada")[-1] == ("debit", "120", "310", PEERS[policy])
    assert till.wrongs() == []
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


def test_every_policy_of_the_books_has_its_row_in_the_table() -> None:
    assert set(PEERS) == set(POLICIES)


ORDERS_OF: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # policy, what is taken, what is left: a rule of that policy each
    ("metronome", {"cost_basis": "0.1"}, {"cost_basis": "0.2", "expires_at": SOON}),
    ("metronome", {"priority": 1}, {"priority": 2, "category": "promotional"}),
    ("openmeter", {}, {"category": "promotional"}),
    ("openmeter", {"expires_at": SOON}, {}),
    ("orb", {"priority": 9, "expires_at": SOON}, {"priority": 1}),
    ("orb", {"cost_basis": "0.1"}, {"cost_basis": "0.2"}),
    ("lago", {"category": "included", "priority": 9}, {"priority": 9, "expires_at": SOON}),
    ("flexprice", {"amount": "20"}, {"amount": "10", "category": "promotional"}),
    ("flexprice", {"amount": "10", "expires_at": SOON}, {"amount": "20"}),
]


@pytest.mark.parametrize(("policy", "taken", "left"), ORDERS_OF)
def test_each_rule_of_the_peers_orders(
    policy: str, taken: dict[str, Any], left: dict[str, Any]
) -> None:
    till = Till()
    till.command("set_terms", "ada", drawdown=policy)
    for grant_id, terms in (("taken", taken), ("left", left)):
        till.grant("ada", **{"amount": "10", "grant_id": grant_id, **terms})
    till.use("ada", 4)
    assert till.statement("ada")[-1][3] == {"taken": "4"}


def test_the_table_of_the_peers_ours() -> None:
    """domain.md, "Drawdown orders of the peers": G2 50, then G1 70."""
    till = Till()
    end_of_august, end_of_september = NOW + 10 * DAY, NOW + 40 * DAY
    till.grant("ada", "200", "G4", priority=10)
    till.grant("ada", "100", "G1", priority=10, expires_at=end_of_september)
    till.grant("ada", "50", "G2", priority=10, expires_at=end_of_september, category="promotional")
    till.grant("ada", "80", "G3", priority=20, expires_at=end_of_august, category="promotional")

    till.use("ada", 120)

    assert till.statement("ada")[-1] == ("debit", "120", "310", {"G2": "50", "G1": "70"})
    assert till.left("ada") == {"G1": "30", "G4": "200", "G3": "80"}


ORDERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # why, the one that is taken, the one that is left
    ("lower priority number", {"priority": 1}, {"priority": 2, "expires_at": SOON}),
    ("included before top-up by default", {"category": "included"}, {"expires_at": SOON}),
    ("soonest expiry", {"expires_at": SOON}, {"expires_at": LATER, "category": "promotional"}),
    ("any expiry before none", {"expires_at": LATER}, {"category": "promotional"}),
    ("promotional before paid", {"category": "promotional"}, {"effective_at": NOW - DAY}),
    (
        "included before paid",
        {"category": "included", "priority": 9},
        {"category": "paid", "priority": 9},
    ),
    ("effective earlier", {"effective_at": NOW - DAY}, {"effective_at": NOW - 1}),
]


@pytest.mark.parametrize("first_given", [True, False])
@pytest.mark.parametrize(("taken", "left"), [pytest.param(*rest, id=why) for why, *rest in ORDERS])
def test_each_rule_of_the_order(
    taken: dict[str, Any], left: dict[str, Any], first_given: bool
) -> None:
    till = Till()
    given_in_turn = [("taken", taken), ("left", left)]
    for grant_id, terms in given_in_turn if first_given else reversed(given_in_turn):
        till.grant("ada", "10", grant_id, **terms)
    till.use("ada", 4)
    assert till.statement("ada")[-1] == ("debit", "4", "16", {"taken": "4"})


def test_of_two_that_are_the_same_the_one_granted_first_is_taken() -> None:
    till = Till()
    till.grant("ada", "10", "z")
    till.grant("ada", "10", "a")
    till.use("ada", 15)
    assert till.statement("ada")[-1] == ("debit", "15", "5", {"z": "10", "a": "5"})


EFFECT: list[tuple[int, str]] = [
    # when the usage is decided, which grant pays: `timed` is in effect from NOW+10 to NOW+20
    (NOW + 9, "always"),
    (NOW + 10, "timed"),
    (NOW + 19, "timed"),
    (NOW + 20, "always"),
]


@pytest.mark.parametrize(("at_ms", "payer"), EFFECT)
def test_a_grant_is_in_effect_from_its_first_instant_to_before_its_last(
    at_ms: int, payer: str
) -> None:
    till = Till()
    till.grant("ada", "5", "timed", effective_at=NOW + 10, expires_at=NOW + 20, priority=1)
    till.grant("ada", "5", "always")
    till.at_ms = at_ms
    till.use("ada", 1)
    assert till.statement("ada")[-1][3] == {payer: "1"}


def test_a_grant_without_a_time_pays_for_what_was_appended_a_moment_before_it() -> None:
    till = Till()
    till.grant("ada", "5", "at-once")
    till.at_ms = NOW - 1
    till.use("ada", 1)
    assert till.statement("ada")[-1][3] == {"at-once": "1"}


SCOPES: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    # the grant's scope, the use, whether it pays
    ({}, {}, True),
    ({"meters": ["work"]}, {}, True),
    ({"meters": ["other", "work"]}, {}, True),
    ({"meters": ["other"]}, {}, False),
    ({"meters": ["work"]}, {"type": "other"}, False),
    ({"dimensions": {"team": ["red", "blue"]}}, {"team": "blue"}, True),
    ({"dimensions": {"team": ["red", "blue"]}}, {"team": "green"}, False),
    ({"dimensions": {"team": ["red"]}}, {}, False),
    ({"dimensions": {"batch": ["true"]}}, {"batch": True}, True),
    ({"dimensions": {"team": ["red"], "tier": ["1"]}}, {"team": "red", "tier": 1}, True),
    ({"dimensions": {"team": ["red"], "tier": ["1"]}}, {"team": "red"}, False),
    ({"meters": ["other"], "dimensions": {"team": ["red"]}}, {"team": "red"}, False),
]


@pytest.mark.parametrize(("scope", "use", "pays"), SCOPES)
def test_a_grant_pays_only_for_what_is_in_its_scope(
    scope: dict[str, Any], use: dict[str, Any], pays: bool
) -> None:
    till = Till()
    till.grant("ada", "5", "scoped", scope=scope, priority=1)
    till.grant("ada", "5", "open")
    till.use("ada", 1, **use)
    assert till.statement("ada")[-1][3] == ({"scoped": "1"} if pays else {"open": "1"})


def test_a_scoped_grant_leaves_the_wallet_overdrawn_beside_it() -> None:
    till = Till()
    till.grant("ada", "5", "scoped", scope={"meters": ["other"]})
    till.use("ada", 2)
    assert till.statement("ada")[-1] == ("debit", "2", "3", {"overdrawn": "2"})
    assert till.account("ada")["available"] == "5"


def test_grants_of_another_asset_are_not_touched() -> None:
    till = Till()
    till.grant("ada", "5", "credits", asset="credit", category="promotional", priority=0)
    till.grant("ada", "5", "dollars")
    till.use("ada", 2)
    assert till.left("ada") == {"credits": "5", "dollars": "3"}


TERMS = st.fixed_dictionaries(
    {
        "priority": st.integers(0, 3),
        "category": st.sampled_from(["paid", "promotional"]),
        "effective_at": st.sampled_from([NOW - 2 * DAY, NOW - DAY]),
    },
    optional={"expires_at": st.sampled_from([SOON, LATER])},
)


@given(st.lists(TERMS, min_size=2, max_size=5), st.integers(1, 60), st.randoms())
def test_the_order_is_total_and_grants_are_taken_whole_before_the_next(
    terms: list[dict[str, Any]], used: int, random: Any
) -> None:
    """Whatever the order they were granted in, the same grants pay: but for equal ones, of which
    the first granted goes first."""
    numbered = [(f"g{number}", each) for number, each in enumerate(terms)]
    distinct = [pair for pair in numbered if [t for _, t in numbered].count(pair[1]) == 1]

    def parts(granted: list[tuple[str, dict[str, Any]]]) -> dict[str, str]:
        till = Till()
        for grant_id, each in granted:
            till.grant("ada", "10", grant_id, **each)
        till.use("ada", used)
        return till.statement("ada")[-1][3]

    if len(distinct) < 2:
        return
    in_turn = parts(distinct)
    random.shuffle(distinct)
    assert parts(distinct) == in_turn
    amounts = [amount for name, amount in in_turn.items() if name != "overdrawn"]
    assert all(amount == "10" for amount in amounts[:-1])


def test_drawing_is_the_same_in_one_debit_or_in_many() -> None:
    for pieces in ([7], [3, 4], [1] * 7):
        till = Till()
        for grant_id, priority in zip("abc", itertools.count(), strict=False):
            till.grant("ada", "3", grant_id, priority=priority)
        for piece in pieces:
            till.use("ada", piece)
        assert till.left("ada") == {"c": "2"}
