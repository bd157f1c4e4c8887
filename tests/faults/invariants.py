"""The 25 invariants as data: what must hold, how a campaign tests it, and how much it takes to say
that it was shown. A row that had less says "not shown", never "0 violations"."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Invariant:
    """One row of the report."""

    number: int
    holds: str
    how: str
    faults_min: int
    """Faults that must have been done to it."""
    events_min: int
    """Things that must have been judged."""
    unit: str
    """What the events are."""


def _rows(*rows: tuple[str, str, int, int, str]) -> tuple[Invariant, ...]:
    return tuple(Invariant(number, *row) for number, row in enumerate(rows, 1))


INVARIANTS = _rows(
    ("money is conserved at every committed sequence",
     "settlement killed at random moments and at named points under the trace's load", 4, 1_000,
     "entries"),
    ("no usage event is debited twice",
     "10 % of events sent again 1 to 5 times over kills; ids just inside and outside the window",
     4, 100, "resends"),
    ("the same id gets the first answer, other content a conflict",
     "1,000 concurrent duplicates through two gateways", 0, 1_000, "answers"),
    ("each allow was affordable at its own sequence, each denial was not",
     "every authorization decided again from the journal before it", 4, 300, "decisions"),
    ("nobody spends what they have not",
     "64 clients race for a balance worth fewer requests; every prefix of the journal", 0, 1_000,
     "rounds"),
    ("an answered client finds its decision in the log, an unanswered one at most once",
     "gateways killed, connections cut, brokers killed between commit and answer", 4, 300, "calls"),
    ("a failed request leaves no hold, a hold expires once",
     "settlement killed at the tick at which holds expire", 2, 10, "expiries"),
    ("a stale writer is fenced",
     "SIGSTOP with a full batch, takeover, SIGCONT", 2, 2, "takeovers"),
    ("a delayed commit never ends a later transaction",
     "EndTxn of one connection held for 2 to 30 s in a relay", 3, 3, "new producers"),
    ("a broker killed in a transaction loses nothing acknowledged, work resumes by itself",
     "the broker's JVM killed 50 times and started on the same folder", 50, 50, "recoveries"),
    ("a broker that is away is answered fast, nothing is decided from memory, memory is bounded",
     "the broker away for 5 minutes under load", 1, 300, "seconds"),
    ("no transaction holds readers longer than its timeout and a margin",
     "the owner killed after it produced, never started again", 2, 2, "waits"),
    ("a crash between commit and store write, and the reverse, is repaired",
     "named crash points: produced, offsets-sent, committed, stored", 4, 4, "recoveries"),
    ("a store that is not whole is refused and rebuilt, never served before",
     "a store lost, truncated, bit-flipped, swapped, of an older format", 5, 5, "rebuilds"),
    ("a store rebuilt from offset 0, from balances and tail, and live: byte for byte the same",
     "rows folded from offset 0 against every published row; stores against rows", 1, 20, "points"),
    ("compaction needs nothing it removed",
     "balances compacted by force, then a new reader and an empty store", 1, 10, "customers"),
    ("poison goes to the dead letters once, whole, with reason; redriving counts once",
     "1 % of what is sent, of 13 kinds; what no book knew is sent again", 4, 50, "poisons"),
    ("a full disk: unhealthy, nothing lost, recovers",
     "a small tmpfs under the broker, and one under a store, filled", 2, 2, "recoveries"),
    ("a wrong clock revives no grant and lapses none early, timers stop and say so",
     "a broker with its clock an hour back and 30 days ahead", 2, 2, "shifts"),
    ("order does not matter where no boundary lies between",
     "100 permutations per seed, decided by the ledger", 1, 100, "orders"),
    ("a changed partition count is noticed before one record is read",
     "partitions added to one topic while settlement is down", 1, 1, "refusals"),
    ("processes come and go, and nothing is lost or twice",
     "1, 4, 1 settlement processes, as fast as four come to serve, for 5 minutes under load", 100,
     300, "seconds"),
    ("pauses, resets and slow networks: right answers or errors",
     "200 ms each way, connections reset and stalled, processes stopped", 3, 100, "calls"),
    ("a new price book takes effect at one instant",
     "a book published into the load, with kills around its instant", 1, 100, "priced events"),
    ("exact: no float, parts sum to the whole",
     "every entry; the property tests of numbers, prices and ledger", 1, 1_000, "entries"),
)  # fmt: skip
