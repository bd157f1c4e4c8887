"""A scenario that was played on a broker, beside the same on the ledger alone: nothing may differ.

The ledger alone is told where each record landed on the broker, because entries state that and
their digests cover it. So journals and rows are compared byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence

from drawdown.scenarios.kafka_world import KafkaWorld
from drawdown.scenarios.play import Played, play
from drawdown.scenarios.pure_world import PureWorld
from drawdown.scenarios.scenario_file import Scenario


def unlike(scenario: Scenario, world: KafkaWorld, played: Sequence[Played]) -> list[str]:
    """What is other on the ledger alone, in words; nothing where both are the same. Plays the
    scenario once more there."""
    alone = PureWorld(world.places)
    again = list(play(scenario, alone))
    found = [
        f"step {there.number}: {one.kind}: {one.outcome} on Kafka, {other.outcome} on the ledger"
        for there, here in zip(played, again, strict=True)
        for one, other in zip(there.happened, here.happened, strict=True)
        if one.outcome != other.outcome
    ]
    customers = {one.sent.customer for step in again for one in step.happened if one.sent}
    for customer in sorted(customers):
        there, here = world.journal(customer), alone.journal(customer)
        if len(there) != len(here):
            found.append(f"{customer}: {len(there)} entries on Kafka, {len(here)} on the ledger")
        for number, (one, other) in enumerate(zip(there, here, strict=False), 1):
            if one != other:
                found.append(
                    f"{customer}: entry {number}: {one!r} on Kafka, {other!r} on the ledger"
                )
                break
    rows, others = world.rows(), alone.rows()
    found += [
        f"row {key!r}: {rows.get(key)!r} on Kafka, {others.get(key)!r} on the ledger"
        for key in sorted(rows.keys() | others.keys())
        if rows.get(key) != others.get(key)
    ]
    return found
