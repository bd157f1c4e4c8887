"""What was settled, for whoever reads: the query service, and the replica that any Python service
can embed.

    from drawdown.query import Replica
"""

from drawdown.query.balance import Balance, Holding
from drawdown.query.errors import (
    BehindError,
    NotFollowedError,
    OtherTopicError,
    PartitionsError,
    ReplicaError,
    StaleError,
)
from drawdown.query.follower import Position
from drawdown.query.limits import LIMITS, Denying
from drawdown.query.replica import KINDS, Replica

__all__ = [
    "KINDS",
    "LIMITS",
    "Balance",
    "BehindError",
    "Denying",
    "Holding",
    "NotFollowedError",
    "OtherTopicError",
    "PartitionsError",
    "Position",
    "Replica",
    "ReplicaError",
    "StaleError",
]
