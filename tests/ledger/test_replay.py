"""What an entry's bytes tell alone is what the whole entry does, for every kind of entry."""

from __future__ import annotations

from tests.support.desk import START_MS, Desk

from drawdown.events.base import at_text
from drawdown.events.catalogue import BALANCE_CHANGES
from drawdown.events.codec import decode_decision
from drawdown.ledger.identity import recall
from drawdown.ledger.journal import unseal
from drawdown.ledger.replay import WHOLE, first_answer, identified, remembered


def journal_of_all_kinds() -> list[bytes]:
    """Usage, grants, terms, holds and all that ends them, and timers."""
    desk = Desk(partitions=1)
    desk.start()
    desk.grant("acme", "10", expires_at=at_text(START_MS + 3_600_000))
    desk.command("set_terms", "acme", credit_limits={"USD": "1"})
    desk.use("acme", input=500_000)
    for name in ("used", "left", "late"):
        desk.authorize(
            "acme", id=name, require="hold", estimate={"amount": "1"}, hold={"expires_in_s": 60}
        )
    desk.settle()
    desk.command("capture", "acme", hold_id="used", amount="0.5")
    desk.command("release", "acme", hold_id="left")
    desk.settle()
    desk.pass_time(4_000)
    desk.settle()
    assert {"debit", "grant", "hold", "capture", "release", "expire", "lapse"} <= set(
        desk.kinds("acme")
    )
    return [message.value() or b"" for message in desk.records(BALANCE_CHANGES)]


def test_the_quick_reading_agrees_with_the_whole() -> None:
    for value in journal_of_all_kinds():
        sealed = unseal(value)
        found = identified(value)
        origin = sealed.entry.origin
        assert (found.topic, found.offset, found.at_ms) == (
            origin.topic,
            origin.offset,
            sealed.entry.at_ms,
        )
        expected = remembered(sealed)
        assert [key for key, _ in found.remembered] == [key for key, _ in expected]
        for (_, quick), (_, whole) in zip(found.remembered, expected, strict=True):
            if recall(quick).result.startswith(WHOLE):
                assert recall(quick).fingerprint == recall(whole).fingerprint
                answer = first_answer(recall(quick).result)
                assert answer == first_answer(recall(whole).result)
                assert answer == decode_decision(recall(whole).result)
            else:
                assert quick == whole
